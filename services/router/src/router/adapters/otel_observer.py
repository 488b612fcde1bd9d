"""Counts what the router does with OpenTelemetry."""

from collections.abc import Iterable

from contracts.rejections import Reason
from contracts.telemetry import Attribute, Metric
from runtime import telemetry


class OtelObserver:
    """Counts records, dead letters and candidates by bounded attributes."""

    def __init__(self) -> None:
        meter = telemetry.meter(__name__)
        self._records = meter.create_counter(
            Metric.ROUTER_RECORDS, description="Records with a durable outcome."
        )
        self._dead_letters = meter.create_counter(
            Metric.ROUTER_DEAD_LETTERS, description="Records that were parked, by reason."
        )
        self._duration = meter.create_histogram(
            Metric.ROUTER_ROUTE_DURATION, unit="s", description="Time to settle a record."
        )
        self._candidates = meter.create_counter(
            Metric.ROUTER_CANDIDATES,
            description="Events that were held against a definition, by outcome.",
        )
        self._misses = meter.create_counter(
            Metric.ROUTER_SEEN_MISSES, description="Commands that Redis did not answer in time."
        )

    def settled(self, namespace: str, outcome: str, seconds: float) -> None:
        """One record has its durable outcome."""
        attributes: dict[str, str] = {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: outcome}
        self._records.add(1, attributes)
        self._duration.record(seconds, attributes)

    def parked(self, namespace: str, reason: Reason) -> None:
        """One record became a dead letter."""
        self._dead_letters.add(1, {Attribute.NAMESPACE: namespace, Attribute.REASON: reason.value})

    def candidates(self, namespace: str, outcomes: Iterable[tuple[str, str]]) -> None:
        """An event was held against definitions: (definition id, outcome) each."""
        for definition_id, outcome in outcomes:
            self._candidates.add(
                1,
                {
                    Attribute.NAMESPACE: namespace,
                    Attribute.DEFINITION_ID: definition_id,
                    Attribute.OUTCOME: outcome,
                },
            )

    def seen_missed(self) -> None:
        """Redis did not answer a command."""
        self._misses.add(1)
