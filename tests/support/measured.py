"""What the code under test measured: `Measured(monkeypatch)` before it makes its instruments."""

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from runtime import telemetry


class Measured:
    """A meter provider of the test's own, in the place of the process's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reader = InMemoryMetricReader()
        provider = MeterProvider(metric_readers=[self._reader], shutdown_on_exit=False)
        monkeypatch.setattr(telemetry, "meter", provider.get_meter)

    def points(self, name: str) -> list[tuple[Mapping[str, Any], Any]]:
        """Return the attributes and the data point of each series of a metric."""
        data = self._reader.get_metrics_data()
        return [
            (point.attributes, point)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]
