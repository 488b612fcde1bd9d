# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.ScheduleService`: reads a request, calls a use case, tells the answer."""

from datetime import timedelta
from typing import Any

import grpc

from backbone.ledger.v1 import schedules_pb2 as pb
from backbone.ledger.v1 import schedules_pb2_grpc as pb_grpc
from contracts.definitions import Overlap
from contracts.roles import Role
from ledger.adapters import messages, pages, requests
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.requests import RequestReader
from ledger.domain.control import Order
from ledger.errors import InvalidRequestError
from ledger.service.schedule_control import ScheduleControl, ScheduleView
from ledger.service.schedule_explaining import ScheduleExplaining, Standing
from runtime import authorisation, identity

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["ScheduleService"].full_name

_READERS = {Role.VIEWER, Role.OPERATOR, Role.SERVICE}

POLICY = authorisation.policy(
    NAME,
    {
        "PauseSchedule": {Role.OPERATOR},
        "ResumeSchedule": {Role.OPERATOR},
        "TriggerSchedule": {Role.OPERATOR},
        "SkipNextDueTime": {Role.OPERATOR},
        "GetSchedule": _READERS,
        "ExplainDueTime": _READERS,
        "ListOverdueSchedules": _READERS,
    },
)

MAX_AGE = timedelta(days=30)

_OVERLAP_OF: dict["pb.OverlapPolicy.ValueType", Overlap] = {
    pb.OVERLAP_POLICY_SKIP: Overlap.SKIP,
    pb.OVERLAP_POLICY_BUFFER_ONE: Overlap.BUFFER_ONE,
    pb.OVERLAP_POLICY_BUFFER_ALL: Overlap.BUFFER_ALL,
    pb.OVERLAP_POLICY_ALLOW_ALL: Overlap.ALLOW_ALL,
    pb.OVERLAP_POLICY_CANCEL_OTHER: Overlap.CANCEL_OTHER,
}
_STANDING = {
    Standing.ACCOUNTED: pb.DUE_TIME_STANDING_ACCOUNTED,
    Standing.NOT_DUE: pb.DUE_TIME_STANDING_NOT_DUE,
    Standing.BEFORE_SCHEDULES: pb.DUE_TIME_STANDING_BEFORE_SCHEDULES,
    Standing.AHEAD: pb.DUE_TIME_STANDING_AHEAD,
    Standing.DISABLED: pb.DUE_TIME_STANDING_DISABLED,
    Standing.PAUSED: pb.DUE_TIME_STANDING_PAUSED,
    Standing.UNCOVERED: pb.DUE_TIME_STANDING_UNCOVERED,
    Standing.HALTED: pb.DUE_TIME_STANDING_HALTED,
}


