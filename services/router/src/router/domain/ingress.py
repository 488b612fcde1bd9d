"""The way in for a record: check after check, cheap before dear, each with its reason code.

Size, authenticity over the raw bytes, envelope or CloudEvent, namespace, producer, payload. What is
admitted is a document; nobody wants most of them, and nothing more is made of those.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from contracts import canonical, cloudevents, envelope, identifiers, names, sensitive
from contracts.envelope import Envelope
from contracts.names import RESERVED_PREFIX, Extension, Topic
from contracts.rejections import EventRejectedError, Reason
from router.domain.authentication import Authentication
from router.domain.policy import Policy
from router.domain.records import Record

_OWN_SOURCES = names.source("")


@dataclass(slots=True)
class Event:
    """An admitted record: the document of its envelope, and whether it came as a CloudEvent."""

    record: Record
    document: dict[str, Any]
    is_cloudevent: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 by which a repeated event is told from another one with its id.

        Of the record's value; of the document for a CloudEvent, half of which may be headers. A
        time that is Kafka's is no part of it: a producer that sends again gets another one.
        """
        if not self.is_cloudevent:
            return canonical.digest(self.record.value or b"")
        document = self.document
        if Extension.TIME_SOURCE in document:
            document = {k: v for k, v in document.items() if k != "occurred_at"}
        return hashlib.sha256(canonical.render(document)).hexdigest()

    @property
    def traceparent(self) -> str | None:
        """What the event says itself of its trace, whatever its record carries."""
        told = self.document.get(Extension.TRACEPARENT)
        return told if isinstance(told, str) else None

    def envelope(self) -> Envelope:
        """Return the event itself, with the trace context of its record when it has none."""
        traceparent = self.record.traceparent
        if traceparent is None or Extension.TRACEPARENT in self.document:
            return Envelope.model_validate(self.document)
        return Envelope.model_validate(self.document | {Extension.TRACEPARENT.value: traceparent})


class Ingress:
    """Admits the records of one namespace."""

    def __init__(self, namespace: str, authentication: Authentication | None) -> None:
        """None asks for no signature and no producer: for what may have been let in before."""
        self._namespace = namespace
        self._authentication = authentication
        self._own_topics = {
            names.topic(namespace, topic) for topic in Topic if topic is not Topic.DEAD_LETTERS
        }

    def admit(self, record: Record, policy: Policy) -> Event:
        """Return the event in a record.

        Raises:
            EventRejectedError: with the reason code of the first check that it fails.
        """
        if record.value is not None:
            envelope.refuse_oversize(record.value)
        is_own_topic = record.topic in self._own_topics
        signer = None
        if self._authentication is not None:
            signer = self._authentication.signer(record, policy, is_own_topic=is_own_topic)
        if record.headers is None:
            raise EventRejectedError(
                Reason.UNREADABLE_HEADERS, "the name of a header is not UTF-8, or none can be read"
            )
        event = read(record)
        document = event.document
        namespace = document.get("namespace")
        if namespace is not None and namespace != self._namespace:
            raise EventRejectedError(
                Reason.WRONG_NAMESPACE,
                f"the event says {namespace!r}, its topic belongs to {self._namespace!r}",
            )
        if is_own_topic:
            self._check_own(record.topic, document, signer)
        else:
            self._check_producer(document, policy, signer)
            refuse_forged(event)
        policy.check_payload(document["type"], document["schema_version"], document["payload"])
        return event

    def _check_own(self, topic: str, document: dict[str, Any], signer: str | None) -> None:
        source, event_type = document["source"], document["type"]
        if not (event_type.startswith(RESERVED_PREFIX) and source.startswith(_OWN_SOURCES)):
            raise EventRejectedError(
                Reason.PRODUCER_NOT_ALLOWED,
                f"only Backbone writes to {topic}; this is {event_type!r} from {source!r}",
            )
        if self._authentication is None or self._authentication.own_keys is None:
            return
        if signer is None:
            raise EventRejectedError(
                Reason.UNSIGNED, f"what Backbone writes to {topic} is signed, and this is not"
            )
        if source != names.source(signer):
            raise EventRejectedError(
                Reason.PRODUCER_NOT_ALLOWED,
                f"it says to be from {source!r}, and a key of {signer!r} signed it",
            )

    def _check_producer(self, document: dict[str, Any], policy: Policy, signer: str | None) -> None:
        source, event_type = document["source"], document["type"]
        if event_type.startswith(RESERVED_PREFIX) or source.startswith(_OWN_SOURCES):
            raise EventRejectedError(
                Reason.RESERVED_TYPE,
                f"types {RESERVED_PREFIX}* and sources {_OWN_SOURCES}* are Backbone's own; "
                f"this is {event_type!r} from {source!r}",
            )
        if policy.has_producers:
            policy.check_producer(source=source, event_type=event_type, signer=signer)
        elif self._authentication is not None and not self._authentication.is_open:
            raise EventRejectedError(
                Reason.PRODUCER_NOT_ALLOWED,
                f"the namespace {self._namespace!r} has no producer yet: apply one that may emit "
                f"{event_type!r} from {source!r}",
            )


def refuse_forged(event: Event) -> None:
    """Return when an event of a producer holds nothing that is named as a reference is.

    Raises:
        EventRejectedError: it does, and would be shown what is kept of somebody else.
    """
    raw = event.record.value or b""
    # Most hold neither the name nor an escape that could spell it.
    if (sensitive.MARK.encode() in raw or b"\\u00" in raw) and sensitive.has_mark(event.document):
        raise EventRejectedError(
            Reason.RESERVED_NAME,
            f"the name {sensitive.MARK!r} is Backbone's own: only what it keeps of sensitive "
            "fields is named so",
        )


def read(record: Record) -> Event:
    """Return the event that a record says it is, without asking whether it may come in.

    Raises:
        EventRejectedError: it has neither the form of an envelope nor that of a CloudEvent.
    """
    if record.headers:
        document = cloudevents.from_record(
            record.headers, record.value, received_at=_received_at(record)
        )
        if document is not None:
            return Event(record, envelope.check(document), is_cloudevent=True)
    return Event(record, envelope.check(envelope.read(record.value)))


def _received_at(record: Record) -> str | None:
    if record.timestamp_ms is None:
        return None
    try:
        return identifiers.instant(datetime.fromtimestamp(record.timestamp_ms / 1000, UTC))
    except (ValueError, OverflowError, OSError):  # The sender chooses it: any 64-bit number.
        return None
