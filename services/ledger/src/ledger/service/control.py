"""The use cases of control: cancel a run, carry failed tasks out again, decide a run again.

Each writes in one transaction what is so from now on, the events that say so, and the operations
that have it done in Temporal: the intent stands, however long Temporal is away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from contracts import canonical, identifiers
from contracts.decisions import Decision, RunStatus, TaskStatus
from contracts.runs import FailureHandling, RetryTaskInput, RunInput, TaskFailure
from contracts.telemetry import Attribute, Metric
from contracts.triggers import Trigger, TriggerKind
from ledger.domain import control as domain
from ledger.domain.control import Execution, Operation, Order
from ledger.domain.due import OpenRun
from ledger.domain.runs import Done, RunState, TaskState
from ledger.errors import (
    PreconditionError,
    RunNotFoundError,
    TaskNotFoundError,
)
from ledger.ports.control import ControlStore
from ledger.ports.requests import RequestRow
from ledger.ports.runs import FailureCallRow, RunRetryRow, RunRow, RunStore
from ledger.ports.tasks import TaskRow, TaskStore
from ledger.service import once, writing
from ledger.service.appending import RunAppender
from ledger.service.runs import RunLedger
from ledger.service.telling import FailureTelling
from runtime import logs, telemetry
from runtime.postgres import Postgres, Transaction

MAX_SHOWN = 1000
"""Retries, and calls of failure handlers, that are shown of one run."""
MAX_UNRECORDED = 100
MAX_UNHEEDED = 100
"""Clocks of human tasks that one sweep winds up: those are not among those of the next one."""
MAX_RUN_ID_LENGTH = 256

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class RetriedRun:
    """How a run is retried: which one it is now, and the tasks that are carried out again."""

    run_id: str
    task_ids: list[UUID] = field(default_factory=list)


class ControlLedger:
    """Records what people do to runs, and closes what was left behind."""

    def __init__(
        self,
        *,
        database: Postgres,
        ledger: RunLedger,
        appender: RunAppender,
        runs: RunStore,
        tasks: TaskStore,
        control: ControlStore,
        telling: FailureTelling,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._appender = appender
        self._runs = runs
        self._tasks = tasks
        self._control = control
        self._telling = telling
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.LEDGER_CONTROL, description="What people did to runs and tasks."
        )

    async def requests(
        self, *, namespace: str, before: tuple[datetime, str, str] | None, limit: int
    ) -> list[RequestRow]:
        """Return at most `limit` of what people asked for, newest first, from before one of it."""
        async with self._database.transaction(namespace) as transaction:
            return await self._control.requests(transaction, before=before, limit=limit)

    async def cancel_run(self, *, namespace: str, run_id: str, order: Order) -> RunRow:
        """Cancel an open run with its open tasks; the same request again changes nothing.

        Raises:
            RunNotFoundError: there is no such run.
            PreconditionError: it is closed.
            InvalidRequestError: the request id was used for something else.
        """

        async def work(transaction: Transaction) -> RunRow:
            run, at = await self._locked(transaction, run_id)
            if await self._is_new(transaction, "CancelRun", run_id, order):
                if run.status in domain.CLOSED:
                    raise PreconditionError(f"the run {run_id} is {run.status}, not open")
                await self._cancel(transaction, run, order, at)
            return await self._shown(transaction, run_id)

        row = await writing.write(self._database, "cancel_run", namespace, work)
        self._count(namespace, "cancel_run", run_id=run_id, actor=order.actor)
        return row

    async def cancel_due_run(
        self,
        transaction: Transaction,
        definition_id: str,
        open_run: OpenRun,
        order: Order,
        *,
        at: datetime,
    ) -> None:
        """Cancel the run of a due time, within the transaction that another one needs its place in.

        One that nobody has recorded is recorded as cancelled before it decided: an execution of it
        that begins later is told that it is a duplicate.
        """
        locked = await self._runs.lock_run(transaction, open_run.run_id)
        if locked is None:
            occasion = domain.never_begun(transaction.namespace, definition_id, open_run)
            failure = TaskFailure(type="RunCancelled", message=order.reason)
            if await self._ledger.record_undecided(transaction, occasion, failure):
                await self._control.add_operations(
                    transaction,
                    [domain.cancellation(definition_id, open_run)],
                    order=order,
                    at=at,
                )
                return
            # Recorded in between: whoever did so has committed.
            locked = await self._locked(transaction, open_run.run_id)
        run, now = locked
        if run.status not in domain.CLOSED:
            await self._cancel(transaction, run, order, now)

    async def retry_task(self, *, namespace: str, task_id: UUID, order: Order) -> TaskRow:
        """Have a failed automated task carried out again; the same request changes nothing more.

        Raises:
            TaskNotFoundError: there is no such task.
            PreconditionError: it is not failed, a person's, or of a cancelled run.
            InvalidRequestError: the request id was used for something else.
        """

        async def work(transaction: Transaction) -> TaskRow:
            run_id = await self._tasks.run_of(transaction, task_id)
            if run_id is None:
                raise TaskNotFoundError(str(task_id))
            run, at = await self._locked(transaction, run_id)
            if await self._is_new(transaction, "RetryTask", str(task_id), order):
                task = await self._runs.task_of(transaction, run_id, task_id)
                if task is None:
                    raise TaskNotFoundError(str(task_id))
                _refuse_retry(run, task)
                await self._carry_out_again(transaction, run, [task], order, at)
            row = await self._tasks.get(transaction, task_id)
            if row is None:
                raise TaskNotFoundError(str(task_id))
            return row

        row = await writing.write(self._database, "retry_task", namespace, work)
        self._count(namespace, "retry_task", run_id=row.run_id, actor=order.actor)
        return row

    async def retry_run(self, *, namespace: str, run_id: str, order: Order) -> RetriedRun:
        """Have a failed run's failed tasks carried out again, or have it decided again.

        A run that could not decide, or that was cancelled, is decided again as a run of its own,
        with the version that it had. The same request again changes nothing.

        Raises:
            RunNotFoundError: there is no such run.
            PreconditionError: it did not fail and was not cancelled, only people's tasks failed,
                or it would have an event or a timer applied to an instance once more.
            InvalidRequestError: the request id was used for something else.
        """

        async def work(transaction: Transaction) -> RetriedRun:
            trigger = await self._trigger_of(transaction, run_id)
            await self._lock_root(transaction, run_id, trigger)
            await self._locked(transaction, run_id)
            if not await self._is_new(transaction, "RetryRun", run_id, order):
                before = await self._control.retry_by_request(transaction, order.request_id)
                return RetriedRun(before or run_id)
            return await self.retry_in(transaction, run_id, order)

        retried = await writing.write(self._database, "retry_run", namespace, work)
        self._count(namespace, "retry_run", run_id=run_id, actor=order.actor)
        return retried

    async def retry_in(self, transaction: Transaction, run_id: str, order: Order) -> RetriedRun:
        """Retry a run, in the transaction that something else asks for it in.

        Raises:
            PreconditionError: as `retry_run`; nothing is written then.
        """
        # The root first: whoever retries any of its retries takes turns with the others there.
        trigger = await self._trigger_of(transaction, run_id)
        root_id = await self._lock_root(transaction, run_id, trigger)
        run, at = await self._locked(transaction, run_id)
        if run.status not in {RunStatus.FAILED, RunStatus.CANCELLED}:
            raise PreconditionError(
                f"the run {run_id} is {run.status}, neither failed nor cancelled"
            )
        if run.status is RunStatus.FAILED and run.tasks:
            tasks = domain.failed_automated(
                await self._control.tasks_in(transaction, run_id, TaskStatus.FAILED)
            )
            if not tasks:
                raise PreconditionError(
                    f"no automated task of the run {run_id} failed: nothing of it can be "
                    "carried out again"
                )
            await self._carry_out_again(transaction, run, tasks, order, at)
            return RetriedRun(run_id, [task.task_id for task in tasks])
        await self._refuse_to_apply_again(transaction, run)
        number = await self._control.last_retry(transaction, root_id) + 1
        again = domain.decided_again(trigger, run_id, number=number, order=order)
        return RetriedRun(await self._decide_again(transaction, run, again, order, at))

    async def open_executions(
        self, *, namespace: str, after: int | None, limit: int, min_age: timedelta
    ) -> tuple[list[Execution], int | None]:
        """Return workflows that open automated tasks wait on, of `limit` runs after a position.

        With them comes the position to go on from, None at the end. The first page has runs too
        that were started for a due time, by its schedule or by a backfill, and are not recorded,
        and human tasks one of whose times has passed unheeded.
        """
        async with self._database.transaction(namespace) as transaction:
            found, last = await self._control.open_executions(
                transaction, after=after, limit=limit, min_age=min_age
            )
            if after is None:
                found += await self._control.unrecorded_due_runs(
                    transaction, min_age=min_age, limit=MAX_UNRECORDED
                )
                found += await self._control.unrecorded_backfilled(
                    transaction, min_age=min_age, limit=MAX_UNRECORDED
                )
                found += await self._control.unheeded_timers(
                    transaction, min_age=min_age, limit=MAX_UNHEEDED
                )
        return found, last

    async def close_execution(
        self, *, namespace: str, execution: Execution, failure: TaskFailure, actor: str
    ) -> tuple[int, RunStatus]:
        """Close as failed the automated tasks that a workflow left open; say how many there were.

        That workflow would have called `onFailure`: an operation does now.

        Raises:
            RunNotFoundError: there is no such run.
        """

        async def work(transaction: Transaction) -> tuple[int, RunStatus]:
            run, at = await self._locked(transaction, execution.run_id)
            left = [
                task
                for task in await self._runs.open_automated(transaction, run.run_id)
                if domain.execution_of(task).workflow_id == execution.workflow_id
            ]
            if left:
                await self._ledger.close_tasks(
                    transaction, run, left, Done(failure=failure), actor=actor, at=at
                )
                await self._telling.of_tasks(transaction, run, left, failure, actor=actor, at=at)
            return len(left), (await self._shown(transaction, run.run_id)).status

        closed, status = await writing.write(self._database, "close_execution", namespace, work)
        if closed:
            _log.warning(
                "execution_closed",
                namespace=namespace,
                run_id=execution.run_id,
                workflow_id=execution.workflow_id,
                failure=failure.type,
                detail=failure.message,
                tasks=closed,
            )
        return closed, status

    async def record_failure_handled(self, handling: FailureHandling) -> bool:
        """Record that `onFailure`'s handler was called; False when it was recorded before.

        Raises:
            RunNotFoundError: there is no such run.
        """

        async def work(transaction: Transaction) -> bool:
            run, at = await self._locked(transaction, handling.run_id)
            if await self._control.failure_call_exists(transaction, handling.call_id):
                return False
            await self._appender.append(
                transaction, run, [domain.failure_handled(run, handling)], at=at
            )
            return True

        return await writing.write(
            self._database, "record_failure_handled", handling.namespace, work
        )

    async def history_of(
        self, *, namespace: str, run_id: str
    ) -> tuple[list[FailureCallRow], list[RunRetryRow]]:
        """Return the calls of failure handlers and the retries of a run, at most 1,000 each."""
        async with self._database.transaction(namespace) as transaction:
            return (
                await self._control.failure_calls_of(transaction, run_id, limit=MAX_SHOWN),
                await self._control.retries_of(transaction, run_id, limit=MAX_SHOWN),
            )

    async def _cancel(
        self, transaction: Transaction, run: RunState, order: Order, at: datetime
    ) -> None:
        tasks = await self._control.tasks_in(transaction, run.run_id, TaskStatus.OPEN)
        await self._appender.append(transaction, run, domain.cancelled(run, tasks, order), at=at)
        operations = domain.cancellations(run, tasks)
        await self._control.withdraw_retries(transaction, [one.workflow_id for one in operations])
        await self._control.add_operations(transaction, operations, order=order, at=at)

    async def _refuse_to_apply_again(self, transaction: Transaction, run: RunState) -> None:
        if run.trigger_kind == TriggerKind.TIMER:
            raise PreconditionError(
                f"the timer of the run {run.run_id} has fired, and is not applied again; the next "
                "event of its instance sets it anew"
            )
        decision = await self._runs.decision_of(transaction, run.run_id)
        if decision and Decision.model_validate_json(decision).state is not None:
            raise PreconditionError(
                f"the event of the run {run.run_id} was applied to its instance, whose state keeps "
                "it, and is not decided again; `backbone replay plan --mode all` routes it once "
                "more, as an event of its own"
            )
        if identifiers.holds_for_instance(run.definition_id, run.workflow_run_id):
            raise PreconditionError(
                f"the event of the run {run.run_id} could not be applied to its instance, and is "
                "not decided again where it stood; `backbone replay plan --mode failed` routes it "
                "behind the events that came since"
            )

    async def _carry_out_again(
        self,
        transaction: Transaction,
        run: RunState,
        tasks: Sequence[TaskState],
        order: Order,
        at: datetime,
    ) -> None:
        decided = domain.decided_tasks(await self._runs.decision_of(transaction, run.run_id))
        await self._appender.append(transaction, run, domain.retried(run, tasks, order), at=at)
        if run.status in domain.CLOSED and run.trigger_kind == TriggerKind.SCHEDULE:
            await self._control.reopen_due_run(transaction, run.definition_id, run.run_id)
        operations = []
        for task in tasks:
            generation = task.generation + 1
            again = Execution(run.run_id, run.definition_id, task.task_id, generation)
            given = RetryTaskInput(
                namespace=transaction.namespace,
                run_id=run.run_id,
                definition_id=run.definition_id,
                definition_version=run.definition_version,
                task=decided[task.task_id],
                generation=generation,
                traceparent=run.cause.traceparent,
                chain=domain.chain_of(run.cause),
            )
            operations.append(
                Operation(
                    kind="retry_task",
                    workflow_id=again.workflow_id,
                    definition_id=run.definition_id,
                    definition_version=run.definition_version,
                    input=canonical.render(given),
                    task_id=task.task_id,
                    generation=generation,
                )
            )
        await self._control.add_operations(transaction, operations, order=order, at=at)

    async def _decide_again(
        self,
        transaction: Transaction,
        run: RunState,
        trigger: Trigger,
        order: Order,
        at: datetime,
    ) -> str:
        given = RunInput(
            namespace=transaction.namespace,
            run_id=identifiers.run_id(run.definition_id, trigger.key),
            definition_id=run.definition_id,
            trigger=trigger,
        )
        if len(given.run_id) > MAX_RUN_ID_LENGTH:
            raise PreconditionError(
                f"the id of the new run, {given.run_id}, would be longer than "
                f"{MAX_RUN_ID_LENGTH} characters; start the definition by hand instead"
            )
        fact = domain.run_retried(run, trigger, order)
        await self._appender.append(transaction, run, [fact], at=at)
        operation = Operation(
            kind="start_run",
            workflow_id=given.run_id,
            definition_id=run.definition_id,
            definition_version=run.definition_version,
            input=canonical.render(given),
        )
        await self._control.add_operations(transaction, [operation], order=order, at=at)
        return given.run_id

    async def _trigger_of(self, transaction: Transaction, run_id: str) -> Trigger:
        row = await self._shown(transaction, run_id)
        documents = await self._runs.documents(transaction, [row.trigger_sha256])
        return Trigger.model_validate_json(documents[row.trigger_sha256])

    async def _lock_root(self, transaction: Transaction, run_id: str, trigger: Trigger) -> str:
        row = await self._shown(transaction, run_id)
        root_id = identifiers.run_id(row.definition_id, trigger.root_key)
        await self._runs.lock_run(transaction, root_id)
        return root_id

    async def _locked(self, transaction: Transaction, run_id: str) -> tuple[RunState, datetime]:
        locked = await self._runs.lock_run(transaction, run_id)
        if locked is None:
            raise RunNotFoundError(run_id)
        return locked

    async def _shown(self, transaction: Transaction, run_id: str) -> RunRow:
        row = await self._runs.get_run(transaction, run_id)
        if row is None:
            raise RunNotFoundError(run_id)
        return row

    async def _is_new(
        self, transaction: Transaction, method: str, subject: str, order: Order
    ) -> bool:
        return await once.is_first(
            self._runs,
            transaction,
            method=method,
            request_id=order.request_id,
            content=f"{order.actor}\n{subject}".encode(),
            actor=order.actor,
            reason=order.reason,
            otherwise="another run, task or person",
        )

    def _count(self, namespace: str, what: str, *, run_id: str, actor: str) -> None:
        self._counter.add(1, {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: what})
        _log.info(what, namespace=namespace, run_id=run_id, actor=actor)


def _refuse_retry(run: RunState, task: TaskState) -> None:
    if task.type != "automated":
        raise PreconditionError(f"the task {task.task_id} is for a person, not for a handler")
    if task.status is not TaskStatus.FAILED:
        raise PreconditionError(f"the task {task.task_id} is {task.status}, not failed")
    if run.status is RunStatus.CANCELLED:
        raise PreconditionError(
            f"the run {run.run_id} was cancelled; `runs retry` decides it again"
        )
