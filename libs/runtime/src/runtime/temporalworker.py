"""A Temporal worker as a component of a process: one for each namespace and task queue."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from temporalio.client import Client
from temporalio.worker import Worker

from runtime import logs
from runtime.temporal import TemporalUnavailableError

_RECONNECT_S = 2.0

_log = logs.get_logger(__name__)


class QueueServer:
    """Serves a task queue from `start` to `stop`."""

    def __init__(
        self,
        *,
        task_queue: str,
        connect: Callable[[], Awaitable[Client]],
        worker: Callable[[Client], Worker],
    ) -> None:
        """Serve `task_queue` with what `worker` makes of the client that `connect` returns."""
        self.name = f"temporal-worker:{task_queue}"
        self._task_queue = task_queue
        self._connect = connect
        self._make = worker
        self._worker: Worker | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, however long the server is away, and begin to poll."""
        client = await self._connected()
        self._worker = self._make(client)
        self._running = asyncio.create_task(self._worker.run(), name=self.name)
        _log.info("serving_task_queue", namespace=client.namespace, task_queue=self._task_queue)

    async def wait(self) -> None:
        """Return or raise when the worker has ended by itself."""
        if self._running is not None:
            await asyncio.shield(self._running)

    async def stop(self) -> None:
        """Stop polling, let Temporal activities in flight end, and end."""
        if self._worker is None or self._running is None:
            return
        if not self._running.done():
            await self._worker.shutdown()
        # A failure was told by `wait`; here the rest of the process still has to stop.
        with contextlib.suppress(Exception):
            await self._running

    async def _connected(self) -> Client:
        while True:
            try:
                return await self._connect()
            except TemporalUnavailableError as exc:
                _log.warning("temporal_unavailable", worker=self.name, detail=str(exc))
                await asyncio.sleep(_RECONNECT_S)
