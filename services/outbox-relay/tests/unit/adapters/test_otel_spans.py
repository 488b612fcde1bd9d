"""The spans of a flight."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from outbox_relay.adapters.otel_spans import FlightSpans
from outbox_relay.domain.rows import PendingRow
from runtime import kafkaspans

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch):
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(kafkaspans, "_TRACER", provider.get_tracer("test"))
    return kept


def row(position):
    return PendingRow(position, "dev", "run:1", "dev.events", "1", "[]", b"{}", None)


def headers(number):
    return {"backbone-event-id": f"e-{number}", "traceparent": TRACEPARENT}


def test_each_event_of_a_flight_is_a_span_of_its_trace_which_goes_into_its_headers(spans):
    flight = FlightSpans()
    sent = [headers(number) for number in range(3)]
    assert all(flight.begin(row(number), sent[number]) for number in range(3))
    flight.forget()
    assert spans.get_finished_spans() == ()
    flight.land()
    found = spans.get_finished_spans()
    assert [span.attributes["backbone.namespace"] for span in found] == ["dev", "dev"]
    for number, span in enumerate(found):
        assert trace.format_span_id(span.parent.span_id) == TRACEPARENT.split("-")[2]
        span_id = trace.format_span_id(span.context.span_id)
        assert sent[number]["traceparent"] == TRACEPARENT.replace("b7ad6b7169203331", span_id)
        assert span.status.is_unset


def test_what_is_not_known_to_have_arrived_is_an_error(spans):
    flight = FlightSpans()
    flight.begin(row(1), headers(1))
    flight.give_up()
    (found,) = spans.get_finished_spans()
    assert not found.status.is_ok


def test_an_event_without_a_trace_has_no_span(spans):
    flight, sent = FlightSpans(), {"backbone-event-id": "e-1"}
    assert not flight.begin(row(1), sent)
    flight.land()
    assert sent == {"backbone-event-id": "e-1"}
    assert spans.get_finished_spans() == ()
