"""The gRPC edge of how schedules stand; it changes nothing."""

from collections.abc import Mapping
from typing import Any

import grpc

from backbone.registry.v1 import schedules_pb2 as pb
from backbone.registry.v1 import schedules_pb2_grpc
from contracts.roles import Role
from registry.adapters import messages, statuses
from registry.adapters.messages import timestamp
from registry.domain.mending import Difference, DriftKind
from registry.errors import InvalidRequestError
from registry.ports import FoundDrift, Lease
from registry.service.schedule_views import ScheduleState, ScheduleView, ScheduleViews
from runtime import authorisation
from runtime.grpcserver import Service

NAME = "backbone.registry.v1.ScheduleService"

_READERS = {Role.VIEWER, Role.OPERATOR, Role.AUTHOR}
POLICY = authorisation.policy(
    NAME,
    {"ListSchedules": _READERS, "GetSchedule": _READERS, "ListScheduleDrifts": _READERS},
)

_MAX_TEXT = 1000
_MAX_FACT = 4000
_STATES: dict["pb.ScheduleState.ValueType", ScheduleState] = {
    pb.SCHEDULE_STATE_ACTIVE: ScheduleState.ACTIVE,
    pb.SCHEDULE_STATE_PAUSED: ScheduleState.PAUSED,
    pb.SCHEDULE_STATE_PENDING: ScheduleState.PENDING,
    pb.SCHEDULE_STATE_REFUSED: ScheduleState.REFUSED,
    pb.SCHEDULE_STATE_DRIFTED: ScheduleState.DRIFTED,
}
_STATE_OF = {state: number for number, state in _STATES.items()}
_KINDS = {
    DriftKind.MISSING: pb.SCHEDULE_DRIFT_KIND_MISSING,
    DriftKind.DIFFERENT: pb.SCHEDULE_DRIFT_KIND_DIFFERENT,
    DriftKind.UNEXPECTED: pb.SCHEDULE_DRIFT_KIND_UNEXPECTED,
}

Context = grpc.aio.ServicerContext[Any, Any]


class ScheduleServicer(schedules_pb2_grpc.ScheduleServiceServicer):
    """`ScheduleService` over the views."""

    def __init__(self, views: ScheduleViews) -> None:
        self._views = views

    async def ListSchedules(  # noqa: N802 - the proto's name
        self, request: pb.ListSchedulesRequest, context: Context
    ) -> pb.ListSchedulesResponse:
        """Return a page of definitions that a clock wakes."""
        del context
        with statuses.told():
            page = await self._views.list(
                request.namespace,
                state=_state(request.state),
                page_size=request.page_size,
                page_token=request.page_token,
            )
        return pb.ListSchedulesResponse(
            schedules=[_schedule(view) for view in page.schedules],
            next_page_token=page.next_token,
        )

    async def GetSchedule(  # noqa: N802 - the proto's name
        self, request: pb.GetScheduleRequest, context: Context
    ) -> pb.GetScheduleResponse:
        """Return one definition's, looked at in Temporal."""
        del context
        with statuses.told():
            found = await self._views.get(request.namespace, request.definition_id)
        return pb.GetScheduleResponse(
            schedule=_schedule(found.brief),
            wanted=_facts(found.wanted),
            found=_facts(found.found),
            differences=[_difference(one) for one in found.differences],
            next_due=[timestamp(due) for due in found.next_due],
            reconciler=_reconciler(found.lease),
            drifts=[_drift(one) for one in found.drifts],
        )

    async def ListScheduleDrifts(  # noqa: N802 - the proto's name
        self, request: pb.ListScheduleDriftsRequest, context: Context
    ) -> pb.ListScheduleDriftsResponse:
        """Return a page of what was changed by hand."""
        del context
        with statuses.told():
            page = await self._views.drifts(
                request.namespace,
                definition_id=request.definition_id,
                page_size=request.page_size,
                page_token=request.page_token,
            )
        return pb.ListScheduleDriftsResponse(
            drifts=[_drift(one) for one in page.drifts],
            next_page_token=page.next_token,
            reconciler=_reconciler(page.lease),
        )


def grpc_service(views: ScheduleViews) -> Service:
    """Return what a gRPC server needs to tell how schedules stand."""
    return Service(
        name=NAME,
        add=schedules_pb2_grpc.add_ScheduleServiceServicer_to_server,
        servicer=ScheduleServicer(views),
        policy=POLICY,
    )


def _state(number: "pb.ScheduleState.ValueType") -> ScheduleState | None:
    if number == pb.SCHEDULE_STATE_UNSPECIFIED:
        return None
    found = _STATES.get(number)
    if found is None:
        raise InvalidRequestError("state", f"is one of {', '.join(ScheduleState)}")
    return found


def _schedule(view: ScheduleView) -> pb.Schedule:
    return pb.Schedule(
        definition_id=view.definition_id,
        state=_STATE_OF[view.state],
        version=view.version,
        revision=view.revision,
        attempted_at=None if view.attempted_at is None else timestamp(view.attempted_at),
        detail=messages.cut(view.detail, _MAX_TEXT),
    )


def _facts(facts: Mapping[str, str]) -> dict[str, str]:
    return {path: messages.cut(value, _MAX_FACT) for path, value in facts.items()}


def _difference(source: Difference) -> pb.ScheduleDifference:
    return pb.ScheduleDifference(path=source.path, wanted=source.wanted, found=source.found)


def _drift(source: FoundDrift) -> pb.ScheduleDrift:
    return pb.ScheduleDrift(
        definition_id=source.definition_id,
        kind=_KINDS[source.kind],
        differences=[_difference(one) for one in source.differences],
        revision=source.revision,
        found_at=timestamp(source.found_at),
        repaired_at=None if source.repaired_at is None else timestamp(source.repaired_at),
    )


def _reconciler(lease: Lease | None) -> pb.ReconcilerStatus | None:
    if lease is None:
        return None
    return pb.ReconcilerStatus(
        leader=lease.holder if lease.leads else "",
        term=lease.term,
        compared_at=None if lease.compared_at is None else timestamp(lease.compared_at),
    )
