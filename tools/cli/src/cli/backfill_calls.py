"""Backfills as the commands see them: one method a call, messages out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from backbone.ledger.v1 import backfills_pb2 as pb
from backbone.ledger.v1 import backfills_pb2_grpc
from cli import paging, stamps
from cli.calls import Calls


class Mode(StrEnum):
    """Which due times are run after all."""

    MISSING = "missing"
    FAILED = "failed"
    ALL = "all"


class Order(StrEnum):
    """Which due times go first."""

    OLDEST_FIRST = "oldestFirst"
    NEWEST_FIRST = "newestFirst"


_MODES = {
    Mode.MISSING: pb.BACKFILL_MODE_MISSING,
    Mode.FAILED: pb.BACKFILL_MODE_FAILED,
    Mode.ALL: pb.BACKFILL_MODE_ALL,
}
_ORDERS = {
    Order.OLDEST_FIRST: pb.BACKFILL_ORDER_OLDEST_FIRST,
    Order.NEWEST_FIRST: pb.BACKFILL_ORDER_NEWEST_FIRST,
}


@dataclass(frozen=True)
class Question:
    """Which due times of which definition a backfill is about, and how many run at once."""

    definition_id: str
    since: datetime
    until: datetime
    mode: Mode
    order: Order
    concurrency: int


class Backfills(Calls["backfills_pb2_grpc.BackfillServiceAsyncStub"]):
    """The calls about the backfills of one namespace. Every method raises CliError."""

    stub = backfills_pb2_grpc.BackfillServiceStub

    async def plan(self, backfill_id: str, question: Question, *, reason: str) -> pb.Backfill:
        """Make a plan."""
        request = pb.PlanBackfillRequest(
            namespace=self._namespace,
            backfill_id=backfill_id,
            definition_id=question.definition_id,
            due_from=stamps.stamp(question.since),
            due_to=stamps.stamp(question.until),
            mode=_MODES[question.mode],
            order=_ORDERS[question.order],
            concurrency=question.concurrency,
            reason=reason,
        )
        return (await self._ask(self._stub.PlanBackfill(request))).backfill

    async def get(self, backfill_id: str) -> pb.Backfill:
        """Return a backfill."""
        request = pb.GetBackfillRequest(namespace=self._namespace, backfill_id=backfill_id)
        return (await self._ask(self._stub.GetBackfill(request))).backfill

    async def list(self, definition_id: str, *, limit: int) -> Sequence[pb.Backfill]:
        """Return at most `limit` backfills, of one definition if it is named, newest first."""
        request = pb.ListBackfillsRequest(namespace=self._namespace, definition_id=definition_id)
        return await paging.gathered(
            request,
            lambda: self._ask(self._stub.ListBackfills(request)),
            items=lambda page: page.backfills,
            limit=limit,
        )

    async def due_times(self, backfill_id: str, *, limit: int) -> Sequence[pb.BackfillDueTime]:
        """Return at most `limit` due times of a plan, in its order."""
        request = pb.ListBackfillDueTimesRequest(namespace=self._namespace, backfill_id=backfill_id)
        return await paging.gathered(
            request,
            lambda: self._ask(self._stub.ListBackfillDueTimes(request)),
            items=lambda page: page.due_times,
            limit=limit,
        )

    async def apply(
        self, backfill_id: str, *, plan_hash: str, request_id: str, reason: str
    ) -> pb.Backfill:
        """Carry a plan out."""
        request = pb.ApplyBackfillRequest(
            namespace=self._namespace,
            backfill_id=backfill_id,
            plan_hash=plan_hash,
            request_id=request_id,
            reason=reason,
        )
        return (await self._ask(self._stub.ApplyBackfill(request))).backfill

    async def pause(self, backfill_id: str, *, request_id: str, reason: str) -> pb.Backfill:
        """Begin nothing more for now."""
        request = pb.PauseBackfillRequest(
            namespace=self._namespace, backfill_id=backfill_id, request_id=request_id, reason=reason
        )
        return (await self._ask(self._stub.PauseBackfill(request))).backfill

    async def resume(self, backfill_id: str, *, request_id: str, reason: str) -> pb.Backfill:
        """Go on."""
        request = pb.ResumeBackfillRequest(
            namespace=self._namespace, backfill_id=backfill_id, request_id=request_id, reason=reason
        )
        return (await self._ask(self._stub.ResumeBackfill(request))).backfill

    async def cancel(self, backfill_id: str, *, request_id: str, reason: str) -> pb.Backfill:
        """Give up what was not begun."""
        request = pb.CancelBackfillRequest(
            namespace=self._namespace, backfill_id=backfill_id, request_id=request_id, reason=reason
        )
        return (await self._ask(self._stub.CancelBackfill(request))).backfill
