"""The reconciler: what is applied is handed on, ledger first, whatever is away meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Never

import pytest
from structlog.testing import capture_logs

from contracts import canonical
from contracts.resources import ChangeKind, HeldEvents, ResourceKind, ResourceState
from registry.domain import materialisation
from registry.domain.materialisation import Desired, Release, Tampered, Wakeup
from registry.domain.mending import DriftKind, Expected, Plan, Standing
from registry.domain.resources import Change, Key, Resource
from registry.errors import (
    LeadershipLostError,
    MaterialisationError,
    NeighbourUnavailableError,
    WakeupMovedError,
)
from registry.ports import Materialisation
from registry.service.changes import Changes
from registry.service.reconciler import Reconciler


class FakeDefinitions:
    """The part of a store that is read here, changed without any use case."""

    def __init__(self, changes: Changes) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.current: dict[Key, Resource] = {}
        self.enabled: dict[str, Change] = {}
        self._changes = changes
        self._revision = 0

    def store(self, content: bytes, definition_id: str, **fields: Any) -> Resource:
        """Store a version: the next one, unless `version` says which."""
        key = Key(fields.pop("kind", ResourceKind.ACTIVITY_DEFINITION), definition_id)
        before = self.current.get(key)
        version = fields.pop("version", before.version + 1 if before else 1)
        applied = self._change(key, version, ChangeKind.APPLIED, ResourceState.ACTIVE)
        return self._keep(
            Resource(
                namespace="dev",
                key=key,
                version=version,
                content=content,
                content_sha256=canonical.digest(content),
                applied=applied,
                latest=applied,
                versions=version,
            )
        )

    def alter(
        self,
        definition_id: str,
        change: ChangeKind,
        state: ResourceState,
        held: HeldEvents | None = None,
        **fields: Any,
    ) -> Resource:
        """Record a change of the state, or back to an earlier version."""
        key = Key(ResourceKind.ACTIVITY_DEFINITION, definition_id)
        before = replace(self.current[key], **fields)
        latest = replace(self._change(key, before.version, change, state), held=held)
        if held is not None:
            self.enabled[definition_id] = latest
        return self._keep(replace(before, latest=latest))

    async def changed(
        self, namespace: str, *, after_revision: int, limit: int, max_bytes: int
    ) -> list[Resource]:
        del max_bytes
        ordered = sorted(self.current.values(), key=lambda resource: resource.revision)
        return [resource for resource in ordered if resource.revision > after_revision][:limit]

    async def revision(self, namespace: str) -> int:
        return self._revision

    async def released(self, namespace: str, definition_ids: Collection[str]) -> dict[str, Change]:
        return {one: self.enabled[one] for one in definition_ids if one in self.enabled}

    def lose_everything(self) -> None:
        """Become what an older backup holds."""
        self.current, self._revision = {}, 0
        self._changes.restart("dev")

    async def resource(self, namespace: str, key: Key, version: int = 0) -> Resource | None:
        return self.current.get(key)

    def _change(self, key: Key, version: int, change: ChangeKind, state: ResourceState) -> Change:
        self._revision += 1
        self.now += timedelta(seconds=1)
        return Change(self._revision, key, change, version, state, self.now, "ada", "why")

    def _keep(self, resource: Resource) -> Resource:
        self.current[resource.key] = resource
        self._changes.publish("dev", resource.revision)
        return resource


class FakeLedger:
    """Takes schedules, or fails as it is told."""

    def __init__(self, journal: list[tuple[str, str]]) -> None:
        self.journal = journal
        self.put_schedules: list[Desired] = []
        self.released: list[Release] = []
        self.failing: dict[str | None, Exception] = {}

    async def put(self, desired: Desired) -> None:
        failure = self.failing.get(None) or self.failing.get(desired.definition_id)
        if failure is not None:
            raise failure
        self.journal.append(("ledger", desired.definition_id))
        self.put_schedules.append(desired)

    async def release(self, release: Release) -> None:
        failure = self.failing.get("release")
        if failure is not None:
            raise failure
        self.journal.append(("released", release.definition_id))
        self.released.append(release)


class FakeClock:
    """Holds the marks of wake-ups, or fails as it is told; facts and tokens follow from marks."""

    def __init__(self, journal: list[tuple[str, str]]) -> None:
        self.journal = journal
        self.wakeups: dict[str, Wakeup] = {}
        self.present: dict[str, str] = {}
        self.at_once: list[str] = []
        self.failure: Exception | None = None
        self.asked = 0
        self.inspected: list[str] = []
        self.unlisted: set[str] = set()
        # What only an inspection shows.
        self.hidden: dict[str, str] = {}

    async def pages(self) -> AsyncIterator[dict[str, str]]:
        self.asked += 1
        self._answer()
        for definition_id, mark in list(self.present.items()):
            if definition_id not in self.unlisted:
                yield {definition_id: mark}

    async def expected(self, wakeup: Wakeup) -> Expected:
        return Expected(wakeup.fingerprint, {"mark": wakeup.fingerprint})

    async def inspect(self, definition_id: str) -> Standing | None:
        self._answer()
        self.inspected.append(definition_id)
        mark = self.present.get(definition_id)
        if mark is None:
            return None
        hidden = {"hidden": text} if (text := self.hidden.get(definition_id)) else {}
        return Standing(mark, {"mark": mark, **hidden}, mark.encode())

    async def create(self, wakeup: Wakeup, *, at_once: bool) -> None:
        self._answer()
        if wakeup.definition_id in self.present:
            raise WakeupMovedError("there is one")
        self._write(wakeup, at_once=at_once)

    async def update(self, wakeup: Wakeup, standing: Standing, *, at_once: bool) -> None:
        self._answer()
        if self.present.get(wakeup.definition_id, "").encode() == standing.token:
            self._write(wakeup, at_once=at_once)

    async def remove(self, definition_id: str) -> None:
        self._answer()
        self.journal.append(("removed", definition_id))
        self.wakeups.pop(definition_id, None)
        self.present.pop(definition_id, None)

    def _answer(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _write(self, wakeup: Wakeup, *, at_once: bool) -> None:
        self.journal.append(("clock", wakeup.definition_id))
        self.wakeups[wakeup.definition_id] = wakeup
        self.present[wakeup.definition_id] = wakeup.fingerprint
        self.hidden.pop(wakeup.definition_id, None)
        if at_once:
            self.at_once.append(wakeup.definition_id)


class FakeLeadership:
    """Leads at once, until it is told that it is over; then it leads again."""

    def __init__(self) -> None:
        self.number = 0
        self.ended = asyncio.Event()
        self.kept = asyncio.Event()
        self.comparisons = 0

    @property
    def terms(self) -> int:
        return self.number

    @asynccontextmanager
    async def held(self) -> AsyncIterator["FakeLeadership"]:
        self.number += 1
        self.ended.clear()
        yield self

    def confirm(self) -> None:
        if self.ended.is_set():
            raise LeadershipLostError("the lead is over")

    async def keep(self) -> Never:
        self.kept.set()
        await self.ended.wait()
        raise LeadershipLostError("the lead is over")

    async def compared(self) -> None:
        self.comparisons += 1


class FakeMaterialisations:
    """Keeps what was recorded, the latest by definition and all in order."""

    def __init__(self) -> None:
        self.latest: dict[str, tuple[int, str | None]] = {}
        self.written: list[tuple[str, int, str | None]] = []

    async def record(
        self, namespace: str, definition_id: str, *, revision: int, error: str | None
    ) -> None:
        del namespace
        self.latest[definition_id] = (revision, error)
        self.written.append((definition_id, revision, error))

    async def all(self, namespace: str) -> list[Materialisation]:
        at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        return [
            Materialisation(definition_id, revision, at, error)
            for definition_id, (revision, error) in self.latest.items()
        ]


class FakeDriftLog:
    """Keeps what was found, and whether it was repaired."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    async def found(self, namespace: str, definition_id: str, plan: Plan, *, revision: int) -> bool:
        if definition_id in await self.open(namespace):
            return False
        row = {"id": definition_id, "kind": plan.drift, "revision": revision, "repaired": False}
        self.rows.append(row)
        return True

    async def repaired(self, namespace: str, definition_id: str) -> bool:
        found = [row for row in self.rows if row["id"] == definition_id and not row["repaired"]]
        for row in found:
            row["repaired"] = True
        return bool(found)

    async def open(self, namespace: str) -> set[str]:
        return {row["id"] for row in self.rows if not row["repaired"]}


