"""Decisions about calls: denials are counted, and all are logged within bounds."""

from dataclasses import dataclass

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from structlog.testing import capture_logs

from contracts.roles import Role
from contracts.telemetry import Attribute, Metric
from runtime import telemetry
from runtime.authorisation import Decisions
from runtime.identity import Identity
from runtime.rpcerrors import PermissionDeniedError, UnauthenticatedError

METHOD = "/a.v1.Service/Do"


@dataclass
class Request:
    namespace: str = "dev"


def ana(*roles: Role) -> Identity:
    return Identity("dev/ana", frozenset(roles), frozenset({"dev"}))


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    monkeypatch.setattr(telemetry, "meter", provider.get_meter)
    return reader


@pytest.fixture
def decisions(reader: InMemoryMetricReader) -> Decisions:
    return Decisions({METHOD: frozenset({Role.OPERATOR})})


def denied(reader: InMemoryMetricReader) -> dict[str, int]:
    """How many denials of METHOD were counted, by reason."""
    data = reader.get_metrics_data()
    return {
        point.attributes[Attribute.REASON]: point.value
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if metric.name == Metric.RPC_DENIED and point.attributes["rpc.method"] == METHOD
    }


def test_denials_are_counted_by_reason(decisions, reader):
    decisions.decide(METHOD, ana(Role.OPERATOR), Request())
    for _ in range(2):
        with pytest.raises(PermissionDeniedError):
            decisions.decide(METHOD, ana(Role.VIEWER), Request())
    with pytest.raises(PermissionDeniedError):
        decisions.decide(METHOD, ana(Role.OPERATOR), Request("prod"))
    error = UnauthenticatedError("ended", reason="TOKEN_EXPIRED")
    decisions.unknown(METHOD, Request(), error=error, peer="ipv4:127.0.0.1:1")
    assert denied(reader) == {"ROLE_DENIED": 2, "NAMESPACE_DENIED": 1, "TOKEN_EXPIRED": 1}


def test_what_is_not_in_the_table_is_denied_to_everybody(decisions):
    everything = Identity("local/ana", frozenset(Role))
    with pytest.raises(PermissionDeniedError):
        decisions.decide("/a.v1.Service/Other", everything, Request())


def test_of_a_namespace_that_is_none_only_the_beginning_is_logged(decisions):
    with capture_logs() as logged, pytest.raises(PermissionDeniedError):
        decisions.decide(METHOD, ana(Role.OPERATOR), Request("x" * 1_000_000))
    assert logged[0]["namespace"] == "x" * 63


def test_who_is_not_known_is_logged_with_where_they_are(decisions):
    error = UnauthenticatedError("ended", reason="TOKEN_EXPIRED")
    with capture_logs() as logged:
        decisions.unknown(METHOD, Request(), error=error, peer="ipv4:127.0.0.1:1")
    assert (logged[0]["actor"], logged[0]["peer"]) == ("", "ipv4:127.0.0.1:1")
    assert logged[0]["reason"] == "TOKEN_EXPIRED"
