"""Which events follow from control: a run cancelled, its tasks carried out again, a run retried."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from contracts import canonical, identifiers
from contracts.decisions import AutomatedInstance, Decision, RunStatus, TaskStatus
from contracts.events import (
    FailureHandled,
    RunCancelled,
    RunReopened,
    RunRetried,
    TaskCancelled,
    TaskRetried,
)
from contracts.runs import (
    CANCELLED_IN_TEMPORAL,
    FailureHandling,
    FailureQuestion,
    TaskFailure,
    TellFailureInput,
    TickInput,
)
from contracts.triggers import Chain, RetryOf, Trigger
from eventstore.events import Cause, Fact
from ledger.domain.due import OpenRun
from ledger.domain.runs import Occasion, RunState, TaskState

OperationKind = Literal["start_run", "retry_task", "cancel", "tell_failure", "tick"]

_NO_EXECUTION = "none"
"""In place of Temporal's id where no execution has recorded a run."""

CLOSED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


@dataclass(frozen=True)
class Order:
    """What a person asked for, and under which request id."""

    request_id: str
    actor: str
    reason: str


@dataclass(frozen=True)
class Operation:
    """Something that is to be done in Temporal; the task is that of `retry_task`."""

    kind: OperationKind
    workflow_id: str
    definition_id: str
    definition_version: int
    input: bytes = b""
    task_id: UUID | None = None
    generation: int | None = None

    @property
    def operation_id(self) -> str:
        """What names it: a workflow is started once, and cancelled once."""
        return identifiers.short_hash(self.kind, self.workflow_id)


@dataclass(frozen=True)
class Execution:
    """A Temporal workflow on which automated tasks of a run wait.

    Without a task it is that of the run itself. `unrecorded` is the trigger of a run that was
    started for a due time and is not in the ledger. `timers` says that it watches over a human task
    instead, one of whose times has passed unheeded.
    """

    run_id: str
    definition_id: str
    task_id: UUID | None = None
    generation: int = 1
    unrecorded: Trigger | None = None
    timers: bool = False

    @property
    def workflow_id(self) -> str:
        """The id of the workflow."""
        if self.timers and self.task_id is not None:
            return identifiers.task_timers_workflow_id(self.task_id)
        if self.task_id is None:
            return self.run_id
        return identifiers.retry_workflow_id(self.task_id, self.generation)


def execution_of(task: TaskState) -> Execution:
    """Return the workflow that an automated task is carried out by."""
    own = task.generation > 1
    return Execution(
        run_id=task.run_id,
        definition_id=task.definition_id,
        task_id=task.task_id if own else None,
        generation=task.generation,
    )


def cancelled(run: RunState, tasks: Sequence[TaskState], order: Order) -> list[Fact]:
    """Return the events of a run that is cancelled, with its open `tasks`."""
    facts = [
        Fact(
            key=run.run_id,
            subject=str(task.task_id),
            payload=TaskCancelled(
                task_id=task.task_id,
                run_id=task.run_id,
                definition_id=task.definition_id,
                rule=task.rule,
                key=task.key,
                type=task.type,
                actor=order.actor,
                reason=order.reason,
            ),
        )
        for task in tasks
    ]
    return [
        *facts,
        Fact(
            key=run.run_id,
            payload=RunCancelled(
                run_id=run.run_id,
                definition_id=run.definition_id,
                definition_version=run.definition_version,
                actor=order.actor,
                reason=order.reason,
                cancelled_tasks=len(tasks),
            ),
        ),
    ]


def cancellations(run: RunState, tasks: Sequence[TaskState]) -> list[Operation]:
    """Return what has to be cancelled in Temporal: the run's workflow, and those of its retries."""
    own = {run.run_id: None}
    retries = {execution_of(task).workflow_id: None for task in tasks if task.type == "automated"}
    return [
        Operation(
            kind="cancel",
            workflow_id=workflow_id,
            definition_id=run.definition_id,
            definition_version=run.definition_version,
        )
        for workflow_id in own | retries
    ]


def cancellation(definition_id: str, open_run: OpenRun) -> Operation:
    """Return how the workflow of a run is cancelled that is not recorded yet."""
    return Operation(
        kind="cancel",
        workflow_id=open_run.run_id,
        definition_id=definition_id,
        definition_version=open_run.trigger.definition_version,
    )


def never_begun(namespace: str, definition_id: str, open_run: OpenRun) -> Occasion:
    """Return a run that is ended before any execution of it has said that it began."""
    return Occasion(
        namespace=namespace,
        run_id=open_run.run_id,
        definition_id=definition_id,
        trigger=open_run.trigger,
        trigger_body=canonical.render(open_run.trigger),
        workflow_run_id=_NO_EXECUTION,
    )


