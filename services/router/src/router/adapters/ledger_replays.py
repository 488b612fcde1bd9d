"""Plans of replays of events, in the ledger."""

from collections.abc import Awaitable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from backbone.ledger.v1 import replay_pb2 as pb
from backbone.ledger.v1 import replay_pb2_grpc
from router.adapters import ledger_routing
from router.domain.dead_letter_pages import Stretches
from router.domain.replaying import Mode, Order, Plan
from router.errors import (
    ReplayExistsError,
    ReplayRefusedError,
    RequestInvalidError,
    TransientError,
)
from router.ports import PlanPage
from runtime.faultpoints import faultpoint

T = TypeVar("T")

_MODES = {
    Mode.MISSING: pb.REPLAY_MODE_MISSING,
    Mode.FAILED: pb.REPLAY_MODE_FAILED,
    Mode.ALL: pb.REPLAY_MODE_ALL,
}


class LedgerReplays:
    """`ports.Replays` in `ReplayService`."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout: timedelta) -> None:
        self._stub: replay_pb2_grpc.ReplayServiceAsyncStub = replay_pb2_grpc.ReplayServiceStub(
            channel
        )
        self._timeout_s = timeout.total_seconds()

    async def get(self, namespace: str, replay_id: str) -> Plan | None:
        """Return how far a plan is, None for one that was not begun. Raises TransientError."""
        request = pb.GetReplayRequest(namespace=namespace, replay_id=replay_id)
        try:
            response = await self._stub.GetReplay(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise _error(exc) from exc
        return _plan(response.replay)

    async def create(self, order: Order, stretches: Stretches) -> Plan:
        """Begin a plan; return how far it is, if it was begun before."""
        question = order.question
        request = pb.CreateReplayRequest(
            namespace=order.namespace,
            replay_id=order.replay_id,
            topic=question.topic,
            records_from=_stamp(question.since),
            records_to=_stamp(question.until),
            definition_ids=question.definition_ids,
            mode=_MODES[question.mode],
            max_starts_per_second=question.max_starts_per_second,
            stretches=_messages(stretches),
            actor=order.actor,
            reason=order.reason,
        )
        faultpoint("router.before_create_replay")
        response = await _answer(self._stub.CreateReplay(request, timeout=self._timeout_s))
        faultpoint("router.after_create_replay")
        return _plan(response.replay)

    async def add(self, namespace: str, replay_id: str, page: PlanPage) -> Plan:
        """Add a page to a plan; return how far it is then."""
        request = pb.AddToReplayRequest(
            namespace=namespace,
            replay_id=replay_id,
            before=_messages(page.before),
            after=_messages(page.after),
            records=page.records,
            unrouted=page.unrouted,
            refused=[pb.ReplayTally(outcome=code, events=n) for code, n in page.refused.items()],
            events=map(ledger_routing.message, page.events),
        )
        faultpoint("router.before_add_to_replay")
        response = await _answer(self._stub.AddToReplay(request, timeout=self._timeout_s))
        faultpoint("router.after_add_to_replay")
        return _plan(response.replay)


def _messages(stretches: Stretches) -> Iterable[pb.ReplayStretch]:
    return (
        pb.ReplayStretch(partition=partition, next_offset=first, end_offset=end)
        for partition, (first, end) in stretches.items()
    )


def _plan(replay: pb.Replay) -> Plan:
    return Plan(
        left={one.partition: (one.next_offset, one.end_offset) for one in replay.left},
        records=replay.records,
        records_total=replay.records_total,
        complete=replay.state != pb.REPLAY_STATE_PLANNING,
    )


def _stamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment.astimezone(UTC))
    return stamp


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as exc:
        raise _error(exc) from exc


def _error(exc: grpc.aio.AioRpcError) -> Exception:
    told = str(exc.details())
    match exc.code():
        case grpc.StatusCode.ALREADY_EXISTS:
            return ReplayExistsError(told)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return ReplayRefusedError(told)
        case grpc.StatusCode.INVALID_ARGUMENT:
            return RequestInvalidError(told)
        case code:
            return TransientError(f"the ledger: {code.name}: {told}")
