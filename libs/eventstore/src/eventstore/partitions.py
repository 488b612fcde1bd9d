"""Keeps the months ahead of partitioned tables made, and drops those that are too old.

Months are made long before they are needed, and a row without its month falls into the default
partition: what fails here is logged and tried again, it never stops the service.
"""

import asyncio
from datetime import timedelta
from typing import Protocol

from runtime import logs
from runtime.errors import DatabaseUnavailableError
from runtime.faultpoints import faultpoint
from runtime.lifecycle import Background
from runtime.postgres import Postgres, Transaction

MONTHS_AHEAD = 3

MIN_RETENTION = timedelta(days=35)
"""The least that anything can be kept, so that a month is over long before it is dropped."""

_log = logs.get_logger(__name__)


class Months(Protocol):
    """What is partitioned by month: an `EventStore`, a `MonthlyTable`, or several as one."""

    async def ensure_partitions(self, transaction: Transaction, *, months: int) -> list[str]:
        """Make the partitions of this month and `months` more; return the names of the new ones."""
        ...

    async def drop_month(self, transaction: Transaction, *, older_than: timedelta) -> str | None:
        """Drop a month that has been over for so long; return its name, None without one."""
        ...

    async def clear_default(self, transaction: Transaction, *, older_than: timedelta) -> int:
        """Delete a batch of rows of such months that no month held; return how many."""
        ...


class PartitionKeeper(Background):
    """A component of a process; every replica may run one."""

    name = "partitions"

    def __init__(
        self,
        database: Postgres,
        kept: Months,
        *,
        retention: timedelta | None = None,
        interval: timedelta = timedelta(hours=6),
        retry_after: timedelta = timedelta(minutes=1),
    ) -> None:
        """Look every `interval`.

        Without `retention` rows are kept for ever; with it, months that have been over for so
        long are dropped (those of events once everything in them is published).

        Raises:
            ValueError: `retention` is shorter than `MIN_RETENTION`.
        """
        if retention is not None and retention < MIN_RETENTION:
            raise ValueError(
                f"what is kept by month is kept for {MIN_RETENTION.days} days at least"
            )
        self._database = database
        self._kept = kept
        self._retention = retention
        self._interval = interval.total_seconds()
        self._retry_after = retry_after.total_seconds()

    async def _run(self) -> None:
        while True:
            try:
                await self._make()
                await self._drop()
                wait = self._interval
            except DatabaseUnavailableError as exc:
                _log.warning("partitions_not_kept", reason=str(exc))
                wait = min(self._interval, self._retry_after)
            await asyncio.sleep(wait)

    async def _make(self) -> None:
        async with self._database.across() as transaction:
            made = await self._kept.ensure_partitions(transaction, months=MONTHS_AHEAD)
            faultpoint("eventstore.before_make_months")
        faultpoint("eventstore.after_make_months")
        if made:
            _log.info("partitions_made", partitions=made)

    async def _drop(self) -> None:
        retention = self._retention
        if retention is None:
            return

        async def drop(transaction: Transaction) -> str | None:
            dropped = await self._kept.drop_month(transaction, older_than=retention)
            faultpoint("eventstore.before_drop_month")
            return dropped

        # One month, or one batch, a transaction: no lock is held for longer than that takes.
        while True:
            dropped = await self._database.retrying_across(drop)
            faultpoint("eventstore.after_drop_month")
            if dropped is None:
                break
            _log.info("partition_dropped", partition=dropped)

        async def clear(transaction: Transaction) -> int:
            deleted = await self._kept.clear_default(transaction, older_than=retention)
            faultpoint("eventstore.before_clear_default")
            return deleted

        while True:
            deleted = await self._database.retrying_across(clear)
            faultpoint("eventstore.after_clear_default")
            if not deleted:
                break
            _log.info("default_partition_cleared", rows=deleted)
