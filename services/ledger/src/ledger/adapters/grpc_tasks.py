# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.TaskService`: tasks, and the inbox of the human ones."""

from typing import Any

import grpc

from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from contracts import canonical
from contracts.roles import Role
from ledger.adapters import messages, pages, requests
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.requests import RequestReader
from ledger.service.runs import RunLedger
from runtime import authorisation, identity

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["TaskService"].full_name

POLICY = authorisation.policy(
    NAME,
    {
        "ListTasks": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "GetTask": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "CompleteTask": {Role.OPERATOR},
    },
)

_TASK_STATUS_OF = {message: status for status, message in messages.TASK_STATUS.items()}
_TASK_TYPE_OF = {message: kind for kind, message in messages.TASK_TYPE.items()}


class TaskServicer(pb_grpc.TaskServiceServicer):
    """Tasks, as people and their tools call it."""

    def __init__(self, *, runs: RunLedger, reader: RequestReader) -> None:
        self._runs = runs
        self._reader = reader

    async def ListTasks(
        self, request: pb.ListTasksRequest, context: Context
    ) -> pb.ListTasksResponse:
        """List tasks, newest first."""
        with as_statuses():
            size = pages.size(request.page_size)
            filters = (
                "tasks",
                request.namespace,
                request.run_id,
                str(request.status),
                str(request.type),
            )
            rows, last = pages.split(
                await self._runs.list_tasks(
                    namespace=self._reader.namespace(request.namespace),
                    before=pages.position(request.page_token, *filters),
                    run_id=requests.run_id(request.run_id) if request.run_id else None,
                    status=requests.one_of("status", request.status, _TASK_STATUS_OF),
                    task_type=requests.one_of("type", request.type, _TASK_TYPE_OF),
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
            row = await self._runs.get_task(
                namespace=self._reader.namespace(request.namespace),
                task_id=requests.task_id(request.task_id),
            )
        return pb.GetTaskResponse(task=messages.task(row))

    async def CompleteTask(
        self, request: pb.CompleteTaskRequest, context: Context
    ) -> pb.CompleteTaskResponse:
        """Complete an open human task."""
        with as_statuses():
            answer = requests.answer(request.answer)
            row = await self._runs.complete_task(
                namespace=self._reader.namespace(request.namespace),
                task_id=requests.task_id(request.task_id),
                answer=answer,
                answer_body=canonical.render(answer),
                request_id=requests.request_id(request.request_id),
                actor=identity.current_identity().subject,
                reason=requests.optional_text("reason", request.reason),
            )
        return pb.CompleteTaskResponse(task=messages.task(row))
