"""Replays of events as the commands see them: one method a call, messages out."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

import grpc

from backbone.ledger.v1 import replay_pb2 as pb
from backbone.ledger.v1 import replay_pb2_grpc
from backbone.router.v1 import router_pb2, router_pb2_grpc
from cli import paging, stamps
from cli.errors import CliError

T = TypeVar("T")

_PLAN_TIMEOUT_S = 60.0
"""Of a call that reads for some seconds."""


class Mode(StrEnum):
    """Which events are started once more."""

    MISSING = "missing"
    FAILED = "failed"
    ALL = "all"


@dataclass(frozen=True)
class Question:
    """Which events of which topic a replay is about, and for which definitions (none: all)."""

    topic: str
    since: datetime
    until: datetime
    definition_ids: Sequence[str]
    mode: Mode
    rate: int


class Replays:
    """The calls about the replays of one namespace. Every method raises CliError."""

    def __init__(
        self,
        *,
        router: Callable[[], grpc.aio.Channel],
        ledger: grpc.aio.Channel,
        namespace: str,
        explain: Callable[[str, grpc.aio.AioRpcError], CliError],
    ) -> None:
        self._router = router
        self._ledger: replay_pb2_grpc.ReplayServiceAsyncStub = replay_pb2_grpc.ReplayServiceStub(
            ledger
        )
        self._namespace = namespace
        self._explain = explain

    async def plan(
        self,
        replay_id: str,
        question: Question,
        *,
        reason: str,
        progress: Callable[[int, int], None],
    ) -> pb.Replay:
        """Plan a replay to its end; `progress` hears of how many records were read, of how many."""
        stub: router_pb2_grpc.RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(
            self._router()
        )
        request = router_pb2.PlanReplayRequest(
            namespace=self._namespace,
            replay_id=replay_id,
            topic=question.topic,
            records_from=stamps.stamp(question.since),
            records_to=stamps.stamp(question.until),
            definition_ids=question.definition_ids,
            mode=question.mode.value,
            max_starts_per_second=question.rate,
            reason=reason,
        )
        while True:
            call = stub.PlanReplay(request, timeout=_PLAN_TIMEOUT_S)
            answer = await self._ask("router", call)
            if answer.complete:
                return await self.get(replay_id)
            progress(answer.records, answer.records_total)

    async def get(self, replay_id: str) -> pb.Replay:
        """Return a replay."""
        request = pb.GetReplayRequest(namespace=self._namespace, replay_id=replay_id)
        return (await self._ask("ledger", self._ledger.GetReplay(request))).replay

    async def list(self, *, limit: int) -> Sequence[pb.Replay]:
        """Return at most `limit` replays, newest first."""
        request = pb.ListReplaysRequest(
            namespace=self._namespace,
        )
        return await paging.gathered(
            request,
            lambda: self._ask("ledger", self._ledger.ListReplays(request)),
            items=lambda page: page.replays,
            limit=limit,
        )

    async def starts(self, replay_id: str, *, limit: int) -> Sequence[pb.ReplayStart]:
        """Return at most `limit` of what is to be started, in order."""
        request = pb.ListReplayStartsRequest(
            namespace=self._namespace,
            replay_id=replay_id,
        )
        return await paging.gathered(
            request,
            lambda: self._ask("ledger", self._ledger.ListReplayStarts(request)),
            items=lambda page: page.starts,
            limit=limit,
        )

    async def apply(
        self, replay_id: str, *, plan_hash: str, request_id: str, reason: str
    ) -> pb.Replay:
        """Carry a plan out."""
        request = pb.ApplyReplayRequest(
            namespace=self._namespace,
            replay_id=replay_id,
            plan_hash=plan_hash,
            request_id=request_id,
            reason=reason,
        )
        return (await self._ask("ledger", self._ledger.ApplyReplay(request))).replay

    async def pause(self, replay_id: str, *, request_id: str, reason: str) -> pb.Replay:
        """Start nothing more for now."""
        request = pb.PauseReplayRequest(
            namespace=self._namespace, replay_id=replay_id, request_id=request_id, reason=reason
        )
        return (await self._ask("ledger", self._ledger.PauseReplay(request))).replay

    async def resume(self, replay_id: str, *, request_id: str, reason: str) -> pb.Replay:
        """Go on."""
        request = pb.ResumeReplayRequest(
            namespace=self._namespace, replay_id=replay_id, request_id=request_id, reason=reason
        )
        return (await self._ask("ledger", self._ledger.ResumeReplay(request))).replay

    async def cancel(self, replay_id: str, *, request_id: str, reason: str) -> pb.Replay:
        """Give up what was not begun."""
        request = pb.CancelReplayRequest(
            namespace=self._namespace, replay_id=replay_id, request_id=request_id, reason=reason
        )
        return (await self._ask("ledger", self._ledger.CancelReplay(request))).replay

    async def _ask(self, service: str, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as exc:
            raise self._explain(service, exc) from exc
