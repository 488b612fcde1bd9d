"""Epochs, cursors and due times in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
from pydantic import TypeAdapter

from contracts.definitions import Schedule
from contracts.triggers import Window
from ledger.domain import due
from ledger.domain.due import DueRow, Epoch, LeasedRun
from ledger.ports import DueTimeRow
from rules.policy import DueOutcome
from runtime import sqlfiles
from runtime.postgres import Transaction

MAX_RUNS_PER_LEASE = 500
"""A tick starts at most this many children; Temporal takes 2,000 pending ones of one workflow."""

_SCHEDULES: TypeAdapter[dict[str, Schedule]] = TypeAdapter(dict[str, Schedule])


class PostgresScheduleStore:
    """`ports.ScheduleStore` in the service's schema."""

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

    async def lock_cursor(
        self, transaction: Transaction, definition_id: str
    ) -> tuple[datetime, datetime] | None:
        """Lock the cursor until the transaction ends; return it as it then is, and the time."""
        row = await transaction.fetchrow(
            self._sql["lock_cursor"], transaction.namespace, definition_id
        )
        return None if row is None else (row["covered_until"], row["now"])

    async def move_cursor(
        self, transaction: Transaction, definition_id: str, covered_until: datetime
    ) -> None:
        """Say that due times up to `covered_until` are accounted for."""
        await transaction.execute(
            self._sql["move_cursor"], transaction.namespace, definition_id, covered_until
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

    async def has_open_run(self, transaction: Transaction, definition_id: str) -> bool:
        """Say whether a run that a due time asked for is not closed yet."""
        return bool(
            await transaction.fetchval(
                self._sql["has_open_run"], transaction.namespace, definition_id
            )
        )

    async def add_due_times(
        self,
        transaction: Transaction,
        definition_id: str,
        rows: Sequence[DueRow],
        *,
        decided_at: datetime,
    ) -> None:
        """Write due times; one that is accounted for already stays as it is."""
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
                trigger=due.due_trigger(
                    names=row["names"],
                    definition_version=row["definition_version"],
                    due_at=row["due_at"],
                    window=Window(start=row["window_start"], end=row["window_end"]),
                    coalesced=row["coalesced"],
                ),
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
    ) -> None:
        """Say that the run a due time asked for is closed."""
        await transaction.execute(
            self._sql["close_run"], transaction.namespace, definition_id, run_id, closed_at
        )

    async def list_due_times(
        self, transaction: Transaction, definition_id: str, *, before: datetime | None, limit: int
    ) -> list[DueTimeRow]:
        """Return due times, newest first, from before an instant."""
        rows = await transaction.fetch(
            self._sql["list_due_times"], transaction.namespace, definition_id, before, limit
        )
        return [
            DueTimeRow(**{**row, "outcome": DueOutcome(row["outcome"])}) for row in map(dict, rows)
        ]


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
