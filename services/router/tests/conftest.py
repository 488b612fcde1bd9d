"""Fakes behind the router's ports, and builders of definitions and events."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from contracts import definitions as definition_language
from contracts.eventtypes import EventType
from contracts.producers import Producer
from contracts.rejections import EventRejectedError, Reason
from contracts.routing import PendingOutcome
from contracts.runs import RunInput
from router.domain import routing
from router.domain.decisions import RoutedEvent, UnroutedRange
from router.domain.pending import Confirmation, DueStart
from router.domain.policy import Policy
from router.domain.records import RawHeaders, Record
from router.domain.routing import Active, Index
from router.errors import DefinitionUnknownError, StartRefusedError, TransientError
from router.ports import Seen


def definition_content(
    definition_id: str,
    *triggers: dict[str, Any],
    manual: dict[str, dict[str, Any]] | None = None,
    queue: str = "test-tq",
    **spec: Any,
) -> bytes:
    """Return a definition as the registry serves it; `manual` has its manual triggers by name."""
    definition = definition_language.ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": definition_id, "namespace": "dev", "owner": "tests"},
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


class FakePendingStarts:
    """What waits, as it is told to a test; hands out what it has.

    `away` makes it unreachable, and it does not hear the next `unheard` confirmations.
    """

    def __init__(self) -> None:
        self.waiting: set[tuple[str, str]] = set()
        self.asked: list[tuple[str, str]] = []
        self.due: list[DueStart] = []
        self.due_in: timedelta | None = None
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

    async def claim(
        self, namespace: str, *, limit: int, lease: timedelta
    ) -> tuple[list[DueStart], timedelta | None]:
        if self.away:
            raise TransientError("no ledger now")
        claimed, self.due = self.due[:limit], self.due[limit:]
        return claimed, self.due_in

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
    """One producer of `shop`, one of `strict` that has to sign, and a schema for `paid`."""

    def head(kind: str, name: str) -> dict[str, Any]:
        metadata = {"id": name, "namespace": "dev", "owner": "tests"}
        return {"apiVersion": "backbone/v1", "kind": kind, "metadata": metadata}

    policy = Policy()
    shop = {"sources": ["shop"], "types": ["*"]}
    strict = {
        "sources": ["strict"],
        "types": ["*"],
        "signatures": "required",
        "keys": [{"id": "k", "publicKey": "A" * 43 + "="}],
    }
    for name, spec in (("shop", shop), ("strict", strict)):
        producer = Producer.model_validate(head("Producer", name) | {"spec": spec})
        policy.put_producer(name, producer)
    schemas = {"schemas": [{"version": 1, "schema": {"type": "object"}}]}
    policy.put_event_type(EventType.model_validate(head("EventType", "paid") | {"spec": schemas}))
    return policy


@pytest.fixture
def make() -> SimpleNamespace:
    """Builders: `definition` content, `event` bytes and raw `record`s."""
    return SimpleNamespace(definition=definition_content, event=event_bytes, record=raw_record)


@pytest.fixture
def make_event() -> Callable[..., bytes]:
    return event_bytes
