"""The use cases of people about schedules: pause, resume, trigger now, skip the next.

A pause holds a definition's clock, and nothing else of it: events start it as before. What falls
due meanwhile is judged when it is over, as after any other cause. Disabling a definition is another
thing, and the registry's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts import identifiers
from contracts.definitions import Overlap
from contracts.telemetry import Attribute, Metric
from ledger.domain import control, due
from ledger.domain.control import Order
from ledger.domain.due import Ask, DueRow, Epoch
from ledger.domain.stretches import Pause
from ledger.errors import InvalidRequestError, PreconditionError, ScheduleNotFoundError
from ledger.ports.control import ControlStore
from ledger.ports.requests import RequestLog
from ledger.ports.schedules import Coverage, Cursor, DueTimeRow, OverdueRow, ScheduleStore, SkipRow
from ledger.service import once, writing
from ledger.service.schedules import ScheduleLedger
from rules import jitter
from rules.policy import DueOutcome
from runtime import logs, telemetry
from runtime.postgres import Postgres, Transaction

MAX_SKIPS = 100
"""Due times of one definition that can be skipped ahead."""
_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class ScheduleView:
    """A definition's schedules as they stand."""

    coverage: Coverage
    epoch: Epoch
    pause: Pause | None
    skips: Sequence[SkipRow]
    waiting: int
    open_runs: Sequence[str]