@pytest.fixture
def fakes() -> dict[str, Any]:
    """The reconciler's neighbours; ledger and clock write to one journal."""
    journal: list[tuple[str, str]] = []
    return {
        "ledger": FakeLedger(journal),
        "clock": FakeClock(journal),
        "leadership": FakeLeadership(),
        "materialisations": FakeMaterialisations(),
        "drifts": FakeDriftLog(),
    }


@pytest.fixture
def changes() -> Any:
    return Changes()


@pytest.fixture
def definitions(changes: Changes) -> Any:
    return FakeDefinitions(changes)


@pytest.fixture
def apply(definitions: FakeDefinitions, document: Callable[..., bytes]) -> Any:
    def call(definition_id: str, *, version: int | None = None, **options: Any) -> Any:
        fields = {} if version is None else {"version": version}
        return definitions.store(document(definition_id, **options), definition_id, **fields)

    return call


@pytest.fixture
def now() -> Any:
    """The reconciler's clock: the store's is at 12:00 of the same day."""
    return {"now": datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)}


@pytest.fixture
async def reconcile(
    definitions: FakeDefinitions,
    changes: Changes,
    fakes: dict[str, Any],
    now: dict[str, datetime],
) -> AsyncIterator[Any]:
    """Starts reconcilers, and stops them after the test."""
    started = []

    async def start(
        interval: timedelta = timedelta(hours=1), inspection: timedelta = timedelta(hours=1)
    ) -> Any:
        reconciler = Reconciler(
            namespace="dev",
            store=definitions,  # type: ignore[arg-type] # the part that is used
            changes=changes,
            now=lambda: now["now"],
            interval=interval,
            inspection_interval=inspection,
            **fakes,
        )
        await reconciler.start()
        started.append(reconciler)
        return reconciler

    yield start
    for reconciler in started:
        await reconciler.stop()


