"""Checks a producer's records: against the envelope, and against what the registry knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts import envelope as envelopes
from contracts import names
from contracts.envelope import Envelope
from contracts.eventtypes import EventType
from contracts.producers import Producer
from contracts.rejections import EventRejectedError
from rules import jsonschemas
from rules.errors import SchemaError


@dataclass(frozen=True)
class Sample:
    """A record as it was written, and where it stands: `line 3`, or `dev.events[0] at 42`."""

    place: str
    value: bytes | None


@dataclass(frozen=True)
class Problem:
    """What is wrong with a record: a stable reason code, and one sentence."""

    record: str
    reason: str
    message: str


@dataclass(frozen=True)
class Registered:
    """The event types and producers of a namespace."""

    event_types: Mapping[str, EventType] = field(default_factory=dict)
    producers: Sequence[Producer] = ()


class ProducerContract:
    """The contract that the records of a namespace's producers keep to.

    Without `registered`, only what can be said without a registry is checked.
    """

    def __init__(self, *, namespace: str, registered: Registered | None) -> None:
        self._namespace = namespace
        self._registered = registered
        self._schemas: dict[tuple[str, int], jsonschemas.Validator] = {}
        self._seen: dict[tuple[str, str], bytes] = {}

    def problems(self, sample: Sample) -> list[Problem]:
        """Return what is wrong with a record."""
        try:
            event = envelopes.parse(sample.value)
        except EventRejectedError as exc:
            return [Problem(sample.place, exc.reason.value, f"it is no envelope: {exc.detail}")]
        found = [*self._identity(event, sample.value or b"")]
        if self._registered is not None:
            found += [
                *self._producer(event, self._registered.producers),
                *self._payload(event, self._registered.event_types),
            ]
        return [Problem(sample.place, reason, message) for reason, message in found]

    def _identity(self, event: Envelope, value: bytes) -> "_Found":
        found = []
        if event.namespace not in (None, self._namespace):
            found.append(
                ("wrong_namespace", f"namespace is {event.namespace}, not {self._namespace}")
            )
        if event.type.startswith(names.RESERVED_PREFIX):
            found.append(
                (
                    "reserved_type",
                    f"types that begin with {names.RESERVED_PREFIX} are Backbone's own, "
                    f"and {event.type} does",
                )
            )
        first = self._seen.setdefault((event.source, event.event_id), value)
        if first != value:
            found.append(
                (
                    "id_conflict",
                    f"event_id {event.event_id} of {event.source} was another event before: the "
                    "same id means the same bytes",
                )
            )
        return found

    def _producer(self, event: Envelope, producers: Sequence[Producer]) -> "_Found":
        if any(one.may_emit(source=event.source, event_type=event.type) for one in producers):
            return []
        message = f"no registered producer may emit {event.type} from {event.source}"
        return [("not_permitted", message)]

    def _payload(self, event: Envelope, event_types: Mapping[str, EventType]) -> "_Found":
        event_type = event_types.get(event.type)
        if event_type is None:
            return [("unknown_type", f"{event.type} is no registered event type")]
        schemas = {schema.version: schema.schema_ for schema in event_type.spec.schemas}
        if event.schema_version not in schemas:
            known = ", ".join(map(str, schemas))
            message = f"{event.type} has no schema version {event.schema_version}; it has {known}"
            return [("unknown_schema_version", message)]
        try:
            validator = self._validator(
                event.type, event.schema_version, schemas[event.schema_version]
            )
        except SchemaError as exc:
            return [("unusable_schema", f"the registered schema cannot be used: {exc}")]
        return [
            ("payload", f"the payload does not fit version {event.schema_version}: {message}")
            for message in validator.problems(event.payload)
        ]

    def _validator(
        self, event_type: str, version: int, schema: Mapping[str, Any]
    ) -> jsonschemas.Validator:
        key = (event_type, version)
        if key not in self._schemas:
            self._schemas[key] = jsonschemas.compile(schema)
        return self._schemas[key]


_Found = list[tuple[str, str]]
