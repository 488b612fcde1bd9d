"""The ledger's memory of dead letters, over gRPC."""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC
from typing import TypeVar

import grpc

from backbone.ledger.v1 import routing_pb2, routing_pb2_grpc
from contracts import names
from contracts.names import Topic
from router.domain.dead_letters import State
from router.errors import RequestInvalidError, TransientError
from router.ports import NewResolution, Resolution
from runtime.faultpoints import faultpoint

T = TypeVar("T")

_OFFSETS = 1000  # that one listing spans
_PAGE = 1000
_MAX_DETAIL = 1000  # characters
_STATE_OF: "dict[routing_pb2.DeadLetterState.ValueType, State]" = {
    routing_pb2.DEAD_LETTER_STATE_REDRIVEN: State.REDRIVEN,
    routing_pb2.DEAD_LETTER_STATE_DISCARDED: State.DISCARDED,
}
_MESSAGE_OF = {state: message for message, state in _STATE_OF.items()}

Place = tuple[int, int]


class GrpcResolutions:
    """`ports.Resolutions` in `RoutingService`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._ledger: routing_pb2_grpc.RoutingServiceAsyncStub = (
            routing_pb2_grpc.RoutingServiceStub(channel)
        )

    async def of(self, namespace: str, places: Sequence[Place]) -> Mapping[Place, Resolution]:
        """Return the resolutions of those that have one. Raises TransientError."""
        asked = set(places)
        found: dict[Place, Resolution] = {}
        for partition, first, end in _stretches(asked):
            request = routing_pb2.ListDeadLetterResolutionsRequest(
                namespace=namespace,
                topic=names.topic(namespace, Topic.DEAD_LETTERS),
                partition=partition,
                from_offset=first,
                to_offset=end,
                page_size=_PAGE,
            )
            while True:
                answer = await _answer(self._ledger.ListDeadLetterResolutions(request))
                found.update(map(_resolution, answer.resolutions))
                request.page_token = answer.next_page_token
                if not request.page_token:
                    break
        return {place: one for place, one in found.items() if place in asked}

    async def resolve(
        self,
        namespace: str,
        resolutions: Mapping[Place, NewResolution],
        *,
        actor: str,
        reason: str,
        request_id: str,
    ) -> Mapping[Place, Resolution]:
        """Record resolutions and return those that stand. Raises TransientError."""
        topic = names.topic(namespace, Topic.DEAD_LETTERS)
        request = routing_pb2.ResolveDeadLettersRequest(
            namespace=namespace,
            request_id=request_id,
            reason=reason,
            actor=actor,
            resolutions=[
                routing_pb2.DeadLetterResolution(
                    place=routing_pb2.RecordPlace(topic=topic, partition=partition, offset=offset),
                    state=_MESSAGE_OF[resolution.state],
                    detail=_told(resolution),
                )
                for (partition, offset), resolution in resolutions.items()
            ],
        )
        faultpoint("router.before_resolve_dead_letters")
        answer = await _answer(self._ledger.ResolveDeadLetters(request))
        faultpoint("router.after_resolve_dead_letters")
        return dict(map(_resolution, answer.resolutions))

    async def record_opening(
        self, namespace: str, place: Place, *, actor: str, reason: str, request_id: str
    ) -> None:
        """Record who is about to be shown what is in a dead letter. Raises TransientError."""
        partition, offset = place
        topic = names.topic(namespace, Topic.DEAD_LETTERS)
        request = routing_pb2.RecordDeadLetterOpeningRequest(
            namespace=namespace,
            request_id=request_id,
            reason=reason,
            actor=actor,
            place=routing_pb2.RecordPlace(topic=topic, partition=partition, offset=offset),
        )
        faultpoint("router.before_record_dead_letter_opening")
        await _answer(self._ledger.RecordDeadLetterOpening(request))
        faultpoint("router.after_record_dead_letter_opening")


def _stretches(places: set[Place]) -> Sequence[tuple[int, int, int]]:
    """Return stretches (partition, first, end) that hold all places, and not much else."""
    found: list[tuple[int, int, int]] = []
    for partition, offset in sorted(places):
        if found and found[-1][0] == partition and offset < found[-1][1] + _OFFSETS:
            found[-1] = (partition, found[-1][1], offset + 1)
        else:
            found.append((partition, offset, offset + 1))
    return found


def _told(resolution: NewResolution) -> str:
    # One sentence, whose first word is the outcome.
    text = f"{resolution.outcome}: {resolution.detail}" if resolution.detail else resolution.outcome
    return text.replace("\x00", "\ufffd")[:_MAX_DETAIL]


def _resolution(told: routing_pb2.DeadLetterResolution) -> tuple[Place, Resolution]:
    outcome, _, detail = told.detail.partition(": ")
    return (told.place.partition, told.place.offset), Resolution(
        state=_STATE_OF[told.state],
        actor=told.actor,
        reason=told.reason,
        request_id=told.request_id,
        resolved_at=told.resolved_at.ToDatetime(tzinfo=UTC),
        outcome=outcome,
        detail=detail,
    )


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as exc:
        if exc.code() is grpc.StatusCode.INVALID_ARGUMENT:
            raise RequestInvalidError(str(exc.details())) from exc
        raise TransientError(f"the ledger: {exc.code().name}: {exc.details()}") from exc