async def test_applied_schedule_reaches_the_ledger_first_and_then_the_clock(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    await reconcile()
    version = apply("a", every="1h")
    await until(lambda: fakes["materialisations"].latest == {"a": (1, None)}, "materialised")
    assert fakes["ledger"].journal == [("ledger", "a"), ("clock", "a")]
    (put,) = fakes["ledger"].put_schedules
    assert (put.version, put.task_queue, put.enabled) == (1, "billing-tq", True)
    assert put.effective_from == version.latest.at
    assert list(put.schedules) == ["often"]


async def test_what_was_applied_before_the_start_is_handed_on(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a", every="1h")
    apply("b", every="2h")
    await reconcile()
    await until(lambda: len(fakes["materialisations"].latest) == 2, "both materialised")
    assert sorted(fakes["clock"].wakeups) == ["a", "b"]
    assert {put.definition_id for put in fakes["ledger"].put_schedules} == {"a", "b"}


async def test_definition_that_never_had_a_schedule_is_nobody_elses_business(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a")
    apply("b", every="1h")
    await reconcile()
    await until(lambda: fakes["materialisations"].latest, "the other one is handed on")
    assert {put.definition_id for put in fakes["ledger"].put_schedules} == {"b"}


async def test_definition_that_has_no_schedule_any_more_is_handed_on_by_a_later_leader_too(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a", every="1h")
    apply("a", version=2)
    await reconcile()
    await until(lambda: fakes["materialisations"].latest, "handed on")
    assert [dict(put.schedules) for put in fakes["ledger"].put_schedules] == [{}]


async def test_new_version_without_schedules_is_told_and_woken_no_longer(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    await reconcile()
    apply("a", every="1h")
    await until(lambda: fakes["clock"].wakeups, "woken")
    apply("a")
    await until(lambda: fakes["materialisations"].latest == {"a": (2, None)}, "materialised")
    assert fakes["clock"].wakeups == {}
    assert fakes["ledger"].put_schedules[-1].schedules == {}


async def test_what_becomes_of_held_events_is_handed_on_whatever_is_away_or_comes_after(
    apply: Callable[..., Resource],
    definitions: FakeDefinitions,
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a")
    definitions.alter("a", ChangeKind.DISABLED, ResourceState.DISABLED)
    enabled = definitions.alter(
        "a", ChangeKind.ENABLED, ResourceState.ACTIVE, held=HeldEvents.COMPRESS
    )
    fakes["ledger"].failing["release"] = NeighbourUnavailableError("the ledger", "no answer")
    await reconcile()
    await until(lambda: fakes["ledger"].put_schedules, "the ledger is asked")
    # Its last change is another one by the time that the ledger is back.
    apply("a", every="1h")
    fakes["ledger"].failing.clear()
    await until(lambda: fakes["ledger"].released, "released")
    release = fakes["ledger"].released[-1]
    assert (release.definition_id, release.revision) == ("a", enabled.revision)
    assert (release.held, release.actor, release.reason) == (HeldEvents.COMPRESS, "ada", "why")


async def test_nothing_is_released_when_nothing_was_said_of_it(
    apply: Callable[..., Resource],
    definitions: FakeDefinitions,
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a")
    definitions.alter("a", ChangeKind.DISABLED, ResourceState.DISABLED)
    definitions.alter("a", ChangeKind.ENABLED, ResourceState.ACTIVE)
    await reconcile()
    await until(lambda: fakes["materialisations"].latest == {"a": (3, None)}, "materialised")
    assert fakes["ledger"].released == []


async def test_full_pass_writes_nothing_when_nothing_changed(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a", every="1h")
    apply("b", every="2h")
    await reconcile(interval=timedelta(milliseconds=5))
    await until(lambda: fakes["clock"].asked > 5, "several passes")
    assert fakes["ledger"].journal.count(("ledger", "a")) == 1
    assert fakes["ledger"].journal.count(("clock", "a")) == 1
    assert len(fakes["materialisations"].written) == 2


async def test_clock_that_lost_or_changed_a_wakeup_gets_it_again(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a", every="1h")
    await reconcile(interval=timedelta(milliseconds=5))
    await until(lambda: fakes["clock"].present, "woken")
    wanted = dict(fakes["clock"].present)
    fakes["clock"].present.clear()
    await until(lambda: fakes["clock"].present == wanted, "woken again")
    fakes["clock"].present["a"] = Tampered.EDITED
    await until(lambda: fakes["clock"].present == wanted, "made right again")


async def test_wakeup_that_nobody_asks_for_is_removed(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    fakes["clock"].present["ghost"] = "x" * 26
    fakes["clock"].present["quiet"] = "x" * 26
    apply("quiet")
    await reconcile()
    await until(lambda: fakes["clock"].present == {}, "both removed")


async def test_wakeup_of_a_definition_that_appears_meanwhile_is_left_alone(  # noqa: PLR0917 - fixtures
    definitions: FakeDefinitions,
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another replica led for a moment, applied and materialised: our list is older than that."""
    apply("late", every="1h")
    real = definitions.changed

    async def stale(namespace: str, **options: Any) -> Any:
        return [r for r in await real(namespace, **options) if r.key.resource_id != "late"]

    monkeypatch.setattr(definitions, "changed", stale)
    fakes["clock"].present["late"] = "x" * 26
    fakes["clock"].present["ghost"] = "x" * 26
    await reconcile()
    await until(lambda: "ghost" not in fakes["clock"].present, "the ghost is gone")
    assert "late" in fakes["clock"].present


@pytest.mark.parametrize("away", ["ledger", "clock"])
async def test_neighbour_that_is_away_delays_and_loses_nothing(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
    away: str,
) -> None:
    failure = NeighbourUnavailableError("the neighbour", "connection refused")
    if away == "ledger":
        fakes["ledger"].failing[None] = failure
    else:
        fakes["clock"].failure = failure
    await reconcile()
    apply("a", every="1h")
    await until(
        lambda: fakes["materialisations"].latest == {"a": (1, "the neighbour does not answer")},
        "the delay is recorded",
    )
    fakes["ledger"].failing.clear()
    fakes["clock"].failure = None
    await until(lambda: fakes["materialisations"].latest == {"a": (1, None)}, "made good")
    assert fakes["ledger"].journal == [("ledger", "a"), ("clock", "a")]


async def test_neighbour_that_is_away_is_logged_once(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    fakes["clock"].failure = NeighbourUnavailableError("Temporal", "connection refused")
    with capture_logs() as logged:
        await reconcile()
        apply("a", every="1h")
        await until(lambda: fakes["clock"].asked >= 4, "several attempts")
        fakes["clock"].failure = None
        await until(lambda: fakes["materialisations"].latest == {"a": (1, None)}, "made good")
    assert [entry["event"] for entry in logged if entry["event"].startswith("reconciler")] == [
        "reconciler_leads",
        "reconciler_waits",
        "reconciler_goes_on",
    ]


async def test_refused_definition_keeps_no_other_from_being_handed_on(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    fakes["ledger"].failing["bad"] = MaterialisationError("the ledger refuses it")
    apply("bad", every="1h")
    apply("good", every="1h")
    await reconcile(interval=timedelta(milliseconds=5))
    await until(
        lambda: (
            fakes["materialisations"].latest
            == {"bad": (1, "the ledger refuses it"), "good": (2, None)}
        ),
        "one refused, one materialised",
    )
    assert list(fakes["clock"].wakeups) == ["good"]
    fakes["ledger"].failing.clear()
    await until(lambda: fakes["materialisations"].latest["bad"] == (1, None), "tried again")


async def test_lost_lead_is_sought_again_and_only_what_is_left_is_handed_on(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a", every="1h")
    await reconcile(interval=timedelta(milliseconds=5))
    await until(lambda: fakes["materialisations"].latest, "materialised")
    fakes["leadership"].ended.set()
    await until(lambda: fakes["leadership"].terms == 2, "leads again")
    apply("b", every="1h")
    await until(lambda: fakes["materialisations"].latest.get("b") == (2, None), "materialised")
    assert fakes["ledger"].journal == [
        *(("ledger", "a"), ("clock", "a")),
        *(("ledger", "b"), ("clock", "b")),
    ]


async def test_lead_is_kept_while_everything_is_read(  # noqa: PLR0917 - fixtures
    definitions: FakeDefinitions,
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To read and compile what thousands of definitions ask for takes longer than a lease."""
    apply("a", every="1h")
    real = definitions.changed

    async def slow(namespace: str, **options: Any) -> Any:
        await fakes["leadership"].kept.wait()
        return await real(namespace, **options)

    monkeypatch.setattr(definitions, "changed", slow)
    await reconcile()
    await until(lambda: fakes["materialisations"].latest == {"a": (1, None)}, "handed on")


async def test_each_definition_is_looked_at_thoroughly_in_its_turn(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    """What no list shows is seen, and a ledger that lost something gets it again."""
    apply("a", every="1h")
    apply("b", every="1h")
    apply("quiet")
    await reconcile(inspection=timedelta(milliseconds=20))
    await until(lambda: len(fakes["clock"].present) == 2, "woken")
    fakes["ledger"].put_schedules.clear()
    fakes["clock"].hidden["b"] = "another task queue"
    await until(lambda: not fakes["clock"].hidden, "made right")
    await until(lambda: fakes["drifts"].rows[-1:] == [drift("b", 2)], "recorded")
    await until(
        lambda: {put.definition_id for put in fakes["ledger"].put_schedules} == {"a", "b"},
        "told again",
    )
    assert "quiet" not in fakes["clock"].inspected


def drift(
    definition_id: str,
    revision: int,
    kind: DriftKind = DriftKind.DIFFERENT,
    *,
    repaired: bool = True,
) -> dict[str, Any]:
    """Return what is recorded of a drift."""
    return {"id": definition_id, "kind": kind, "revision": revision, "repaired": repaired}


async def test_what_was_done_by_hand_is_recorded_with_its_repair(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    present, rows = fakes["clock"].present, fakes["drifts"].rows
    for definition_id in ("deleted", "edited", "paused"):
        apply(definition_id, every="1h")
    await reconcile(interval=timedelta(milliseconds=5))
    await until(lambda: len(fakes["materialisations"].latest) == 3, "handed on")
    del present["deleted"]
    present |= {"edited": Tampered.EDITED, "paused": Tampered.PAUSED, "ghost": "x" * 26}
    await until(lambda: len(rows) == 4 and all(row["repaired"] for row in rows), "put back")
    assert sorted(rows, key=lambda row: row["id"]) == [
        drift("deleted", 1, DriftKind.MISSING),
        drift("edited", 2),
        drift("ghost", 0, DriftKind.UNEXPECTED),
        drift("paused", 3),
    ]


async def test_ordinary_changes_are_no_drift(
    definitions: FakeDefinitions,
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    await reconcile(interval=timedelta(milliseconds=5))
    apply("a", every="1h")
    apply("a", every="2h")
    definitions.alter("a", ChangeKind.DISABLED, ResourceState.DISABLED)
    definitions.alter("a", ChangeKind.RETIRED, ResourceState.RETIRED)
    await until(lambda: fakes["materialisations"].latest == {"a": (4, None)}, "retired")
    asked = fakes["clock"].asked
    await until(lambda: fakes["clock"].asked > asked + 3, "compared again")
    assert fakes["drifts"].rows == []


async def test_schedule_that_an_earlier_leader_wrote_before_it_died_is_no_drift(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    """It died between the write of a version and its record, and there is a newer one by now."""
    fakes["clock"].present["a"] = "x" * 26
    apply("a")
    apply("a", version=2)
    fakes["clock"].present["b"] = "x" * 26
    apply("b", every="1h")
    await reconcile()
    await until(lambda: len(fakes["materialisations"].latest) == 2, "handed on")
    assert list(fakes["clock"].present) == ["b"]
    assert fakes["drifts"].rows == []


async def test_drift_whose_repair_an_earlier_leader_did_not_live_to_record_is_recorded(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a", every="1h")
    first = await reconcile()
    await until(lambda: fakes["materialisations"].latest, "handed on")
    await first.stop()
    fakes["drifts"].rows.append(drift("a", 1, repaired=False))
    await reconcile()
    await until(lambda: fakes["drifts"].rows == [drift("a", 1)], "recorded")


async def test_what_is_not_listed_yet_is_looked_at_and_left_alone(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    fakes["clock"].unlisted.add("a")
    apply("a", every="1h")
    await reconcile(interval=timedelta(milliseconds=5))
    await until(lambda: fakes["clock"].inspected.count("a") > 3, "looked at")
    assert fakes["ledger"].journal == [("ledger", "a"), ("clock", "a")]
    assert fakes["drifts"].rows == []


async def test_write_of_a_leader_that_hung_changes_nothing_that_was_written_since(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = fakes["clock"]
    apply("a", every="1h")
    await reconcile()
    await until(lambda: fakes["materialisations"].latest == {"a": (1, None)}, "handed on")
    update = clock.update

    async def hung(wakeup: Wakeup, standing: Standing, *, at_once: bool) -> None:
        """Sleeps so long that another leads, and writes what is newer still."""
        monkeypatch.undo()
        newest = materialisation.wakeup(materialisation.desired(apply("a", every="3h")))
        assert newest is not None
        clock.present["a"] = newest.fingerprint
        fakes["leadership"].ended.set()
        await update(wakeup, standing, at_once=at_once)
        assert clock.present["a"] == newest.fingerprint

    monkeypatch.setattr(clock, "update", hung)
    apply("a", every="2h")
    await until(lambda: fakes["leadership"].terms == 2, "the lead is lost")
    await until(lambda: fakes["materialisations"].latest == {"a": (3, None)}, "handed on")
    assert clock.journal.count(("clock", "a")) == 1


async def test_change_does_not_wait_for_what_is_only_compared(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object) -> AsyncIterator[dict[str, str]]:
        await asyncio.Event().wait()
        yield {}

    monkeypatch.setattr(fakes["clock"], "pages", never)
    await reconcile()
    apply("a", every="1h")
    await until(lambda: fakes["materialisations"].latest == {"a": (1, None)}, "handed on")


async def test_due_time_before_the_clock_was_set_wakes_at_once(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
    now: dict[str, datetime],
) -> None:
    apply("late", every="1h")
    now["now"] += timedelta(hours=1)
    await reconcile()
    await until(lambda: fakes["clock"].wakeups, "woken")
    assert fakes["clock"].at_once == ["late"]


async def test_schedule_that_is_set_in_time_is_not_woken_at_once(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a", every="1h")
    await reconcile()
    await until(lambda: fakes["clock"].wakeups, "woken")
    assert fakes["clock"].at_once == []


async def test_stop_ends_while_a_neighbour_is_away(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    fakes["clock"].failure = NeighbourUnavailableError("Temporal", "away")
    apply("a", every="1h")
    reconciler = await reconcile()
    await until(lambda: fakes["clock"].asked >= 2, "trying")
    async with asyncio.timeout(1):
        await reconciler.stop()


async def test_stop_ends_even_if_the_lead_is_lost_of_it(
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def lost() -> Never:
        fakes["leadership"].kept.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise LeadershipLostError("it was cancelled")

    monkeypatch.setattr(fakes["leadership"], "keep", lost)
    reconciler = await reconcile()
    await until(fakes["leadership"].kept.is_set, "it leads")
    async with asyncio.timeout(5):
        await reconciler.stop()


async def test_disabled_definition_is_paused_and_the_ledger_is_told_first(
    definitions: FakeDefinitions,
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    await reconcile()
    apply("a", every="1h")
    await until(lambda: fakes["materialisations"].latest == {"a": (1, None)}, "materialised")
    disabled = definitions.alter("a", ChangeKind.DISABLED, ResourceState.DISABLED)
    await until(lambda: fakes["materialisations"].latest == {"a": (2, None)}, "materialised")
    assert fakes["ledger"].journal[2:] == [("ledger", "a"), ("clock", "a")]
    put = fakes["ledger"].put_schedules[-1]
    assert (put.enabled, put.effective_from, put.version) == (False, disabled.latest.at, 1)
    assert not fakes["clock"].wakeups["a"].enabled
    assert fakes["clock"].at_once == []


async def test_enabled_definition_is_woken_at_once_for_what_was_due_meanwhile(
    definitions: FakeDefinitions,
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a", every="1h")
    definitions.alter("a", ChangeKind.DISABLED, ResourceState.DISABLED)
    await reconcile()
    await until(lambda: fakes["materialisations"].latest == {"a": (2, None)}, "paused")
    enabled = definitions.alter("a", ChangeKind.ENABLED, ResourceState.ACTIVE)
    await until(lambda: fakes["materialisations"].latest == {"a": (3, None)}, "resumed")
    put = fakes["ledger"].put_schedules[-1]
    assert (put.enabled, put.effective_from) == (True, enabled.latest.at)
    assert fakes["clock"].wakeups["a"].enabled
    assert fakes["clock"].at_once == ["a"]


async def test_earlier_version_that_is_active_again_counts_from_its_activation(
    definitions: FakeDefinitions,
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    first = apply("a", every="1h")
    apply("a", every="2h")
    await reconcile()
    await until(lambda: fakes["materialisations"].latest == {"a": (2, None)}, "materialised")
    newer = fakes["clock"].present["a"]
    activated = definitions.alter(
        "a",
        ChangeKind.ACTIVATED,
        ResourceState.ACTIVE,
        version=1,
        content=first.content,
        applied=first.applied,
    )
    await until(lambda: fakes["materialisations"].latest == {"a": (3, None)}, "materialised")
    put = fakes["ledger"].put_schedules[-1]
    assert (put.version, put.effective_from) == (1, activated.latest.at)
    assert put.schedules["often"].every == timedelta(hours=1)
    assert fakes["clock"].present["a"] != newer


async def test_retired_definition_has_no_schedules_and_is_woken_no_longer(
    definitions: FakeDefinitions,
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a", every="1h")
    await reconcile()
    await until(lambda: fakes["clock"].wakeups, "woken")
    definitions.alter("a", ChangeKind.RETIRED, ResourceState.RETIRED)
    await until(lambda: fakes["materialisations"].latest == {"a": (2, None)}, "materialised")
    put = fakes["ledger"].put_schedules[-1]
    assert (put.schedules, put.enabled) == ({}, False)
    assert fakes["ledger"].journal[-2:] == [("ledger", "a"), ("removed", "a")]
    assert fakes["clock"].wakeups == {}


async def test_other_kinds_of_resource_ask_for_nothing(
    definitions: FakeDefinitions,
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    definitions.store(b"{}", "billing.paid", kind=ResourceKind.EVENT_TYPE)
    apply("a", every="1h")
    await reconcile()
    await until(lambda: fakes["materialisations"].latest == {"a": (2, None)}, "materialised")
    assert fakes["ledger"].journal == [("ledger", "a"), ("clock", "a")]


async def test_definition_that_cannot_be_read_is_said_to_be_and_stops_no_other(
    definitions: FakeDefinitions,
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    definitions.store(b'{"kind": "ActivityDefinition"}', "odd")
    apply("a", every="1h")
    await reconcile()
    await until(lambda: fakes["materialisations"].latest.get("a") == (2, None), "materialised")
    assert fakes["materialisations"].latest["odd"] == (
        1,
        "version 1 cannot be read by this release",
    )
    assert ("ledger", "odd") not in fakes["ledger"].journal


async def test_database_that_was_set_back_is_followed_from_its_beginning(
    definitions: FakeDefinitions,
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("b")
    apply("a", every="1h")
    await reconcile(interval=timedelta(milliseconds=5))
    await until(lambda: fakes["clock"].present, "woken")
    definitions.lose_everything()
    apply("c", every="1h")
    await until(lambda: list(fakes["clock"].present) == ["c"], "the other one is woken instead")
