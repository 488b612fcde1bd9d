"""Records as they arrive at a consumer inbox, and what stands in for those that are refused.

`read` is the strict way in: what it returns has an identity, and a place in a stream when the
record names one.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum, auto

from contracts import envelope as envelopes
from contracts import strictjson
from contracts.envelope import Envelope
from contracts.names import Header
from contracts.rejections import EventRejectedError, Reason
from sdk.inbox import authentication
from sdk.inbox.authentication import Authentication
from sdk.inbox.records import Headers, Record

MAX_STREAM_BYTES = 512
MAX_REPUBLISH_ID_BYTES = 128
MAX_VERSION = 2**63 - 1

_VERSION = re.compile(rb"[1-9][0-9]{0,18}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


class InboxReason(StrEnum):
    """Why an inbox refuses, beside the reason codes of `contracts.rejections`."""

    INVALID_HEADERS = "invalid_headers"
    OUT_OF_ORDER = "out_of_order"
    PERMANENT_ERROR = "permanent_error"


class Admission(Enum):
    """What an inbox says of an event that arrives."""

    NEW = auto()
    DUPLICATE = auto()
    """Its id is known, or was forgotten and its version tells."""
    CONFLICT = auto()
    """Its id is known, with other bytes."""
    OUT_OF_ORDER = auto()
    """It was never seen, and a later version of its stream was."""
    EARLY = auto()
    """It was never seen, and a version of its stream before it was neither."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event that arrived on `topic`; `digest` is of its bytes.

    `stream` and `version` are None for events that stand in no stream; `republish_id` is that of
    the request which had the relay publish the event once more.
    """

    topic: str
    event: Envelope
    digest: bytes
    stream: str | None = None
    version: int | None = None
    republish_id: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Versions of a stream that are missing, while later ones wait for them.

    The versions `after` + 1 to `before` - 1 have not come; `waiting` events have, the first one at
    `since`.
    """

    source: str
    stream: str
    after: int
    before: int
    waiting: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that took no effect and never will by itself: where it stands, why, its bytes.

    `source` and `event_id` are None when the record is no event.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    body: bytes
    source: str | None = None
    event_id: str | None = None


class RecordRefusedError(Exception):
    """A record cannot be taken; `reason` is the stable code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def read(record: Record, *, namespace: str, authenticated: Authentication | None = None) -> Arrival:
    """Return the event of a record of a topic of `namespace`; None asks for no signature.

    Raises:
        RecordRefusedError: with the reason code of what is wrong.
    """
    try:
        signer = None if authenticated is None else authenticated.signer(record)
        event = _parse(record.value)
        authentication.check_source(signer, event.source)
    except EventRejectedError as exc:
        raise RecordRefusedError(exc.reason, exc.detail) from exc
    if event.namespace is not None and event.namespace != namespace:
        raise RecordRefusedError(
            Reason.WRONG_NAMESPACE,
            f"the event says {event.namespace!r}, the inbox belongs to {namespace!r}",
        )
    if record.headers is None:
        raise RecordRefusedError(InboxReason.INVALID_HEADERS, "the headers cannot be read")
    stream, version = _place_in_stream(record.headers)
    return Arrival(
        topic=record.topic,
        event=event,
        digest=record.digest,
        stream=stream,
        version=version,
        republish_id=_republish_id(record.headers),
    )


def _parse(value: bytes | None) -> Envelope:
    try:
        return envelopes.parse(value)
    except EventRejectedError as exc:
        # The limit of hops ends loops at the router. The last event of such a chain is published
        # like any other, and a consumer starts nothing by reading it.
        if exc.reason is not Reason.TOO_MANY_HOPS or value is None:
            raise
        return Envelope.model_validate(strictjson.parse(value))


def _place_in_stream(headers: Headers) -> tuple[str | None, int | None]:
    streams = [value for name, value in headers if name == Header.STREAM]
    versions = [value for name, value in headers if name == Header.STREAM_VERSION]
    if not streams and not versions:
        return None, None
    if len(streams) != 1 or len(versions) != 1:
        raise RecordRefusedError(
            InboxReason.INVALID_HEADERS,
            f"{len(streams)} streams and {len(versions)} stream versions, not one of each",
        )
    return _stream(streams[0]), _version(versions[0])


def _republish_id(headers: Headers) -> str | None:
    values = [value for name, value in headers if name == Header.REPUBLISHED]
    if not values:
        return None
    if len(values) != 1:
        raise RecordRefusedError(InboxReason.INVALID_HEADERS, f"{len(values)} republish ids")
    return _text(values[0], longest=MAX_REPUBLISH_ID_BYTES, what="a republish id")


def _stream(value: bytes | None) -> str:
    return _text(value, longest=MAX_STREAM_BYTES, what="a stream")


def _text(value: bytes | None, *, longest: int, what: str) -> str:
    try:
        text = (value or b"").decode()
    except UnicodeDecodeError:
        text = ""
    if not text or len(value or b"") > longest or _UNPRINTABLE.search(text):
        raise RecordRefusedError(InboxReason.INVALID_HEADERS, f"not {what}: {value!r:.200}")
    return text


def _version(value: bytes | None) -> int:
    if value is None or not _VERSION.fullmatch(value) or int(value) > MAX_VERSION:
        raise RecordRefusedError(
            InboxReason.INVALID_HEADERS, f"not a version of a stream: {value!r:.200}"
        )
    return int(value)
