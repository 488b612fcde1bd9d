"""Tasks as the commands see them: one method a call, messages out, errors as sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from cli import paging
from cli.calls import Calls
from contracts.decisions import TaskStatus


class TaskKind(StrEnum):
    """Who does a task."""

    AUTOMATED = "automated"
    HUMAN = "human"


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks are meant; of `user`, `group` and `mine` at most one."""

    run_id: str = ""
    status: TaskStatus | None = None
    kind: TaskKind | None = None
    user: str = ""
    group: str = ""
    mine: bool = False


@dataclass(frozen=True)
class TaskRequest:
    """A change of a task: the same `request_id` is the same change; `version` 0 is any."""

    task_id: str
    request_id: str
    reason: str = ""
    version: int = 0


class Inbox(Calls["ledger_pb2_grpc.TaskServiceAsyncStub"]):
    """The calls about tasks for one namespace. Every method raises CliError."""

    stub = ledger_pb2_grpc.TaskServiceStub

    async def tasks(self, wanted: TaskFilter, *, limit: int) -> list[ledger_pb2.Task]:
        """Return at most `limit` tasks, newest first."""
        request = ledger_pb2.ListTasksRequest(
            namespace=self._namespace,
            run_id=wanted.run_id,
            status=ledger_pb2.TaskStatus.Value(f"TASK_STATUS_{_name(wanted.status)}"),
            type=ledger_pb2.TaskType.Value(f"TASK_TYPE_{_name(wanted.kind)}"),
            assigned_user=wanted.user,
            assigned_group=wanted.group,
            mine=wanted.mine,
        )
        return await paging.gathered(
            request,
            lambda: self._ask(self._stub.ListTasks(request)),
            items=lambda page: page.tasks,
            limit=limit,
        )

    async def task(self, task_id: str) -> ledger_pb2.Task:
        """Return a task."""
        request = ledger_pb2.GetTaskRequest(namespace=self._namespace, task_id=task_id)
        return (await self._ask(self._stub.GetTask(request))).task

    async def changes(self, task_id: str, *, limit: int) -> list[ledger_pb2.TaskChange]:
        """Return at most `limit` of what happened to a human task, oldest first."""
        request = ledger_pb2.ListTaskChangesRequest(
            namespace=self._namespace,
            task_id=task_id,
        )
        return await paging.gathered(
            request,
            lambda: self._ask(self._stub.ListTaskChanges(request)),
            items=lambda page: page.changes,
            limit=limit,
        )

    async def claim(self, asked: TaskRequest) -> ledger_pb2.Task:
        """Take a human task."""
        request = ledger_pb2.ClaimTaskRequest(**self._fields(asked))
        return (await self._ask(self._stub.ClaimTask(request))).task

    async def release(self, asked: TaskRequest) -> ledger_pb2.Task:
        """Give a claimed task back."""
        request = ledger_pb2.ReleaseTaskRequest(**self._fields(asked))
        return (await self._ask(self._stub.ReleaseTask(request))).task

    async def complete(self, asked: TaskRequest, *, answer: bytes) -> ledger_pb2.Task:
        """Complete a human task with an answer (JSON) that fits its form."""
        request = ledger_pb2.CompleteTaskRequest(answer=answer, **self._fields(asked))
        return (await self._ask(self._stub.CompleteTask(request))).task

    async def cancel(self, asked: TaskRequest) -> ledger_pb2.Task:
        """Close a human task that is not wanted any more."""
        request = ledger_pb2.CancelTaskRequest(**self._fields(asked))
        return (await self._ask(self._stub.CancelTask(request))).task

    async def reassign(
        self, asked: TaskRequest, *, users: Sequence[str], groups: Sequence[str]
    ) -> ledger_pb2.Task:
        """Give a human task to others."""
        request = ledger_pb2.ReassignTaskRequest(
            assigned_users=users, assigned_groups=groups, **self._fields(asked)
        )
        return (await self._ask(self._stub.ReassignTask(request))).task

    async def comment(self, task_id: str, *, comment: str, request_id: str) -> ledger_pb2.Task:
        """Write something about a human task."""
        request = ledger_pb2.CommentTaskRequest(
            namespace=self._namespace, task_id=task_id, comment=comment, request_id=request_id
        )
        return (await self._ask(self._stub.CommentTask(request))).task

    def _fields(self, asked: TaskRequest) -> dict[str, Any]:
        return {
            "namespace": self._namespace,
            "task_id": asked.task_id,
            "request_id": asked.request_id,
            "reason": asked.reason,
            "version": asked.version,
        }


def _name(word: StrEnum | None) -> str:
    return "UNSPECIFIED" if word is None else word.name
