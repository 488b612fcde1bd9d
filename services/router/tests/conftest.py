"""Fakes behind the router's ports, and builders of definitions and events."""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts import definitions as definition_language
from contracts.eventtypes import EventType
from contracts.producers import Producer
from contracts.rejections import EventRejectedError, Reason
from contracts.routing import PendingOutcome
from contracts.runs import RunInput
from contracts.sensitive import Reference
from contracts.switches import KillSwitch
from router.domain import routing
from router.domain.decisions import RoutedEvent, UnroutedRange
from router.domain.instances import Address
from router.domain.pending import Confirmation, DueStart
from router.domain.policy import Policy
from router.domain.records import RawHeaders, Record
from router.domain.routing import Active, Index
from router.domain.sensitive_events import SensitiveValue
from router.errors import DefinitionUnknownError, StartRefusedError, TransientError
from router.ports import Claim, Seen
from signing.keys import SigningKey

SIGNED_AT_MS = 1_795_000_000_000
"""When the records of these tests are signed, and what their clocks show."""


def signing_key(key_id: str = "k", *, signer: str = "strict", seed: str = "") -> SigningKey:
    """Return the key of a producer, or a service, that goes by this id; `seed` makes another."""
    private = Ed25519PrivateKey.from_private_bytes((seed or key_id).encode().ljust(32, b"."))
    return SigningKey(private, signer=signer, key_id=key_id)


def signed_record(
    value: bytes | None,
    *,
    by: SigningKey | None = None,
    topic: str = "dev.events",
    audience: str = "",
    key: bytes | None = None,
    headers: RawHeaders = (),
    at_ms: int = SIGNED_AT_MS,
    after: RawHeaders = (),
) -> Record:
    """Return a record with its signature; the headers `after` are added to it then."""
    signature = (by or signing_key()).sign_record(
        topic=audience or topic, issued_at_ms=at_ms, key=key, headers=headers, value=value
    )
    return raw_record(value, topic=topic, key=key, headers=(*headers, signature.header(), *after))


def definition_content(
    definition_id: str,
    *triggers: dict[str, Any],
    manual: dict[str, dict[str, Any]] | None = None,
    queue: str = "test-tq",
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> bytes:
    """Return a definition as the registry serves it; `manual` has its manual triggers by name."""
    definition = definition_language.ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {
                "id": definition_id,
                "namespace": "dev",
                "owner": "tests",
                "labels": labels or {},
            },
            "spec": {
                "taskQueue": queue,
                **spec,
                "triggers": [
                    *({"name": f"t{n}", "event": event} for n, event in enumerate(triggers)),
                    *({"name": name, "manual": start} for name, start in (manual or {}).items()),
                ],
                "rules": [
                    {
                        "name": "act",
                        "task": {"type": "automated", "handler": "act", "taskQueue": "hands-tq"},
                    }
                ],
            },
        }
    )
    return definition_language.content(definition)


def event_bytes(event_id: str = "e-1", **fields: Any) -> bytes:
    """Return the bytes of an event of type `paid` with a payload of one amount."""
    document = {
        "event_id": event_id,
        "type": "paid",
        "source": "shop",
        "occurred_at": "2026-11-23T10:00:00Z",
        "payload": {"amount": 10},
    }
    return json.dumps(document | fields).encode()


def raw_record(
    value: bytes | None,
    *,
    offset: int = 0,
    key: bytes | None = None,
    headers: RawHeaders | None = (),
    topic: str = "dev.events",
) -> Record:
    """Return a record as the consumer hands it over."""
    moment = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000)
    return Record(topic, 0, offset, moment, key, value, headers)


class FakeDefinitions:
    """Definitions in memory; `away` makes the registry unreachable."""

    def __init__(self) -> None:
        self.indexes = {"dev": Index()}
        self.policies = {"dev": Policy()}
        self.revisions = {"dev": 1}

    def put(
        self,
        definition_id: str,
        *triggers: dict[str, Any],
        manual: dict[str, dict[str, Any]] | None = None,
        version: int = 1,
        disabled: bool = False,
        **spec: Any,
    ) -> Active:
        active = routing.compile_definition(
            definition_content(definition_id, *triggers, manual=manual, **spec),
            version=version,
            revision=version,
            disabled=disabled,
        )
        self.indexes["dev"].put(active)
        self.revisions["dev"] = max(self.revisions["dev"], version)
        return active

    def index(self, namespace: str) -> Index:
        return self.indexes[namespace]

    def policy(self, namespace: str) -> Policy:
        return self.policies[namespace]

    def revision(self, namespace: str) -> int:
        return self.revisions[namespace]

    async def latest(self, namespace: str, definition_id: str) -> Active:
        active = self.indexes[namespace].get(definition_id)
        if active is None:
            raise DefinitionUnknownError(definition_id)
        return active


