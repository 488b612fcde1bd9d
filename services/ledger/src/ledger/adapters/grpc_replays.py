# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.ReplayService`: plans of replays of events, and their execution."""

from typing import Any

import grpc

from backbone.ledger.v1 import replay_pb2 as pb
from backbone.ledger.v1 import replay_pb2_grpc as pb_grpc
from contracts.roles import Role
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.replay_calls import ReplayCalls
from ledger.domain.plans import Action
from runtime import authorisation

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["ReplayService"].full_name

_READERS = {Role.VIEWER, Role.OPERATOR, Role.SERVICE}

POLICY = authorisation.policy(
    NAME,
    {
        "CreateReplay": {Role.SERVICE},
        "AddToReplay": {Role.SERVICE},
        "GetReplay": _READERS,
        "ListReplays": _READERS,
        "ListReplayStarts": _READERS,
        "ApplyReplay": {Role.OPERATOR},
        "PauseReplay": {Role.OPERATOR},
        "ResumeReplay": {Role.OPERATOR},
        "CancelReplay": {Role.OPERATOR},
    },
)


class ReplayServicer(pb_grpc.ReplayServiceServicer):
    """What the router plans with, and people carry out."""

    def __init__(self, calls: ReplayCalls) -> None:
        self._calls = calls

    async def CreateReplay(
        self, request: pb.CreateReplayRequest, context: Context
    ) -> pb.CreateReplayResponse:
        """Begin a plan."""
        with as_statuses():
            return pb.CreateReplayResponse(replay=await self._calls.create(request))

    async def AddToReplay(
        self, request: pb.AddToReplayRequest, context: Context
    ) -> pb.AddToReplayResponse:
        """Add what a stretch of records means."""
        with as_statuses():
            return pb.AddToReplayResponse(replay=await self._calls.add(request))

    async def GetReplay(
        self, request: pb.GetReplayRequest, context: Context
    ) -> pb.GetReplayResponse:
        """Tell a replay."""
        with as_statuses():
            return pb.GetReplayResponse(replay=await self._calls.get(request))

    async def ListReplays(
        self, request: pb.ListReplaysRequest, context: Context
    ) -> pb.ListReplaysResponse:
        """List replays, newest first."""
        with as_statuses():
            return await self._calls.list(request)

    async def ListReplayStarts(
        self, request: pb.ListReplayStartsRequest, context: Context
    ) -> pb.ListReplayStartsResponse:
        """List what is to be started, in order."""
        with as_statuses():
            return await self._calls.starts(request)

    async def ApplyReplay(
        self, request: pb.ApplyReplayRequest, context: Context
    ) -> pb.ApplyReplayResponse:
        """Carry a plan out."""
        with as_statuses():
            replay = await self._calls.change(request, Action.APPLY, plan_hash=request.plan_hash)
            return pb.ApplyReplayResponse(replay=replay)

    async def PauseReplay(
        self, request: pb.PauseReplayRequest, context: Context
    ) -> pb.PauseReplayResponse:
        """Start nothing more for now."""
        with as_statuses():
            return pb.PauseReplayResponse(replay=await self._calls.change(request, Action.PAUSE))

    async def ResumeReplay(
        self, request: pb.ResumeReplayRequest, context: Context
    ) -> pb.ResumeReplayResponse:
        """Go on."""
        with as_statuses():
            return pb.ResumeReplayResponse(replay=await self._calls.change(request, Action.RESUME))

    async def CancelReplay(
        self, request: pb.CancelReplayRequest, context: Context
    ) -> pb.CancelReplayResponse:
        """Give up what was not begun."""
        with as_statuses():
            return pb.CancelReplayResponse(replay=await self._calls.change(request, Action.CANCEL))
