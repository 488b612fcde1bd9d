"""Trace context: which span is the nearer one, and what is sent along with an event."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runtime import kafkaspans, telemetry

TRACE = "0af7651916cd43dd8448eb211c80319c"
FIRST = f"00-{TRACE}-b7ad6b7169203331-01"
LATER = f"00-{TRACE}-00f067aa0ba902b7-01"
ELSEWHERE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(kafkaspans, "_TRACER", provider.get_tracer("test"))
    return kept


@pytest.mark.parametrize(
    ("told", "carried", "nearer"),
    [
        (FIRST, LATER, LATER),
        (FIRST, ELSEWHERE, FIRST),
        (FIRST, None, FIRST),
        (FIRST, "not one", FIRST),
        (None, LATER, LATER),
        (None, None, None),
    ],
)
def test_the_last_hop_is_nearer_where_the_trace_is_the_same(
    told: str | None, carried: str | None, nearer: str | None
) -> None:
    assert telemetry.nearer(told, carried) == nearer


@pytest.mark.parametrize(
    ("current", "parent", "attached"),
    [
        (LATER, FIRST, LATER),
        (ELSEWHERE, FIRST, FIRST),
        (None, FIRST, FIRST),
        (LATER, None, LATER),
    ],
)
def test_a_current_span_of_the_same_trace_stays(
    current: str | None, parent: str | None, attached: str
) -> None:
    with telemetry.attached(current):
        with telemetry.attached(parent):
            assert telemetry.traceparent() == attached
        assert telemetry.traceparent() == current
        # What is kept with an event is of its own trace, and of none if it has none.
        assert telemetry.within(parent) == (attached if parent else None)


def test_publishing_goes_on_from_the_event_and_its_span_is_sent_along(
    spans: InMemorySpanExporter,
) -> None:
    span, carried = kafkaspans.published("dev.events", event_id="e-1", parent=FIRST)
    span.end()
    (found,) = spans.get_finished_spans()
    assert carried == f"00-{TRACE}-{trace.format_span_id(found.context.span_id)}-01"
    assert found.parent is not None
    assert telemetry.traceparent() is None
    assert trace.format_span_id(found.parent.span_id) == FIRST.split("-")[2]
    assert dict(found.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.type": "send",
        "messaging.destination.name": "dev.events",
        "backbone.event.id": "e-1",
    }


@pytest.mark.parametrize("parent", [FIRST, None])
def test_where_no_spans_are_made_the_trace_is_sent_along_all_the_same(parent: str | None) -> None:
    _, carried = kafkaspans.published("dev.events", event_id="e-1", parent=parent)
    assert carried == parent
