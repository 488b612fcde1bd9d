"""`start_definition`: a run of another definition, once for a task.

The task's id is the request id, so that a second attempt finds the run of the first. The run goes
on with the chain of the run that started it: its hops end definitions that start one another.
"""

import grpc
from pydantic import BaseModel

from backbone.router.v1 import router_pb2, router_pb2_grpc
from contracts import canonical
from contracts.builtins import StartDefinitionInput
from contracts.catalogue import BuiltIn
from contracts.triggers import Chain
from runtime.faultpoints import faultpoint
from sdk.errors import PermanentError
from sdk.handlers import Handler, TaskContext, task_handler

_TIMEOUT_S = 10.0

_FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class Started(BaseModel):
    """Which run the task has started."""

    run_id: str
    definition_version: int


class RouterAwayError(Exception):
    """The router does not answer, or asks to come back."""


def start_definition(
    channel: grpc.aio.Channel,
    *,
    name: str = BuiltIn.START_DEFINITION,
    max_concurrency: int | None = None,
    rate_per_second: float | None = None,
) -> Handler[StartDefinitionInput]:
    """Return the handler that starts definitions by the router behind `channel`.

    A router that is away is tried again as the definition's `retry` says. A definition that is
    unknown, disabled or does not take the input, and a chain that is too long, fail it for good.
    """
    stub = router_pb2_grpc.RouterServiceStub(channel)

    @task_handler(name, max_concurrency=max_concurrency, rate_per_second=rate_per_second)
    async def start(asked: StartDefinitionInput, context: TaskContext) -> Started:
        chain = context.chain or Chain(correlation_id=context.run_id)
        request = router_pb2.TriggerDefinitionRequest(
            namespace=context.namespace,
            definition_id=asked.definition_id,
            input=b"" if asked.input is None else canonical.render(asked.input),
            request_id=context.idempotency_key,
            reason=f"task {context.task_id} of run {context.run_id}",
            chain=router_pb2.Chain(
                correlation_id=chain.correlation_id,
                causation_id=chain.causation_id or "",
                hops=chain.next_hops,
            ),
        )
        faultpoint("sdk.before_start_definition")
        try:
            response = await stub.TriggerDefinition(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            told = f"{exc.code().name}: {exc.details()}"
            if exc.code() in _FINAL:
                raise PermanentError(told) from exc
            raise RouterAwayError(told) from exc
        faultpoint("sdk.after_start_definition")
        return Started(run_id=response.run_id, definition_version=response.definition_version)

    return start
