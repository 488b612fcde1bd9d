"""What the use cases need of the database, beside the event store: one Protocol for each concern.

Every method works in the transaction it is given and commits nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from contracts.decisions import RunStatus, TaskStatus
from contracts.runs import TaskFailure
from ledger.domain.due import DueRow, Epoch, LeasedRun
from ledger.domain.runs import Occasion, RunState, TaskState, TaskType
from rules.policy import DueOutcome
from runtime.postgres import Transaction


@dataclass(frozen=True)
class RunRow:
    """A run as it is shown."""

    namespace: str
    run_id: str
    position: int
    definition_id: str
    definition_version: int
    trigger_kind: str
    trigger_key: str
    trigger_names: list[str]
    trigger_sha256: str
    snapshot_sha256: str | None
    decision_sha256: str | None
    status: RunStatus
    tasks: int
    workflow_run_id: str
    recorded_at: datetime
    closed_at: datetime | None
    failure: TaskFailure | None


@dataclass(frozen=True)
class TaskRow:
    """A task as it is shown."""

    namespace: str
    task_id: UUID
    position: int
    run_id: str
    definition_id: str
    rule: str
    key: str
    type: TaskType
    status: TaskStatus
    handler: str | None
    title: str | None
    assigned_users: list[str]
    assigned_groups: list[str]
    created_at: datetime
    due_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    input: bytes
    form: bytes | None
    output: bytes | None
    failure: TaskFailure | None


@dataclass(frozen=True)
class DueTimeRow:
    """An accounted due time as it is shown."""

    due_at: datetime
    names: list[str]
    outcome: DueOutcome
    reason: str
    run_id: str | None
    decided_at: datetime
    acknowledged_at: datetime | None


class RunStore(Protocol):
    """Runs, tasks, documents and the keys that make requests idempotent."""

    async def claim(
        self, transaction: Transaction, occasion: Occasion, documents: Sequence[bytes]
    ) -> datetime | None:
        """Take the trigger key for this execution and keep `documents`; return the time.

        None when it was taken before; a concurrent claim is waited for.
        """
        ...

    async def claimed_by(self, transaction: Transaction, occasion: Occasion) -> str:
        """Return the workflow run id that holds the trigger key."""
        ...

    async def decision_of(self, transaction: Transaction, run_id: str) -> bytes | None:
        """Return the decision that stands; None when the run failed to decide."""
        ...

    async def lock_run(
        self, transaction: Transaction, run_id: str
    ) -> tuple[RunState, datetime] | None:
        """Lock a run until the transaction ends; return it as it then is, and the time."""
        ...

    async def run_of_task(self, transaction: Transaction, task_id: UUID) -> str | None:
        """Return the run that a task belongs to."""
        ...

    async def task_of(
        self, transaction: Transaction, run_id: str, task_id: UUID
    ) -> TaskState | None:
        """Return a task of a locked run."""
        ...

    async def open_automated(self, transaction: Transaction, run_id: str) -> list[TaskState]:
        """Return the automated tasks of a locked run that are open."""
        ...

    async def get_run(self, transaction: Transaction, run_id: str) -> RunRow | None:
        """Return a run."""
        ...

    async def documents(self, transaction: Transaction, sha256: Sequence[str]) -> dict[str, bytes]:
        """Return documents by their hash."""
        ...

    async def list_runs(
        self,
        transaction: Transaction,
        *,
        before: int | None,
        definition_id: str | None,
        status: RunStatus | None,
        limit: int,
    ) -> list[RunRow]:
        """Return runs, newest first, from before a position."""
        ...

    async def tasks_of_run(self, transaction: Transaction, run_id: str) -> list[TaskRow]:
        """Return the tasks of a run in the order of the decision."""
        ...

    async def get_task(self, transaction: Transaction, task_id: UUID) -> TaskRow | None:
        """Return a task."""
        ...

    async def list_tasks(
        self,
        transaction: Transaction,
        *,
        before: int | None,
        run_id: str | None,
        status: TaskStatus | None,
        task_type: TaskType | None,
        limit: int,
    ) -> list[TaskRow]:
        """Return tasks, newest first, from before a position."""
        ...

    async def claim_request(
        self,
        transaction: Transaction,
        *,
        method: str,
        request_id: str,
        fingerprint: str,
        actor: str,
        reason: str,
    ) -> str | None:
        """Take a request id; return None, or the fingerprint of the request that has it."""
        ...


class ScheduleStore(Protocol):
    """Epochs of schedules, the cursor of a definition, and its due times."""

    async def begin(
        self, transaction: Transaction, definition_id: str, effective_from: datetime
    ) -> None:
        """Make the definition's cursor, at `effective_from`, unless it has one; lock it."""
        ...

    async def lock_cursor(
        self, transaction: Transaction, definition_id: str
    ) -> tuple[datetime, datetime] | None:
        """Lock the cursor until the transaction ends; return it as it then is, and the time."""
        ...

    async def move_cursor(
        self, transaction: Transaction, definition_id: str, covered_until: datetime
    ) -> None:
        """Say that due times up to `covered_until` are accounted for."""
        ...

    async def latest_epoch(self, transaction: Transaction, definition_id: str) -> Epoch | None:
        """Return the newest epoch."""
        ...

    async def epochs_since(
        self, transaction: Transaction, definition_id: str, cursor: datetime
    ) -> list[Epoch]:
        """Return the epochs that are in force anywhere after `cursor`, oldest first."""
        ...

    async def add_epoch(
        self, transaction: Transaction, definition_id: str, epoch: Epoch, *, reason: str, actor: str
    ) -> None:
        """Write a new epoch."""
        ...

    async def has_open_run(self, transaction: Transaction, definition_id: str) -> bool:
        """Say whether a run that a due time asked for is not closed yet."""
        ...

    async def add_due_times(
        self,
        transaction: Transaction,
        definition_id: str,
        rows: Sequence[DueRow],
        *,
        decided_at: datetime,
    ) -> None:
        """Write due times; one that is accounted for already stays as it is."""
        ...

    async def lease(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        now: datetime,
        until: datetime,
        woken_for: datetime | None,
    ) -> list[LeasedRun]:
        """Lease the runs to start: new ones, those of this wake-up, those whose lease is over."""
        ...

    async def acknowledge(
        self, transaction: Transaction, definition_id: str, run_ids: Sequence[str]
    ) -> None:
        """Say that runs were started."""
        ...

    async def close_run(
        self, transaction: Transaction, definition_id: str, run_id: str, closed_at: datetime
    ) -> None:
        """Say that the run a due time asked for is closed."""
        ...

    async def list_due_times(
        self, transaction: Transaction, definition_id: str, *, before: datetime | None, limit: int
    ) -> list[DueTimeRow]:
        """Return due times, newest first, from before an instant."""
        ...
