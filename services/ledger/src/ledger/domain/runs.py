"""Which events a run gives rise to: when it is decided, when its tasks close, when it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import JsonValue

from contracts import canonical
from contracts.decisions import Decision, HumanInstance, RunStatus, TaskStatus
from contracts.events import (
    DecidedStatus,
    InstanceStep,
    RunCancelled,
    RunCompleted,
    RunDecided,
    RunFailed,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
)
from contracts.runs import TaskFailure
from contracts.triggers import Trigger
from eventstore.events import Cause, Fact
from ledger.domain import timers

TaskType = Literal["automated", "human"]


@dataclass(frozen=True)
class Occasion:
    """An execution that reports a run: which run of which definition, and why it is there."""

    namespace: str
    run_id: str
    definition_id: str
    trigger: Trigger
    trigger_body: bytes
    workflow_run_id: str

    @property
    def trigger_sha256(self) -> str:
        """The hash of the trigger's canonical bytes."""
        return canonical.digest(self.trigger_body)

    @property
    def subjects(self) -> list[str]:
        """The subjects of the events that it is there for, each once, in their order."""
        return list(dict.fromkeys(one.subject for one in self.trigger.events if one.subject))

    @property
    def cause(self) -> Cause:
        """What the run's events have as their cause: what the trigger goes on with."""
        chain = self.trigger.chain_of(self.run_id)
        return Cause(
            correlation_id=chain.correlation_id,
            causation_id=chain.causation_id,
            traceparent=self.trigger.traceparent,
            hops=chain.hops,
        )


@dataclass(frozen=True)
class Recording:
    """A decided run: the occasion with what was seen and what was decided, as canonical JSON."""

    occasion: Occasion
    decision: Decision
    decision_body: bytes
    snapshot_body: bytes
    instance: InstanceStep | None = None

    @property
    def documents(self) -> list[bytes]:
        """What is kept by its hash."""
        return [self.occasion.trigger_body, self.snapshot_body, self.decision_body]


@dataclass(frozen=True)
class RunState:
    """A run as it stands, locked by the transaction that looks at it."""

    run_id: str
    definition_id: str
    definition_version: int
    trigger_kind: str
    trigger_key: str
    trigger_names: list[str]
    trigger_sha256: str
    workflow_run_id: str
    status: RunStatus
    tasks: int
    open_automated: int
    open_human: int
    failed_tasks: int
    cause: Cause


@dataclass(frozen=True)
class TaskState:
    """A task as it stands."""

    task_id: UUID
    run_id: str
    definition_id: str
    rule: str
    key: str
    type: TaskType
    status: TaskStatus
    generation: int = 1
    handler: str | None = None


@dataclass(frozen=True)
class Done:
    """A task came to its end: with an output, or with a failure."""

    output: JsonValue = None
    failure: TaskFailure | None = None


def decided(recording: Recording, *, at: datetime) -> list[Fact]:
    """Return the events of a recorded decision; a run without tasks is completed at once."""
    occasion, decision = recording.occasion, recording.decision
    human = sum(isinstance(task, HumanInstance) for task in decision.tasks)
    status: DecidedStatus
    if not decision.tasks:
        status = RunStatus.COMPLETED
    elif human == len(decision.tasks):
        status = RunStatus.WAITING
    else:
        status = RunStatus.RUNNING
    facts = [
        Fact(
            key=occasion.run_id,
            payload=RunDecided(
                run_id=occasion.run_id,
                definition_id=occasion.definition_id,
                definition_version=decision.definition_version,
                trigger_kind=occasion.trigger.kind,
                trigger_key=occasion.trigger.key,
                trigger_names=occasion.trigger.names,
                trigger_sha256=occasion.trigger_sha256,
                snapshot_sha256=decision.snapshot_sha256,
                decision_sha256=canonical.digest(recording.decision_body),
                tasks=len(decision.tasks),
                human_tasks=human,
                status=status,
                workflow_run_id=occasion.workflow_run_id,
                scheduled_for=occasion.trigger.scheduled_for,
                instance=recording.instance,
            ),
        )
    ]
    facts.extend(_created(recording, at=at))
    if not decision.tasks:
        facts.append(
            _completed(occasion.run_id, occasion.definition_id, decision.definition_version)
        )
    return facts


