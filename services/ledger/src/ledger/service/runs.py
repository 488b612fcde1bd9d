"""The use cases of runs: each is one transaction, with its events."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from contracts import identifiers
from contracts.decisions import RunStatus, TaskStatus
from contracts.runs import RecordOutcome, TaskFailure
from contracts.switches import Point
from contracts.telemetry import Attribute, Metric
from contracts.triggers import Trigger
from ledger.domain import runs as domain
from ledger.domain.runs import Done, Occasion, Recording, RunState, TaskState
from ledger.errors import PreconditionError, RunNotFoundError, TaskNotFoundError
from ledger.ports.runs import RunRow, RunStore
from ledger.ports.switches import Halts
from ledger.ports.tasks import TaskRow
from ledger.service import writing
from ledger.service.appending import RunAppender
from ledger.service.telling import FailureTelling
from runtime import logs, telemetry
from runtime.postgres import Postgres, Transaction

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Recorded:
    """What became of a recorded run, with the decision that stands (empty for one that failed).

    `shadow_id` is of the shadow that is to decide a run recorded just now as well. With
    `effects_halted` a kill switch stops what the run would do.
    """

    outcome: RecordOutcome
    decision: bytes = b""
    shadow_id: str | None = None
    effects_halted: bool = False


@dataclass(frozen=True)
class RunDocuments:
    """A run with everything that was recorded of it; the states are empty but for an instance's."""

    run: RunRow
    trigger: bytes
    snapshot: bytes
    decision: bytes
    tasks: list[TaskRow]
    state_before: bytes
    state_after: bytes


@dataclass(frozen=True)
class LastRun:
    """The newest run of a definition, with its trigger where that was a due time."""

    run: RunRow
    trigger: Trigger | None


