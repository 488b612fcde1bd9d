"""OpenTelemetry: tracer and meter providers of a process, and trace context across its borders.

Metrics are always readable on the health server's `/metrics` (Prometheus). Traces are exported only
when a collector is configured; without one they cost next to nothing. Where data is encrypted at
rest, a span says of an exception only its type.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import context, metrics, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as SpanProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACE = slice(3, 35)
"""Where the trace id stands in a traceparent."""

# The SDK's own are for milliseconds. From a cached answer to a due time that was missed for a day.
_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0),
)


class Telemetry:
    """The providers of one process."""

    def __init__(
        self,
        *,
        service: str,
        otlp_endpoint: str | None,
        sample_ratio: float = 1.0,
        confidential: bool = False,
    ) -> None:
        """Install the providers for `service`; spans go to `otlp_endpoint` when there is one.

        Of the traces that begin here `sample_ratio` (0 to 1) is recorded; of others, what was said
        where they began. `confidential` leaves the texts of exceptions out of them.
        """
        # Imported only here: a command, which calls services and provides nothing, starts sooner.
        from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415
        from opentelemetry.sdk.metrics import Histogram, MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.view import (  # noqa: PLC0415
            ExplicitBucketHistogramAggregation,
            View,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

        resource = Resource.create({"service.name": service, "service.namespace": "backbone"})
        durations = View(
            instrument_type=Histogram,
            instrument_name="backbone.*",
            instrument_unit="s",
            aggregation=ExplicitBucketHistogramAggregation(_SECONDS),
        )
        self._meters = MeterProvider(
            resource=resource, metric_readers=[PrometheusMetricReader()], views=[durations]
        )
        metrics.set_meter_provider(self._meters)
        self._tracers: SpanProvider | None = None
        if otlp_endpoint is not None:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415 - an extra
                OTLPSpanExporter,
            )
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415

            self._tracers = TracerProvider(
                resource=resource, sampler=ParentBasedTraceIdRatio(sample_ratio)
            )
            exporter: SpanExporter = OTLPSpanExporter(endpoint=otlp_endpoint)
            if confidential:
                from runtime.redaction import RedactingExporter  # noqa: PLC0415 - imports the SDK

                exporter = RedactingExporter(exporter)
            self._tracers.add_span_processor(BatchSpanProcessor(exporter))
            trace.set_tracer_provider(self._tracers)

    def shutdown(self) -> None:
        """Export what is left and stop."""
        self._meters.shutdown()
        if self._tracers is not None:
            self._tracers.shutdown()


def tracer(name: str) -> trace.Tracer:
    """Return the tracer of a module."""
    return trace.get_tracer(name)


def meter(name: str) -> metrics.Meter:
    """Return the meter of a module."""
    return metrics.get_meter(name)


def records() -> bool:
    """Say whether spans are made at all: for what costs something even if they are not."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def traceparent(span: trace.Span | None = None) -> str | None:
    """Return the W3C traceparent of a span, or of the current one; None when there is none."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, None if span is None else trace.set_span_in_context(span))
    return carrier.get("traceparent")


def nearer(told: str | None, carried: str | None) -> str | None:
    """Return which of two traceparents a span goes on from: the nearer one of the same trace.

    `told` is what an event says itself, and decides whose trace it is. `carried` is what came with
    it over the last hop: it is nearer where the trace is the same, and all there is without `told`.
    """
    if told is None or (carried is not None and carried[_TRACE] == told[_TRACE]):
        return carried
    return told


def within(parent: str | None) -> str | None:
    """Return the traceparent of the current span where it is of the trace of `parent`; or that."""
    return None if parent is None else nearer(parent, traceparent())


@contextmanager
def attached(parent: str | None) -> Iterator[None]:
    """Make `parent`, a W3C traceparent, the current context; an invalid one is ignored.

    A current span of the same trace stays the current one: it is nearer.
    """
    if not parent:
        yield
        return
    current = trace.get_current_span().get_span_context()
    if current.is_valid and trace.format_trace_id(current.trace_id) == parent[_TRACE]:
        yield
        return
    token = context.attach(_PROPAGATOR.extract({"traceparent": parent}))
    try:
        yield
    finally:
        context.detach(token)
