"""The payloads of the events Backbone emits. Fields are added, never renamed or removed."""

from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from contracts.decisions import RunStatus
from contracts.definitions import Assignees
from contracts.names import EventType
from contracts.runs import TaskFailure


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True)


class DefinitionApplied(_Payload):
    """A version of a definition was stored and is active from now on."""

    definition_id: str
    version: int
    revision: int = Field(description="Rises with every change of a definition in the namespace.")
    content_sha256: str
    content: dict[str, Any]
    actor: str
    reason: str


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
    EventType.DEFINITION_APPLIED: DefinitionApplied,
    EventType.RUN_DECIDED: RunDecided,
    EventType.RUN_FAILED: RunFailed,
    EventType.RUN_COMPLETED: RunCompleted,
    EventType.TASK_CREATED: TaskCreated,
    EventType.TASK_COMPLETED: TaskCompleted,
    EventType.TASK_FAILED: TaskFailed,
}