class FakeStarter:
    """Starts each id once, as Temporal does; `away` and `refuses` make starts fail."""

    def __init__(self) -> None:
        self.runs: dict[str, RunInput] = {}
        self.queues: dict[str, str] = {}
        self.calls = 0
        self.away = False
        self.refuses: set[str] = set()
        self.woken: list[Address] = []

    async def start(self, run: RunInput, *, task_queue: str) -> bool:
        self.calls += 1
        if self.away:
            raise TransientError("Temporal is away")
        if run.definition_id in self.refuses:
            raise StartRefusedError("not like this")
        if run.run_id in self.runs:
            return False
        self.runs[run.run_id] = run
        self.queues[run.run_id] = task_queue
        return True

    async def wake(self, namespace: str, address: Address) -> None:
        assert namespace == "dev"
        self.calls += 1
        if self.away:
            raise TransientError("Temporal is away")
        if address.definition_id in self.refuses:
            raise StartRefusedError("not like this")
        self.woken.append(address)

    async def started(self, namespace: str, run_id: str) -> RunInput | None:
        return self.runs.get(run_id)


class FakeSeen:
    """A memory that keeps everything."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str, str], Seen] = {}

    async def recall(self, namespace: str, events: Any) -> list[Seen | None]:
        return [self.events.get((namespace, *event)) for event in events]

    def remember(
        self, namespace: str, source: str, event_id: str, *, digest: str, revision: int
    ) -> None:
        self.events[namespace, source, event_id] = Seen(digest, revision)


class FakeDecisionLog:
    """Keeps decisions as the ledger does: the first of a place, one digest for an event.

    `away` makes it unreachable; `lost` lets it keep what it is told without an answer.
    """

    def __init__(self) -> None:
        self.events: dict[tuple[str, int, int, str], RoutedEvent] = {}
        self.unrouted: list[UnroutedRange] = []
        self.digests: dict[tuple[str, str], str] = {}
        self.calls = 0
        self.away = self.lost = False

    async def record(
        self, namespace: str, events: Any, unrouted: Any
    ) -> dict[int, EventRejectedError]:
        self.calls += 1
        if self.away:
            raise TransientError("the ledger is away")
        rejections = {}
        for index, event in enumerate(events):
            identity = event.source, event.event_id
            if self.digests.setdefault(identity, event.digest) != event.digest:
                rejections[index] = EventRejectedError(Reason.ID_CONFLICT, "other bytes before")
                continue
            record = event.record
            place = record.topic, record.partition, record.offset, event.cause
            self.events.setdefault(place, event)
        self.unrouted += unrouted
        if self.lost:
            raise TransientError("no answer")
        return rejections

    @property
    def outcomes(self) -> list[tuple[int, str, str]]:
        """Offset, definition and outcome of each decision, in the order in which they came."""
        return [
            (event.record.offset, decision.definition.definition_id, str(decision.outcome))
            for event in self.events.values()
            for decision in event.decisions
        ]


class FakeSensitiveValues:
    """Keeps values by their ids: the first one stays; `away` makes it unreachable.

    Who is in `erased` is read no more.
    """

    def __init__(self) -> None:
        self.kept: dict[str, SensitiveValue] = {}
        self.erased: set[str] = set()
        self.calls = 0
        self.away = False

    def hash_of(self, blob_id: str) -> str:
        return "h" * 13 + blob_id.replace("-", "").translate(_BASE32)[:13]

    async def keep(
        self, namespace: str, values: Sequence[SensitiveValue]
    ) -> dict[UUID, str | None]:
        assert namespace == "dev"
        self.calls += 1
        if self.away:
            raise TransientError("no ledger now")
        return {
            one.blob_id: self.hash_of(str(one.blob_id))
            if self.kept.setdefault(str(one.blob_id), one) == one
            else None
            for one in values
        }

    async def resolve(self, namespace: str, references: Collection[Reference]) -> dict[str, Any]:
        if self.away:
            raise TransientError(f"no ledger of {namespace} now")
        return {
            one.blob_id: self.kept[one.blob_id].value
            for one in references
            if one.hash == self.hash_of(one.blob_id)
            and self.kept[one.blob_id].subject not in self.erased
        }


_BASE32 = str.maketrans("0189", "efgh")


class FakePendingStarts:
    """What waits, as it is told to a test; hands out what it has.

    `away` makes it unreachable, and it does not hear the next `unheard` confirmations.
    """

    def __init__(self) -> None:
        self.waiting: set[tuple[str, str]] = set()
        self.asked: list[tuple[str, str]] = []
        self.due: list[DueStart] = []
        self.due_in: timedelta | None = None
        self.thrown: list[KillSwitch] = []
        self.halted: list[str] = []
        self.told: list[Confirmation] = []
        self.away = False
        self.unheard = 0

    async def find_waiting(
        self, namespace: str, keys: Sequence[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        if self.away:
            raise TransientError("no ledger now")
        self.asked += keys
        return self.waiting & set(keys)

    async def claim(self, namespace: str, *, limit: int, lease: timedelta) -> Claim:
        if self.away:
            raise TransientError("no ledger now")
        claimed, self.due = self.due[:limit], self.due[limit:]
        return Claim(claimed, self.due_in, self.thrown, self.halted)

    async def confirm(self, namespace: str, confirmations: Sequence[Confirmation]) -> None:
        if self.unheard:
            self.unheard -= 1
            raise TransientError("no answer")
        self.told.extend(confirmations)

    @property
    def outcomes(self) -> dict[str, PendingOutcome]:
        return {one.start.pending_id[0]: one.outcome for one in self.told}


class FakeDeadLetters:
    """Keeps what was parked; `away` makes the topic unreachable."""

    def __init__(self) -> None:
        self.parked: list[tuple[Record, Reason, str, int]] = []
        self.away = False

    async def park(
        self,
        record: Record,
        *,
        namespace: str,
        reason: Reason,
        detail: str,
        attempts: int,
    ) -> None:
        if self.away:
            raise TransientError("no dead letters now")
        self.parked.append((record, reason, detail, attempts))

    @property
    def reasons(self) -> list[Reason]:
        return [reason for _, reason, _, _ in self.parked]


class Counts:
    """An observer that counts."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.decisions: list[tuple[str, str]] = []
        self.resolutions: list[tuple[str, str]] = []
        self.received_events: list[tuple[str, int]] = []

    def settled(self, namespace: str, outcome: str, seconds: Sequence[float]) -> None:
        self.outcomes += [str(outcome)] * len(seconds)

    def unrouted(self, namespace: str, count: int) -> None:
        self.outcomes += ["no_match"] * count

    def parked(self, namespace: str, reason: Reason) -> None:
        """Nothing: the dead letters are looked at themselves."""

    def resolved(self, namespace: str, state: str, outcome: str) -> None:
        self.resolutions.append((str(state), outcome))

    def received(self, outcome: str, count: int) -> None:
        self.received_events.append((outcome, count))

    def candidates(self, namespace: str, outcomes: Any) -> None:
        self.decisions.extend((definition_id, str(outcome)) for definition_id, outcome in outcomes)

    def dispatched(self, namespace: str, outcomes: Any) -> None:
        """Nothing: what the ledger is told is looked at itself."""
        list(outcomes)


