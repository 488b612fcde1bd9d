"""The reading of requests about an outbox: what is malformed is refused here, in a sentence."""

import re
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from backbone.outbox.v1 import outbox_pb2 as pb
from contracts import identifiers
from eventstore import tokens
from eventstore.outbox import Asked, Progress, Selection
from runtime.rpcerrors import InvalidArgumentError

MAX_REASON = 500
MAX_STREAM = 512
MAX_TYPES = 50
DEFAULT_PAGE = 100
MAX_PAGE = 500
_MAX_POSITION = 2**63 - 1


def asked(request: Any, *, actor: str) -> Asked:
    """Return what names a request that changes something, and why it was made."""
    if not re.fullmatch(identifiers.REQUEST_ID_PATTERN, request.request_id):
        raise InvalidArgumentError(
            "request_id: letters, digits, '.', '_' and '-', at most 100, are possible"
        )
    reason = request.reason.strip()
    if not reason:
        raise InvalidArgumentError("reason: a reason is required: say why, in a few words")
    if len(reason) > MAX_REASON:
        raise InvalidArgumentError(f"reason: it is longer than {MAX_REASON} characters")
    if not reason.replace("\n", " ").isprintable():
        raise InvalidArgumentError("reason: it holds characters that cannot be printed")
    return Asked(request.request_id, actor, reason)


def selection(request: pb.RepublishEventsRequest) -> Selection:
    """Return which events are to be republished."""
    first = _moment(request, "recorded_from")
    end = _moment(request, "recorded_to")
    if first >= end:
        raise InvalidArgumentError("recorded_to: it has to be later than recorded_from")
    if len(request.stream) > MAX_STREAM or "\x00" in request.stream:
        raise InvalidArgumentError("stream: there can be no stream of this name")
    if len(request.types) > MAX_TYPES:
        raise InvalidArgumentError(f"types: at most {MAX_TYPES} can be named")
    for name in request.types:
        if not name or len(name) > MAX_STREAM or "\x00" in name:
            raise InvalidArgumentError(f"types: there can be no event type {name[:100]!r}")
    return Selection(first, end, request.stream or None, tuple(request.types))


def page_size(request: pb.ListParkedEventsRequest) -> int:
    """Return how many events a page holds."""
    if not 0 <= request.page_size <= MAX_PAGE:
        raise InvalidArgumentError(f"page_size: it has to be from 0 to {MAX_PAGE}")
    return request.page_size or DEFAULT_PAGE


def position_token(namespace: str, position: int) -> str:
    """Return the token of the page that begins after `position`."""
    return tokens.write([namespace], [position])


def position_after(request: pb.ListParkedEventsRequest) -> int:
    """Return the position that a page begins after, 0 for the first page."""
    if not request.page_token:
        return 0
    return _positions(request.page_token, [request.namespace], count=1)[0]


def plan_token(request: pb.RepublishEventsRequest, chosen: Selection, progress: Progress) -> str:
    """Return the token by which a dry run counts on."""
    return tokens.write(
        [request.namespace, chosen.document()],
        [progress.covered, progress.last, identifiers.instant(progress.recorded_to)],
    )


def plan_after(request: pb.RepublishEventsRequest, chosen: Selection) -> Progress | None:
    """Return where a dry run counts on; None for the first call."""
    if not request.page_token:
        return None
    filters = [request.namespace, chosen.document()]
    covered, last, recorded_to = tokens.read(request.page_token, filters, count=3)
    try:
        moment = datetime.fromisoformat(recorded_to)
    except (TypeError, ValueError) as exc:
        raise tokens.malformed() from exc
    if moment.tzinfo is None:
        raise tokens.malformed()
    return Progress(moment, _position(covered), _position(last))


def _moment(request: pb.RepublishEventsRequest, field: str) -> datetime:
    if not request.HasField(field):  # type: ignore[arg-type]
        raise InvalidArgumentError(f"{field}: it is missing")
    stamp: Timestamp = getattr(request, field)
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidArgumentError(
            f"{field}: it is not a time between the years 1 and 9999"
        ) from exc


def _positions(token: str, filters: list[Any], *, count: int) -> list[int]:
    return [_position(value) for value in tokens.read(token, filters, count=count)]


def _position(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= _MAX_POSITION:
        raise tokens.malformed()
    return value
