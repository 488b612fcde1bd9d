"""Fakes behind the registry's ports, and documents to apply."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts import canonical
from registry.domain import versioning
from registry.domain.materialisation import Desired, Wakeup
from registry.domain.versioning import DefinitionVersion
from registry.errors import LeadershipLostError
from registry.ports import Request


class MemoryDefinitionStore:
    """Definitions in memory, changed one at a time and all or nothing."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self._lock = asyncio.Lock()
        self._versions: dict[tuple[str, str], list[DefinitionVersion]] = defaultdict(list)
        self._requests: dict[tuple[str, str], Request] = {}
        self._revisions: dict[str, int] = defaultdict(int)

    async def change(self, namespace: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
        async with self._lock:
            self.now += timedelta(seconds=1)
            before = deepcopy((self._versions, self._requests, self._revisions))
            try:
                return await work(_MemoryChange(self, namespace))
            except BaseException:
                self._versions, self._requests, self._revisions = before
                raise

    async def active(self, namespace: str, definition_id: str) -> DefinitionVersion | None:
        versions = self._versions.get((namespace, definition_id))
        return versions[-1] if versions else None

    async def version(
        self, namespace: str, definition_id: str, version: int
    ) -> DefinitionVersion | None:
        versions = self._versions.get((namespace, definition_id), [])
        return versions[version - 1] if version <= len(versions) else None

    async def page(
        self, namespace: str, *, after_id: str, limit: int, max_bytes: int
    ) -> list[DefinitionVersion]:
        heads = sorted(self._heads(namespace), key=lambda head: head.definition_id)
        return _bounded([h for h in heads if h.definition_id > after_id], limit, max_bytes)

    async def changed(
        self, namespace: str, *, after_revision: int, limit: int, max_bytes: int
    ) -> list[DefinitionVersion]:
        heads = sorted(self._heads(namespace), key=lambda head: head.revision)
        return _bounded([h for h in heads if h.revision > after_revision], limit, max_bytes)

    async def revision(self, namespace: str) -> int:
        return self._revisions[namespace]

    def _heads(self, namespace: str) -> list[DefinitionVersion]:
        return [versions[-1] for (ns, _), versions in self._versions.items() if ns == namespace]


class _MemoryChange:
    def __init__(self, store: MemoryDefinitionStore, namespace: str) -> None:
        self._store = store
        self._namespace = namespace
        self.now = store.now
        self.next_revision = store._revisions[namespace] + 1

    async def request(self, request_id: str) -> Request | None:
        return self._store._requests.get((self._namespace, request_id))

    async def remember(self, request: Request) -> None:
        self._store._requests[self._namespace, request.request_id] = request

    async def active(self, definition_id: str) -> DefinitionVersion | None:
        return await self._store.active(self._namespace, definition_id)

    async def version(self, definition_id: str, version: int) -> DefinitionVersion | None:
        return await self._store.version(self._namespace, definition_id, version)

    async def append(self, version: DefinitionVersion) -> None:
        assert version.etag == versioning.etag(
            version.namespace, version.definition_id, version.revision
        )
        self._store._revisions[self._namespace] = version.revision
        self._store._versions[self._namespace, version.definition_id].append(version)


def _bounded(
    versions: list[DefinitionVersion], limit: int, max_bytes: int
) -> list[DefinitionVersion]:
    shown: list[DefinitionVersion] = []
    for version in versions[:limit]:
        if shown and sum(len(v.content) for v in (*shown, version)) > max_bytes:
            break
        shown.append(version)
    return shown


class FakeLedger:
    """Takes schedules, or fails as it is told."""

    def __init__(self, journal: list[tuple[str, str]]) -> None:
        self.journal = journal
        self.put_schedules: list[Desired] = []
        self.failing: dict[str | None, Exception] = {}

    async def put(self, desired: Desired) -> None:
        failure = self.failing.get(None) or self.failing.get(desired.definition_id)
        if failure is not None:
            raise failure
        self.journal.append(("ledger", desired.definition_id))
        self.put_schedules.append(desired)


class FakeClock:
    """Holds wake-ups, or fails as it is told."""

    def __init__(self, journal: list[tuple[str, str]]) -> None:
        self.journal = journal
        self.wakeups: dict[str, Wakeup] = {}
        self.present: dict[str, str] = {}
        self.at_once: list[str] = []
        self.failure: Exception | None = None
        self.asked = 0

    async def fingerprints(self, namespace: str) -> dict[str, str]:
        del namespace
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return dict(self.present)

    async def put(self, wakeup: Wakeup, *, at_once: bool) -> None:
        if self.failure is not None:
            raise self.failure
        self.journal.append(("clock", wakeup.definition_id))
        self.wakeups[wakeup.definition_id] = wakeup
        self.present[wakeup.definition_id] = wakeup.fingerprint
        if at_once:
            self.at_once.append(wakeup.definition_id)

    async def remove(self, namespace: str, definition_id: str) -> None:
        del namespace
        if self.failure is not None:
            raise self.failure
        self.journal.append(("removed", definition_id))
        self.wakeups.pop(definition_id, None)
        self.present.pop(definition_id, None)


class FakeLeadership:
    """Leads at once, until it is told that it is over; then it leads again."""

    def __init__(self) -> None:
        self.terms = 0
        self.over = False

    @asynccontextmanager
    async def held(self) -> AsyncIterator["FakeLeadership"]:
        self.terms += 1
        self.over = False
        yield self

    async def confirm(self) -> None:
        if self.over:
            raise LeadershipLostError("the lead is over")


class FakeMaterialisations:
    """Keeps what was recorded, the latest by definition and all in order."""

    def __init__(self) -> None:
        self.latest: dict[str, tuple[int, str | None]] = {}
        self.written: list[tuple[str, int, str | None]] = []

    async def record(
        self, namespace: str, definition_id: str, *, version: int, error: str | None
    ) -> None:
        del namespace
        self.latest[definition_id] = (version, error)
        self.written.append((definition_id, version, error))


@pytest.fixture
def memory_store() -> MemoryDefinitionStore:
    return MemoryDefinitionStore()


@pytest.fixture
def fakes() -> dict[str, Any]:
    """The reconciler's neighbours; ledger and clock write to one journal."""
    journal: list[tuple[str, str]] = []
    return {
        "ledger": FakeLedger(journal),
        "clock": FakeClock(journal),
        "leadership": FakeLeadership(),
        "materialisations": FakeMaterialisations(),
    }


def _document(
    definition_id: str = "billing.overdue",
    *,
    namespace: str = "dev",
    description: str | None = None,
    every: str | None = None,
    cron: str | None = None,
) -> bytes:
    triggers: list[dict[str, Any]] = [
        {"name": "payment", "event": {"type": "billing.payment.received"}}
    ]
    missed = {"policy": "compress", "window": "1d"}
    if every is not None:
        triggers.append({"name": "often", "schedule": {"every": every, "missedRuns": missed}})
    if cron is not None:
        schedule = {"cron": cron, "timezone": "Europe/Berlin", "missedRuns": missed}
        triggers.append({"name": "at", "schedule": schedule})
    metadata = {"id": definition_id, "namespace": namespace, "owner": "billing"}
    if description is not None:
        metadata["description"] = description
    task = {
        "type": "automated",
        "handler": "send_reminder",
        "taskQueue": "notifications-tq",
        "input": {"kind": "trigger.kind"},
    }
    return canonical.render(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": metadata,
            "spec": {
                "taskQueue": "billing-tq",
                "triggers": triggers,
                "rules": [{"name": "remind", "task": task}],
            },
        }
    )


@pytest.fixture
def document() -> Callable[..., bytes]:
    """Makes documents: `document("billing.overdue", every="15m")`."""
    return _document


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Waits until a condition holds: `await until(lambda: ..., "what is waited for")`."""

    async def wait(condition: Callable[[], Any], what: str, within_s: float = 20.0) -> None:
        try:
            async with asyncio.timeout(within_s):
                while True:
                    answer = condition()
                    if asyncio.iscoroutine(answer):
                        answer = await answer
                    if answer:
                        return
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"waited {within_s} s in vain: {what}")

    return wait
