"""Fakes behind the router's ports, and builders of definitions and events."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from contracts import definitions as definition_language
from contracts.rejections import Reason
from contracts.runs import RunInput
from router.domain import routing
from router.domain.records import RawHeaders, Record
from router.domain.routing import Active, Index
from router.errors import DefinitionUnknownError, StartRefusedError, TransientError


def definition_content(
    definition_id: str,
    *triggers: dict[str, Any],
    manual: dict[str, dict[str, Any]] | None = None,
    queue: str = "test-tq",
) -> bytes:
    """Return a definition as the registry serves it; `manual` has its manual triggers by name."""
    definition = definition_language.ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": definition_id, "namespace": "dev", "owner": "tests"},
            "spec": {
                "taskQueue": queue,
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

    def put(
        self,
        definition_id: str,
        *triggers: dict[str, Any],
        manual: dict[str, dict[str, Any]] | None = None,
        version: int = 1,
        disabled: bool = False,
    ) -> Active:
        active = routing.compile_definition(
            definition_content(definition_id, *triggers, manual=manual),
            version=version,
            revision=version,
            disabled=disabled,
        )
        self.indexes["dev"].put(active)
        return active

    def index(self, namespace: str) -> Index:
        return self.indexes[namespace]

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
        self.digests: dict[tuple[str, str, str], str] = {}

    async def digest(self, namespace: str, source: str, event_id: str) -> str | None:
        return self.digests.get((namespace, source, event_id))

    def remember(self, namespace: str, source: str, event_id: str, digest: str) -> None:
        self.digests[namespace, source, event_id] = digest


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
        self.seen: list[tuple[str, str]] = []

    def settled(self, namespace: str, outcome: str, seconds: float) -> None:
        self.outcomes.append(str(outcome))

    def parked(self, namespace: str, reason: Reason) -> None:
        """Nothing: the dead letters are looked at themselves."""

    def candidates(self, namespace: str, outcomes: Any) -> None:
        self.seen.extend((definition_id, str(outcome)) for definition_id, outcome in outcomes)


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
def dead_letters() -> FakeDeadLetters:
    return FakeDeadLetters()


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def make() -> SimpleNamespace:
    """Builders: `definition` content, `event` bytes and raw `record`s."""
    return SimpleNamespace(definition=definition_content, event=event_bytes, record=raw_record)


@pytest.fixture
def make_event() -> Callable[..., bytes]:
    return event_bytes
