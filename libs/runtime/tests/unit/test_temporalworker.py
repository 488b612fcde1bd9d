import asyncio
import socket

import pytest

from runtime import temporalworker
from runtime.errors import ConfigurationError
from runtime.temporalworker import FatalError, QueueServer, QueueServerError, QueueServers


class Server:
    """Stands in for the server of one task queue: stops when all of them were told to."""

    name = "server"

    def __init__(self, stopping: asyncio.Barrier | None = None, *, fails: bool = False) -> None:
        self._stopping = stopping
        self._fails = fails
        self.ends: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stopped = False

    async def start(self) -> None:
        if self._fails:
            raise RuntimeError("no such namespace")

    async def wait(self) -> None:
        await asyncio.shield(self.ends)

    async def stop(self) -> None:
        if self._stopping is not None:
            await self._stopping.wait()
        self.stopped = True


async def test_queues_drain_at_once() -> None:
    together = asyncio.Barrier(3)
    servers = [Server(together) for _ in range(3)]
    queues = QueueServers(servers)  # type: ignore[arg-type]
    await queues.start()
    async with asyncio.timeout(5):
        await queues.stop()
    assert all(server.stopped for server in servers)


async def test_what_was_begun_is_stopped_when_another_cannot_begin() -> None:
    begun = Server()
    with pytest.raises(RuntimeError, match="no such namespace"):
        await QueueServers([begun, Server(fails=True)]).start()  # type: ignore[list-item]
    assert begun.stopped


async def test_end_of_one_is_the_end_of_all() -> None:
    servers = [Server(), Server()]
    queues = QueueServers(servers)  # type: ignore[arg-type]
    waiting = asyncio.create_task(queues.wait())
    servers[1].ends.set_exception(RuntimeError("the namespace was deleted"))
    with pytest.raises(RuntimeError, match="deleted"):
        async with asyncio.timeout(5):
            await waiting


def test_an_address_for_metrics_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="BACKBONE_TEMPORAL_METRICS_LISTEN"):
            temporalworker.offer_metrics(f"127.0.0.1:{taken.getsockname()[1]}")


class Client:
    """Stands in for one that is connected."""

    namespace = "dev"
    service_client = None


class Refused:
    """A worker that can poll no more, and does not end yet."""

    def __init__(self, failed: FatalError) -> None:
        self._failed = failed
        self._told = asyncio.Event()

    async def run(self) -> None:
        await self._failed(RuntimeError("Request unauthorized."))
        await self._told.wait()

    async def shutdown(self) -> None:
        self._told.set()


async def test_a_worker_that_is_refused_ends_its_process_before_it_has_ended_itself() -> None:
    async def connect() -> Client:
        return Client()

    server = QueueServer(
        task_queue="billing-tq",
        connect=connect,  # type: ignore[arg-type]
        worker=lambda _client, failed: Refused(failed),  # type: ignore[arg-type, return-value]
    )
    await server.start()
    async with asyncio.timeout(5):
        with pytest.raises(QueueServerError, match=r"billing-tq .* dev: Request unauthorized"):
            await server.wait()
        await server.stop()
