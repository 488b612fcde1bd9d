# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.RoutingService`: one module of calls for each concern."""

from typing import Any

import grpc

from backbone.ledger.v1 import routing_pb2 as pb
from backbone.ledger.v1 import routing_pb2_grpc as pb_grpc
from contracts.roles import Role
from ledger.adapters.dead_letter_calls import DeadLetterCalls
from ledger.adapters.decision_calls import DecisionCalls
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.pending_calls import PendingCalls
from runtime import authorisation

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["RoutingService"].full_name

POLICY = authorisation.policy(
    NAME,
    {
        "RecordRouting": {Role.SERVICE},
        "ListRoutingDecisions": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "GetUnroutedRange": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "ResolveDeadLetters": {Role.SERVICE},
        "ListDeadLetterResolutions": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "RecordDeadLetterOpening": {Role.SERVICE},
        "ListDeadLetterOpenings": {Role.OPERATOR, Role.SERVICE},
        "FindWaiting": {Role.SERVICE},
        "ClaimPendingStarts": {Role.SERVICE},
        "ConfirmPendingStarts": {Role.SERVICE},
        "ListPendingStarts": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "ReleaseHeldEvents": {Role.SERVICE},
    },
)


class RoutingServicer(pb_grpc.RoutingServiceServicer):
    """What the router and those who look at its decisions call."""

    def __init__(
        self, *, decisions: DecisionCalls, dead_letters: DeadLetterCalls, pending: PendingCalls
    ) -> None:
        self._decisions = decisions
        self._dead_letters = dead_letters
        self._pending = pending

    async def RecordRouting(
        self, request: pb.RecordRoutingRequest, context: Context
    ) -> pb.RecordRoutingResponse:
        """Record what became of the records of a batch."""
        with as_statuses():
            return await self._decisions.record(request)

    async def ListRoutingDecisions(
        self, request: pb.ListRoutingDecisionsRequest, context: Context
    ) -> pb.ListRoutingDecisionsResponse:
        """List decisions, newest first."""
        with as_statuses():
            return await self._decisions.list(request)

    async def GetUnroutedRange(
        self, request: pb.GetUnroutedRangeRequest, context: Context
    ) -> pb.GetUnroutedRangeResponse:
        """Tell the range of records without a candidate that a place lies in."""
        with as_statuses():
            return await self._decisions.unrouted(request)

    async def ResolveDeadLetters(
        self, request: pb.ResolveDeadLettersRequest, context: Context
    ) -> pb.ResolveDeadLettersResponse:
        """Record what people decided of dead letters."""
        with as_statuses():
            return await self._dead_letters.resolve(request)

    async def ListDeadLetterResolutions(
        self, request: pb.ListDeadLetterResolutionsRequest, context: Context
    ) -> pb.ListDeadLetterResolutionsResponse:
        """Tell what stands in a stretch of a partition."""
        with as_statuses():
            return await self._dead_letters.list(request)

    async def RecordDeadLetterOpening(
        self, request: pb.RecordDeadLetterOpeningRequest, context: Context
    ) -> pb.RecordDeadLetterOpeningResponse:
        """Record that somebody is about to be shown what is in a dead letter."""
        with as_statuses():
            return await self._dead_letters.record_opening(request)

    async def ListDeadLetterOpenings(
        self, request: pb.ListDeadLetterOpeningsRequest, context: Context
    ) -> pb.ListDeadLetterOpeningsResponse:
        """Tell who opened dead letters and why."""
        with as_statuses():
            return await self._dead_letters.list_openings(request)

    async def FindWaiting(
        self, request: pb.FindWaitingRequest, context: Context
    ) -> pb.FindWaitingResponse:
        """Say of which keys events wait."""
        with as_statuses():
            return await self._pending.find_waiting(request)

    async def ClaimPendingStarts(
        self, request: pb.ClaimPendingStartsRequest, context: Context
    ) -> pb.ClaimPendingStartsResponse:
        """Hand out what is to be started now."""
        with as_statuses():
            return await self._pending.claim(request)

    async def ConfirmPendingStarts(
        self, request: pb.ConfirmPendingStartsRequest, context: Context
    ) -> pb.ConfirmPendingStartsResponse:
        """Record what became of claimed starts."""
        with as_statuses():
            return await self._pending.confirm(request)

    async def ListPendingStarts(
        self, request: pb.ListPendingStartsRequest, context: Context
    ) -> pb.ListPendingStartsResponse:
        """List what waits, oldest first."""
        with as_statuses():
            return await self._pending.list(request)

    async def ReleaseHeldEvents(
        self, request: pb.ReleaseHeldEventsRequest, context: Context
    ) -> pb.ReleaseHeldEventsResponse:
        """Decide what becomes of held events."""
        with as_statuses():
            return await self._pending.release(request)
