"""Task queues, as the commands see them: one method a call, errors as sentences."""

from backbone.registry.v1 import task_queues_pb2, task_queues_pb2_grpc
from cli.calls import Calls


class TaskQueues(Calls["task_queues_pb2_grpc.TaskQueueServiceAsyncStub"]):
    """The calls about task queues of one namespace. Every method raises CliError."""

    stub = task_queues_pb2_grpc.TaskQueueServiceStub

    async def list(self) -> task_queues_pb2.ListTaskQueuesResponse:
        """Return what Temporal last said of every queue that definitions name."""
        request = task_queues_pb2.ListTaskQueuesRequest(namespace=self._namespace)
        return await self._ask(self._stub.ListTaskQueues(request))
