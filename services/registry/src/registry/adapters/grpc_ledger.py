"""The ledger, over gRPC: it is told which schedules count, and from when on."""

import grpc

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts import canonical
from registry.domain.materialisation import Desired
from registry.errors import MaterialisationError, NeighbourUnavailableError
from runtime.faultpoints import faultpoint

# What another attempt cannot cure until the definition or one of the two services changes.
_REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.INTERNAL,
    }
)


class GrpcScheduleLedger:
    """`LedgerService.PutSchedule`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._ledger = ledger_pb2_grpc.LedgerServiceStub(channel)

    async def put(self, desired: Desired) -> None:
        """Say from when on which schedules of a definition count.

        Raises:
            NeighbourUnavailableError: the ledger does not answer, or takes nothing from us.
            MaterialisationError: it refuses this definition's.
        """
        schedules = {
            name: schedule.model_dump(mode="json", by_alias=True, exclude_none=True)
            for name, schedule in desired.schedules.items()
        }
        request = ledger_pb2.PutScheduleRequest(
            namespace=desired.namespace,
            definition_id=desired.definition_id,
            definition_version=desired.version,
            schedules=canonical.render(schedules),
            task_queue=desired.task_queue,
            enabled=desired.enabled,
            reason=desired.reason,
        )
        request.effective_from.FromDatetime(desired.effective_from)
        try:
            faultpoint("registry.before_put_schedule")
            await self._ledger.PutSchedule(request)
            faultpoint("registry.after_put_schedule")
        except grpc.aio.AioRpcError as exc:
            told = f"{exc.code().name}: {exc.details()}"
            if exc.code() in _REFUSALS:
                raise MaterialisationError(f"the ledger refuses the schedules: {told}") from exc
            raise NeighbourUnavailableError("the ledger", told) from exc
