"""The payloads of the events Backbone emits. Fields are added, never renamed or removed."""

from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from contracts.decisions import RunStatus
from contracts.definitions import Assignees
from contracts.names import EventType
from contracts.resources import HeldEvents, ResourceKind, ResourceState
from contracts.runs import TaskFailure
from contracts.triggers import TimerOf


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)


class _ResourceChange(_Payload):
    kind: ResourceKind
    resource_id: str
    version: int = Field(description="The version that is the current one after the change.")
    revision: int = Field(description="Rises with every change of a resource in the namespace.")
    state: ResourceState = Field(description="The resource's state after the change.")
    actor: str
    reason: str


class ResourceApplied(_ResourceChange):
    """A version of a resource was stored and is the current one from now on."""

    content_sha256: str
    content: dict[str, Any]


class ResourceActivated(_ResourceChange):
    """An earlier version of a resource is the current one again."""


class ResourceEnabled(_ResourceChange):
    """A disabled definition starts runs again."""

    held: HeldEvents | None = Field(
        None, description="What becomes of the events that it held; null when nobody had to say."
    )


class ResourceDisabled(_ResourceChange):
    """A definition starts no runs until it is enabled; what runs goes on."""


class ResourceRetired(_ResourceChange):
    """A resource is no longer in use; its history stays, and applying it brings it back."""


DecidedStatus = Literal[RunStatus.RUNNING, RunStatus.WAITING, RunStatus.COMPLETED, RunStatus.FAILED]
"""Where a run can stand when it is decided."""


class PendingTimer(_Payload):
    """A timer of an instance that is set: when it is due, and which application has set it."""

    name: str
    due_at: AwareDatetime
    sequence: int


class InstanceStep(_Payload):
    """The event of a run was applied to an instance: the `sequence`th of its generation."""

    key_hash: str
    generation: int
    sequence: int
    state_sha256: str = Field(description="Of the state document after the event.")
    ended: bool = Field(description="Whether the generation ends with it.")
    timers: list[PendingTimer] = Field(
        default_factory=list,
        exclude_if=lambda value: not value,
        description="What fires when no event comes until then.",
    )


class RunDecided(_Payload):
    """A run was recorded with its decision, which may hold no task."""

    run_id: str
    definition_id: str
    definition_version: int
    trigger_kind: str
    trigger_key: str
    trigger_names: list[str]
    trigger_sha256: str
    snapshot_sha256: str
    decision_sha256: str
    tasks: int
    human_tasks: int = 0
    status: DecidedStatus
    workflow_run_id: str
    scheduled_for: AwareDatetime | None = None
    instance: InstanceStep | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Of a stateful definition: to which instance the event was applied.",
    )


class RunFailed(_Payload):
    """A run ended without success: it could not decide, or one of its tasks failed for good."""

    run_id: str
    definition_id: str
    definition_version: int
    trigger_kind: str
    trigger_key: str
    trigger_names: list[str]
    trigger_sha256: str
    failure: TaskFailure
    workflow_run_id: str
    timer: TimerOf | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Of a timer of an instance that could not be applied: which one.",
    )


class RunCompleted(_Payload):
    """Every task of the run is done."""

    run_id: str
    definition_id: str
    definition_version: int


class RunCancelled(_Payload):
    """A person cancelled a run; its open tasks are cancelled with it."""

    run_id: str
    definition_id: str
    definition_version: int
    actor: str
    reason: str
    cancelled_tasks: int = Field(description="How many tasks were open.")


class RunReopened(_Payload):
    """A run that had failed is open again, because tasks of it are carried out again."""

    run_id: str
    definition_id: str
    definition_version: int
    actor: str
    reason: str


class RunRetried(_Payload):
    """A run that could not decide, or was cancelled, is decided again as a run of its own."""

    run_id: str
    definition_id: str
    definition_version: int
    root_run_id: str = Field(description="The run that the first retry was of.")
    number: int = Field(description="Counts the retries of the root, from 1.")
    new_run_id: str
    request_id: str
    actor: str
    reason: str


class FailureHandled(_Payload):
    """The handler of a definition's `onFailure` was called; `failure` is its own, if it failed."""

    run_id: str
    definition_id: str
    call_id: UUID = Field(description="The idempotency key that the handler was given.")
    task_id: UUID | None = Field(None, description="The task that failed; null for the run itself.")
    handler: str
    failure: TaskFailure | None = None


class TaskCreated(_Payload):
    """A decided task exists."""

    task_id: UUID
    run_id: str
    definition_id: str
    definition_version: int
    rule: str
    key: str
    type: str
    input: dict[str, JsonValue]
    handler: str | None = None
    task_queue: str | None = None
    title: str | None = None
    assignees: Assignees | None = None
    due_at: AwareDatetime | None = None
    remind_at: list[AwareDatetime] | None = None
    escalates_at: AwareDatetime | None = None
    escalates_to: Assignees | None = None
    expires_at: AwareDatetime | None = None
    form: dict[str, Any] | None = None


