"""The gRPC edge of what Temporal said of task queues; it changes nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc

from backbone.registry.v1 import task_queues_pb2 as pb
from backbone.registry.v1 import task_queues_pb2_grpc
from contracts.roles import Role
from registry.adapters import statuses
from registry.adapters.messages import timestamp
from registry.domain.task_queues import QueueState, QueueStates, TaskKind
from registry.service import requests
from runtime import authorisation
from runtime.grpcserver import Service

NAME = "backbone.registry.v1.TaskQueueService"
POLICY = authorisation.policy(NAME, {"ListTaskQueues": {Role.VIEWER, Role.OPERATOR, Role.AUTHOR}})

_KINDS = {
    TaskKind.WORKFLOW: pb.TASK_KIND_WORKFLOW,
    TaskKind.ACTIVITY: pb.TASK_KIND_ACTIVITY,
}

Found = Mapping[str, Callable[[], QueueStates]]
"""What was last found, by namespace."""
Context = grpc.aio.ServicerContext[Any, Any]


class TaskQueueServicer(task_queues_pb2_grpc.TaskQueueServiceServicer):
    """`TaskQueueService` over what the watches found."""

    def __init__(self, found: Found) -> None:
        self._found = found

    async def ListTaskQueues(  # noqa: N802 - the proto's name
        self, request: pb.ListTaskQueuesRequest, context: Context
    ) -> pb.ListTaskQueuesResponse:
        """Return every queue that is asked of."""
        del context
        with statuses.told():
            requests.require_served(request.namespace, list(self._found))
            found = self._found[request.namespace]()
        return pb.ListTaskQueuesResponse(
            task_queues=[_queue(one) for one in found.states],
            asked_at=None if found.asked_at is None else timestamp(found.asked_at),
            unwatched=found.unwatched,
        )


def grpc_service(found: Found) -> Service:
    """Return what a gRPC server needs to tell of task queues."""
    return Service(
        name=NAME,
        add=task_queues_pb2_grpc.add_TaskQueueServiceServicer_to_server,
        servicer=TaskQueueServicer(found),
        policy=POLICY,
    )


def _queue(source: QueueState) -> pb.TaskQueue:
    message = pb.TaskQueue(
        name=source.name,
        kind=_KINDS[source.kind],
        backlog=source.backlog,
        pollers=source.pollers,
        definition_ids=source.definition_ids,
        definitions=source.definitions,
    )
    message.backlog_age.FromTimedelta(source.age)
    return message