class ScheduleControl:
    """What people do to the schedules of a definition, and how these stand."""

    def __init__(
        self,
        *,
        database: Postgres,
        schedules: ScheduleStore,
        ledger: ScheduleLedger,
        control: ControlStore,
        requests: RequestLog,
    ) -> None:
        self._database = database
        self._schedules = schedules
        self._ledger = ledger
        self._control = control
        self._requests = requests
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.LEDGER_CONTROL, description="What people did to runs, tasks and schedules."
        )

    async def pause(self, *, namespace: str, definition_id: str, order: Order) -> ScheduleView:
        """Hold a definition's schedules; the same request again changes nothing.

        Raises:
            ScheduleNotFoundError: the definition never had a schedule put.
            PreconditionError: they are paused already.
            InvalidRequestError: the request id was used for something else.
        """

        async def work(transaction: Transaction) -> ScheduleView:
            cursor = await self._ledger.lock(transaction, definition_id)
            if await self._is_new(transaction, "PauseSchedule", definition_id, order):
                if cursor.paused:
                    pause = await self._open_pause(transaction, definition_id, cursor)
                    by = f" by {pause.paused_by}: {pause.pause_reason}" if pause else ""
                    raise PreconditionError(f"the schedules of {definition_id} are paused{by}")
                await self._schedules.pause(transaction, definition_id, at=cursor.now, order=order)
            return await self._view(transaction, definition_id)

        view = await writing.write(self._database, "pause_schedule", namespace, work)
        self._told("pause_schedule", namespace, definition_id, order)
        return view

    async def resume(self, *, namespace: str, definition_id: str, order: Order) -> ScheduleView:
        """End a pause, and have what fell due in it judged; the same request changes nothing.

        Raises:
            ScheduleNotFoundError: the definition never had a schedule put.
            PreconditionError: they are not paused.
            InvalidRequestError: the request id was used for something else.
        """

        async def work(transaction: Transaction) -> ScheduleView:
            cursor = await self._ledger.lock(transaction, definition_id)
            if await self._is_new(transaction, "ResumeSchedule", definition_id, order):
                if not cursor.paused:
                    raise PreconditionError(f"the schedules of {definition_id} are not paused")
                await self._schedules.resume(transaction, definition_id, at=cursor.now, order=order)
                await self._wake(transaction, definition_id, order, at=cursor.now)
            return await self._view(transaction, definition_id)

        view = await writing.write(self._database, "resume_schedule", namespace, work)
        self._told("resume_schedule", namespace, definition_id, order)
        return view

    async def trigger(
        self, *, namespace: str, definition_id: str, name: str, overlap: Overlap, order: Order
    ) -> DueTimeRow:
        """Have a trigger be due now, by an overlap of its own; return what became of that.

        Its window reaches back to the last due time, and the next due time's begins with it. The
        same request again returns the same due time.

        Raises:
            ScheduleNotFoundError: the definition never had a schedule put.
            PreconditionError: it is disabled, paused or stopped, or still catches up.
            InvalidRequestError: there is no such trigger, several to choose from, or the request
                id was used for something else.
        """

        async def work(transaction: Transaction) -> tuple[list[DueRow], DueTimeRow]:
            cursor = await self._ledger.lock(transaction, definition_id)
            asked = f"{definition_id}\n{name}\n{overlap}"
            rows: list[DueRow] = []
            if await self._is_new(transaction, "TriggerSchedule", asked, order):
                rows = await self._trigger(
                    transaction, definition_id, cursor, name=name, overlap=overlap, order=order
                )
            found = await self._schedules.due_time_by_request(
                transaction, definition_id, order.request_id
            )
            if found is None:
                raise ScheduleNotFoundError(definition_id)
            return rows, found

        rows, row = await writing.write(self._database, "trigger_schedule", namespace, work)
        self._ledger.count(namespace, definition_id, rows)
        self._told("trigger_schedule", namespace, definition_id, order)
        return row

    async def skip_next(self, *, namespace: str, definition_id: str, order: Order) -> datetime:
        """Let the next due time that is not skipped yet not run; return it.

        The same request again returns the same due time.

        Raises:
            ScheduleNotFoundError: the definition never had a schedule put.
            PreconditionError: nothing is due any more, it is disabled, or too many are skipped.
            InvalidRequestError: the request id was used for something else.
        """

        async def work(transaction: Transaction) -> datetime:
            cursor = await self._ledger.lock(transaction, definition_id)
            if not await self._is_new(transaction, "SkipNextDueTime", definition_id, order):
                known = await self._schedules.skip_by_request(
                    transaction, definition_id, order.request_id
                )
                if known is not None:
                    return known
            # What has come and waits for its jitter has not run either.
            after = max(cursor.covered_until, cursor.now - jitter.MAX_JITTER)
            skips = await self._schedules.skips_after(transaction, definition_id, after)
            if sum(one.due_at > cursor.now for one in skips) >= MAX_SKIPS:
                raise PreconditionError(f"{MAX_SKIPS} due times are skipped already: disable it")
            epochs = await self._schedules.epochs_since(transaction, definition_id, after)
            following = due.next_to_run(
                definition_id, epochs, after, now=cursor.now, skipped={one.due_at for one in skips}
            )
            if following is None:
                raise PreconditionError(f"nothing of {definition_id} is due any more")
            await self._schedules.skip(
                transaction, definition_id, following, order=order, at=cursor.now
            )
            return following

        due_at = await writing.write(self._database, "skip_due_time", namespace, work)
        self._told("skip_due_time", namespace, definition_id, order)
        return due_at

    async def get(self, *, namespace: str, definition_id: str) -> ScheduleView:
        """Return a definition's schedules as they stand. Raises ScheduleNotFoundError."""
        async with self._database.transaction(namespace) as transaction:
            return await self._view(transaction, definition_id)

    async def overdue(self, *, namespace: str, min_age: timedelta, limit: int) -> list[OverdueRow]:
        """Return definitions whose schedules nobody has looked after for `min_age`."""
        async with self._database.transaction(namespace) as transaction:
            return await self._schedules.overdue(transaction, min_age=min_age, limit=limit)

    async def _trigger(
        self,
        transaction: Transaction,
        definition_id: str,
        cursor: Cursor,
        *,
        name: str,
        overlap: Overlap,
        order: Order,
    ) -> list[DueRow]:
        if cursor.paused:
            raise PreconditionError(f"the schedules of {definition_id} are paused: resume them")
        switch = await self._ledger.halting(transaction, definition_id)
        if switch is not None:
            raise PreconditionError(switch.told)
        # What waits for its jitter goes before what is asked for now, so that windows touch.
        accounted = await self._ledger.account(
            transaction, definition_id, cursor, now=cursor.now, jittered=False
        )
        if accounted.more:
            raise PreconditionError(
                f"{definition_id} is still catching up with its due times: try again"
            )
        epoch = await self._schedules.latest_epoch(transaction, definition_id)
        if epoch is None or not epoch.enabled:
            raise PreconditionError(f"{definition_id} is disabled")
        since = (await self._coverage(transaction, definition_id)).covered_until
        # A wake-up may have been believed that is a little ahead of our clock.
        at = max(cursor.now, since + timedelta(microseconds=1))
        open_runs = await self._schedules.open_runs(transaction, definition_id)
        row, cancels = due.asked_for(
            definition_id,
            epoch,
            _chosen(epoch, name),
            Ask(order.request_id, order.actor, order.reason),
            at=at,
            since=since,
            overlap=overlap,
            open_run=bool(open_runs),
            ahead=await self._schedules.count_waiting(transaction, definition_id),
        )
        if cancels:
            await self._ledger.make_room(transaction, definition_id, open_runs, row, at=cursor.now)
        await self._ledger.add(transaction, definition_id, [row], at=cursor.now)
        await self._ledger.move(transaction, definition_id, at)
        if row.outcome is DueOutcome.WAITING:
            await self._schedules.await_open_runs(transaction, definition_id)
        await self._wake(transaction, definition_id, order, at=cursor.now)
        return [*accounted.rows, row]

    async def _wake(
        self, transaction: Transaction, definition_id: str, order: Order, *, at: datetime
    ) -> None:
        epoch = await self._schedules.latest_epoch(transaction, definition_id)
        if epoch is None:
            raise ScheduleNotFoundError(definition_id)
        tick = control.tick(
            transaction.namespace,
            definition_id,
            version=epoch.definition_version,
            asked_by=(order.request_id, identifiers.instant(at)),
        )
        await self._control.add_operations(transaction, [tick], order=order, at=at)

    async def _view(self, transaction: Transaction, definition_id: str) -> ScheduleView:
        coverage = await self._coverage(transaction, definition_id)
        epoch = await self._schedules.latest_epoch(transaction, definition_id)
        if epoch is None:
            raise ScheduleNotFoundError(definition_id)
        pauses = await self._schedules.pauses_since(transaction, definition_id, coverage.now)
        skips = await self._schedules.skips_after(
            transaction, definition_id, coverage.covered_until
        )
        open_runs = await self._schedules.open_runs(transaction, definition_id)
        ahead = await self._schedules.count_waiting(transaction, definition_id)
        return ScheduleView(
            coverage=coverage,
            epoch=epoch,
            pause=next((one for one in pauses if one.resumed_at is None), None),
            skips=skips,
            waiting=sum(ahead.values()),
            open_runs=[one.run_id for one in open_runs],
        )

    async def _coverage(self, transaction: Transaction, definition_id: str) -> Coverage:
        coverage = await self._schedules.coverage(transaction, definition_id)
        if coverage is None:
            raise ScheduleNotFoundError(definition_id)
        return coverage

    async def _open_pause(
        self, transaction: Transaction, definition_id: str, cursor: Cursor
    ) -> Pause | None:
        pauses = await self._schedules.pauses_since(transaction, definition_id, cursor.now)
        return next((one for one in pauses if one.resumed_at is None), None)

    async def _is_new(
        self, transaction: Transaction, method: str, subject: str, order: Order
    ) -> bool:
        return await once.is_first(
            self._requests,
            transaction,
            method=method,
            request_id=order.request_id,
            content=f"{order.actor}\n{subject}".encode(),
            actor=order.actor,
            reason=order.reason,
            otherwise="another definition, trigger, overlap or person",
        )

    def _told(self, what: str, namespace: str, definition_id: str, order: Order) -> None:
        self._counter.add(1, {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: what})
        _log.info(what, namespace=namespace, definition_id=definition_id, actor=order.actor)


def _chosen(epoch: Epoch, name: str) -> str:
    known = sorted(epoch.schedules)
    if not name and len(known) == 1:
        return known[0]
    if name not in epoch.schedules:
        told = ", ".join(known) or "none"
        wrong = f"there is no schedule trigger {name!r}" if name else "name a schedule trigger"
        raise InvalidRequestError(f"{wrong}; the definition has: {told}")
    return name
