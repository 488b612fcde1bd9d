"""What a namespace lets in: which producer may emit which types, with which payloads.

Kept by somebody else from the registry's producers and event types. Schemas are compiled once, when
an event type arrives. Without a producer anybody may emit; with the first one, only producers may.
"""

from dataclasses import dataclass, field

from contracts.eventtypes import EventType
from contracts.producers import Producer, Signatures
from contracts.rejections import EventRejectedError, Reason
from rules import jsonschemas
from rules.jsonschemas import Validator

_MAX_REMEMBERED = 10_000
"""Pairs of source and type whose verdict is remembered; senders choose them."""


@dataclass(slots=True)
class Policy:
    """The event types and producers of one namespace."""

    _schemas: dict[str, dict[int, Validator]] = field(default_factory=dict)
    _producers: dict[str, Producer | None] = field(default_factory=dict)
    _verdicts: dict[tuple[str, str], frozenset[Signatures]] = field(default_factory=dict)

    def put_event_type(self, event_type: EventType) -> None:
        """Replace what is known of an event type.

        Raises:
            SchemaError: this release cannot use one of its schemas; what was known stays.
        """
        self._schemas[event_type.metadata.id] = {
            schema.version: jsonschemas.compile(schema.schema_)
            for schema in event_type.spec.schemas
        }

    def remove_event_type(self, event_type_id: str) -> None:
        """Forget an event type: its payloads are no longer checked."""
        self._schemas.pop(event_type_id, None)

    def put_producer(self, producer_id: str, producer: Producer | None) -> None:
        """Replace what is known of a producer; None for one that this release cannot read.

        Nothing comes in by the latter, and it is there all the same: others do not become free to
        emit because of it.
        """
        self._producers[producer_id] = producer
        self._verdicts.clear()

    def remove_producer(self, producer_id: str) -> None:
        """Forget a producer."""
        self._producers.pop(producer_id, None)
        self._verdicts.clear()

    def keep_event_type(self, event_type_id: str, earlier: "Policy") -> None:
        """Take over an event type from an earlier policy, as far as it knew it."""
        schemas = earlier._schemas.get(event_type_id)  # noqa: SLF001 - of its own kind
        if schemas is not None:
            self._schemas[event_type_id] = schemas

    def keep_producer(self, producer_id: str, earlier: "Policy") -> None:
        """Take over a producer from an earlier policy, or know that it is there."""
        self.put_producer(producer_id, earlier._producers.get(producer_id))  # noqa: SLF001 - of its own kind

    def check_producer(self, *, source: str, event_type: str, signed: bool) -> None:
        """Return when some producer may emit events of this type from this source.

        Raises:
            EventRejectedError: none may, or whoever may has to sign them.
        """
        if not self._producers:
            return
        allowed = self._verdicts.get((source, event_type))
        if allowed is None:
            allowed = frozenset(
                producer.spec.signatures
                for producer in self._producers.values()
                if producer is not None and producer.may_emit(source=source, event_type=event_type)
            )
            if len(self._verdicts) >= _MAX_REMEMBERED:
                self._verdicts.clear()
            self._verdicts[source, event_type] = allowed
        if not allowed:
            raise EventRejectedError(
                Reason.PRODUCER_NOT_ALLOWED,
                f"no producer may emit {event_type!r} from {source!r}",
            )
        if not signed and allowed == {Signatures.REQUIRED}:
            raise EventRejectedError(
                Reason.UNSIGNED, f"{event_type!r} from {source!r} has to be signed"
            )

    def check_payload(self, event_type: str, schema_version: int, payload: object) -> None:
        """Return when a payload follows its schema, or its event type is not registered.

        Raises:
            EventRejectedError: it does not, or there is no such schema version.
        """
        schemas = self._schemas.get(event_type)
        if schemas is None:
            return
        schema = schemas.get(schema_version)
        if schema is None:
            known = ", ".join(map(str, schemas))
            raise EventRejectedError(
                Reason.UNKNOWN_SCHEMA_VERSION,
                f"{event_type!r} has no schema version {schema_version}; there is: {known}",
            )
        problems = schema.problems(payload, name="payload")
        if problems:
            raise EventRejectedError(Reason.SCHEMA_VIOLATION, "; ".join(problems))
