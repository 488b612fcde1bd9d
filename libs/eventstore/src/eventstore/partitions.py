"""Keeps the months ahead of an event store made, for as long as its service runs."""

import asyncio
from datetime import timedelta

from eventstore.store import EventStore
from runtime import logs
from runtime.errors import DatabaseUnavailableError
from runtime.lifecycle import Background
from runtime.postgres import Postgres

MONTHS_AHEAD = 3

_log = logs.get_logger(__name__)


class PartitionKeeper(Background):
    """A component of a process; every replica may run one.

    Months are made long before they are needed, and an append without its month falls into the
    default partition: a failure here is logged and tried again, it never stops the service.
    """

    name = "partitions"

    def __init__(
        self,
        database: Postgres,
        events: EventStore,
        *,
        namespace: str,
        interval: timedelta = timedelta(hours=6),
    ) -> None:
        """Look every `interval`; `namespace` is any that the service has."""
        self._database = database
        self._events = events
        self._namespace = namespace
        self._interval = interval.total_seconds()

    async def _run(self) -> None:
        while True:
            try:
                async with self._database.transaction(self._namespace) as transaction:
                    made = await self._events.ensure_partitions(transaction, months=MONTHS_AHEAD)
                if made:
                    _log.info("partitions_made", partitions=made)
            except DatabaseUnavailableError as exc:
                _log.warning("partitions_not_made", reason=str(exc))
            await asyncio.sleep(self._interval)