def undecided(occasion: Occasion, failure: TaskFailure) -> list[Fact]:
    """Return the events of a run that could not decide."""
    return [
        Fact(
            key=occasion.run_id,
            payload=RunFailed(
                run_id=occasion.run_id,
                definition_id=occasion.definition_id,
                definition_version=occasion.trigger.definition_version,
                timer=occasion.trigger.timer,
                trigger_kind=occasion.trigger.kind,
                trigger_key=occasion.trigger.key,
                trigger_names=occasion.trigger.names,
                trigger_sha256=occasion.trigger_sha256,
                failure=failure,
                workflow_run_id=occasion.workflow_run_id,
            ),
        )
    ]


def closing(run: RunState, tasks: Sequence[TaskState], done: Done, *, actor: str) -> list[Fact]:
    """Return the events that close `tasks` of `run`, and the run itself with its last open one."""
    facts = [_task_closed(task, done, actor=actor) for task in tasks]
    failed = 0 if done.failure is None else len(tasks)
    return [*facts, *ending(run, closed=len(tasks), failed=failed)]


def ending(run: RunState, *, closed: int, failed: int = 0) -> list[Fact]:
    """Return the event that closes `run` when `closed` tasks do, if they are its last open ones.

    `failed` of them failed. A task that was cancelled or has expired is no failure of the run.
    """
    if run.open_automated + run.open_human > closed:
        return []
    failed += run.failed_tasks
    if failed == 0:
        return [_completed(run.run_id, run.definition_id, run.definition_version)]
    message = f"{failed} of {run.tasks} tasks failed"
    return [
        Fact(
            key=run.run_id,
            payload=RunFailed(
                run_id=run.run_id,
                definition_id=run.definition_id,
                definition_version=run.definition_version,
                trigger_kind=run.trigger_kind,
                trigger_key=run.trigger_key,
                trigger_names=run.trigger_names,
                trigger_sha256=run.trigger_sha256,
                failure=TaskFailure(type="TasksFailed", message=message),
                workflow_run_id=run.workflow_run_id,
            ),
        ),
    ]


def closes_run(facts: Sequence[Fact]) -> bool:
    """Say whether a run is closed by `facts`."""
    ends = RunCompleted | RunFailed | RunCancelled
    return any(isinstance(fact.payload, ends) for fact in facts)


def _created(recording: Recording, *, at: datetime) -> list[Fact]:
    facts = []
    for task in recording.decision.tasks:
        payload = TaskCreated(
            task_id=task.task_id,
            run_id=recording.occasion.run_id,
            definition_id=recording.occasion.definition_id,
            definition_version=recording.decision.definition_version,
            rule=task.rule,
            key=task.key,
            type=task.type,
            input=task.input,
        )
        if isinstance(task, HumanInstance):
            clock = timers.of(task, created_at=at)
            payload = payload.model_copy(
                update={
                    "title": task.title,
                    "assignees": task.assignees,
                    "due_at": clock.due_at,
                    "remind_at": list(clock.remind_at) or None,
                    "escalates_at": clock.escalates_at,
                    "escalates_to": clock.escalates_to,
                    "expires_at": clock.expires_at,
                    "form": task.form,
                }
            )
        else:
            payload = payload.model_copy(
                update={"handler": task.handler, "task_queue": task.task_queue}
            )
        facts.append(
            Fact(payload=payload, key=recording.occasion.run_id, subject=str(task.task_id))
        )
    return facts


def _completed(run_id: str, definition_id: str, version: int) -> Fact:
    return Fact(
        key=run_id,
        payload=RunCompleted(
            run_id=run_id, definition_id=definition_id, definition_version=version
        ),
    )


def _task_closed(task: TaskState, done: Done, *, actor: str) -> Fact:
    payload: TaskCompleted | TaskFailed
    if done.failure is None:
        payload = TaskCompleted(
            task_id=task.task_id,
            run_id=task.run_id,
            definition_id=task.definition_id,
            rule=task.rule,
            key=task.key,
            type=task.type,
            output=done.output,
            actor=actor,
        )
    else:
        payload = TaskFailed(
            task_id=task.task_id,
            run_id=task.run_id,
            definition_id=task.definition_id,
            rule=task.rule,
            key=task.key,
            type=task.type,
            failure=done.failure,
        )
    return Fact(payload=payload, key=task.run_id, subject=str(task.task_id))