def tick(namespace: str, definition_id: str, *, version: int, asked_by: Sequence[str]) -> Operation:
    """Return a wake-up of a definition's schedule; `asked_by` is why, and no two are the same."""
    return Operation(
        kind="tick",
        workflow_id=identifiers.asked_tick_workflow_id(definition_id, *asked_by),
        definition_id=definition_id,
        definition_version=version,
        input=canonical.render(TickInput(namespace=namespace, definition_id=definition_id)),
    )


def retried(run: RunState, tasks: Sequence[TaskState], order: Order) -> list[Fact]:
    """Return the events of failed `tasks` that are carried out again; a closed run opens."""
    facts = []
    if run.status in CLOSED:
        facts.append(
            Fact(
                key=run.run_id,
                payload=RunReopened(
                    run_id=run.run_id,
                    definition_id=run.definition_id,
                    definition_version=run.definition_version,
                    actor=order.actor,
                    reason=order.reason,
                ),
            )
        )
    facts.extend(
        Fact(
            key=run.run_id,
            subject=str(task.task_id),
            payload=TaskRetried(
                task_id=task.task_id,
                run_id=task.run_id,
                definition_id=task.definition_id,
                rule=task.rule,
                key=task.key,
                type=task.type,
                generation=task.generation + 1,
                actor=order.actor,
                reason=order.reason,
            ),
        )
        for task in tasks
    )
    return facts


def decided_again(trigger: Trigger, run_id: str, *, number: int, order: Order) -> Trigger:
    """Return the trigger of the run that decides `run_id`'s again."""
    retry = RetryOf(run_id=run_id, number=number, actor=order.actor, reason=order.reason)
    return trigger.model_copy(update={"retry_of": retry})


def run_retried(run: RunState, trigger: Trigger, order: Order) -> Fact:
    """Return the event on the stream of `run` that says that `trigger` decides it again."""
    number = trigger.retry_of.number if trigger.retry_of is not None else 0
    return Fact(
        key=run.run_id,
        payload=RunRetried(
            run_id=run.run_id,
            definition_id=run.definition_id,
            definition_version=run.definition_version,
            root_run_id=identifiers.run_id(run.definition_id, trigger.root_key),
            number=number,
            new_run_id=identifiers.run_id(run.definition_id, trigger.key),
            request_id=order.request_id,
            actor=order.actor,
            reason=order.reason,
        ),
    )


def decided_tasks(decision: bytes | None) -> dict[UUID, AutomatedInstance]:
    """Return the automated tasks of a recorded decision, as they were decided."""
    return {
        task.task_id: task
        for task in Decision.model_validate_json(decision or b"").tasks
        if isinstance(task, AutomatedInstance)
    }


def tells_of(failure: TaskFailure) -> bool:
    """Return whether anybody is told of what a workflow left open: who cancels one knows of it."""
    return failure.type != CANCELLED_IN_TEMPORAL


def chain_of(cause: Cause) -> Chain:
    """Return the chain that what is carried out for a run goes on with."""
    return Chain(
        correlation_id=cause.correlation_id, causation_id=cause.causation_id, hops=cause.hops
    )


def telling(question: FailureQuestion, cause: Cause) -> Operation:
    """Return the operation that has `onFailure` called for what no workflow is left to tell of."""
    call_id = identifiers.failure_call_id(
        question.namespace,
        question.run_id,
        None if question.task is None else question.task.task_id,
        question.generation,
    )
    return Operation(
        kind="tell_failure",
        workflow_id=identifiers.failure_workflow_id(call_id),
        definition_id=question.definition_id,
        definition_version=question.definition_version,
        input=canonical.render(
            TellFailureInput(
                question=question, traceparent=cause.traceparent, chain=chain_of(cause)
            )
        ),
    )


def failure_handled(run: RunState, handling: FailureHandling) -> Fact:
    """Return the event of a call of `onFailure`'s handler."""
    return Fact(
        key=run.run_id,
        payload=FailureHandled(
            run_id=run.run_id,
            definition_id=run.definition_id,
            call_id=handling.call_id,
            task_id=handling.task_id,
            handler=handling.handler,
            failure=handling.failure,
        ),
    )


def failed_automated(tasks: Sequence[TaskState]) -> list[TaskState]:
    """Return the tasks that can be carried out again."""
    return [task for task in tasks if task.type == "automated" and task.status is TaskStatus.FAILED]
