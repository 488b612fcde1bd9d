"""The use cases of runs and tasks: each is one transaction, with its events."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from pydantic import JsonValue

from contracts.decisions import RunStatus, TaskStatus
from contracts.runs import RecordOutcome, TaskFailure
from contracts.telemetry import Attribute, Metric
from contracts.triggers import TriggerKind
from eventstore import store
from eventstore.errors import EventTooLargeError
from eventstore.events import Cause, Fact
from eventstore.store import EventStore, Expected
from ledger.domain import answers
from ledger.domain import runs as domain
from ledger.domain.runs import Done, Occasion, Recording, RunState, TaskState, TaskType
from ledger.errors import (
    AnswerRefusedError,
    InvalidRequestError,
    PreconditionError,
    RunNotFoundError,
    TaskNotFoundError,
    TaskNotOpenError,
)
from ledger.ports import RunRow, RunStore, ScheduleStore, TaskRow
from runtime import logs, telemetry
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres, Transaction

T = TypeVar("T")

_COMPLETE_TASK = "CompleteTask"
_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Recorded:
    """What became of a recorded run, with the decision that stands (empty for one that failed)."""

    outcome: RecordOutcome
    decision: bytes = b""


@dataclass(frozen=True)
class RunDocuments:
    """A run with everything that was recorded of it."""

    run: RunRow
    trigger: bytes
    snapshot: bytes
    decision: bytes
    tasks: list[TaskRow]


class RunLedger:
    """Records runs and the outcomes of their tasks, and answers questions about them."""

    def __init__(
        self,
        *,
        database: Postgres,
        events: EventStore,
        runs: RunStore,
        schedules: ScheduleStore,
    ) -> None:
        self._database = database
        self._events = events
        self._runs = runs
        self._schedules = schedules
        meter = telemetry.meter(__name__)
        self._run_counter = meter.create_counter(
            Metric.LEDGER_RUNS, description="Runs recorded, by outcome of the recording."
        )
        self._task_counter = meter.create_counter(
            Metric.LEDGER_TASKS, description="Tasks closed, by their status."
        )

    async def record_run(self, recording: Recording) -> Recorded:
        """Record a decided run, its tasks and its events; the first execution wins.

        Raises:
            InvalidRequestError: an event of the run would be too large.
        """
        occasion = recording.occasion

        async def work(transaction: Transaction) -> Recorded:
            at = await self._runs.claim(transaction, occasion, recording.documents)
            if at is None:
                return await self._recorded_before(transaction, occasion)
            await self._append_first(transaction, occasion, domain.decided(recording, at=at), at=at)
            return Recorded(RecordOutcome.RECORDED, recording.decision_body)

        recorded = await self._write("record_run", occasion.namespace, work)
        self._count_run(occasion, recorded.outcome)
        return recorded

    async def record_run_failure(
        self, occasion: Occasion, failure: TaskFailure, *, actor: str
    ) -> RecordOutcome:
        """Record that a run could not decide.

        When this execution had recorded a decision after all (its answer got lost), nobody will
        carry out the automated tasks that are open: they fail with the same failure.
        """

        async def work(transaction: Transaction) -> RecordOutcome:
            at = await self._runs.claim(transaction, occasion, [occasion.trigger_body])
            if at is not None:
                await self._append_first(
                    transaction, occasion, domain.undecided(occasion, failure), at=at
                )
                return RecordOutcome.RECORDED
            before = await self._recorded_before(transaction, occasion)
            if before.outcome is RecordOutcome.REPEATED:
                await self._abandon(transaction, occasion.run_id, failure, actor=actor)
            return before.outcome

        outcome = await self._write("record_run_failure", occasion.namespace, work)
        self._count_run(occasion, outcome)
        return outcome

    async def record_task_outcome(
        self,
        *,
        namespace: str,
        run_id: str,
        task_id: UUID,
        done: Done,
        actor: str,
        generation: int | None = None,
    ) -> tuple[bool, TaskStatus]:
        """Close an automated task, and its run with the last one; say whether it was open.

        An outcome of another generation than the task's is late, and says nothing of this one.

        Raises:
            TaskNotFoundError: the run has no such task.
            PreconditionError: a person has to complete it.
            InvalidRequestError: the output is too large.
        """

        async def work(transaction: Transaction) -> tuple[bool, TaskStatus]:
            run, task, now = await self._lock(transaction, run_id, task_id)
            if task.type != "automated":
                raise PreconditionError(f"the task {task_id} is for a person, not for a handler")
            late = generation is not None and generation != task.generation
            if late or task.status is not TaskStatus.OPEN:
                return False, task.status
            await self.close_tasks(transaction, run, [task], done, actor=actor, at=now)
            return True, TaskStatus.COMPLETED if done.failure is None else TaskStatus.FAILED

        recorded, status = await self._write("record_task_outcome", namespace, work)
        if recorded:
            self._task_counter.add(
                1, {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: status.value}
            )
        return recorded, status

    async def complete_task(
        self,
        *,
        namespace: str,
        task_id: UUID,
        answer: JsonValue,
        answer_body: bytes,
        request_id: str,
        actor: str,
        reason: str,
    ) -> TaskRow:
        """Complete an open human task with an answer; the same request again changes nothing.

        Raises:
            TaskNotFoundError: there is no such task.
            TaskNotOpenError: somebody was faster.
            PreconditionError: a handler carries it out, not a person.
            AnswerRefusedError: the answer does not fit the form.
            InvalidRequestError: the request id was used for something else.
        """
        fingerprint = hashlib.sha256(f"{actor}\n{task_id}\n".encode() + answer_body).hexdigest()

        async def work(transaction: Transaction) -> tuple[bool, TaskRow]:
            run_id = await self._runs.run_of_task(transaction, task_id)
            if run_id is None:
                raise TaskNotFoundError(str(task_id))
            known = await self._runs.claim_request(
                transaction,
                method=_COMPLETE_TASK,
                request_id=request_id,
                fingerprint=fingerprint,
                actor=actor,
                reason=reason,
            )
            if known not in (None, fingerprint):
                raise InvalidRequestError(
                    f"the request_id {request_id} was used for another answer, task or person"
                )
            if known is None:
                run, task, now = await self._lock(transaction, run_id, task_id)
                self._refuse_completion(task, answer_body)
                done = Done(output=answer, reason=reason or None)
                await self.close_tasks(transaction, run, [task], done, actor=actor, at=now)
            row = await self._runs.get_task(transaction, task_id)
            if row is None:
                raise TaskNotFoundError(str(task_id))
            return known is None, row

        completed, row = await self._write("complete_task", namespace, work)
        if completed:
            self._task_counter.add(
                1, {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: row.status.value}
            )
            _log.info("task_completed", task_id=str(task_id), run_id=row.run_id, actor=actor)
        return row

    async def get_run(self, *, namespace: str, run_id: str) -> RunDocuments:
        """Return a run with its documents and tasks. Raises RunNotFoundError."""
        async with self._database.transaction(namespace) as transaction:
            run = await self._runs.get_run(transaction, run_id)
            if run is None:
                raise RunNotFoundError(run_id)
            wanted = [run.trigger_sha256, run.snapshot_sha256, run.decision_sha256]
            documents = await self._runs.documents(
                transaction, [sha256 for sha256 in wanted if sha256 is not None]
            )
            tasks = await self._runs.tasks_of_run(transaction, run_id)
        trigger, snapshot, decision = (documents.get(sha256 or "", b"") for sha256 in wanted)
        return RunDocuments(run, trigger, snapshot, decision, tasks)

    async def list_runs(
        self,
        *,
        namespace: str,
        before: int | None,
        definition_id: str | None,
        status: RunStatus | None,
        limit: int,
    ) -> list[RunRow]:
        """Return at most `limit` runs, newest first, from before a position."""
        async with self._database.transaction(namespace) as transaction:
            return await self._runs.list_runs(
                transaction,
                before=before,
                definition_id=definition_id,
                status=status,
                limit=limit,
            )

    async def get_task(self, *, namespace: str, task_id: UUID) -> TaskRow:
        """Return a task. Raises TaskNotFoundError."""
        async with self._database.transaction(namespace) as transaction:
            task = await self._runs.get_task(transaction, task_id)
        if task is None:
            raise TaskNotFoundError(str(task_id))
        return task

    async def list_tasks(
        self,
        *,
        namespace: str,
        before: int | None,
        run_id: str | None,
        status: TaskStatus | None,
        task_type: TaskType | None,
        limit: int,
    ) -> list[TaskRow]:
        """Return at most `limit` tasks, newest first, from before a position."""
        async with self._database.transaction(namespace) as transaction:
            return await self._runs.list_tasks(
                transaction,
                before=before,
                run_id=run_id,
                status=status,
                task_type=task_type,
                limit=limit,
            )

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

    async def _recorded_before(self, transaction: Transaction, occasion: Occasion) -> Recorded:
        holder = await self._runs.claimed_by(transaction, occasion)
        if holder != occasion.workflow_run_id:
            return Recorded(RecordOutcome.DUPLICATE)
        decision = await self._runs.decision_of(transaction, occasion.run_id)
        return Recorded(RecordOutcome.REPEATED, decision or b"")

    async def _lock(
        self, transaction: Transaction, run_id: str, task_id: UUID
    ) -> tuple[RunState, TaskState, datetime]:
        locked = await self._runs.lock_run(transaction, run_id)
        task = await self._runs.task_of(transaction, run_id, task_id)
        if locked is None or task is None:
            raise TaskNotFoundError(str(task_id))
        run, now = locked
        return run, task, now

    def _refuse_completion(self, task: TaskState, answer_body: bytes) -> None:
        if task.type != "human":
            raise PreconditionError(f"the task {task.task_id} is for a handler, not for a person")
        if task.status is not TaskStatus.OPEN:
            raise TaskNotOpenError(str(task.task_id), status=task.status, closed_by=task.closed_by)
        if task.form is not None:
            problems = answers.problems(task.form, answer_body)
            if problems:
                raise AnswerRefusedError(
                    "the answer does not fit the task's form: " + "; ".join(problems)
                )

    async def _abandon(
        self, transaction: Transaction, run_id: str, failure: TaskFailure, *, actor: str
    ) -> None:
        locked = await self._runs.lock_run(transaction, run_id)
        tasks = await self._runs.open_automated(transaction, run_id)
        if locked is not None and tasks:
            run, now = locked
            await self.close_tasks(
                transaction, run, tasks, Done(failure=failure), actor=actor, at=now
            )

    async def close_tasks(
        self,
        transaction: Transaction,
        run: RunState,
        tasks: Sequence[TaskState],
        done: Done,
        *,
        actor: str,
        at: datetime,
    ) -> None:
        """Close open tasks of a locked run, and the run with its last one.

        Raises:
            InvalidRequestError: an event would be too large.
        """
        facts = domain.closing(run, tasks, done, actor=actor)
        await self.append(transaction, run, facts, at=at)

    async def append(
        self, transaction: Transaction, run: RunState, facts: Sequence[Fact], *, at: datetime
    ) -> None:
        """Append events to the stream of a locked run.

        Raises:
            InvalidRequestError: one would be too large.
        """
        await self._append(
            transaction, run.run_id, facts, expected=store.ANY, at=at, cause=run.cause
        )
        if run.trigger_kind == TriggerKind.SCHEDULE and domain.closes_run(facts):
            await self._schedules.close_run(transaction, run.definition_id, run.run_id, at)

    async def _append_first(
        self, transaction: Transaction, occasion: Occasion, facts: Sequence[Fact], *, at: datetime
    ) -> None:
        cause = occasion.cause
        if cause.traceparent is None:
            cause = Cause(
                correlation_id=cause.correlation_id,
                causation_id=cause.causation_id,
                traceparent=telemetry.traceparent(),
                hops=cause.hops,
            )
        await self._append(
            transaction, occasion.run_id, facts, expected=store.NEW, at=at, cause=cause
        )
        if occasion.trigger.kind is TriggerKind.SCHEDULE and domain.closes_run(facts):
            await self._schedules.close_run(
                transaction, occasion.definition_id, occasion.run_id, at
            )

    async def _append(
        self,
        transaction: Transaction,
        run_id: str,
        facts: Sequence[Fact],
        *,
        expected: Expected,
        at: datetime,
        cause: Cause,
    ) -> None:
        try:
            await self._events.append(
                transaction,
                stream=store.run_stream(run_id),
                facts=facts,
                expected=expected,
                occurred_at=at,
                cause=cause,
            )
        except EventTooLargeError as exc:
            raise InvalidRequestError(
                f"{exc}; keep large values elsewhere and pass a reference"
            ) from exc

    def _count_run(self, occasion: Occasion, outcome: RecordOutcome) -> None:
        self._run_counter.add(
            1, {Attribute.NAMESPACE: occasion.namespace, Attribute.OUTCOME: outcome.value}
        )
        _log.info(
            "run_recorded",
            namespace=occasion.namespace,
            run_id=occasion.run_id,
            outcome=outcome.value,
        )
