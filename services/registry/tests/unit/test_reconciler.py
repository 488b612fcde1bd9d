"""The reconciler: what is applied is handed on, ledger first, whatever is away meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from contracts import canonical
from contracts.resources import ChangeKind, HeldEvents, ResourceKind, ResourceState
from registry.domain.materialisation import Desired, Release, Tampered, Wakeup
from registry.domain.resources import Change, Key, Resource
from registry.errors import LeadershipLostError, MaterialisationError, NeighbourUnavailableError
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
        self, namespace: str, definition_id: str, *, revision: int, error: str | None
    ) -> None:
        del namespace
        self.latest[definition_id] = (revision, error)
        self.written.append((definition_id, revision, error))


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

    async def start(interval: timedelta = timedelta(hours=1)) -> Any:
        reconciler = Reconciler(
            namespace="dev",
            store=definitions,  # type: ignore[arg-type] # the part that is used
            changes=changes,
            now=lambda: now["now"],
            interval=interval,
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
    await reconcile()
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


async def test_lost_lead_is_sought_again_and_everything_looked_at_anew(
    apply: Callable[..., Resource],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    apply("a", every="1h")
    await reconcile(interval=timedelta(milliseconds=5))
    await until(lambda: fakes["materialisations"].latest, "materialised")
    fakes["leadership"].over = True
    await until(lambda: fakes["leadership"].terms == 2, "leads again")
    await until(
        lambda: fakes["ledger"].journal.count(("ledger", "a")) == 2, "the ledger is told again"
    )


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
