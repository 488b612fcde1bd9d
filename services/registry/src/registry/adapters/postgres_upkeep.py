"""Makes the event store's partitions ahead of time, once a day."""

import asyncio

import asyncpg

from eventstore.store import EventStore
from runtime import logs
from runtime.errors import DatabaseUnavailableError
from runtime.postgres import Postgres

_DAY_S = 86_400.0
_RETRY_S = 600.0

_log = logs.get_logger(__name__)


class PartitionUpkeep:
    """Keeps months of partitions ahead; without them appends go into a default partition."""

    name = "upkeep"

    def __init__(self, postgres: Postgres, *, namespace: str) -> None:
        self._postgres = postgres
        self._namespace = namespace
        self._events = EventStore(service="registry")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, with a first look at once."""
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def wait(self) -> None:
        """Wait for the end, which only a fault brings."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                async with self._postgres.transaction(self._namespace) as transaction:
                    made = await self._events.ensure_partitions(transaction)
            except (DatabaseUnavailableError, asyncpg.PostgresError) as exc:
                _log.warning("partitions_not_made", error=str(exc))
                await asyncio.sleep(_RETRY_S)
            else:
                if made:
                    _log.info("partitions_made", partitions=made)
                await asyncio.sleep(_DAY_S)
