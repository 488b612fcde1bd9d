"""CloudEvents from strangers, in every form: read, or refused with a reason, and soon."""

import time

from contracts import cloudevents, envelope
from contracts.rejections import EventRejectedError

MOST_S = 0.05
RECEIVED_AT = "2026-11-23T10:00:00Z"
STRUCTURED = (("content-type", b"application/cloudevents+json"),)
BINARY = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_type", b"paid"),
    ("ce_source", b"shop"),
)


def one(data: bytes) -> None:
    """Read bytes as the value and as headers of records, and as a batch."""
    name, _, rest = data.partition(b"\n")
    hostile = ((f"ce_{name[:40].decode('latin1')}", rest[:200]), ("content-type", rest[-60:]))
    for headers in (STRUCTURED, BINARY, (*BINARY, *hostile), (*STRUCTURED, *hostile), hostile):
        _record(headers, data)
    _batch(data)


def _record(headers: cloudevents.Headers, data: bytes) -> None:
    began = time.process_time()
    try:
        document = cloudevents.from_record(headers, data, received_at=RECEIVED_AT)
        if document is not None:
            envelope.check(document)
    except EventRejectedError:
        pass
    took = time.process_time() - began
    assert took < MOST_S, f"{took * 1000:.0f} ms for {len(data)} bytes"


def _batch(data: bytes) -> None:
    try:
        for event in cloudevents.batch(data):
            envelope.check(cloudevents.from_json(event, received_at=RECEIVED_AT))
    except EventRejectedError:
        pass
