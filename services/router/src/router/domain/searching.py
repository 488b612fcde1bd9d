"""Tells cheaply whether a record holds an event, however broken the record is."""

from collections.abc import Callable
from dataclasses import dataclass

from contracts.names import CLOUDEVENTS_HEADER_PREFIX
from contracts.rejections import EventRejectedError
from router.domain import dead_letters, ingress
from router.domain.records import Record


@dataclass(frozen=True, slots=True)
class Found:
    """A record that says it is the event, and its source, empty when it has none."""

    record: Record
    source: str


def looking_for(event_id: str, source: str = "") -> Callable[[Record], Found | None]:
    """Return what tells whether a record is that event, of any source unless one is given."""
    plain = event_id.encode()

    def look(record: Record) -> Found | None:
        if not _may_hold(plain, record):
            return None
        found_id, found_source = _identity(record)
        if found_id != event_id or (source and found_source != source):
            return None
        return Found(record, found_source)

    return look


def _may_hold(plain: bytes, record: Record) -> bool:
    # Most records are told apart without being parsed. A backslash may stand for any character.
    value = record.value or b""
    return (
        plain in value
        or b"\\" in value
        or any(name.startswith(CLOUDEVENTS_HEADER_PREFIX) for name, _ in record.headers or ())
    )


def _identity(record: Record) -> tuple[str, str]:
    try:
        document = ingress.read(record).document
    except EventRejectedError:
        # What is refused has a place and a reason too.
        source, event_id, _ = dead_letters.said(record)
        return event_id, source
    return document["event_id"], document["source"]
