"""The calls of `RoutingService` that are about dead letters: requests in, resolutions out."""

from backbone.ledger.v1 import routing_pb2 as pb
from contracts import names
from contracts.names import Topic
from ledger.adapters import messages, pages, requests
from ledger.adapters.requests import RequestReader
from ledger.domain.dead_letters import Opened, Opening, Resolution, Resolved, State
from ledger.errors import InvalidRequestError
from ledger.service.dead_letters import DeadLetterLedger

MAX_RESOLUTIONS = 1000

_STATE_OF: dict["pb.DeadLetterState.ValueType", State] = {
    pb.DEAD_LETTER_STATE_REDRIVEN: "redriven",
    pb.DEAD_LETTER_STATE_DISCARDED: "discarded",
}
_MESSAGE_OF = {state: message for message, state in _STATE_OF.items()}


class DeadLetterCalls:
    """Reads requests, calls the use cases, tells the answers."""

    def __init__(self, dead_letters: DeadLetterLedger, *, reader: RequestReader) -> None:
        self._dead_letters = dead_letters
        self._reader = reader

    async def resolve(self, request: pb.ResolveDeadLettersRequest) -> pb.ResolveDeadLettersResponse:
        """Record resolutions, and tell which ones stand."""
        namespace = self._reader.namespace(request.namespace)
        if len(request.resolutions) > MAX_RESOLUTIONS:
            raise InvalidRequestError(
                f"{len(request.resolutions)} resolutions, more than the {MAX_RESOLUTIONS} that one "
                "call takes"
            )
        topic = names.topic(namespace, Topic.DEAD_LETTERS)
        standing = await self._dead_letters.resolve(
            namespace=namespace,
            topic=topic,
            resolutions=[_resolution(topic, one) for one in request.resolutions],
            actor=requests.text("actor", request.actor),
            reason=requests.text("reason", request.reason),
            request_id=requests.request_id(request.request_id),
        )
        return pb.ResolveDeadLettersResponse(resolutions=[_message(one) for one in standing])

    async def list(
        self, request: pb.ListDeadLetterResolutionsRequest
    ) -> pb.ListDeadLetterResolutionsResponse:
        """Tell what stands in a stretch of a partition."""
        namespace = self._reader.namespace(request.namespace)
        if request.topic != names.topic(namespace, Topic.DEAD_LETTERS):
            raise InvalidRequestError(
                f"{request.topic!r} is not the topic of dead letters of {namespace!r}"
            )
        size = pages.size(request.page_size)
        filters = ("resolutions", namespace, *map(str, _stretch(request)))
        after = pages.position(request.page_token, *filters)
        found, last = pages.split(
            await self._dead_letters.resolutions(
                namespace=namespace,
                topic=request.topic,
                partition=request.partition,
                first=request.from_offset if after is None else after + 1,
                end=request.to_offset,
                limit=size + 1,
            ),
            size,
            weigh=_weight,
        )
        return pb.ListDeadLetterResolutionsResponse(
            resolutions=[_message(one) for one in found],
            next_page_token=pages.token(str(last.resolution.offset), *filters) if last else "",
        )

    async def record_opening(
        self, request: pb.RecordDeadLetterOpeningRequest
    ) -> pb.RecordDeadLetterOpeningResponse:
        """Record that somebody is about to be shown what is in a dead letter."""
        namespace = self._reader.namespace(request.namespace)
        topic = names.topic(namespace, Topic.DEAD_LETTERS)
        _check_place(topic, request.place)
        opening = Opening(
            topic=topic,
            partition=request.place.partition,
            offset=request.place.offset,
            actor=requests.text("actor", request.actor),
            reason=requests.text("reason", request.reason),
            request_id=requests.request_id(request.request_id),
        )
        await self._dead_letters.record_opening(opening, namespace=namespace)
        return pb.RecordDeadLetterOpeningResponse()

    async def list_openings(
        self, request: pb.ListDeadLetterOpeningsRequest
    ) -> pb.ListDeadLetterOpeningsResponse:
        """Tell who opened dead letters and why, the newest first."""
        namespace = self._reader.namespace(request.namespace)
        size = pages.size(request.page_size)
        filters = ("openings", namespace)
        found, last = pages.split(
            await self._dead_letters.openings(
                namespace=namespace,
                before=pages.position(request.page_token, *filters),
                limit=size + 1,
            ),
            size,
            weigh=lambda opened: 4 * len(opened.opening.reason) + 500,
        )
        return pb.ListDeadLetterOpeningsResponse(
            openings=[_opening(one) for one in found],
            next_page_token=pages.token(str(last.opening_id), *filters) if last else "",
        )


def _opening(opened: Opened) -> pb.DeadLetterOpening:
    opening = opened.opening
    return pb.DeadLetterOpening(
        place=pb.RecordPlace(
            topic=opening.topic, partition=opening.partition, offset=opening.offset
        ),
        actor=opening.actor,
        reason=opening.reason,
        request_id=opening.request_id,
        opened_at=messages.timestamp(opened.opened_at),
    )


def _check_place(topic: str, place: pb.RecordPlace) -> None:
    if place.topic != topic or place.partition < 0 or place.offset < 0:
        raise InvalidRequestError(
            f"not a place in {topic}: {place.topic!r} {place.partition}:{place.offset}"
        )


def _stretch(request: pb.ListDeadLetterResolutionsRequest) -> tuple[int, int, int]:
    return request.partition, request.from_offset, request.to_offset


def _weight(standing: Resolved) -> int:
    # A character has at most four bytes.
    return 4 * (len(standing.reason) + len(standing.resolution.detail)) + 500


def _resolution(topic: str, told: pb.DeadLetterResolution) -> Resolution:
    place = told.place
    _check_place(topic, place)
    state = requests.one_of("state", told.state, _STATE_OF)
    if state is None:
        raise InvalidRequestError("state is missing: a resolution is redriven or discarded")
    detail = requests.optional_text("detail", told.detail)
    return Resolution(place.partition, place.offset, state, detail)


def _message(standing: Resolved) -> pb.DeadLetterResolution:
    resolution = standing.resolution
    return pb.DeadLetterResolution(
        place=pb.RecordPlace(
            topic=standing.topic, partition=resolution.partition, offset=resolution.offset
        ),
        state=_MESSAGE_OF[resolution.state],
        actor=standing.actor,
        reason=standing.reason,
        request_id=standing.request_id,
        resolved_at=messages.timestamp(standing.resolved_at),
        detail=resolution.detail,
    )
