"""The use cases of backfills: plan, carry out, pause, cancel, tell.

A plan is made in one transaction and does not change any more. It is carried out by whoever asks
for operations: as many of its due times as there is room for become operations that start or retry
a run, in the transaction that says so. Each is looked at again before it is begun, under the lock
of the definition's cursor: what has a run by then is left alone.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from contracts import canonical, identifiers
from contracts.runs import RunInput
from ledger.domain import backfills, plans
from ledger.domain.backfills import Planned, Question, Step
from ledger.domain.control import Operation, Order
from ledger.errors import (
    BackfillExistsError,
    BackfillNotFoundError,
    PreconditionError,
    RunNotFoundError,
    ScheduleNotFoundError,
)
from ledger.ports.backfills import BackfillRow, BackfillStore, BackfillTally
from ledger.ports.control import ControlStore
from ledger.ports.requests import RequestLog
from ledger.ports.schedules import ScheduleStore
from ledger.service import plans as plan_changes
from ledger.service import writing
from ledger.service.control import ControlLedger
from ledger.service.plans import Change
from runtime import logs
from runtime.postgres import Postgres, Transaction

WHILE_DISABLED = timedelta(seconds=30)
"""How long a backfill of a disabled definition waits before it is looked at again."""
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class BackfillView:
    """A backfill with what became of its due times so far."""

    backfill: BackfillRow
    tallies: Sequence[BackfillTally] = ()


class BackfillLedger:
    """Keeps backfills."""

    def __init__(
        self,
        *,
        database: Postgres,
        store: BackfillStore,
        schedules: ScheduleStore,
        control: ControlLedger,
        operations: ControlStore,
        requests: RequestLog,
        keep: timedelta,
    ) -> None:
        """`keep` is how long a backfill that ended is told of."""
        self._database = database
        self._store = store
        self._schedules = schedules
        self._control = control
        self._operations = operations
        self._requests = requests
        self._keep = keep

    async def plan(
        self, *, namespace: str, backfill_id: str, question: Question, actor: str, reason: str
    ) -> BackfillView:
        """Make a plan, and start nothing; the same question again returns the plan as it is.

        Raises:
            ScheduleNotFoundError: the definition never had a schedule put.
            BackfillExistsError: the id stands for another question.
            PreconditionError: the definition is disabled, or there are too many due times.
        """

        async def work(transaction: Transaction) -> BackfillView:
            known = await self._store.get(transaction, backfill_id)
            if known is None:
                await self._plan(transaction, backfill_id, question, actor=actor, reason=reason)
            view = await self._view(transaction, backfill_id)
            if view.backfill.question != question:
                raise BackfillExistsError(backfill_id)
            return view

        return await writing.write(self._database, "plan_backfill", namespace, work)

    async def change(self, *, namespace: str, backfill_id: str, change: Change) -> BackfillView:
        """Apply, pause, resume or cancel a backfill; the same request again changes nothing.

        Raises:
            BackfillNotFoundError: there is no such backfill.
            PreconditionError: its state does not allow it, or its plan is another one.
            InvalidRequestError: the request id was used for something else.
        """

        async def work(transaction: Transaction) -> BackfillView:
            backfill = await self._store.get(transaction, backfill_id, lock=True)
            if backfill is None:
                raise BackfillNotFoundError(backfill_id)
            if await plan_changes.is_to_be_done(
                self._requests,
                transaction,
                change,
                kind="backfill",
                plan_id=backfill_id,
                state=backfill.state,
                chain=backfill.plan_chain,
            ):
                await self._store.change(
                    transaction,
                    backfill_id,
                    plans.TO[change.action],
                    actor=change.actor,
                    reason=change.reason,
                )
            return await self._view(transaction, backfill_id)

        view = await writing.write(self._database, "change_backfill", namespace, work)
        _log.info(
            "backfill_changed", namespace=namespace, backfill_id=backfill_id,
            action=change.action.value, actor=change.actor,
        )  # fmt: skip
        return view

    async def get(self, *, namespace: str, backfill_id: str) -> BackfillView:
        """Return a backfill. Raises BackfillNotFoundError."""
        async with self._database.transaction(namespace) as transaction:
            return await self._view(transaction, backfill_id)

    async def page(
        self, *, namespace: str, definition_id: str, before: int | None, limit: int
    ) -> list[BackfillRow]:
        """Return at most `limit` backfills, newest first, from before a position."""
        async with self._database.transaction(namespace) as transaction:
            return await self._store.page(
                transaction, definition_id=definition_id, before=before, limit=limit
            )

    async def due_times(
        self, *, namespace: str, backfill_id: str, first: int, limit: int
    ) -> list[Planned]:
        """Return due times of a plan, in its order. Raises BackfillNotFoundError."""
        async with self._database.transaction(namespace) as transaction:
            if await self._store.get(transaction, backfill_id) is None:
                raise BackfillNotFoundError(backfill_id)
            return await self._store.due_times(transaction, backfill_id, first=first, limit=limit)

    async def begin(self, *, namespace: str) -> None:
        """Make the next due times of a backfill operations, as far as there is room."""
        async with self._database.transaction(namespace) as transaction:
            if not await self._store.is_due(transaction):
                return

        async def work(transaction: Transaction) -> None:
            backfill = await self._store.due(transaction)
            if backfill is not None:
                await self._begin(transaction, backfill)

        await writing.write(self._database, "begin_backfill", namespace, work)

    async def _plan(
        self,
        transaction: Transaction,
        backfill_id: str,
        question: Question,
        *,
        actor: str,
        reason: str,
    ) -> None:
        await self._store.forget(
            transaction, unapplied=plan_changes.KEEP_UNAPPLIED, ended=self._keep
        )
        definition_id = question.definition_id
        coverage = await self._schedules.coverage(transaction, definition_id)
        epochs = await self._schedules.epochs_since(transaction, definition_id, _BEFORE_ALL)
        if coverage is None or not epochs:
            raise ScheduleNotFoundError(definition_id)
        if not epochs[-1].enabled:
            raise PreconditionError(f"{definition_id} is disabled: enable it first")
        wanted = backfills.due_times(epochs, since=question.since, until=question.until)
        due = list(itertools.islice(wanted, backfills.MAX_DUE_TIMES + 1))
        if len(due) > backfills.MAX_DUE_TIMES:
            raise PreconditionError(
                f"more than {backfills.MAX_DUE_TIMES} due times: plan shorter stretches of time"
            )
        found = await self._store.found(transaction, definition_id, [one.due_at for one in due])
        planned = backfills.plan(
            question,
            list(zip(due, found, strict=True)),
            covered_until=coverage.covered_until,
        )
        await self._store.create(
            transaction,
            backfill_id,
            question,
            planned,
            definition_version=epochs[-1].definition_version,
            chain=backfills.chain(question, backfill_id, epochs[-1], planned),
            actor=actor,
            reason=reason,
        )

    async def _begin(self, transaction: Transaction, backfill: BackfillRow) -> None:
        backfill_id, definition_id = backfill.backfill_id, backfill.question.definition_id
        is_open = await self._store.settle(transaction, backfill_id)
        room = max(0, backfill.question.concurrency - is_open)
        # One is asked for even without room: whether there is an end is seen by it.
        lot = await self._store.next(
            transaction, backfill_id, limit=max(1, min(room, backfills.LOT))
        )
        if not lot and not is_open:
            await self._store.finish(transaction, backfill_id)
            return
        pause = backfills.RELOOK
        if lot and room:
            cursor = await self._schedules.lock_cursor(transaction, definition_id)
            epoch = await self._schedules.latest_epoch(transaction, definition_id)
            if cursor is None or epoch is None or not epoch.enabled:
                pause = WHILE_DISABLED
            elif await self._carry_out(transaction, backfill, lot, at=cursor.now) < room:
                # Some were left alone, or there are more than one lot holds.
                pause = timedelta(0)
        await self._store.look_again(transaction, backfill_id, pause=pause)

    async def _carry_out(
        self,
        transaction: Transaction,
        backfill: BackfillRow,
        lot: Sequence[Planned],
        *,
        at: datetime,
    ) -> int:
        """Begin due times as far as they are still to be; return how many were begun."""
        backfill_id, question = backfill.backfill_id, backfill.question
        found = await self._store.found(
            transaction, question.definition_id, [one.due_at for one in lot]
        )
        begun = 0
        for one, has in zip(lot, found, strict=True):
            stands = backfills.standing(has)
            step = backfills.step(question.mode, stands)
            run_id: str | None = None
            told = backfills.TOLD[stands]
            if step is Step.START:
                run_id = await self._start(transaction, backfill, one, at=at)
            elif step is Step.RETRY:
                try:
                    order = _order(
                        backfill, identifiers.backfill_request_id(backfill_id, one.ordinal)
                    )
                    retried = await self._control.retry_in(transaction, has.run_id, order)
                    run_id = retried.run_id
                except (PreconditionError, RunNotFoundError) as exc:
                    told = str(exc)
            if run_id is None:
                await self._store.left(transaction, backfill_id, one, told=told)
                continue
            await self._store.begun(
                transaction, backfill_id, replace(one, step=step, run_id=run_id)
            )
            begun += 1
        return begun

    async def _start(
        self,
        transaction: Transaction,
        backfill: BackfillRow,
        one: Planned,
        *,
        at: datetime,
    ) -> str:
        order = _order(backfill, "")
        definition_id = backfill.question.definition_id
        run = RunInput(
            namespace=transaction.namespace,
            run_id=one.run_id,
            definition_id=definition_id,
            trigger=backfills.trigger(
                backfill.backfill_id,
                names=one.names,
                due_at=one.due_at,
                window=one.window,
                definition_version=backfill.definition_version,
                actor=order.actor,
                reason=order.reason,
            ),
        )
        operation = Operation(
            kind="start_run",
            workflow_id=run.run_id,
            definition_id=definition_id,
            definition_version=backfill.definition_version,
            input=canonical.render(run),
        )
        await self._operations.add_operations(transaction, [operation], order=order, at=at)
        return run.run_id

    async def _view(self, transaction: Transaction, backfill_id: str) -> BackfillView:
        backfill = await self._store.get(transaction, backfill_id)
        if backfill is None:
            raise BackfillNotFoundError(backfill_id)
        return BackfillView(backfill, await self._store.tallies(transaction, backfill_id))


def _order(backfill: BackfillRow, request_id: str) -> Order:
    """Return what is asked for by whoever applied or resumed a backfill last."""
    return Order(
        request_id=request_id,
        actor=backfill.changed_by or backfill.created_by,
        reason=backfill.changed_reason or backfill.created_reason,
    )
