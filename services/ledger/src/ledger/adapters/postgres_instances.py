"""Stateful instances in PostgreSQL, written by the projection alone, and what waits for them."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from contracts.events import PendingTimer
from ledger.domain.instances import InstanceEvent, Status
from ledger.domain.pending import Origin
from ledger.ports.instances import InstanceRow, WaitingEvent, WaitingKey
from runtime import sqlfiles
from runtime.postgres import Transaction


class PostgresInstanceStore:
    """`ports.instances.InstanceStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "instances")

    async def lock(self, transaction: Transaction, definition_id: str, key_hash: str) -> None:
        """Have events of one key come one after another until the transaction ends."""
        await transaction.fetchval(
            self._sql["lock_instance"], transaction.namespace, definition_id, key_hash
        )

    async def newest(
        self, transaction: Transaction, definition_id: str, key_hash: str
    ) -> InstanceRow | None:
        """Return the newest generation of a key; None before its first event."""
        return _row(
            await transaction.fetchrow(
                self._sql["newest_instance"], transaction.namespace, definition_id, key_hash
            )
        )

    async def get(
        self, transaction: Transaction, definition_id: str, key_hash: str, generation: int
    ) -> InstanceRow | None:
        """Return a generation."""
        return _row(
            await transaction.fetchrow(
                self._sql["get_instance"],
                transaction.namespace,
                definition_id,
                key_hash,
                generation,
            )
        )

    async def page(
        self,
        transaction: Transaction,
        *,
        before: int | None,
        definition_id: str | None,
        status: Status | None,
        limit: int,
    ) -> list[InstanceRow]:
        """Return generations from before a position, the one that began last first."""
        rows = await transaction.fetch(
            self._sql["list_instances"],
            transaction.namespace,
            before,
            definition_id,
            status,
            limit,
        )
        return [_made(row) for row in rows]

    async def adopt(
        self, transaction: Transaction, definition_id: str, trigger_key: str, workflow_run_id: str
    ) -> str | None:
        """Have an execution carry out a run that an instance recorded; return the one that does."""
        holder: str | None = await transaction.fetchval(
            self._sql["adopt_run"],
            transaction.namespace,
            definition_id,
            trigger_key,
            workflow_run_id,
        )
        return holder


class PostgresInstanceEventStore:
    """`ports.instances.InstanceEventStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "instances")

    async def now(self, transaction: Transaction) -> datetime:
        """Return the time."""
        now: datetime = await transaction.fetchval(self._sql["now"])
        return now

    async def add(self, transaction: Transaction, events: Sequence[InstanceEvent]) -> int:
        """Add those that neither wait nor were applied, in their order; return how many."""
        added = await transaction.execute(
            self._sql["add_events"],
            transaction.namespace,
            [event.run_id for event in events],
            [event.definition_id for event in events],
            [event.key_hash for event in events],
            [event.trigger.key for event in events],
            [event.trigger.definition_version for event in events],
            [event.trigger_body for event in events],
            [event.origin.topic if event.origin else None for event in events],
            [event.origin.partition if event.origin else None for event in events],
            [event.origin.offset if event.origin else None for event in events],
            [event.origin.cause if event.origin else None for event in events],
        )
        return int(added.rpartition(" ")[2])

    async def add_work(self, transaction: Transaction, timer: InstanceEvent) -> None:
        """Add a timer that was applied and whose run has work."""
        await transaction.execute(
            self._sql["add_work"],
            transaction.namespace,
            timer.run_id,
            timer.definition_id,
            timer.key_hash,
            timer.trigger.key,
            timer.trigger.definition_version,
            timer.trigger_body,
        )

    async def first(
        self, transaction: Transaction, definition_id: str, key_hash: str
    ) -> WaitingEvent | None:
        """Return what comes first of a key."""
        row = await transaction.fetchrow(
            self._sql["first_event"], transaction.namespace, definition_id, key_hash
        )
        return None if row is None else WaitingEvent(**dict(row))

    async def waits(self, transaction: Transaction, run_id: str) -> bool:
        """Say whether an event waits."""
        return bool(
            await transaction.fetchval(self._sql["event_waits"], transaction.namespace, run_id)
        )

    async def remove(self, transaction: Transaction, run_id: str) -> bool:
        """Let an event wait no more; False when it does not."""
        gone = await transaction.fetchval(self._sql["remove_event"], transaction.namespace, run_id)
        return gone is not None

    async def crowded(
        self, transaction: Transaction, events: Sequence[InstanceEvent], *, more_than: int
    ) -> list[tuple[str, str]]:
        """Return the (definition, key hash) of these events of which more than so many wait."""
        rows = await transaction.fetch(
            self._sql["crowded_keys"],
            transaction.namespace,
            [event.definition_id for event in events],
            [event.key_hash for event in events],
            more_than,
        )
        return [(row["definition_id"], row["key_hash"]) for row in rows]

    async def give_up_beyond(
        self, transaction: Transaction, definition_id: str, key_hash: str, *, keep: int
    ) -> list[Origin]:
        """Let the oldest that were not applied wait no more; the instance is locked."""
        rows = await transaction.fetch(
            self._sql["give_up_beyond"], transaction.namespace, definition_id, key_hash, keep
        )
        return [_origin(row) for row in rows]

    async def give_up_old(
        self, transaction: Transaction, definition_id: str, key_hash: str, *, max_age: timedelta
    ) -> list[Origin]:
        """Let those that were not applied for so long wait no more; the instance is locked."""
        rows = await transaction.fetch(
            self._sql["give_up_old"], transaction.namespace, definition_id, key_hash, max_age
        )
        return [_origin(row) for row in rows]

    async def waiting_keys(
        self,
        transaction: Transaction,
        *,
        after: tuple[str, str],
        definition_id: str | None,
        min_age: timedelta,
        limit: int,
    ) -> list[WaitingKey]:
        """Return keys of which something waits, or is due, for so long, in their order."""
        rows = await transaction.fetch(
            self._sql["waiting_keys"], transaction.namespace, *after, definition_id, min_age, limit
        )
        return [WaitingKey(**dict(row)) for row in rows]

    async def backlog(self, transaction: Transaction) -> tuple[int, float]:
        """Return how many events wait, and the age in seconds of the oldest."""
        row = await transaction.fetchrow(self._sql["backlog"], transaction.namespace)
        return (row["events"], row["oldest_age"]) if row is not None else (0, 0.0)


def _origin(row: asyncpg.Record) -> Origin:
    return Origin(row["topic"], row["partition"], row["record_offset"], row["cause"])


def _row(row: asyncpg.Record | None) -> InstanceRow | None:
    return None if row is None else _made(row)


def _made(row: asyncpg.Record) -> InstanceRow:
    fields: dict[str, Any] = dict(row)
    timers = [PendingTimer.model_validate(one) for one in json.loads(fields["timers"])]
    return InstanceRow(**{**fields, "status": Status(fields["status"]), "timers": timers})