class ScheduleServicer(pb_grpc.ScheduleServiceServicer):
    """Schedules, as operators and the sweep call them."""

    def __init__(
        self, schedules: ScheduleControl, explaining: ScheduleExplaining, *, reader: RequestReader
    ) -> None:
        self._schedules = schedules
        self._explaining = explaining
        self._reader = reader

    async def PauseSchedule(
        self, request: pb.PauseScheduleRequest, context: Context
    ) -> pb.PauseScheduleResponse:
        """Hold a definition's schedules."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            definition_id = requests.definition(request.definition_id)
            view = await self._schedules.pause(
                namespace=namespace, definition_id=definition_id, order=_order(request)
            )
        return pb.PauseScheduleResponse(schedule=_state(namespace, definition_id, view))

    async def ResumeSchedule(
        self, request: pb.ResumeScheduleRequest, context: Context
    ) -> pb.ResumeScheduleResponse:
        """Let held schedules go on."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            definition_id = requests.definition(request.definition_id)
            view = await self._schedules.resume(
                namespace=namespace, definition_id=definition_id, order=_order(request)
            )
        return pb.ResumeScheduleResponse(schedule=_state(namespace, definition_id, view))

    async def TriggerSchedule(
        self, request: pb.TriggerScheduleRequest, context: Context
    ) -> pb.TriggerScheduleResponse:
        """Have a trigger be due now."""
        with as_statuses():
            overlap = _OVERLAP_OF.get(request.overlap)
            if overlap is None:
                raise InvalidRequestError(
                    "overlap is missing: say what is to happen when a run is open"
                )
            row = await self._schedules.trigger(
                namespace=self._reader.namespace(request.namespace),
                definition_id=requests.definition(request.definition_id),
                name=requests.optional_text("trigger_name", request.trigger_name),
                overlap=overlap,
                order=_order(request),
            )
        return pb.TriggerScheduleResponse(due_time=messages.due_time(row))

    async def SkipNextDueTime(
        self, request: pb.SkipNextDueTimeRequest, context: Context
    ) -> pb.SkipNextDueTimeResponse:
        """Let the next due time not run."""
        with as_statuses():
            due_at = await self._schedules.skip_next(
                namespace=self._reader.namespace(request.namespace),
                definition_id=requests.definition(request.definition_id),
                order=_order(request),
            )
        return pb.SkipNextDueTimeResponse(due_at=messages.timestamp(due_at))

    async def GetSchedule(
        self, request: pb.GetScheduleRequest, context: Context
    ) -> pb.GetScheduleResponse:
        """Tell how a definition's schedules stand."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            definition_id = requests.definition(request.definition_id)
            view = await self._schedules.get(namespace=namespace, definition_id=definition_id)
        return pb.GetScheduleResponse(schedule=_state(namespace, definition_id, view))

    async def ExplainDueTime(
        self, request: pb.ExplainDueTimeRequest, context: Context
    ) -> pb.ExplainDueTimeResponse:
        """Say what became of an instant."""
        with as_statuses():
            found = await self._explaining.explain(
                namespace=self._reader.namespace(request.namespace),
                definition_id=requests.definition(request.definition_id),
                at=requests.moment("at", request.at),
            )
        return pb.ExplainDueTimeResponse(
            standing=_STANDING[found.standing],
            explanation=found.told,
            due_time=None if found.row is None else messages.due_time(found.row),
            due_before=messages.timestamp(found.due_before),
            due_after=messages.timestamp(found.due_after),
        )

    async def ListOverdueSchedules(
        self, request: pb.ListOverdueSchedulesRequest, context: Context
    ) -> pb.ListOverdueSchedulesResponse:
        """List definitions that a tick is owed."""
        with as_statuses():
            rows = await self._schedules.overdue(
                namespace=self._reader.namespace(request.namespace),
                min_age=requests.duration("min_age", request.min_age, timedelta(0), MAX_AGE),
                limit=pages.size(request.page_size),
            )
        return pb.ListOverdueSchedulesResponse(
            schedules=[
                pb.OverdueSchedule(
                    definition_id=row.definition_id, since=messages.timestamp(row.since)
                )
                for row in rows
            ]
        )


def _order(
    request: pb.PauseScheduleRequest
    | pb.ResumeScheduleRequest
    | pb.TriggerScheduleRequest
    | pb.SkipNextDueTimeRequest,
) -> Order:
    return Order(
        request_id=requests.request_id(request.request_id),
        actor=identity.current_identity().subject,
        reason=requests.text("reason", request.reason),
    )


def _state(namespace: str, definition_id: str, view: ScheduleView) -> pb.ScheduleState:
    pause = view.pause
    return pb.ScheduleState(
        namespace=namespace,
        definition_id=definition_id,
        definition_version=view.epoch.definition_version,
        trigger_names=sorted(view.epoch.schedules),
        enabled=view.epoch.enabled,
        covered_until=messages.timestamp(view.coverage.covered_until),
        next_at=messages.timestamp(view.coverage.next_at),
        pause=None
        if pause is None
        else pb.SchedulePause(
            paused_at=messages.timestamp(pause.paused_at),
            paused_by=pause.paused_by,
            reason=pause.pause_reason,
        ),
        skips=[
            pb.SkippedDueTime(
                due_at=messages.timestamp(one.due_at), actor=one.actor, reason=one.reason
            )
            for one in view.skips
        ],
        waiting=view.waiting,
        open_run_ids=view.open_runs,
    )
