"""The use cases of schedules: what is due, what becomes of it, which runs to start.

The Temporal Schedule of a definition only wakes a tick; what a tick does is decided here, in one
transaction under the lock of the definition's cursor. One policy holds for all causes of a missed
due time: Temporal down, workers down, disabled, created late, overlapped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from contracts.switches import KillSwitch, Point
from contracts.telemetry import Attribute, Metric
from ledger.domain import due, stretches
from ledger.domain.control import Order
from ledger.domain.due import Accounted, DueRow, Epoch, LeasedRun, OpenRun
from ledger.errors import PreconditionError, ScheduleNotFoundError
from ledger.ports.schedules import Cursor, DueTimeRow, ScheduleStore
from ledger.ports.switches import Halts
from ledger.service import writing
from ledger.service.appending import WAKER
from ledger.service.control import ControlLedger
from rules import policy
from rules.policy import DueOutcome, Waiting
from runtime import logs, telemetry
from runtime.postgres import Postgres, Transaction

START_LEASE = timedelta(seconds=15)
"""How long a tick has to start a run before another tick is given it too."""

_MAX_ROUNDS = 5
_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Advanced:
    """The runs to start, and when to ask again because a due time waits for its jitter."""

    runs: list[LeasedRun]
    next_at: datetime | None


class ScheduleLedger:
    """Accounts for due times."""

    def __init__(
        self,
        *,
        database: Postgres,
        schedules: ScheduleStore,
        control: ControlLedger,
        halts: Halts,
    ) -> None:
        self._halts = halts
        self._database = database
        self._schedules = schedules
        self._control = control
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.LEDGER_DUE_TIMES, description="Due times accounted for, by outcome."
        )
        self._lateness = telemetry.meter(__name__).create_histogram(
            Metric.LEDGER_DUE_TIME_LATENESS,
            unit="s",
            description="From a due time to its outcome; of a long stretch, from its first.",
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
            cursor = await self.lock(transaction, definition_id)
            await self.move(transaction, definition_id, cursor.covered_until)
            return True

        changed = await writing.write(self._database, "put_schedule", namespace, work)
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
    ) -> Advanced:
        """Account for every due time up to now; say which runs the caller has to start.

        A due time with jitter is accounted for once that is over; those of a disabled definition,
        of a pause, and of a kill switch at `run`, are judged when that is over.

        Raises:
            ScheduleNotFoundError: the definition never had a schedule put.
        """

        async def work(transaction: Transaction) -> tuple[Accounted, list[LeasedRun]]:
            cursor = await self.lock(transaction, definition_id)
            clock = cursor.now
            if await self.halting(transaction, definition_id) is not None:
                return Accounted([], cursor.covered_until), []
            accounted = await self.account(
                transaction, definition_id, cursor, now=due.believed_now(clock, woken_for)
            )
            leased = await self._schedules.lease(
                transaction,
                definition_id,
                now=clock,
                until=clock + START_LEASE,
                woken_for=woken_for,
            )
            return accounted, leased

        runs: dict[str, LeasedRun] = {}
        next_at: datetime | None = None
        # After a very long silence one transaction does not hold all due times.
        for _ in range(_MAX_ROUNDS):
            accounted, leased = await writing.write(
                self._database, "advance_schedule", namespace, work
            )
            self.count(namespace, definition_id, accounted.rows)
            runs |= {run.run_id: run for run in leased}
            next_at = accounted.waits_until
            if not accounted.more:
                break
        return Advanced(list(runs.values()), next_at)

    async def acknowledge(
        self, *, namespace: str, definition_id: str, run_ids: Sequence[str]
    ) -> None:
        """Say that runs were started; saying it again, or of unknown runs, changes nothing."""

        async def work(transaction: Transaction) -> None:
            await self._schedules.acknowledge(transaction, definition_id, run_ids)

        await writing.write(self._database, "acknowledge_runs", namespace, work)

    async def list_due_times(
        self,
        *,
        namespace: str,
        definition_id: str,
        before: datetime | None,
        since: datetime | None,
        limit: int,
    ) -> list[DueTimeRow]:
        """Return at most `limit` accounted due times, newest first, from before an instant."""
        async with self._database.transaction(namespace) as transaction:
            return await self._schedules.list_due_times(
                transaction, definition_id, before=before, since=since, limit=limit
            )

    async def lock(self, transaction: Transaction, definition_id: str) -> Cursor:
        """Lock the schedules of a definition until the transaction ends.

        Raises:
            ScheduleNotFoundError: the definition never had a schedule put.
        """
        cursor = await self._schedules.lock_cursor(transaction, definition_id)
        if cursor is None:
            raise ScheduleNotFoundError(definition_id)
        return cursor

    async def halting(self, transaction: Transaction, definition_id: str) -> KillSwitch | None:
        """Return the kill switch that stops the runs of a definition; None when none does."""
        return await self._halts.halting(transaction, Point.RUN, definition_id)

    async def account(
        self,
        transaction: Transaction,
        definition_id: str,
        cursor: Cursor,
        *,
        now: datetime,
        jittered: bool = True,
    ) -> Accounted:
        """Account for what is due and for what waits. Unless `jittered`, none waits for its jitter.

        What is returned is as it was written.
        """
        since = cursor.covered_until
        if cursor.paused:
            return Accounted([], since)
        open_runs = await self._schedules.open_runs(transaction, definition_id)
        ahead: dict[str, int] = {}
        waiting: list[Waiting] = []
        if open_runs:
            ahead = await self._schedules.count_waiting(transaction, definition_id)
            if max(ahead.values(), default=0) >= policy.MAX_DUE_TIMES:
                # No room for more rows that wait: due times stay where they are until a run ends.
                return Accounted([], since)
        else:
            waiting = await self._schedules.waiting(
                transaction, definition_id, limit=policy.MAX_DUE_TIMES
            )
        epochs = await self._schedules.epochs_since(
            transaction, definition_id, min([since, *(one.due_at for one in waiting[:1])])
        )
        if not epochs or not epochs[-1].enabled:
            return Accounted([], since)
        accounted = due.account(
            definition_id,
            epochs,
            cursor=since,
            now=now,
            open_run=bool(open_runs),
            waiting=waiting,
            ahead=ahead,
            unwanted=await self._unwanted(transaction, definition_id, cursor),
            jittered=jittered,
        )
        rows = await self._told(transaction, definition_id, cursor, accounted.rows)
        if accounted.cancels:
            first = next(row for row in rows if row.outcome is DueOutcome.RUN)
            await self.make_room(transaction, definition_id, open_runs, first, at=cursor.now)
        await self.add(transaction, definition_id, rows, at=cursor.now)
        await self.move(transaction, definition_id, accounted.cursor)
        left = accounted.waits and not await self._schedules.await_open_runs(
            transaction, definition_id
        )
        # What a run that has ended meanwhile left waiting is looked at again.
        return replace(accounted, rows=rows, more=accounted.more or left)

    async def add(
        self, transaction: Transaction, definition_id: str, rows: Sequence[DueRow], *, at: datetime
    ) -> None:
        """Write rows of due times."""
        if rows:
            await self._schedules.add_due_times(transaction, definition_id, rows, decided_at=at)

    async def make_room(
        self,
        transaction: Transaction,
        definition_id: str,
        open_runs: Sequence[OpenRun],
        row: DueRow,
        *,
        at: datetime,
    ) -> None:
        """Cancel the open runs of a definition for that of a due time."""
        order = Order(
            request_id="",
            actor=WAKER,
            reason=f"overlap is cancelOther, and the run {row.run_id} is due",
        )
        for one in open_runs:
            await self._control.cancel_due_run(transaction, definition_id, one, order, at=at)

    async def _unwanted(
        self, transaction: Transaction, definition_id: str, cursor: Cursor
    ) -> dict[datetime, str]:
        if not cursor.has_skips:
            return {}
        skips = await self._schedules.skips_after(transaction, definition_id, cursor.covered_until)
        return {one.due_at: f"skipped by {one.actor} ({one.reason})" for one in skips}

    async def _told(
        self,
        transaction: Transaction,
        definition_id: str,
        cursor: Cursor,
        rows: Sequence[DueRow],
    ) -> list[DueRow]:
        """Return rows as they are written."""
        pauses = []
        if any(row.outcome in policy.LATE for row in rows):
            pauses = await self._schedules.pauses_since(
                transaction, definition_id, cursor.covered_until
            )
        told = stretches.with_pauses(rows, pauses)
        return stretches.gathered(told, cursor=cursor.covered_until)

    async def move(
        self, transaction: Transaction, definition_id: str, covered_until: datetime
    ) -> None:
        """Say that due times up to an instant are accounted for."""
        epochs = await self._schedules.epochs_since(transaction, definition_id, covered_until)
        following = due.next_due(definition_id, epochs, covered_until)
        await self._schedules.move_cursor(
            transaction,
            definition_id,
            covered_until,
            next_at=None if following is None else following.taken_up_at,
        )

    def count(self, namespace: str, definition_id: str, rows: Sequence[DueRow]) -> None:
        """Count what was accounted for, once its transaction is committed."""
        now = datetime.now(UTC)
        for row in rows:
            labels: dict[str, str] = {
                Attribute.NAMESPACE: namespace,
                Attribute.DEFINITION_ID: definition_id,
                Attribute.OUTCOME: row.outcome,
            }
            self._counter.add(row.count, labels)
            self._lateness.record(max(0.0, (now - row.due_at).total_seconds()), labels)
