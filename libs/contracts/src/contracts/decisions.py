"""What a run decided: the tasks, and for each rule what it saw."""

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from contracts.definitions import Assignees, Escalation, Reminder, Retry
from contracts.durations import Duration


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class AutomatedInstance(_Model):
    """An automated task that was decided."""

    type: Literal["automated"] = "automated"
    task_id: UUID
    rule: str
    key: str
    handler: str
    task_queue: str
    input: dict[str, JsonValue]
    timeout: Duration
    retry: Retry

    @property
    def what(self) -> str:
        """What it is for: its handler."""
        return self.handler


class HumanInstance(_Model):
    """A human task that was decided."""

    type: Literal["human"] = "human"
    task_id: UUID
    rule: str
    key: str
    title: str
    input: dict[str, JsonValue]
    assignees: Assignees
    due: Duration | None = None
    reminders: list[Reminder] | None = None
    escalation: Escalation | None = None
    expiry: Duration | None = None
    form: dict[str, Any] | None = None

    @property
    def what(self) -> str:
        """What it is for: its title."""
        return self.title

    @property
    def has_timers(self) -> bool:
        """Whether time alone can do something to it."""
        return any((self.due, self.reminders, self.escalation, self.expiry))


TaskInstance = Annotated[AutomatedInstance | HumanInstance, Field(discriminator="type")]


class RuleTrace(_Model):
    """What one rule saw: the value of `when`, how many items, which tasks."""

    rule: str
    when: bool
    items: int | None = Field(None, description="Length of the forEach list; null without forEach.")
    tasks: list[UUID] = Field(default_factory=list)


class StateChange(_Model):
    """What a decision did to the state of an instance, by the hashes of the documents."""

    before_sha256: str
    after_sha256: str
    ended: bool = Field(description="Whether the generation ends with it.")


class Decision(_Model):
    """The 0..N tasks of a run, with the trace that explains them.

    The same definition version, snapshot and trigger give the same decision, byte for byte.
    """

    model_config = ConfigDict(title="Decision")

    definition_id: str
    definition_version: int
    snapshot_sha256: str
    tasks: list[TaskInstance]
    rules: list[RuleTrace]
    state: StateChange | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Of a stateful definition: what became of the instance's state.",
    )

    @property
    def has_work(self) -> bool:
        """Whether anybody but people has something to do: a handler, or a clock."""
        return any(isinstance(task, AutomatedInstance) or task.has_timers for task in self.tasks)


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskStatus(StrEnum):
    """Where a task stands."""

    OPEN = "open"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