class _OfTask(_Payload):
    task_id: UUID
    run_id: str
    definition_id: str
    rule: str
    key: str
    type: str


class TaskCompleted(_OfTask):
    """A task was done: by its handler (`output`), or by a person (`output` is the answer).

    `actor` said so, and may have given a `reason`.
    """

    output: JsonValue = None
    actor: str | None = None
    reason: str | None = None


class TaskFailed(_OfTask):
    """A task failed for good."""

    failure: TaskFailure


class TaskCancelled(_OfTask):
    """A task was taken back before it was done."""

    actor: str
    reason: str


class TaskExpired(_OfTask):
    """Nobody did a human task while it was open, and it is closed."""

    expires_at: AwareDatetime


class TaskClaimed(_OfTask):
    """A person took a human task; nobody else completes it meanwhile."""

    actor: str
    reason: str | None = None


class TaskReleased(_OfTask):
    """A claimed human task is free again."""

    actor: str
    reason: str | None = None


class TaskReassigned(_OfTask):
    """A human task is for others from now on, and nobody has claimed it."""

    assignees: Assignees
    actor: str
    reason: str


class TaskCommented(_OfTask):
    """A person wrote something about a human task."""

    comment: str
    actor: str


class _Notice(_OfTask):
    title: str
    assignees: Assignees
    claimed_by: str | None = None
    scheduled_for: AwareDatetime = Field(description="When it was to happen.")


class TaskReminded(_Notice):
    """A human task is still open, and its definition wants that to be told now."""

    due_at: AwareDatetime


class TaskOverdue(_Notice):
    """A human task is open and was due just now."""

    due_at: AwareDatetime


class TaskEscalated(_Notice):
    """A human task is for others from now on (`assignees`), since nobody did it in time.

    `claimed_by` had claimed it, and has not any more.
    """


class TaskRetried(_OfTask):
    """An automated task that had failed for good is carried out again, under its old id."""

    generation: int = Field(description="How often it is carried out with this one; 2 at first.")
    actor: str
    reason: str


class SubjectErased(_Payload):
    """The key of a person's sensitive values was destroyed: nobody reads them any more."""

    subject_ref: str = Field(
        description="Stands for the person: a keyed hash, by which nobody finds out who it is."
    )
    values: int = Field(description="How many values cannot be read any more.")
    actor: str
    reason: str


class KillSwitchThrown(_Payload):
    """A namespace, or the definitions with all of some labels, are stopped at a point."""

    switch_id: str
    point: Literal["ingress", "run", "effect"] = Field(
        description="No event is taken, no run is started, or no automated task is begun."
    )
    labels: dict[str, str] = Field(description="Empty for all of the namespace.")
    actor: str
    reason: str


class KillSwitchReset(_Payload):
    """What a kill switch had stopped goes on."""

    switch_id: str
    actor: str
    reason: str


PAYLOAD_OF: dict[EventType, type[BaseModel]] = {
    EventType.RESOURCE_APPLIED: ResourceApplied,
    EventType.RESOURCE_ACTIVATED: ResourceActivated,
    EventType.RESOURCE_ENABLED: ResourceEnabled,
    EventType.RESOURCE_DISABLED: ResourceDisabled,
    EventType.RESOURCE_RETIRED: ResourceRetired,
    EventType.RUN_DECIDED: RunDecided,
    EventType.RUN_FAILED: RunFailed,
    EventType.RUN_COMPLETED: RunCompleted,
    EventType.RUN_CANCELLED: RunCancelled,
    EventType.RUN_REOPENED: RunReopened,
    EventType.RUN_RETRIED: RunRetried,
    EventType.FAILURE_HANDLED: FailureHandled,
    EventType.TASK_CREATED: TaskCreated,
    EventType.TASK_COMPLETED: TaskCompleted,
    EventType.TASK_FAILED: TaskFailed,
    EventType.TASK_CANCELLED: TaskCancelled,
    EventType.TASK_EXPIRED: TaskExpired,
    EventType.TASK_CLAIMED: TaskClaimed,
    EventType.TASK_RELEASED: TaskReleased,
    EventType.TASK_REASSIGNED: TaskReassigned,
    EventType.TASK_COMMENTED: TaskCommented,
    EventType.TASK_REMINDED: TaskReminded,
    EventType.TASK_OVERDUE: TaskOverdue,
    EventType.TASK_ESCALATED: TaskEscalated,
    EventType.TASK_RETRIED: TaskRetried,
    EventType.SUBJECT_ERASED: SubjectErased,
    EventType.KILL_SWITCH_THROWN: KillSwitchThrown,
    EventType.KILL_SWITCH_RESET: KillSwitchReset,
}
