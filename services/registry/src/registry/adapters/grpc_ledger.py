"""The ledger, over gRPC: it is told which schedules count, and what becomes of held events."""

import grpc

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc, routing_pb2, routing_pb2_grpc
from contracts import canonical, identifiers
from contracts.resources import HeldEvents
from registry.domain.materialisation import Desired, Release
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


_CHOICES = {
    HeldEvents.START: routing_pb2.HELD_CHOICE_START,
    HeldEvents.COMPRESS: routing_pb2.HELD_CHOICE_COMPRESS,
    HeldEvents.DISCARD: routing_pb2.HELD_CHOICE_DISCARD,
}


class GrpcScheduleLedger:
    """`LedgerService.PutSchedule` and `RoutingService.ReleaseHeldEvents`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._ledger = ledger_pb2_grpc.LedgerServiceStub(channel)
        self._routing = routing_pb2_grpc.RoutingServiceStub(channel)

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

    async def release(self, release: Release) -> None:
        """Say what becomes of the events that a definition held.

        Raises:
            NeighbourUnavailableError: the ledger does not answer, or takes nothing from us.
            MaterialisationError: it refuses.
        """
        request = routing_pb2.ReleaseHeldEventsRequest(
            namespace=release.namespace,
            definition_id=release.definition_id,
            choice=_CHOICES[release.held],
            request_id=identifiers.short_hash(release.definition_id, str(release.revision)),
            actor=release.actor,
            reason=release.reason,
            definition_revision=release.revision,
        )
        try:
            faultpoint("registry.before_release_held")
            await self._routing.ReleaseHeldEvents(request)
            faultpoint("registry.after_release_held")
        except grpc.aio.AioRpcError as exc:
            told = f"{exc.code().name}: {exc.details()}"
            if exc.code() in _REFUSALS:
                raise MaterialisationError(f"the ledger refuses the release: {told}") from exc
            raise NeighbourUnavailableError("the ledger", told) from exc