class RunLedger:
    """Records runs and the outcomes of their tasks, and answers questions about them."""

    def __init__(
        self,
        *,
        database: Postgres,
        runs: RunStore,
        appender: RunAppender,
        telling: FailureTelling,
        halts: Halts,
    ) -> None:
        self._halts = halts
        self._database = database
        self._appender = appender
        self._telling = telling
        self._runs = runs
        meter = telemetry.meter(__name__)
        self._run_counter = meter.create_counter(
            Metric.LEDGER_RUNS, description="Runs recorded, by definition and outcome."
        )
        self._task_counter = meter.create_counter(
            Metric.LEDGER_TASKS, description="Tasks closed, by status, definition and handler."
        )

    async def record_run(self, recording: Recording) -> Recorded:
        """Record a decided run, its tasks and its events; the first execution wins.

        Raises:
            InvalidRequestError: an event of the run would be too large.
        """
        occasion = recording.occasion

        async def work(transaction: Transaction) -> Recorded:
            claim = await self._runs.claim(transaction, occasion, recording.documents)
            if claim is None:
                return await self._recorded_before(transaction, occasion)
            await self.append_decided(transaction, recording, at=claim.at)
            return Recorded(
                RecordOutcome.RECORDED,
                recording.decision_body,
                claim.shadow_id,
                effects_halted=claim.effects_halted,
            )

        recorded = await writing.write(self._database, "record_run", occasion.namespace, work)
        self._count_run(occasion, recorded.outcome)
        return recorded

    async def append_decided(
        self, transaction: Transaction, recording: Recording, *, at: datetime
    ) -> None:
        """Append the events of a decided run whose trigger key was taken at that time.

        Raises:
            InvalidRequestError: one of them would be too large.
        """
        await self._appender.begin(
            transaction, recording.occasion, domain.decided(recording, at=at), at=at
        )

    async def record_run_failure(
        self,
        occasion: Occasion,
        failure: TaskFailure,
        *,
        actor: str,
        unattended: bool = False,
    ) -> RecordOutcome:
        """Record that a run could not decide.

        When this execution had recorded a decision after all (its answer got lost), nobody will
        carry out the automated tasks that are open: they fail with the same failure. What is
        `unattended` has no workflow any more, and a run that was recorded after all is left to who
        looks after open executions.

        Where no workflow is there to tell of it, an operation does: of what is `unattended`, and of
        an event that could not be applied to its instance, which waits for no handler of failures.
        """
        of_instance = identifiers.holds_for_instance(
            occasion.definition_id, occasion.workflow_run_id
        )

        async def work(transaction: Transaction) -> RecordOutcome:
            at = await self.record_undecided(transaction, occasion, failure)
            if at is not None:
                if unattended or of_instance:
                    await self._telling.of_run(transaction, occasion, failure, actor=actor, at=at)
                return RecordOutcome.RECORDED
            before = await self._recorded_before(transaction, occasion)
            if before.outcome is RecordOutcome.REPEATED and not unattended:
                await self._abandon(
                    transaction, occasion.run_id, failure, actor=actor, told=of_instance
                )
            return before.outcome

        outcome = await writing.write(
            self._database, "record_run_failure", occasion.namespace, work
        )
        self._count_run(occasion, outcome)
        return outcome

    async def record_undecided(
        self, transaction: Transaction, occasion: Occasion, failure: TaskFailure
    ) -> datetime | None:
        """Record that a run does not decide; return when, or None if it was recorded before."""
        claim = await self._runs.claim(transaction, occasion, [occasion.trigger_body])
        if claim is None:
            return None
        await self._appender.begin(
            transaction, occasion, domain.undecided(occasion, failure), at=claim.at
        )
        return claim.at

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

        return await writing.write(self._database, "record_task_outcome", namespace, work)

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
            trigger, snapshot, decision = (documents.get(sha256 or "", b"") for sha256 in wanted)
            states = _states(decision)
            documents = await self._runs.documents(transaction, states) if states else {}
            before, after = (documents.get(sha256, b"") for sha256 in states or ("", ""))
            tasks = await self._runs.tasks_of_run(transaction, run_id)
        return RunDocuments(run, trigger, snapshot, decision, tasks, before, after)

    async def last_run(
        self, *, namespace: str, definition_id: str, other_than: str, status: RunStatus | None
    ) -> LastRun | None:
        """Return the newest other run of a definition among its last 1,000; None for none."""
        async with self._database.transaction(namespace) as transaction:
            found = await self._runs.last_run(
                transaction, definition_id, other_than=other_than, status=status
            )
        if found is None:
            return None
        run, trigger = found
        return LastRun(run, None if trigger is None else Trigger.model_validate_json(trigger))

    async def list_runs(
        self,
        *,
        namespace: str,
        before: int | None,
        definition_id: str | None,
        status: RunStatus | None,
        correlation_id: str | None = None,
        subject: str | None = None,
        limit: int,
    ) -> list[RunRow]:
        """Return at most `limit` runs, newest first, from before a position."""
        async with self._database.transaction(namespace) as transaction:
            return await self._runs.list_runs(
                transaction,
                before=before,
                definition_id=definition_id,
                status=status,
                correlation_id=correlation_id,
                subject=subject,
                limit=limit,
            )

    async def _recorded_before(self, transaction: Transaction, occasion: Occasion) -> Recorded:
        holder = await self._runs.claimed_by(transaction, occasion)
        if holder != occasion.workflow_run_id:
            return Recorded(RecordOutcome.DUPLICATE)
        decision = await self._runs.decision_of(transaction, occasion.run_id)
        halting = await self._halts.halting(transaction, Point.EFFECT, occasion.definition_id)
        return Recorded(RecordOutcome.REPEATED, decision or b"", effects_halted=halting is not None)

    async def _lock(
        self, transaction: Transaction, run_id: str, task_id: UUID
    ) -> tuple[RunState, TaskState, datetime]:
        locked = await self._runs.lock_run(transaction, run_id)
        task = await self._runs.task_of(transaction, run_id, task_id)
        if locked is None or task is None:
            raise TaskNotFoundError(str(task_id))
        run, now = locked
        return run, task, now

    async def _abandon(
        self,
        transaction: Transaction,
        run_id: str,
        failure: TaskFailure,
        *,
        actor: str,
        told: bool,
    ) -> None:
        locked = await self._runs.lock_run(transaction, run_id)
        tasks = await self._runs.open_automated(transaction, run_id)
        if locked is not None and tasks:
            run, now = locked
            await self.close_tasks(
                transaction, run, tasks, Done(failure=failure), actor=actor, at=now
            )
            if told:
                await self._telling.of_tasks(transaction, run, tasks, failure, actor=actor, at=now)

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
        await self._appender.append(transaction, run, facts, at=at)
        transaction.after_commit(lambda: self._count_tasks(transaction.namespace, tasks, done))

    def _count_tasks(self, namespace: str, tasks: Sequence[TaskState], done: Done) -> None:
        status = TaskStatus.COMPLETED if done.failure is None else TaskStatus.FAILED
        for task in tasks:
            self._task_counter.add(
                1,
                {
                    Attribute.NAMESPACE: namespace,
                    Attribute.DEFINITION_ID: task.definition_id,
                    # Who records it may be any worker: this is told of foreign handlers, too.
                    Attribute.HANDLER: task.handler or "",
                    Attribute.OUTCOME: status.value,
                },
            )

    def _count_run(self, occasion: Occasion, outcome: RecordOutcome) -> None:
        self._run_counter.add(
            1,
            {
                Attribute.NAMESPACE: occasion.namespace,
                Attribute.DEFINITION_ID: occasion.definition_id,
                Attribute.OUTCOME: outcome.value,
            },
        )
        event = occasion.trigger.event
        _log.info(
            "run_recorded",
            namespace=occasion.namespace,
            run_id=occasion.run_id,
            event_id=None if event is None else event.event_id,
            outcome=outcome.value,
        )


def _states(decision: bytes) -> list[str]:
    """Return the hashes of an instance's state before and after, if the decision is of one."""
    change = json.loads(decision).get("state") if decision else None
    return [] if change is None else [change["before_sha256"], change["after_sha256"]]
