"""A dead letter: the sender's record, beside why and from where it was parked.

Key, value and headers are the sender's bytes. The headers that we add cannot be forged: the
sender's own of those names are kept under another one, from which they come back.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from contracts import identifiers
from contracts.names import CLOUDEVENTS_HEADER_PREFIX, Header
from contracts.rejections import Reason
from router.domain.records import RawHeaders, Record

MAX_DETAIL = 2000
"""Characters of the detail header."""
FORGED_PREFIX = "sender-"
MAX_SHOWN = 256
"""Characters of what a sender says of itself, as a listing shows it."""

OURS = frozenset(
    {
        Header.REASON,
        Header.DETAIL,
        Header.ORIGIN_TOPIC,
        Header.ORIGIN_PARTITION,
        Header.ORIGIN_OFFSET,
        Header.ORIGIN_TIMESTAMP,
        Header.ATTEMPTS,
        Header.HEADERS_UNREADABLE,
        Header.VALUE_CUT_FROM,
        Header.DATA_KEY,
        Header.SEALED,
    }
)

Headers = list[tuple[str, bytes | None]]


class State(StrEnum):
    """Whether something has to be done about a dead letter."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record of the topic of dead letters, at `partition` and `offset`.

    `record` is the sender's, at the place and with the time that it had. When whoever wrote this
    was not the router it has no origin, and is the record as it stands here. `cut_from` is the
    length of a value that was too large to be kept whole. What the event says of itself is empty
    where it cannot be read. `unopened` says why one that is encrypted cannot be read at all.
    """

    partition: int
    offset: int
    parked_at_ms: int | None
    reason: str
    detail: str
    attempts: int
    size: int
    record: Record
    has_origin: bool
    cut_from: int | None = None
    source: str = ""
    event_id: str = ""
    type: str = ""
    unopened: str = ""

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset in the topic of dead letters: what names it."""
        return self.partition, self.offset

    @property
    def weight(self) -> int:
        """About how many bytes a listing has of it: all but the record."""
        return 4 * (len(self.detail) + len(self.source) + len(self.event_id) + len(self.type)) + 500


def parked(record: Record, *, reason: Reason, detail: str, attempts: int) -> Headers:
    """Return the headers of a dead letter: the sender's, none of which can pass for ours, and ours.

    `read` is the way back.
    """
    ours: dict[Header, str] = {
        Header.REASON: reason.value,
        Header.DETAIL: detail[:MAX_DETAIL],
        Header.ORIGIN_TOPIC: record.topic,
        Header.ORIGIN_PARTITION: str(record.partition),
        Header.ORIGIN_OFFSET: str(record.offset),
        Header.ORIGIN_TIMESTAMP: _timestamp(record.timestamp_ms),
        Header.ATTEMPTS: str(attempts),
    }
    if record.headers is None:
        ours[Header.HEADERS_UNREADABLE] = "true"
    return [
        *((_unforged(name), value) for name, value in _sendable(record.headers or ())),
        *((name.value, text.encode("utf-8", "replace")) for name, text in ours.items()),
    ]


def read(found: Record, *, unopened: str = "") -> DeadLetter:
    """Return the dead letter in a record of its topic. It never raises: anybody may write there.

    `unopened` says why what is encrypted of it is not there.
    """
    ours = {
        name: (value or b"").decode("utf-8", "replace")
        for name, value in found.headers or ()
        if name in OURS
    }
    sender = _sender(found, ours)
    record = found if sender is None else sender
    source, event_id, event_type = said(record)
    return DeadLetter(
        partition=found.partition,
        offset=found.offset,
        parked_at_ms=found.timestamp_ms,
        reason=ours.get(Header.REASON, ""),
        detail=(unopened or ours.get(Header.DETAIL, ""))[:MAX_DETAIL],
        attempts=_number(ours.get(Header.ATTEMPTS)) or 0,
        size=len(found.value or b""),
        record=record,
        has_origin=sender is not None,
        cut_from=_number(ours.get(Header.VALUE_CUT_FROM)),
        source=source,
        event_id=event_id,
        type=event_type,
        unopened=unopened,
    )


def _sender(found: Record, ours: dict[str, str]) -> Record | None:
    topic = ours.get(Header.ORIGIN_TOPIC)
    partition = _number(ours.get(Header.ORIGIN_PARTITION))
    offset = _number(ours.get(Header.ORIGIN_OFFSET))
    if not topic or partition is None or offset is None:
        return None
    if partition >= 2**31 or offset >= 2**63:
        return None
    unreadable = Header.HEADERS_UNREADABLE in ours
    headers = tuple(
        (_forged(name), value) for name, value in found.headers or () if name not in OURS
    )
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=_milliseconds(ours.get(Header.ORIGIN_TIMESTAMP, "")),
        key=found.key,
        value=found.value,
        headers=None if unreadable else headers,
    )


def _unforged(name: str) -> str:
    # One more prefix for what has some already, so that each comes back as it was.
    return FORGED_PREFIX + name if _bare(name).lower() in OURS else name


def _forged(name: str) -> str:
    return name.removeprefix(FORGED_PREFIX) if _bare(name).lower() in OURS else name


def _bare(name: str) -> str:
    while name.startswith(FORGED_PREFIX):
        name = name.removeprefix(FORGED_PREFIX)
    return name


def _sendable(headers: RawHeaders) -> RawHeaders:
    # A name that cannot be encoded again would make the dead letter itself impossible.
    return tuple((name.encode("utf-8", "replace").decode(), value) for name, value in headers)


def _timestamp(timestamp_ms: int | None) -> str:
    if timestamp_ms is None:
        return ""
    try:
        return identifiers.instant(datetime.fromtimestamp(timestamp_ms / 1000, UTC))
    except (ValueError, OverflowError, OSError):  # The sender chooses it: any 64-bit number.
        return str(timestamp_ms)


def _milliseconds(text: str) -> int | None:
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        pass
    try:
        return int(text) if len(text) <= 20 else None
    except ValueError:
        return None


def _number(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    return int(text)


def said(record: Record) -> tuple[str, str, str]:
    """Return source, event id and type as far as they can be read, in an envelope or CloudEvent."""
    said = {name.lower(): value for name, value in record.headers or ()}
    document: dict[str, object] = {}
    try:
        found = json.loads(record.value or b"")
        document = found if isinstance(found, dict) else {}
    except (ValueError, RecursionError):
        pass

    def text(*keys: str, header: str) -> str:
        for value in (*map(document.get, keys), said.get(CLOUDEVENTS_HEADER_PREFIX + header)):
            if isinstance(value, bytes):
                return value.decode("utf-8", "replace")[:MAX_SHOWN]
            if isinstance(value, str):
                return value.encode("utf-8", "replace").decode()[:MAX_SHOWN]
        return ""

    return (
        text("source", header="source"),
        text("event_id", "id", header="id"),
        text("type", header="type"),
    )
