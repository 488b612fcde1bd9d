"""The peer `grpc-echo`: a bare grpc.aio server that gives back the Resource it was given.

It answers the registry's own requests with the registry's own messages, so that one client measures
both, and does nothing else: no caller, no store, no figures. `ApplyResources` takes a serialised
Resource as its one document; `GetResource` gives it to whoever asks, and `WatchResources` sends it
to every watcher each time it is applied.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from backbone.registry.v1 import registry_pb2 as pb

_SERVICE = "backbone.registry.v1.RegistryService"
_MAX_MESSAGE = 4 * 1024 * 1024


class Echo:
    """Knows one Resource, and who waits for the next."""

    def __init__(self) -> None:
        self._response = pb.GetResourceResponse()
        self._watchers: set[asyncio.Queue[pb.Resource]] = set()

    async def apply(self, request: pb.ApplyResourcesRequest, _: Any) -> pb.ApplyResourcesResponse:
        """Take a Resource and hand it to the watchers."""
        resource = pb.Resource.FromString(request.documents[0].content)
        self._response = pb.GetResourceResponse(resource=resource)
        for watcher in self._watchers:
            watcher.put_nowait(resource)
        return pb.ApplyResourcesResponse()

    async def get(self, _request: pb.GetResourceRequest, _: Any) -> pb.GetResourceResponse:
        """Return the Resource."""
        return self._response

    async def watch(
        self, _request: pb.WatchResourcesRequest, _: Any
    ) -> AsyncIterator[pb.WatchResourcesResponse]:
        """Send the Resource each time it is applied."""
        queue: asyncio.Queue[pb.Resource] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            yield pb.WatchResourcesResponse(bookmark=pb.Bookmark())
            while True:
                yield pb.WatchResourcesResponse(resource=await queue.get())
        finally:
            self._watchers.discard(queue)

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what a server needs to serve this."""
        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                "ApplyResources": grpc.unary_unary_rpc_method_handler(
                    self.apply,
                    request_deserializer=pb.ApplyResourcesRequest.FromString,
                    response_serializer=pb.ApplyResourcesResponse.SerializeToString,
                ),
                "GetResource": grpc.unary_unary_rpc_method_handler(
                    self.get,
                    request_deserializer=pb.GetResourceRequest.FromString,
                    response_serializer=pb.GetResourceResponse.SerializeToString,
                ),
                "WatchResources": grpc.unary_stream_rpc_method_handler(
                    self.watch,
                    request_deserializer=pb.WatchResourcesRequest.FromString,
                    response_serializer=pb.WatchResourcesResponse.SerializeToString,
                ),
            },
        )


async def main() -> None:
    """Serve on a port of the system's choice, told on standard output, until SIGTERM."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", _MAX_MESSAGE),
            ("grpc.max_send_message_length", _MAX_MESSAGE),
        ]
    )
    server.add_generic_rpc_handlers((Echo().handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await ending.wait()
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
