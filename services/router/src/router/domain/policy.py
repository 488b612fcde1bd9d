"""What a namespace lets in: which producer may emit which types, with which payloads.

Kept by somebody else from the registry's producers and event types. Schemas are compiled once, when
an event type arrives. With its first producer, only producers may emit in a namespace.
"""

from dataclasses import dataclass, field

from contracts.eventtypes import EventType
from contracts.producers import Producer, Signatures
from contracts.rejections import EventRejectedError, Reason
from contracts.sensitive import Marks
from rules import jsonschemas
from rules.jsonschemas import Validator
from signing.keys import Keyring, TrustedKey

_MAX_REMEMBERED = 10_000
"""Pairs of source and type whose verdict is remembered; senders choose them."""


@dataclass(slots=True)
class Policy:
    """The event types and producers of one namespace."""

    _schemas: dict[str, dict[int, Validator]] = field(default_factory=dict)
    _marks: dict[str, dict[int, Marks]] = field(default_factory=dict)
    _producers: dict[str, Producer | None] = field(default_factory=dict)
    _verdicts: dict[tuple[str, str], dict[str, Signatures]] = field(default_factory=dict)
    _keys: dict[str, dict[str, TrustedKey]] = field(default_factory=dict)

    @property
    def keyring(self) -> Keyring:
        """The keys of the producers, by producer and key id."""
        return Keyring(self._keys)

    @property
    def has_producers(self) -> bool:
        """Whether there is one, be it one that this release cannot read."""
        return bool(self._producers)

    def put_event_type(self, event_type: EventType) -> None:
        """Replace what is known of an event type.

        Raises:
            SchemaError: this release cannot use one of its schemas; what was known stays.
        """
        self._schemas[event_type.metadata.id] = {
            schema.version: jsonschemas.compile(schema.schema_)
            for schema in event_type.spec.schemas
        }
        self._marks[event_type.metadata.id] = event_type.marks()

    def remove_event_type(self, event_type_id: str) -> None:
        """Forget an event type: its payloads are no longer checked."""
        self._schemas.pop(event_type_id, None)
        self._marks.pop(event_type_id, None)

    def marks(self, event_type: str, schema_version: int) -> Marks | None:
        """Return which fields of a payload are sensitive; None when none is."""
        return self._marks.get(event_type, {}).get(schema_version)

    def put_producer(self, producer_id: str, producer: Producer | None) -> None:
        """Replace what is known of a producer; None for one that this release cannot read.

        Nothing comes in by the latter, and it is there all the same: others do not become free to
        emit because of it.
        """
        self._producers[producer_id] = producer
        self._keys[producer_id] = (
            {key.id: TrustedKey.of(key) for key in producer.spec.keys} if producer else {}
        )
        self._verdicts.clear()

    def remove_producer(self, producer_id: str) -> None:
        """Forget a producer."""
        self._producers.pop(producer_id, None)
        self._keys.pop(producer_id, None)
        self._verdicts.clear()

    def keep_event_type(self, event_type_id: str, earlier: "Policy") -> None:
        """Take over an event type from an earlier policy, as far as it knew it."""
        schemas = earlier._schemas.get(event_type_id)  # noqa: SLF001 - of its own kind
        if schemas is not None:
            self._schemas[event_type_id] = schemas
            self._marks[event_type_id] = earlier._marks.get(event_type_id, {})  # noqa: SLF001 - as above

    def keep_producer(self, producer_id: str, earlier: "Policy") -> None:
        """Take over a producer from an earlier policy, or know that it is there."""
        self.put_producer(producer_id, earlier._producers.get(producer_id))  # noqa: SLF001 - of its own kind

    def check_producer(self, *, source: str, event_type: str, signer: str | None) -> None:
        """Return when a producer may emit events of this type from this source.

        What is signed has to be the signer's to emit. What is not comes in only where nobody who
        may emit it has to sign: one that need not would let anybody speak for one that has to.

        Raises:
            EventRejectedError: none may, the signer may not, or it has to be signed or must not be.
        """
        allowed = self._allowed(source, event_type)
        if signer is not None:
            if signer not in allowed:
                raise EventRejectedError(
                    Reason.PRODUCER_NOT_ALLOWED,
                    f"the producer {signer!r}, whose key signed it, may not emit {event_type!r} "
                    f"from {source!r}",
                )
            if allowed[signer] is Signatures.REJECTED:
                raise EventRejectedError(
                    Reason.SIGNATURE_NOT_TAKEN,
                    f"it is signed, and no signatures are taken of the producer {signer!r}",
                )
            return
        if not allowed:
            raise EventRejectedError(
                Reason.PRODUCER_NOT_ALLOWED,
                f"no producer may emit {event_type!r} from {source!r}",
            )
        if Signatures.REQUIRED in allowed.values():
            raise EventRejectedError(
                Reason.UNSIGNED, f"{event_type!r} from {source!r} has to be signed"
            )

    def _allowed(self, source: str, event_type: str) -> dict[str, Signatures]:
        """Return the producers that may emit it, and what is done with their signatures."""
        allowed = self._verdicts.get((source, event_type))
        if allowed is None:
            allowed = {
                producer_id: producer.spec.signatures
                for producer_id, producer in self._producers.items()
                if producer is not None and producer.may_emit(source=source, event_type=event_type)
            }
            if len(self._verdicts) >= _MAX_REMEMBERED:
                self._verdicts.clear()
            self._verdicts[source, event_type] = allowed
        return allowed

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
