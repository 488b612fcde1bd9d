"""The payloads of the events Backbone emits. Fields are added, never renamed or removed."""

from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from contracts.decisions import RunStatus
from contracts.definitions import Assignees
from contracts.names import EventType
from contracts.resources import HeldEvents, ResourceKind, ResourceState
from contracts.runs import TaskFailure


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True)


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
    status: RunStatus
    workflow_run_id: str
    scheduled_for: AwareDatetime | None = None


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


class RunCompleted(_Payload):
    """Every task of the run is done."""

    run_id: str
    definition_id: str
    definition_version: int


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
    form: dict[str, Any] | None = None


class TaskCompleted(_Payload):
    """A task was done: by its handler (`output`), or by a person (`output` is the answer).

    `actor` said so, and may have given a `reason`.
    """

    task_id: UUID
    run_id: str
    definition_id: str
    rule: str
    key: str
    type: str
    output: JsonValue = None
    actor: str | None = None
    reason: str | None = None


class TaskFailed(_Payload):
    """A task failed for good."""

    task_id: UUID
    run_id: str
    definition_id: str
    rule: str
    key: str
    type: str
    failure: TaskFailure


PAYLOAD_OF: dict[EventType, type[BaseModel]] = {
    EventType.RESOURCE_APPLIED: ResourceApplied,
    EventType.RESOURCE_ACTIVATED: ResourceActivated,
    EventType.RESOURCE_ENABLED: ResourceEnabled,
    EventType.RESOURCE_DISABLED: ResourceDisabled,
    EventType.RESOURCE_RETIRED: ResourceRetired,
    EventType.RUN_DECIDED: RunDecided,
    EventType.RUN_FAILED: RunFailed,
    EventType.RUN_COMPLETED: RunCompleted,
    EventType.TASK_CREATED: TaskCreated,
    EventType.TASK_COMPLETED: TaskCompleted,
    EventType.TASK_FAILED: TaskFailed,
}
