"""An OTLP collector that keeps the spans that it is sent."""

import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2


@dataclass(frozen=True)
class Span:
    """A span as it came; its ids in hexadecimal, `parent` empty for the first of a trace."""

    trace_id: str
    span_id: str
    parent: str
    service: str
    name: str
    attributes: Mapping[str, Any]
    text: str
    """All of it, to look for what must not be there."""


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Listens from `with` on, on a port of the system's choosing."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None)

    def Export(self, request: Any, context: Any) -> Any:
        """Take spans."""
        found = list(_spans(request))
        with self._lock:
            self._spans += found
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        """What has come so far."""
        with self._lock:
            return list(self._spans)


def _spans(request: Any) -> Iterator[Span]:
    for group in request.resource_spans:
        service = _values(group.resource.attributes)["service.name"]
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    service=service,
                    name=span.name,
                    attributes=_values(span.attributes),
                    text=str(span),
                )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: common_pb2.AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)
