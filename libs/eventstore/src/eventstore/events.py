"""Events as they are given to a stream (`Fact`, `Cause`) and as they stand in it (`Event`).

An envelope is rendered once, here: the bytes that are stored are the bytes that are published.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel

from contracts import envelope as envelopes
from contracts import identifiers, names
from contracts.envelope import MAX_EVENT_BYTES, Envelope
from contracts.events import PAYLOAD_OF
from contracts.names import EventType, Extension, Header
from eventstore.errors import EventTooLargeError
from signing import signature as signatures
from signing.keys import SigningKey

GENESIS = bytes(32)
"""The `previous_hash` of the first event of a stream."""

_TYPE_OF = {model: event_type for event_type, model in PAYLOAD_OF.items()}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class Fact:
    """Something that happened: a payload of `contracts.events`, and the Kafka key it travels by.

    `subject` is what it happened to; left out, it is the key.
    """

    payload: BaseModel
    key: str
    subject: str | None = None

    @property
    def type(self) -> EventType:
        """The event type that the payload belongs to. Raises KeyError for any other model."""
        return _TYPE_OF[type(self.payload)]


@dataclass(frozen=True)
class Cause:
    """What led to the facts of an append; `hops` is the cause's own count."""

    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None
    hops: int = 0

    @classmethod
    def of(cls, event: Envelope) -> Self:
        """Return the cause that `event` is: the chain it belongs to goes on."""
        return cls(
            correlation_id=event.correlation_id or event.event_id,
            causation_id=event.event_id,
            traceparent=event.traceparent,
            hops=event.hops,
        )


@dataclass(frozen=True)
class Rendered:
    """A fact at its place in a stream, ready to be written."""

    version: int
    type: EventType
    topic: str
    key: str
    headers: list[tuple[str, str]]
    envelope: Envelope
    payload: BaseModel
    body: bytes
    previous_hash: bytes
    hash: bytes

    def signed(self, key: SigningKey, *, at_ms: int) -> bytes:
        """Return the header of its signature as of `at_ms` (since 1970), as it will be published.

        It is of what the relay publishes: topic, key, headers and bytes.
        """
        return signatures.render(
            key.sign_record(
                topic=self.topic,
                issued_at_ms=at_ms,
                key=self.key.encode(),
                headers=[(name, value.encode()) for name, value in self.headers],
                value=self.body,
            )
        )


@dataclass(frozen=True)
class Event:
    """An event as it stands in its stream."""

    position: int
    recorded_at: datetime
    stream: str
    version: int
    envelope: Envelope
    payload: BaseModel
    body: bytes
    previous_hash: bytes
    hash: bytes


def link(previous_hash: bytes, body: bytes) -> bytes:
    """Return the hash of an event: SHA-256 over the previous one and the published bytes."""
    return hashlib.sha256(previous_hash + body).digest()


def render(
    fact: Fact,
    *,
    source: str,
    namespace: str,
    stream: str,
    version: int,
    previous_hash: bytes,
    occurred_at: datetime,
    cause: Cause,
) -> Rendered:
    """Return `fact` as it will be written at `version` of `stream`.

    Raises:
        EventTooLargeError: its envelope is larger than `MAX_EVENT_BYTES`.
    """
    event_id = identifiers.emitted_event_id(namespace, source, stream, version)
    subject = fact.subject or fact.key
    fields: dict[str, Any] = {
        "event_id": event_id,
        "type": fact.type,
        "source": source,
        "occurred_at": occurred_at,
        "subject": subject,
        "namespace": namespace,
        "correlation_id": cause.correlation_id,
        "causation_id": cause.causation_id,
        "payload": fact.payload.model_dump(mode="json", by_alias=True, exclude_none=True),
        Extension.HOPS.value: cause.hops + 1,
    }
    headers = [
        (Header.EVENT_ID.value, event_id),
        (Header.EVENT_TYPE.value, fact.type.value),
        (Header.STREAM.value, stream),
        (Header.STREAM_VERSION.value, str(version)),
    ]
    if cause.traceparent is not None and (match := _TRACEPARENT.fullmatch(cause.traceparent)):
        fields["trace_id"] = match.group(1)
        fields[Extension.TRACEPARENT.value] = cause.traceparent
        headers.append((Header.TRACEPARENT.value, cause.traceparent))
    envelope = Envelope.model_validate(fields)
    body = envelopes.render(envelope)
    if len(body) > MAX_EVENT_BYTES:
        raise EventTooLargeError(subject, size=len(body), limit=MAX_EVENT_BYTES)
    return Rendered(
        version=version,
        type=fact.type,
        topic=names.topic(namespace, names.TOPIC_OF[fact.type]),
        key=fact.key,
        headers=headers,
        envelope=envelope,
        payload=fact.payload,
        body=body,
        previous_hash=previous_hash,
        hash=link(previous_hash, body),
    )


def payload_of(envelope: Envelope) -> BaseModel:
    """Return the typed payload of one of our own envelopes."""
    return PAYLOAD_OF[EventType(envelope.type)].model_validate(envelope.payload)
