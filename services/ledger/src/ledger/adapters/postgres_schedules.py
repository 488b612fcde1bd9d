"""Epochs, cursors and due times in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg
from pydantic import TypeAdapter

from contracts.definitions import Schedule
from contracts.triggers import Trigger, Window
from ledger.domain import due
from ledger.domain.control import Order
from ledger.domain.due import DueRow, Epoch, LeasedRun, OpenRun
from ledger.domain.stretches import Pause
from ledger.ports.schedules import Coverage, Cursor, DueTimeRow, OverdueRow, SkipRow
from rules.policy import DueOutcome, Waiting
from runtime import sqlfiles
from runtime.postgres import Transaction

MAX_RUNS_PER_LEASE = 500
"""A tick starts at most this many children; Temporal takes 2,000 pending ones of one workflow."""

MAX_OPEN_RUNS = 1000
"""Open runs of one definition that are looked at together."""

_SCHEDULES: TypeAdapter[dict[str, Schedule]] = TypeAdapter(dict[str, Schedule])


class PostgresScheduleStore:
    """`ports.schedules.ScheduleStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "schedules")

    async def begin(
        self, transaction: Transaction, definition_id: str, effective_from: datetime
    ) -> None:
        """Make the definition's cursor, at `effective_from`, unless it has one; lock it."""
        await transaction.execute(
            self._sql["begin"], transaction.namespace, definition_id, effective_from
        )
        await self.lock_cursor(transaction, definition_id)

    async def lock_cursor(self, transaction: Transaction, definition_id: str) -> Cursor | None:
        """Lock the cursor until the transaction ends; return it as it then is."""
        row = await transaction.fetchrow(
            self._sql["lock_cursor"], transaction.namespace, definition_id
        )
        return None if row is None else Cursor(**dict(row))

    async def move_cursor(
        self,
        transaction: Transaction,
        definition_id: str,
        covered_until: datetime,
        *,
        next_at: datetime | None,
    ) -> None:
        """Say that due times up to `covered_until` are accounted for, and when the next comes."""
        await transaction.execute(
            self._sql["move_cursor"],
            transaction.namespace,
            definition_id,
            covered_until,
            next_at,
        )

    async def latest_epoch(self, transaction: Transaction, definition_id: str) -> Epoch | None:
        """Return the newest epoch."""
        row = await transaction.fetchrow(
            self._sql["latest_epoch"], transaction.namespace, definition_id
        )
        return None if row is None else _epoch(row)

    async def epochs_since(
        self, transaction: Transaction, definition_id: str, cursor: datetime
    ) -> list[Epoch]:
        """Return the epochs that are in force anywhere after `cursor`, oldest first."""
        rows = await transaction.fetch(
            self._sql["epochs_since"], transaction.namespace, definition_id, cursor
        )
        return [_epoch(row) for row in rows]

    async def add_epoch(
        self, transaction: Transaction, definition_id: str, epoch: Epoch, *, reason: str, actor: str
    ) -> None:
        """Write a new epoch."""
        await transaction.execute(
            self._sql["add_epoch"],
            transaction.namespace,
            definition_id,
            epoch.epoch,
            epoch.definition_version,
            epoch.schedules_body,
            epoch.task_queue,
            epoch.effective_from,
            epoch.enabled,
            reason,
            actor,
        )

    async def open_runs(self, transaction: Transaction, definition_id: str) -> list[OpenRun]:
        """Return the runs that due times asked for and that are not closed, oldest first."""
        rows = await transaction.fetch(
            self._sql["open_runs"], transaction.namespace, definition_id, MAX_OPEN_RUNS
        )
        return [OpenRun(row["run_id"], _trigger(row)) for row in rows]

    async def await_open_runs(self, transaction: Transaction, definition_id: str) -> bool:
        """Have the end of open runs ask for a tick; False when none is open any more."""
        await transaction.execute(
            self._sql["await_open_runs"], transaction.namespace, definition_id
        )
        return bool(
            await transaction.fetchval(
                self._sql["has_open_run"], transaction.namespace, definition_id
            )
        )

    async def waiting(
        self, transaction: Transaction, definition_id: str, *, limit: int
    ) -> list[Waiting]:
        """Return the due times that wait for an open run, oldest first."""
        rows = await transaction.fetch(
            self._sql["waiting"], transaction.namespace, definition_id, limit
        )
        return [Waiting(row["due_at"], tuple(row["names"]), row["window_start"]) for row in rows]

    async def count_waiting(self, transaction: Transaction, definition_id: str) -> dict[str, int]:
        """Return how many due times wait for an open run, by trigger."""
        rows = await transaction.fetch(
            self._sql["count_waiting"], transaction.namespace, definition_id
        )
        return {row["name"]: row["due_times"] for row in rows}

    async def add_due_times(
        self,
        transaction: Transaction,
        definition_id: str,
        rows: Sequence[DueRow],
        *,
        decided_at: datetime,
    ) -> None:
        """Write due times; one that is accounted for stays as it is, unless it waits."""
        await transaction.executemany(
            self._sql["add_due_time"],
            [
                (
                    transaction.namespace,
                    definition_id,
                    row.due_at,
                    row.names,
                    row.outcome,
                    row.reason,
                    row.run_id,
                    row.definition_version,
                    row.task_queue,
                    row.window.start if row.window else None,
                    row.window.end if row.window else None,
                    row.coalesced,
                    decided_at,
                    row.last_due_at,
                    row.count,
                    row.ask.request_id if row.ask else None,
                    row.ask.actor if row.ask else None,
                    row.ask.reason if row.ask else None,
                )
                for row in rows
            ],
        )

    async def lease(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        now: datetime,
        until: datetime,
        woken_for: datetime | None,
    ) -> list[LeasedRun]:
        """Lease the runs to start: new ones, those of this wake-up, those whose lease is over."""
        rows = await transaction.fetch(
            self._sql["lease"],
            transaction.namespace,
            definition_id,
            now,
            until,
            woken_for,
            MAX_RUNS_PER_LEASE,
        )
        return [
            LeasedRun(
                run_id=row["run_id"],
                task_queue=row["task_queue"],
                trigger=_trigger(row),
            )
            for row in sorted(rows, key=lambda row: row["due_at"])
        ]

    async def acknowledge(
        self, transaction: Transaction, definition_id: str, run_ids: Sequence[str]
    ) -> None:
        """Say that runs were started."""
        await transaction.execute(
            self._sql["acknowledge"], transaction.namespace, definition_id, list(run_ids)
        )

    async def close_run(
        self, transaction: Transaction, definition_id: str, run_id: str, closed_at: datetime
    ) -> bool:
        """Say that the run a due time asked for is closed; True when another one waits for it."""
        return bool(
            await transaction.fetchval(
                self._sql["close_run"], transaction.namespace, definition_id, run_id, closed_at
            )
        )

    async def list_due_times(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        before: datetime | None,
        since: datetime | None,
        limit: int,
    ) -> list[DueTimeRow]:
        """Return due times, newest first, from before an instant back to another."""
        rows = await transaction.fetch(
            self._sql["list_due_times"], transaction.namespace, definition_id, before, since, limit
        )
        return [_due_time(row) for row in rows]

    async def due_time_at(
        self, transaction: Transaction, definition_id: str, at: datetime
    ) -> DueTimeRow | None:
        """Return the row that holds an instant."""
        row = await transaction.fetchrow(
            self._sql["due_time_at"], transaction.namespace, definition_id, at
        )
        found = None if row is None else _due_time(row)
        return found if found is not None and at <= (found.last_due_at or found.due_at) else None

    async def due_time_by_request(
        self, transaction: Transaction, definition_id: str, request_id: str
    ) -> DueTimeRow | None:
        """Return the due time that a request asked for."""
        row = await transaction.fetchrow(
            self._sql["due_time_by_request"], transaction.namespace, definition_id, request_id
        )
        return None if row is None else _due_time(row)

    async def coverage(self, transaction: Transaction, definition_id: str) -> Coverage | None:
        """Return how far a definition's due times are accounted for."""
        row = await transaction.fetchrow(self._sql["cursor"], transaction.namespace, definition_id)
        return None if row is None else Coverage(**dict(row))

    async def pauses_since(
        self, transaction: Transaction, definition_id: str, since: datetime
    ) -> list[Pause]:
        """Return the pauses that were not over at an instant, oldest first."""
        rows = await transaction.fetch(
            self._sql["pauses_since"], transaction.namespace, definition_id, since
        )
        return [Pause(**dict(row)) for row in rows]

    async def pause(
        self, transaction: Transaction, definition_id: str, *, at: datetime, order: Order
    ) -> None:
        """Begin a pause; none is open."""
        await transaction.execute(
            self._sql["pause"],
            transaction.namespace,
            definition_id,
            at,
            order.actor,
            order.reason,
        )

    async def resume(
        self, transaction: Transaction, definition_id: str, *, at: datetime, order: Order
    ) -> None:
        """End the pause that is open."""
        await transaction.execute(
            self._sql["resume"],
            transaction.namespace,
            definition_id,
            at,
            order.actor,
            order.reason,
        )

    async def skips_after(
        self, transaction: Transaction, definition_id: str, after: datetime
    ) -> list[SkipRow]:
        """Return the due times that nobody wants, oldest first."""
        rows = await transaction.fetch(
            self._sql["skips_after"], transaction.namespace, definition_id, after
        )
        return [SkipRow(**dict(row)) for row in rows]

    async def skip(
        self,
        transaction: Transaction,
        definition_id: str,
        due_at: datetime,
        *,
        order: Order,
        at: datetime,
    ) -> None:
        """Let a due time not run."""
        await transaction.execute(
            self._sql["skip"],
            transaction.namespace,
            definition_id,
            due_at,
            order.request_id,
            order.actor,
            order.reason,
            at,
        )

    async def skip_by_request(
        self, transaction: Transaction, definition_id: str, request_id: str
    ) -> datetime | None:
        """Return the due time that a request has skipped."""
        due_at: datetime | None = await transaction.fetchval(
            self._sql["skip_by_request"], transaction.namespace, definition_id, request_id
        )
        return due_at

    async def overdue(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[OverdueRow]:
        """Return the definitions whose schedules nobody looks after, the longest first."""
        rows = await transaction.fetch(self._sql["overdue"], transaction.namespace, min_age, limit)
        return [OverdueRow(**dict(row)) for row in rows]


def _due_time(row: asyncpg.Record) -> DueTimeRow:
    return DueTimeRow(**{**dict(row), "outcome": DueOutcome(row["outcome"])})


def _trigger(row: asyncpg.Record) -> Trigger:
    return due.due_trigger(
        names=row["names"],
        definition_version=row["definition_version"],
        due_at=row["due_at"],
        window=Window(start=row["window_start"], end=row["window_end"]),
        coalesced=row["coalesced"],
        actor=row["asked_by"],
        reason=row["ask_reason"],
    )


def _epoch(row: asyncpg.Record) -> Epoch:
    return Epoch(
        epoch=row["epoch"],
        definition_version=row["definition_version"],
        schedules=_SCHEDULES.validate_json(row["schedules"]),
        schedules_body=row["schedules"],
        task_queue=row["task_queue"],
        effective_from=row["effective_from"],
        enabled=row["enabled"],
    )
