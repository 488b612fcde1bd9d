"""A collector that takes every span and keeps none, on the port that it is given."""

import sys
from concurrent import futures
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Swallowing(trace_service_pb2_grpc.TraceServiceServicer):
    """Says that it has taken what it was sent."""

    def Export(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Take spans."""
        return trace_service_pb2.ExportTraceServiceResponse()


def main(address: str) -> None:
    """Serve on `address` (host:port) until killed."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(Swallowing(), server)
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1])
