"""Events as HTTP brings them, turned into what Kafka carries: the same bytes, other headers.

CloudEvents 1.0 in structured, binary and batch mode, and the envelope. Whether they are events is
not looked at here: what is posted is admitted like any record.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from contracts.envelope import MAX_EVENT_BYTES
from contracts.names import (
    CLOUDEVENTS_HEADER_PREFIX,
    CONTENT_TYPE_HEADER,
    ContentType,
    Header,
)
from contracts.rejections import EventRejectedError, Reason
from router.domain.records import RawHeaders

MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_EVENTS = 1000
TAKEN = (
    ContentType.CLOUDEVENT,
    ContentType.CLOUDEVENTS_BATCH,
    ContentType.ENVELOPE,
    ContentType.JSON,
)
"""The media types of bodies; any JSON type with `ce-` headers beside it, too."""

_HTTP_PREFIX = b"ce-"
_SPECVERSION = b"ce-specversion"
_SIGNATURE = Header.SIGNATURE.value.encode()
_WHITESPACE = re.compile(r"[ \t\n\r]*")

HttpHeaders = Sequence[tuple[bytes, bytes]]


class MediaTypeError(Exception):
    """The body is of a type that holds no event here."""


@dataclass(frozen=True, slots=True)
class Posted:
    """One event: the value and the headers of the record that it becomes."""

    value: bytes
    headers: RawHeaders = ()


@dataclass(frozen=True, slots=True)
class Format:
    """How the events are in a body."""

    media_type: str
    content_type: bytes | None
    is_binary: bool

    @property
    def is_batch(self) -> bool:
        """Whether the body holds any number of events."""
        return not self.is_binary and self.media_type == ContentType.CLOUDEVENTS_BATCH

    @property
    def max_bytes(self) -> int:
        """How large the body may be."""
        return MAX_BATCH_BYTES if self.is_batch else MAX_EVENT_BYTES


def recognise(headers: HttpHeaders) -> Format:
    """Return how events are in the body of a request with these headers (names in lower case).

    Raises:
        MediaTypeError: they are in none of the ways that are taken.
    """
    content_type = next((value for name, value in headers if name == b"content-type"), None)
    media_type = (content_type or b"").decode("latin-1").partition(";")[0].strip().lower()
    if not media_type.startswith("application/cloudevents") and any(
        name == _SPECVERSION for name, _ in headers
    ):
        return Format(media_type, content_type, is_binary=True)
    if media_type not in TAKEN:
        raise MediaTypeError(
            f"the content type is {media_type[:100]!r}"
            if media_type
            else "there is no content type"
        )
    return Format(media_type, content_type, is_binary=False)


def read(form: Format, headers: HttpHeaders, body: bytes) -> list[Posted]:
    """Return the events in a body, in their order.

    Raises:
        EventRejectedError: a batch is not a JSON array, or has none or too many.
    """
    traced: RawHeaders = tuple(
        (Header.TRACEPARENT.value, value) for name, value in headers if name == b"traceparent"
    )[:1]
    # As often as it came: two are refused, as in a record. A batch has nowhere to sign its events.
    signed: RawHeaders = tuple(
        (Header.SIGNATURE.value, value) for name, value in headers if name == _SIGNATURE
    )
    if form.is_batch:
        kind = ((CONTENT_TYPE_HEADER, ContentType.CLOUDEVENT.value.encode()),)
        return [Posted(value, (*kind, *traced)) for value in slices(body)]
    if form.is_binary:
        return [Posted(body, (*_binary(form, headers), *traced, *signed))]
    if form.media_type == ContentType.CLOUDEVENT:
        return [Posted(body, ((CONTENT_TYPE_HEADER, form.content_type), *traced, *signed))]
    return [Posted(body, (*traced, *signed))]


def slices(body: bytes) -> list[bytes]:
    """Return the elements of a JSON array, each as its own bytes: what is signed stays so.

    Raises:
        EventRejectedError: it is not a JSON array, or has none or too many.
    """
    try:
        text = body.decode()
        found = _elements(text)
    except UnicodeDecodeError as exc:
        raise EventRejectedError(
            Reason.NOT_UTF8, f"byte {exc.start} of the body is not UTF-8"
        ) from exc
    except json.JSONDecodeError as exc:
        raise EventRejectedError(
            Reason.MALFORMED_JSON, f"{exc.msg} at line {exc.lineno}, column {exc.colno}"
        ) from exc
    except RecursionError as exc:
        raise EventRejectedError(Reason.TOO_DEEP, "nested too deep to be read") from exc
    if not found:
        raise EventRejectedError(Reason.EMPTY, "the batch has no event")
    return found


def _elements(text: str) -> list[bytes]:
    # Only where an element ends is of interest; int() would refuse very long numbers.
    decoder = json.JSONDecoder(parse_int=str)
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        raise json.JSONDecodeError("Expecting an array of events", text, at)
    at = _skip(text, at + 1)
    found: list[bytes] = []
    if text[at : at + 1] == "]":
        at += 1
    else:
        while True:
            _, end = decoder.raw_decode(text, at)
            found.append(text[at:end].encode())
            if len(found) > MAX_BATCH_EVENTS:
                raise EventRejectedError(
                    Reason.OVERSIZE, f"more than {MAX_BATCH_EVENTS} events in one batch"
                )
            at = _skip(text, end)
            if text[at : at + 1] == "]":
                at += 1
                break
            if text[at : at + 1] != ",":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
            at = _skip(text, at + 1)
    at = _skip(text, at)
    if at != len(text):
        raise json.JSONDecodeError("Extra data", text, at)
    return found


def _skip(text: str, at: int) -> int:
    match = _WHITESPACE.match(text, at)
    return at if match is None else match.end()


def _binary(form: Format, headers: HttpHeaders) -> RawHeaders:
    attributes = tuple(
        (
            CLOUDEVENTS_HEADER_PREFIX + name.removeprefix(_HTTP_PREFIX).decode("latin-1"),
            # In HTTP an attribute is percent-encoded, in Kafka it is UTF-8.
            unquote_to_bytes(value),
        )
        for name, value in headers
        if name.startswith(_HTTP_PREFIX)
    )
    if form.content_type is None:
        return attributes
    return ((CONTENT_TYPE_HEADER, form.content_type), *attributes)
