# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.TaskService`: tasks, and the inbox of the human ones."""

from typing import Any, Protocol

import grpc

from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from contracts import canonical
from contracts.roles import Role
from ledger.adapters import messages, pages, requests
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.requests import RequestReader
from ledger.domain import tasks as domain
from ledger.domain.tasks import Person
from ledger.service.tasks import Request, TaskLedger
from runtime import authorisation, identity

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["TaskService"].full_name

_OVERSEERS = frozenset({Role.VIEWER, Role.OPERATOR, Role.SERVICE})
_SEE = _OVERSEERS | {Role.ASSIGNEE}
_ACT = frozenset({Role.OPERATOR, Role.ASSIGNEE})

POLICY = authorisation.policy(
    NAME,
    {
        "ListTasks": _SEE,
        "GetTask": _SEE,
        "ListTaskChanges": _SEE,
        "ClaimTask": _ACT,
        "ReleaseTask": _ACT,
        "CompleteTask": _ACT,
        "CancelTask": {Role.OPERATOR},
        "ReassignTask": _ACT,
        "CommentTask": _ACT,
        "AdvanceTask": {Role.SERVICE},
    },
)

_TASK_STATUS_OF = {message: status for status, message in messages.TASK_STATUS.items()}
_TASK_TYPE_OF = {message: kind for kind, message in messages.TASK_TYPE.items()}


class _Change(Protocol):
    """What the requests of changes have in common."""

    namespace: str
    task_id: str
    request_id: str


