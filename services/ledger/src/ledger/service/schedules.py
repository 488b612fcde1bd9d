"""The use cases of schedules: what is due, what becomes of it, which runs to start.

The Temporal Schedule of a definition only wakes a tick; what a tick does is decided here, in one
transaction under the lock of the definition's cursor. One policy holds for all causes of a missed
due time: Temporal down, workers down, disabled, created late, overlapped.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from contracts.telemetry import Attribute, Metric
from ledger.domain import due
from ledger.domain.due import DueRow, Epoch, LeasedRun
from ledger.errors import PreconditionError, ScheduleNotFoundError
from ledger.ports import DueTimeRow, ScheduleStore
from runtime import logs, telemetry
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres, Transaction

T = TypeVar("T")

START_LEASE = timedelta(seconds=15)
"""How long a tick has to start a run before another tick is given it too."""

_MAX_ROUNDS = 5
_log = logs.get_logger(__name__)


class ScheduleLedger:
    """Accounts for due times."""

    def __init__(self, *, database: Postgres, schedules: ScheduleStore) -> None:
        self._database = database
        self._schedules = schedules
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.LEDGER_DUE_TIMES, description="Due times accounted for, by outcome."
        )

    async def put(
        self, *, namespace: str, definition_id: str, epoch: Epoch, reason: str, actor: str
    ) -> bool:
        """Put schedules in force from `epoch.effective_from` on; False when they were already.

        The number of `epoch` is given here. Due times that are accounted for stay as they are.

        Raises:
            PreconditionError: schedules from a later time are in force.
        """

        async def work(transaction: Transaction) -> bool:
            await self._schedules.begin(transaction, definition_id, epoch.effective_from)
            latest = await self._schedules.latest_epoch(transaction, definition_id)
            if latest is not None and latest.says_the_same(epoch):
                return False
            if latest is not None and epoch.effective_from < latest.effective_from:
                raise PreconditionError(
                    f"schedules of {definition_id} are in force from "
                    f"{latest.effective_from.isoformat()}, later than these"
                )
            number = 1 if latest is None else latest.epoch + 1
            await self._schedules.add_epoch(
                transaction, definition_id, replace(epoch, epoch=number), reason=reason, actor=actor
            )
            return True

        changed = await self._write("put_schedule", namespace, work)
        if changed:
            _log.info(
                "schedule_put",
                namespace=namespace,
                definition_id=definition_id,
                definition_version=epoch.definition_version,
                enabled=epoch.enabled,
                actor=actor,
            )
        return changed

    async def advance(
        self, *, namespace: str, definition_id: str, woken_for: datetime | None
    ) -> list[LeasedRun]:
        """Account for every due time up to now; return the runs that the caller has to start.

        A disabled definition's due times wait, and are judged when it is enabled.

        Raises:
            ScheduleNotFoundError: the definition never had a schedule put.
        """

        async def work(transaction: Transaction) -> tuple[bool, Sequence[DueRow], list[LeasedRun]]:
            locked = await self._schedules.lock_cursor(transaction, definition_id)
            if locked is None:
                raise ScheduleNotFoundError(definition_id)
            cursor, clock = locked
            now = due.believed_now(clock, woken_for)
            rows, more = await self._account(transaction, definition_id, cursor=cursor, now=now)
            if rows:
                await self._schedules.add_due_times(
                    transaction, definition_id, rows, decided_at=clock
                )
                await self._schedules.move_cursor(transaction, definition_id, rows[-1].due_at)
            leased = await self._schedules.lease(
                transaction,
                definition_id,
                now=clock,
                until=clock + START_LEASE,
                woken_for=woken_for,
            )
            return more, rows, leased

        runs: dict[str, LeasedRun] = {}
        # After a very long silence one transaction does not hold all due times.
        for _ in range(_MAX_ROUNDS):
            more, rows, leased = await self._write("advance_schedule", namespace, work)
            self._count(namespace, rows)
            runs |= {run.run_id: run for run in leased}
            if not more:
                break
        return list(runs.values())

    async def acknowledge(
        self, *, namespace: str, definition_id: str, run_ids: Sequence[str]
    ) -> None:
        """Say that runs were started; saying it again, or of unknown runs, changes nothing."""

        async def work(transaction: Transaction) -> None:
            await self._schedules.acknowledge(transaction, definition_id, run_ids)

        await self._write("acknowledge_runs", namespace, work)

    async def list_due_times(
        self, *, namespace: str, definition_id: str, before: datetime | None, limit: int
    ) -> list[DueTimeRow]:
        """Return at most `limit` accounted due times, newest first, from before an instant."""
        async with self._database.transaction(namespace) as transaction:
            return await self._schedules.list_due_times(
                transaction, definition_id, before=before, limit=limit
            )

    async def _account(
        self, transaction: Transaction, definition_id: str, *, cursor: datetime, now: datetime
    ) -> tuple[list[DueRow], bool]:
        epochs = await self._schedules.epochs_since(transaction, definition_id, cursor)
        if not epochs or not epochs[-1].enabled:
            return [], False
        open_run = await self._schedules.has_open_run(transaction, definition_id)
        return due.account(definition_id, epochs, cursor=cursor, now=now, open_run=open_run)

    async def _write(
        self, name: str, namespace: str, work: Callable[[Transaction], Awaitable[T]]
    ) -> T:
        async def with_fault_point(transaction: Transaction) -> T:
            result = await work(transaction)
            faultpoint(f"ledger.before_{name}")
            return result

        result = await self._database.retrying(namespace, with_fault_point)
        faultpoint(f"ledger.after_{name}")
        return result

    def _count(self, namespace: str, rows: Sequence[DueRow]) -> None:
        for row in rows:
            self._counter.add(1, {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: row.outcome})
