"""Temporal workers as a component of a process: one for each namespace and task queue.

They drain when they stop: they take nothing new, let what they hold end, and are gone within the
time that they were given, however many they are. Each goes on by a new connection when its client
has one, see `temporalrenewal`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import Worker

from runtime import logs
from runtime.errors import ConfigurationError, RuntimeLibraryError
from runtime.temporal import TemporalUnavailableError
from runtime.temporalrenewal import RenewedService

FatalError = Callable[[BaseException], Awaitable[None]]
"""What a worker is to call once it can poll no more (`on_fatal_error`)."""

_RECONNECT_S = 2.0
_RENEW_S = 5.0


class QueueServerError(RuntimeLibraryError):
    """A Temporal worker ended by itself: the namespace is not there, or the token is refused."""


_log = logs.get_logger(__name__)


def offer_metrics(listen: str | None) -> None:
    """Have Temporal's SDK offer its own metrics (Prometheus) on `listen`, host:port; None does not.

    They have a port of their own: brought over to ours, each would pass through Python. Called
    before the first client is made, once in a process.

    Raises:
        ConfigurationError: the address is taken.
    """
    if listen is None:
        return
    offered = PrometheusConfig(
        bind_address=listen,
        counters_total_suffix=True,
        unit_suffix=True,
        durations_as_seconds=True,
    )
    try:
        Runtime.set_default(Runtime(telemetry=TelemetryConfig(metrics=offered)))
    except (ValueError, RuntimeError) as exc:
        raise ConfigurationError(
            f"cannot listen on {listen} (BACKBONE_TEMPORAL_METRICS_LISTEN): {exc}"
        ) from exc


class QueueServer:
    """Serves a task queue from `start` to `stop`."""

    def __init__(
        self,
        *,
        task_queue: str,
        connect: Callable[[], Awaitable[Client]],
        worker: Callable[[Client, FatalError], Worker],
    ) -> None:
        """Serve `task_queue` with what `worker` makes of the client that `connect` returns."""
        self.name = f"temporal-worker:{task_queue}"
        self._task_queue = task_queue
        self._namespace = ""
        self._connect = connect
        self._make = worker
        self._worker: Worker | None = None
        self._running: asyncio.Task[None] | None = None
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, however long the server is away, and begin to poll."""
        client = await self._connected()
        self._worker = self._make(client, self._fail)
        self._namespace = client.namespace
        self._running = asyncio.create_task(self._serve(self._worker), name=self.name)
        if isinstance(client.service_client, RenewedService):
            service = client.service_client
            used = service.worker_service_client
            self._renewing = asyncio.create_task(_renew(self._worker, client, service, used))
        _log.info("serving_task_queue", namespace=client.namespace, task_queue=self._task_queue)

    async def wait(self) -> None:
        """Return or raise when the worker has ended by itself."""
        if self._running is None:
            return
        # A worker that is refused ends when its other polls have come back: in a minute.
        failed = asyncio.create_task(self._failed.wait())
        try:
            await asyncio.wait({self._running, failed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            failed.cancel()
        if self._running.done():
            self._running.result()
        elif self._failure is not None:
            raise self._told(self._failure) from self._failure

    async def stop(self) -> None:
        """Stop polling, let Temporal activities in flight end, and end."""
        if self._worker is None or self._running is None:
            return
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        if not self._running.done():
            await self._worker.shutdown()
        # A failure was told by `wait`; here the rest of the process still has to stop.
        with contextlib.suppress(Exception):
            await self._running

    async def _serve(self, worker: Worker) -> None:
        try:
            await worker.run()
        except RuntimeError as exc:
            raise self._told(exc) from exc

    async def _fail(self, failure: BaseException) -> None:
        self._failure = failure
        self._failed.set()

    def _told(self, failure: BaseException) -> QueueServerError:
        # The SDK says what failed, its cause why.
        why = failure.__cause__ or failure
        return QueueServerError(
            f"{self._task_queue} cannot be served in the namespace {self._namespace}: {why}"
        )

    async def _connected(self) -> Client:
        while True:
            try:
                return await self._connect()
            except TemporalUnavailableError as exc:
                _log.warning("temporal_unavailable", worker=self.name, detail=str(exc))
                await asyncio.sleep(_RECONNECT_S)


async def _renew(worker: Worker, client: Client, service: RenewedService, used: object) -> None:
    """Tell the worker of each connection of its client that comes after `used`."""
    while True:
        await asyncio.sleep(_RENEW_S)
        current = (await service.current()).worker_service_client
        if current is not used:
            worker.client = client
            used = current
            _log.info("worker_connection_renewed", task_queue=worker.task_queue)


class QueueServers:
    """The task queues of one process, drained all at once: it has one time to stop, not many."""

    name = "temporal-workers"

    def __init__(self, servers: Sequence[QueueServer]) -> None:
        self._servers = servers

    async def start(self) -> None:
        """Begin to serve one after the other."""
        try:
            for server in self._servers:
                await server.start()
        except BaseException:
            # What has begun holds tasks by now, and nobody else will end it.
            await self.stop()
            raise

    async def wait(self) -> None:
        """Return or raise when one of them has ended by itself."""
        waits = [asyncio.ensure_future(server.wait()) for server in self._servers]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in waits:
                one.cancel()

    async def stop(self) -> None:
        """Drain them."""
        await asyncio.gather(*(server.stop() for server in self._servers))
