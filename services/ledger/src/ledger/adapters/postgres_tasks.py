"""Tasks, and what happened to the human ones, in PostgreSQL."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from contracts.decisions import TaskStatus
from contracts.definitions import Assignees
from contracts.runs import TaskFailure
from ledger.domain.runs import TaskType
from ledger.domain.tasks import Assignment, HumanTask
from ledger.domain.timers import Timers
from ledger.ports.tasks import TaskChangeRow, TaskRow
from runtime import sqlfiles
from runtime.postgres import Transaction


class PostgresTaskStore:
    """`ports.tasks.TaskStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "tasks")

    async def run_of(self, transaction: Transaction, task_id: UUID) -> str | None:
        """Return the run that a task belongs to."""
        run_id: str | None = await transaction.fetchval(
            self._sql["run_of_task"], transaction.namespace, task_id
        )
        return run_id

    async def open_human_ages(self, transaction: Transaction, *, limit: int) -> list[timedelta]:
        """Return how long the human tasks have been open that were created first."""
        rows = await transaction.fetch(self._sql["open_human_ages"], transaction.namespace, limit)
        return [row["age"] for row in rows]

    async def of_locked_run(self, transaction: Transaction, task_id: UUID) -> HumanTask | None:
        """Return a task whose run this transaction has locked, as it stands."""
        row = await transaction.fetchrow(self._sql["lock_task"], transaction.namespace, task_id)
        if row is None:
            return None
        fields = dict(row)
        users, groups = fields.pop("escalates_to_users"), fields.pop("escalates_to_groups")
        timers = Timers(
            due_at=fields.pop("due_at"),
            remind_at=fields.pop("remind_at"),
            escalates_at=fields.pop("escalates_at"),
            escalates_to=Assignees(users=users, groups=groups) if users or groups else None,
            expires_at=fields.pop("expires_at"),
            advanced_until=fields.pop("advanced_until"),
        )
        status = TaskStatus(fields.pop("status"))
        return HumanTask(**fields, status=status, timers=timers)

    async def get(self, transaction: Transaction, task_id: UUID) -> TaskRow | None:
        """Return a task."""
        row = await transaction.fetchrow(self._sql["get_task"], transaction.namespace, task_id)
        return None if row is None else task_row(row)

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
        arguments: list[Any] = [transaction.namespace, before, run_id]
        if whose is not None and status is TaskStatus.OPEN and task_type in (None, "human"):
            rows = await transaction.fetch(
                self._sql["list_inbox"],
                *arguments,
                limit,
                whose.users,
                whose.groups,
                whose.claimed_by,
                definition_id,
                due_before,
            )
        else:
            rows = await transaction.fetch(
                self._sql["list_tasks"],
                *arguments,
                status,
                task_type,
                limit,
                whose.users if whose is not None else None,
                whose.groups if whose is not None else None,
                whose.claimed_by if whose is not None else None,
                definition_id,
                due_before,
            )
        return [task_row(row) for row in rows]

    async def changes(
        self, transaction: Transaction, task_id: UUID, *, after: int, limit: int
    ) -> list[TaskChangeRow]:
        """Return what happened to a task, oldest first, from after a position."""
        rows = await transaction.fetch(
            self._sql["list_changes"], transaction.namespace, task_id, after, limit
        )
        return [TaskChangeRow(**dict(row)) for row in rows]


def task_row(row: asyncpg.Record) -> TaskRow:
    """Return the task of a row."""
    fields = dict(row)
    failed = failure(fields)
    status = TaskStatus(fields.pop("status"))
    return TaskRow(**fields, status=status, failure=failed)


def failure(fields: dict[str, Any]) -> TaskFailure | None:
    """Take a failure's columns out of those of a run or a task, and return it."""
    kind, message = fields.pop("failure_type"), fields.pop("failure_message")
    return None if kind is None else TaskFailure(type=kind, message=message)