class TaskServicer(pb_grpc.TaskServiceServicer):
    """Tasks, as people and their tools call it."""

    def __init__(self, *, tasks: TaskLedger, reader: RequestReader) -> None:
        self._tasks = tasks
        self._reader = reader

    async def ListTasks(
        self, request: pb.ListTasksRequest, context: Context
    ) -> pb.ListTasksResponse:
        """List tasks, newest first."""
        with as_statuses():
            size = pages.size(request.page_size)
            caller = _caller()
            due_before = (
                requests.moment("due_before", request.due_before)
                if request.HasField("due_before")
                else None
            )
            filters = (
                "tasks",
                request.namespace,
                request.run_id,
                str(request.status),
                str(request.type),
                request.assigned_user,
                request.assigned_group,
                caller.subject if request.mine or not caller.overseer else "",
                request.definition_id,
                due_before.isoformat() if due_before else "",
            )
            rows, last = pages.split(
                await self._tasks.page(
                    namespace=self._reader.namespace(request.namespace),
                    before=pages.position(request.page_token, *filters),
                    run_id=requests.run_id(request.run_id) if request.run_id else None,
                    status=requests.one_of("status", request.status, _TASK_STATUS_OF),
                    task_type=requests.one_of("type", request.type, _TASK_TYPE_OF),
                    definition_id=requests.definition(request.definition_id)
                    if request.definition_id
                    else None,
                    due_before=due_before,
                    whose=domain.visible(
                        caller,
                        user=requests.optional_text("assigned_user", request.assigned_user),
                        group=requests.optional_text("assigned_group", request.assigned_group),
                        mine=request.mine,
                    ),
                    limit=size + 1,
                ),
                size,
                weigh=lambda row: len(row.input) + len(row.form or b"") + len(row.output or b""),
            )
        return pb.ListTasksResponse(
            tasks=[messages.task(row) for row in rows],
            next_page_token=pages.token(str(last.position), *filters) if last else "",
        )

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.GetTaskResponse:
        """Tell everything of a task."""
        with as_statuses():
            row = await self._tasks.get(
                namespace=self._reader.namespace(request.namespace),
                task_id=requests.task_id(request.task_id),
                person=_caller(),
            )
        return pb.GetTaskResponse(task=messages.task(row))

    async def ListTaskChanges(
        self, request: pb.ListTaskChangesRequest, context: Context
    ) -> pb.ListTaskChangesResponse:
        """List what happened to a human task, oldest first."""
        with as_statuses():
            size = pages.size(request.page_size)
            filters = ("task changes", request.namespace, request.task_id)
            rows, last = pages.split(
                await self._tasks.changes(
                    namespace=self._reader.namespace(request.namespace),
                    task_id=requests.task_id(request.task_id),
                    person=_caller(),
                    after=pages.position(request.page_token, *filters) or 0,
                    limit=size + 1,
                ),
                size,
                weigh=lambda row: len(row.comment or "") + len(row.reason or ""),
            )
        return pb.ListTaskChangesResponse(
            changes=[messages.task_change(row) for row in rows],
            next_page_token=pages.token(str(last.position), *filters) if last else "",
        )

    async def ClaimTask(
        self, request: pb.ClaimTaskRequest, context: Context
    ) -> pb.ClaimTaskResponse:
        """Take a human task."""
        with as_statuses():
            row = await self._tasks.claim(
                self._asked(request, version=request.version, reason=_optional(request.reason))
            )
        return pb.ClaimTaskResponse(task=messages.task(row))

    async def ReleaseTask(
        self, request: pb.ReleaseTaskRequest, context: Context
    ) -> pb.ReleaseTaskResponse:
        """Give a claimed task back."""
        with as_statuses():
            row = await self._tasks.release(
                self._asked(request, version=request.version, reason=_optional(request.reason))
            )
        return pb.ReleaseTaskResponse(task=messages.task(row))

    async def CompleteTask(
        self, request: pb.CompleteTaskRequest, context: Context
    ) -> pb.CompleteTaskResponse:
        """Complete an open human task."""
        with as_statuses():
            answer = requests.answer(request.answer)
            row = await self._tasks.complete(
                self._asked(request, version=request.version, reason=_optional(request.reason)),
                answer=answer,
                answer_body=canonical.render(answer),
            )
        return pb.CompleteTaskResponse(task=messages.task(row))

    async def CancelTask(
        self, request: pb.CancelTaskRequest, context: Context
    ) -> pb.CancelTaskResponse:
        """Close a human task that is not wanted any more."""
        with as_statuses():
            row = await self._tasks.cancel(
                self._asked(request, version=request.version, reason=_required(request.reason))
            )
        return pb.CancelTaskResponse(task=messages.task(row))

    async def ReassignTask(
        self, request: pb.ReassignTaskRequest, context: Context
    ) -> pb.ReassignTaskResponse:
        """Give a human task to others."""
        with as_statuses():
            row = await self._tasks.reassign(
                self._asked(request, version=request.version, reason=_required(request.reason)),
                to=requests.assignees(request.assigned_users, request.assigned_groups),
            )
        return pb.ReassignTaskResponse(task=messages.task(row))

    async def CommentTask(
        self, request: pb.CommentTaskRequest, context: Context
    ) -> pb.CommentTaskResponse:
        """Write something about a human task."""
        with as_statuses():
            row = await self._tasks.comment(
                self._asked(request),
                comment=requests.text("comment", request.comment, requests.MAX_COMMENT_LENGTH),
            )
        return pb.CommentTaskResponse(task=messages.task(row))

    async def AdvanceTask(
        self, request: pb.AdvanceTaskRequest, context: Context
    ) -> pb.AdvanceTaskResponse:
        """Carry out what the clock asks of a human task by now."""
        with as_statuses():
            next_at = await self._tasks.advance(
                namespace=self._reader.namespace(request.namespace),
                task_id=requests.task_id(request.task_id),
                woken_for=requests.moment("woken_for", request.woken_for)
                if request.HasField("woken_for")
                else None,
            )
        return pb.AdvanceTaskResponse(next_at=messages.timestamp(next_at))

    def _asked(self, request: _Change, *, version: int = 0, reason: str = "") -> Request:
        return Request(
            namespace=self._reader.namespace(request.namespace),
            task_id=requests.task_id(request.task_id),
            person=_caller(),
            request_id=requests.request_id(request.request_id),
            version=requests.version(version),
            reason=reason,
        )


def _caller() -> Person:
    caller = identity.current_identity()
    return Person(
        subject=caller.subject,
        user=caller.user,
        groups=caller.groups,
        operator=Role.OPERATOR in caller.roles,
        overseer=not _OVERSEERS.isdisjoint(caller.roles),
    )


def _optional(reason: str) -> str:
    return requests.optional_text("reason", reason)


def _required(reason: str) -> str:
    return requests.text("reason", reason)
