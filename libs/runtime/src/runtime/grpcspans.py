"""Spans of unary RPCs, of who calls and of who answers; within a trace only.

A service polls its neighbours all day: what no event, tick or person has led to begins no trace.
They say which method it was and how it ended, and nothing of what was said: a status message may
quote what somebody sent.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from contracts.telemetry import Attribute

_TRACER = trace.get_tracer(__name__)

# Of the other codes a server is no cause: who calls has asked for what is not there, say.
_FAULTS_OF_SERVERS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


@contextmanager
def within_trace(method: str | bytes, kind: SpanKind) -> Iterator[trace.Span]:
    """Make what the body does the span of a call of `method`, by its full name.

    Tell it by `ended` how the call ended. Outside of a trace nothing is made.
    """
    if not trace.get_current_span().get_span_context().is_valid:
        yield trace.INVALID_SPAN
        return
    name = (method.decode() if isinstance(method, bytes) else method).removeprefix("/")
    with _TRACER.start_as_current_span(
        name,
        kind=kind,
        attributes={Attribute.RPC_SYSTEM: "grpc", Attribute.RPC_METHOD: name},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def ended(span: trace.Span, code: grpc.StatusCode, kind: SpanKind) -> None:
    """Say on the span of a call how it ended."""
    span.set_attribute(Attribute.RPC_STATUS, code.name)
    if code in _FAULTS_OF_SERVERS or (kind is SpanKind.CLIENT and code is not grpc.StatusCode.OK):
        span.set_status(StatusCode.ERROR)
