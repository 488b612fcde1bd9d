"""Spans of events on Kafka: of publishing them, and of processing them where they arrive."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from contracts.telemetry import Attribute, Span
from runtime import telemetry

_TRACER = trace.get_tracer(__name__)


def published(
    topic: str, *, event_id: str, parent: str | None, namespace: str | None = None
) -> tuple[trace.Span, str | None]:
    """Start the span of publishing an event; return it, and the traceparent to send with the event.

    It goes on from the current span, or from `parent` (a traceparent) where that is of another
    trace; without either it begins a trace. End it once the broker has acknowledged the event.
    Where no spans are made, what is sent along is the traceparent that it would go on from.
    """
    attributes = _of(topic, event_id=event_id, operation="send", namespace=namespace)
    with telemetry.attached(parent):
        span = _TRACER.start_span(Span.PUBLISH, kind=SpanKind.PRODUCER, attributes=attributes)
    return span, telemetry.traceparent(span)


@contextmanager
def processed(
    topic: str, *, event_id: str, parent: str | None, namespace: str, group: str
) -> Iterator[None]:
    """Make what the body does the processing of an event that came with `parent`, a traceparent.

    Of what it raises only the type is told: the text may quote the event.
    """
    attributes = _of(topic, event_id=event_id, operation="process", namespace=namespace)
    attributes[Attribute.CONSUMER_GROUP] = group
    with (
        telemetry.attached(parent),
        _TRACER.start_as_current_span(
            Span.PROCESS,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
    ):
        try:
            yield
        except Exception as exc:
            span.set_attribute(Attribute.ERROR_TYPE, type(exc).__qualname__)
            span.set_status(trace.StatusCode.ERROR)
            raise


def _of(topic: str, *, event_id: str, operation: str, namespace: str | None) -> dict[str, str]:
    attributes: dict[str, str] = {
        Attribute.MESSAGING_SYSTEM: "kafka",
        Attribute.MESSAGING_OPERATION: operation,
        Attribute.TOPIC: topic,
        Attribute.EVENT_ID: event_id,
    }
    if namespace is not None:
        attributes[Attribute.NAMESPACE] = namespace
    return attributes
