"""Temporal workflows as the ledger asks about them, and what it wants done with them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from contracts.runs import TaskFailure
from contracts.triggers import Trigger

OperationKind = Literal["start_run", "retry_task", "cancel", "tell_failure", "tick"]


@dataclass(frozen=True)
class Operation:
    """Something that is to be done in Temporal; `input` is JSON."""

    namespace: str
    operation_id: str
    lease: str
    kind: OperationKind
    workflow_id: str
    definition_id: str
    definition_version: int
    input: bytes
    attempts: int


@dataclass(frozen=True)
class OperationResult:
    """What became of an operation: nothing went wrong, or why it is given back."""

    operation: Operation
    error: str | None = None


@dataclass(frozen=True)
class OpenExecution:
    """A workflow on which something in the ledger waits.

    Without a task it is that of the run. `unrecorded` is the trigger of a run that was started for
    a due time, and that the ledger never heard of. `timers` says that it watches over a human task
    instead, one of whose times has passed unheeded.
    """

    run_id: str
    definition_id: str
    workflow_id: str
    task_id: str
    generation: int
    unrecorded: Trigger | None = None
    timers: bool = False


@dataclass(frozen=True)
class OverdueSchedule:
    """A definition whose schedules nobody has looked after since an instant."""

    definition_id: str
    since: datetime


@dataclass(frozen=True)
class Ended:
    """A workflow that will do nothing any more: its execution, and what is told of its end."""

    workflow_run_id: str
    failure: TaskFailure


@dataclass(frozen=True)
class CutShort:
    """An execution of a run's workflow that was terminated, cancelled, timed out, or has failed."""

    workflow_id: str
    workflow_run_id: str


@dataclass(frozen=True)
class WaitingInstance:
    """A stateful instance for which something waits, by the version of what comes first."""

    definition_id: str
    key_hash: str
    definition_version: int
