"""Tasks, as they are kept and shown."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from contracts.decisions import TaskStatus
from contracts.runs import TaskFailure
from ledger.domain.runs import TaskType
from ledger.domain.tasks import Assignment, HumanTask
from runtime.postgres import Transaction


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
    version: int
    handler: str | None
    title: str | None
    assigned_users: list[str]
    assigned_groups: list[str]
    claimed_by: str | None
    claimed_at: datetime | None
    created_at: datetime
    due_at: datetime | None
    remind_at: list[datetime]
    escalates_at: datetime | None
    expires_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    input: bytes
    form: bytes | None
    output: bytes | None
    failure: TaskFailure | None
    generation: int


@dataclass(frozen=True)
class TaskChangeRow:
    """One thing that happened to a human task, as it is shown."""

    position: int
    event_type: str
    event_id: UUID
    occurred_at: datetime
    actor: str | None
    reason: str | None
    comment: str | None
    assigned_users: list[str]
    assigned_groups: list[str]


class TaskStore(Protocol):
    """Tasks, and what happened to the human ones."""

    async def run_of(self, transaction: Transaction, task_id: UUID) -> str | None:
        """Return the run that a task belongs to."""
        ...

    async def of_locked_run(self, transaction: Transaction, task_id: UUID) -> HumanTask | None:
        """Return a task whose run this transaction has locked, as it stands."""
        ...

    async def get(self, transaction: Transaction, task_id: UUID) -> TaskRow | None:
        """Return a task."""
        ...

    async def page(
        self,
        transaction: Transaction,
        *,
        before: int | None,
        run_id: str | None,
        status: TaskStatus | None,
        task_type: TaskType | None,
        definition_id: str | None,
        due_before: datetime | None,
        whose: Assignment | None,
        limit: int,
    ) -> list[TaskRow]:
        """Return tasks, newest first, from before a position."""
        ...

    async def open_human_ages(self, transaction: Transaction, *, limit: int) -> list[timedelta]:
        """Return how long the human tasks have been open that were created first."""
        ...

    async def changes(
        self, transaction: Transaction, task_id: UUID, *, after: int, limit: int
    ) -> list[TaskChangeRow]:
        """Return what happened to a task, oldest first, from after a position."""
        ...