@pytest.fixture
def definitions() -> FakeDefinitions:
    return FakeDefinitions()


@pytest.fixture
def starter() -> FakeStarter:
    return FakeStarter()


@pytest.fixture
def seen() -> FakeSeen:
    return FakeSeen()


@pytest.fixture
def decision_log() -> FakeDecisionLog:
    return FakeDecisionLog()


@pytest.fixture
def sensitive_values() -> FakeSensitiveValues:
    return FakeSensitiveValues()


@pytest.fixture
def pending() -> FakePendingStarts:
    return FakePendingStarts()


@pytest.fixture
def dead_letters() -> FakeDeadLetters:
    return FakeDeadLetters()


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def policy() -> Policy:
    """Producers of `shop`, of `strict`, which signs, and of `refusing`; a schema for `paid`."""

    def head(kind: str, name: str) -> dict[str, Any]:
        metadata = {"id": name, "namespace": "dev", "owner": "tests"}
        return {"apiVersion": "backbone/v1", "kind": kind, "metadata": metadata}

    policy = Policy()
    shop = {"sources": ["shop"], "types": ["*"]}
    strict = {
        "sources": ["strict"],
        "types": ["*"],
        "signatures": "required",
        "keys": [
            {"id": "k", "publicKey": signing_key().public_key},
            {
                "id": "lost",
                "publicKey": signing_key("lost").public_key,
                "revokedAt": "2026-01-01T00:00:00Z",
            },
            {
                "id": "old",
                "publicKey": signing_key("old").public_key,
                "notAfter": "2026-01-01T00:00:00Z",
            },
        ],
    }
    refusing = {"sources": ["refusing"], "types": ["*"], "signatures": "rejected"}
    refusing["keys"] = strict["keys"]
    for name, spec in (("shop", shop), ("strict", strict), ("refusing", refusing)):
        producer = Producer.model_validate(head("Producer", name) | {"spec": spec})
        policy.put_producer(name, producer)
    schemas = {"schemas": [{"version": 1, "schema": {"type": "object"}}]}
    policy.put_event_type(EventType.model_validate(head("EventType", "paid") | {"spec": schemas}))
    return policy


@pytest.fixture
def make() -> SimpleNamespace:
    """Builders: `definition` content, `event` bytes, raw `record`s, and those that are `signed`."""
    return SimpleNamespace(
        definition=definition_content,
        event=event_bytes,
        record=raw_record,
        signed=signed_record,
        key=signing_key,
    )


@pytest.fixture
def make_event() -> Callable[..., bytes]:
    return event_bytes
