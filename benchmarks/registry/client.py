"""The client that measures the registry and its peer alike: reads, applies, watches.

All times are of this one process's monotonic clock.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from backbone.registry.v1 import registry_pb2 as pb
from backbone.registry.v1 import registry_pb2_grpc
from benchmarks.registry import documents
from contracts.names import Metadata

# What a channel of Backbone's has: a deadline on every call, and the caller's name.
_TIMEOUT_S = 10.0
_APPLY_TIMEOUT_S = 60.0
_METADATA = ((Metadata.ACTOR.value, "bench"),)
_MAX_MESSAGE = 4 * 1024 * 1024
_MAX_SET_BYTES = int(3.5 * 1024 * 1024)
_MAX_SET = 1000
_ARRIVAL_S = 30.0


@dataclass(frozen=True)
class Reads:
    """What a round of reads came to; `calls` are all of them, the rest leaves out the warm-up."""

    calls: int
    seconds: float
    latencies_ms: Sequence[float]

    @property
    def per_s(self) -> float:
        """Reads answered in a second."""
        return len(self.latencies_ms) / self.seconds


class Client:
    """One connection to a registry, or to what answers like one."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE),
                ("grpc.max_send_message_length", _MAX_MESSAGE),
                # Else all clients of this process would share one connection.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._stub: registry_pb2_grpc.RegistryServiceAsyncStub = (
            registry_pb2_grpc.RegistryServiceStub(self._channel)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def apply(self, *batch: pb.Document) -> int:
        """Apply documents as one set; return the namespace's revision afterwards."""
        response = await self._stub.ApplyResources(
            pb.ApplyResourcesRequest(
                namespace=documents.NAMESPACE, documents=batch, reason="benchmark"
            ),
            timeout=_APPLY_TIMEOUT_S,
            metadata=_METADATA,
        )
        return response.revision

    async def get(self, resource_id: str) -> pb.Resource:
        """Return the current version of a definition."""
        response = await self._stub.GetResource(
            pb.GetResourceRequest(
                namespace=documents.NAMESPACE,
                kind=pb.RESOURCE_KIND_ACTIVITY_DEFINITION,
                resource_id=resource_id,
            ),
            timeout=_TIMEOUT_S,
            metadata=_METADATA,
        )
        return response.resource

    async def watch(self, after_revision: int) -> AsyncGenerator[pb.WatchResourcesResponse, None]:
        """Yield every change after a revision."""
        call = self._stub.WatchResources(
            pb.WatchResourcesRequest(namespace=documents.NAMESPACE, after_revision=after_revision),
            metadata=_METADATA,
        )
        try:
            async for response in call:
                yield response
        finally:
            call.cancel()


async def load(client: Client, first: int, end: int) -> list[float]:
    """Apply definitions `first` to `end` in the largest sets; return each full set's seconds."""
    took: list[float] = []
    batch: list[pb.Document] = []
    size = 0

    async def send() -> None:
        started = time.perf_counter()
        await client.apply(*batch)
        if len(batch) == _MAX_SET:
            took.append(time.perf_counter() - started)
        batch.clear()

    for number in range(first, end):
        document = documents.definition(number)
        length = document.ByteSize() + 8
        if batch and (len(batch) == _MAX_SET or size + length > _MAX_SET_BYTES):
            await send()
            size = 0
        batch.append(document)
        size += length
    if batch:
        await send()
    return took


async def reads(
    client: Client, *, definitions: int, seconds: float, in_flight: int, chance: random.Random
) -> Reads:
    """Read random definitions, `in_flight` at a time; a moment first that does not count."""
    began = time.perf_counter() + 0.2
    end = began + seconds
    latencies: list[float] = []
    calls = 0

    async def reader() -> None:
        nonlocal calls
        while (started := time.perf_counter()) < end:
            resource_id = documents.definition_id(chance.randrange(definitions))
            await client.get(resource_id)
            calls += 1
            if started >= began:
                latencies.append((time.perf_counter() - started) * 1000)

    await asyncio.gather(*(reader() for _ in range(in_flight)))
    return Reads(calls, time.perf_counter() - began, latencies)


async def timed(count: int, do: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Do something `count` times, one after the other; return the milliseconds of each."""
    took = []
    for number in range(count):
        started = time.perf_counter()
        await do(number)
        took.append((time.perf_counter() - started) * 1000)
    return took


class Watchers:
    """Clients that each wait, on a connection of their own, for the same changes."""

    def __init__(self, address: str, count: int, *, after_revision: int) -> None:
        self._clients = [Client(address) for _ in range(count)]
        self._after = after_revision
        self._arrivals: list[float] = []
        self._all_here = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._follow(client)) for client in self._clients]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients:
            await client.__aexit__(None, None, None)
        # A connection lives as long as what holds its channel.
        self._tasks.clear()
        self._clients.clear()

    async def deliveries(self, change: Callable[[], Awaitable[Any]]) -> list[float]:
        """Make a change; return the milliseconds from its start until each watcher had it.

        Raises:
            TimeoutError: a watcher did not get it within 30 s.
        """
        self._arrivals = []
        self._all_here.clear()
        started = time.perf_counter()
        await change()
        async with asyncio.timeout(_ARRIVAL_S):
            await self._all_here.wait()
        return [(arrival - started) * 1000 for arrival in self._arrivals]

    async def _follow(self, client: Client) -> None:
        async with contextlib.aclosing(client.watch(self._after)) as changes:
            async for change in changes:
                if change.WhichOneof("change") != "resource":
                    continue
                self._arrivals.append(time.perf_counter())
                if len(self._arrivals) == len(self._clients):
                    self._all_here.set()
