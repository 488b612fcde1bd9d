"""The calls of `RouterService` that are about dead letters: requests in, dead letters out."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from backbone.router.v1 import router_pb2 as pb
from contracts import names
from contracts.names import Topic
from router.domain.dead_letter_filter import Filter
from router.domain.dead_letters import State
from router.errors import DeadLetterUnknownError, RequestInvalidError, TransientError
from router.service.dead_letters import DeadLetterReview, Found, Request
from runtime import identity, rpcerrors

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class DeadLetterCalls:
    """Reads requests, calls the use cases, tells the answers."""

    def __init__(self, review: DeadLetterReview) -> None:
        self._review = review

    async def list(self, request: pb.ListDeadLettersRequest) -> pb.ListDeadLettersResponse:
        """List dead letters."""
        with _as_statuses():
            found, token = await self._review.list(
                request.namespace,
                _filter(request.namespace, request.filter),
                page_token=request.page_token,
                limit=_limit("page_size", request.page_size),
            )
        return pb.ListDeadLettersResponse(
            dead_letters=[_message(request.namespace, one) for one in found], next_page_token=token
        )

    async def get(self, request: pb.GetDeadLetterRequest) -> pb.GetDeadLetterResponse:
        """Tell one dead letter; with the sender's record when that is asked for, and recorded."""
        with _as_statuses():
            place = _place(request.namespace, request.place)
            if not request.reveal:
                found = await self._review.get(request.namespace, place)
                return pb.GetDeadLetterResponse(
                    dead_letter=_message(request.namespace, found),
                    value_cut_from=found.letter.cut_from or 0,
                )
            found = await self._review.reveal(
                request.namespace,
                place,
                actor=identity.current_identity().subject,
                reason=request.reason,
                request_id=request.request_id,
            )
        letter, record = found.letter, found.letter.record
        return pb.GetDeadLetterResponse(
            dead_letter=_message(request.namespace, found),
            key=record.key or b"",
            key_null=record.key is None,
            value=record.value or b"",
            value_null=record.value is None,
            headers=[
                pb.RecordHeader(name=name, value=value or b"", null=value is None)
                for name, value in record.headers or ()
            ],
            value_cut_from=letter.cut_from or 0,
            headers_unreadable=record.headers is None,
            # Of one that does not open there is nothing to show.
            revealed=not letter.unopened,
        )

    async def redrive(self, request: pb.RedriveDeadLettersRequest) -> pb.RedriveDeadLettersResponse:
        """Route dead letters again."""
        with _as_statuses():
            redriven, token = await self._review.redrive(_request(request))
        return pb.RedriveDeadLettersResponse(
            redriven=[
                pb.Redriven(
                    dead_letter=_message(request.namespace, one.found),
                    outcome=one.outcome,
                    detail=one.detail,
                )
                for one in redriven
            ],
            next_page_token=token,
        )

    async def discard(self, request: pb.DiscardDeadLettersRequest) -> pb.DiscardDeadLettersResponse:
        """Give dead letters up."""
        with _as_statuses():
            found, token = await self._review.discard(_request(request))
        return pb.DiscardDeadLettersResponse(
            discarded=[_message(request.namespace, one) for one in found], next_page_token=token
        )


@contextmanager
def _as_statuses() -> Iterator[None]:
    try:
        yield
    except RequestInvalidError as exc:
        raise rpcerrors.InvalidArgumentError(str(exc)) from exc
    except DeadLetterUnknownError as exc:
        raise rpcerrors.NotFoundError(str(exc)) from exc
    except TransientError as exc:
        raise rpcerrors.UnavailableError(str(exc)) from exc


def _request(request: pb.RedriveDeadLettersRequest | pb.DiscardDeadLettersRequest) -> Request:
    return Request(
        namespace=request.namespace,
        filter=_filter(request.namespace, request.filter),
        dry_run=request.dry_run,
        request_id=request.request_id,
        reason=request.reason,
        actor=identity.current_identity().subject,
        limit=_limit("limit", request.limit),
        page_token=request.page_token,
    )


def _limit(name: str, asked: int) -> int:
    if not 0 <= asked <= MAX_LIMIT:
        raise RequestInvalidError(f"{name} is {asked}, but has to be from 0 to {MAX_LIMIT}")
    return asked or DEFAULT_LIMIT


def _filter(namespace: str, told: pb.DeadLetterFilter) -> Filter:
    try:
        state = State(told.state) if told.state else None
    except ValueError:
        raise RequestInvalidError(
            f"state is {told.state!r}, but has to be one of {', '.join(State)}"
        ) from None
    return Filter(
        reason=told.reason,
        origin_topic=told.origin_topic,
        source=told.source,
        event_id=told.event_id,
        type=told.type,
        parked_from=_moment("parked_from", told.parked_from),
        parked_to=_moment("parked_to", told.parked_to),
        state=state,
        places=tuple(_place(namespace, place) for place in told.places),
    )


def _place(namespace: str, told: pb.Place) -> tuple[int, int]:
    topic = names.topic(namespace, Topic.DEAD_LETTERS)
    if told.topic not in {"", topic} or told.partition < 0 or told.offset < 0:
        raise RequestInvalidError(
            f"not a place in {topic}: {told.topic!r} {told.partition}:{told.offset}"
        )
    return told.partition, told.offset


def _moment(name: str, told: Timestamp) -> datetime | None:
    if not told.seconds and not told.nanos:
        return None
    try:
        return told.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        raise RequestInvalidError(f"{name} is not a time") from exc


def _message(namespace: str, found: Found) -> pb.DeadLetter:
    letter, resolution = found.letter, found.resolution
    message = pb.DeadLetter(
        place=pb.Place(
            topic=names.topic(namespace, Topic.DEAD_LETTERS),
            partition=letter.partition,
            offset=letter.offset,
        ),
        reason=letter.reason,
        detail=letter.detail,
        attempts=min(letter.attempts, 2**31 - 1),
        parked_at=_stamp(letter.parked_at_ms),
        source=letter.source,
        event_id=letter.event_id,
        type=letter.type,
        size=letter.size,
        state=found.state,
    )
    if letter.has_origin:
        message.origin.topic = letter.record.topic
        message.origin.partition = letter.record.partition
        message.origin.offset = letter.record.offset
        if (origin := _stamp(letter.record.timestamp_ms)) is not None:
            message.origin_timestamp.CopyFrom(origin)
    if resolution is not None:
        message.resolved_by = resolution.actor
        message.resolved_at.FromDatetime(resolution.resolved_at)
        message.resolution = resolution.reason
    return message


def _stamp(milliseconds: int | None) -> Timestamp | None:
    # The sender chooses it: any 64-bit number.
    if milliseconds is None or not -62_135_596_800_000 <= milliseconds < 253_402_300_800_000:
        return None
    stamp = Timestamp()
    stamp.FromMilliseconds(milliseconds)
    return stamp
