"""The drift report: each way in which what is there is not what is asked for, in a sentence."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.domain import materialisation
from registry.domain.materialisation import Tampered
from registry.domain.mending import DriftKind
from registry.domain.resources import Change, Key, Resource
from registry.errors import NamespaceNotServedError, NeighbourUnavailableError
from registry.ports import Materialisation
from registry.service.drift import DriftService

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ATTEMPTED = NOON - timedelta(minutes=5)


class Surroundings:
    """Definitions, what was recorded of them, and a clock: the three that are compared."""

    def __init__(self, document: Callable[..., bytes]) -> None:
        self._document = document
        self._current: list[Resource] = []
        self.recorded: dict[str, Materialisation] = {}
        self.present: dict[str, str] = {}
        self.failure: Exception | None = None
        self.read = 0

    def define(
        self,
        definition_id: str,
        *,
        change: ChangeKind = ChangeKind.APPLIED,
        state: ResourceState = ResourceState.ACTIVE,
        **schedule: Any,
    ) -> Resource:
        """Apply a definition, and hand it on without a fault."""
        key = Key(ResourceKind.ACTIVITY_DEFINITION, definition_id)
        revision = 1 + max((resource.revision for resource in self._current), default=0)
        latest = Change(revision, key, change, 1, state, ATTEMPTED, "ada", "why")
        content = self._document(definition_id, **schedule)
        resource = Resource("dev", key, 1, content, "0" * 64, latest, latest, 1)
        self._current = [other for other in self._current if other.key != key] + [resource]
        self.record(definition_id, revision=revision)
        wakeup = materialisation.wakeup(materialisation.desired(resource))
        self.present.pop(definition_id, None)
        if wakeup is not None:
            self.present[definition_id] = wakeup.fingerprint
        return resource

    def record(
        self,
        definition_id: str,
        *,
        revision: int,
        at: datetime = ATTEMPTED,
        error: str | None = None,
    ) -> None:
        """Record an attempt to hand a definition on."""
        self.recorded[definition_id] = Materialisation(definition_id, revision, at, error)

    async def revision(self, namespace: str) -> int:
        return max((resource.revision for resource in self._current), default=0)

    async def changed(
        self, namespace: str, *, after_revision: int, limit: int, max_bytes: int
    ) -> list[Resource]:
        page = [found for found in self._current if found.revision > after_revision][:limit]
        self.read += len(page)
        return page

    async def all(self, namespace: str) -> list[Materialisation]:
        return list(self.recorded.values())

    async def pages(self) -> AsyncIterator[dict[str, str]]:
        if self.failure is not None:
            raise self.failure
        for definition_id, mark in self.present.items():
            yield {definition_id: mark}


@pytest.fixture
def surroundings(document: Callable[..., bytes]) -> Any:
    return Surroundings(document)


@pytest.fixture
def service(surroundings: Any) -> Any:
    return DriftService(surroundings, surroundings, {"dev": surroundings}, now=lambda: NOON)


@pytest.fixture
def drifts(service: DriftService) -> Any:
    """Reports, as (id, kind, detail, revision)."""

    async def call() -> Any:
        report = await service.report("dev")
        return [(d.definition_id, d.kind, d.detail, d.revision) for d in report.drifts]

    return call


async def test_nothing_drifts_when_everything_is_as_it_should_be(
    surroundings: Surroundings, service: DriftService
) -> None:
    surroundings.define("a", every="1h")
    surroundings.define("b")
    surroundings.define("c", change=ChangeKind.DISABLED, state=ResourceState.DISABLED, every="1h")
    surroundings.define("d", change=ChangeKind.RETIRED, state=ResourceState.RETIRED, every="1h")
    report = await service.report("dev")
    assert report.drifts == []
    assert report.scheduled_definitions == 2


async def test_what_never_had_a_schedule_is_not_waited_for(
    surroundings: Surroundings, drifts: Any
) -> None:
    surroundings.define("quiet")
    surroundings.recorded.clear()
    assert await drifts() == []
    surroundings.present["quiet"] = "x" * 26
    assert [(row[0], row[1]) for row in await drifts()] == [("quiet", DriftKind.UNEXPECTED)]


async def test_deleted_schedule_is_missing(surroundings: Surroundings, drifts: Any) -> None:
    surroundings.define("a", every="1h")
    surroundings.present.clear()
    ((definition_id, kind, detail, revision),) = await drifts()
    assert (definition_id, kind, revision) == ("a", DriftKind.MISSING, 1)
    assert "there is no Temporal Schedule" in detail


@pytest.mark.parametrize(
    ("present", "told"),
    [
        (Tampered.PAUSED, "was paused by hand: nothing wakes the definition"),
        (Tampered.EDITED, "was changed by hand"),
        ("x" * 26, "was not made from version 1 as it is now"),
    ],
)
async def test_other_schedule_than_was_written_is_different(
    surroundings: Surroundings, drifts: Any, present: str, told: str
) -> None:
    surroundings.define("a", every="1h")
    surroundings.present["a"] = present
    ((_, kind, detail, _),) = await drifts()
    assert kind is DriftKind.DIFFERENT
    assert told in detail


async def test_pausing_what_is_disabled_anyway_is_only_a_change(
    surroundings: Surroundings, drifts: Any
) -> None:
    surroundings.define("a", change=ChangeKind.DISABLED, state=ResourceState.DISABLED, every="1h")
    surroundings.present["a"] = Tampered.PAUSED
    ((_, kind, detail, _),) = await drifts()
    assert (kind, detail) == (DriftKind.DIFFERENT, "the Temporal Schedule was changed by hand")


async def test_schedule_that_nobody_asks_for_is_unexpected(
    surroundings: Surroundings, drifts: Any
) -> None:
    surroundings.define("quiet")
    surroundings.define("gone", change=ChangeKind.RETIRED, state=ResourceState.RETIRED)
    surroundings.present |= dict.fromkeys(["ghost", "gone", "quiet"], "x" * 26)
    assert [(row[0], row[1], row[3]) for row in await drifts()] == [
        ("ghost", DriftKind.UNEXPECTED, 0),
        ("gone", DriftKind.UNEXPECTED, 2),
        ("quiet", DriftKind.UNEXPECTED, 1),
    ]


async def test_refusal_is_told_as_it_was_recorded(surroundings: Surroundings, drifts: Any) -> None:
    surroundings.define("a", every="1h")
    surroundings.record("a", revision=1, error="the ledger refuses the schedules: no such zone")
    surroundings.present.clear()
    assert await drifts() == [
        ("a", DriftKind.REFUSED, "the ledger refuses the schedules: no such zone", 1)
    ]


async def test_change_that_was_not_handed_on_yet_is_pending(
    surroundings: Surroundings, drifts: Any
) -> None:
    surroundings.define("new", every="1h")
    del surroundings.recorded["new"]
    surroundings.define("old", every="1h")
    surroundings.record("old", revision=1)
    surroundings.define("waits", every="1h")
    surroundings.record("waits", revision=3, error=materialisation.waits_for("the ledger"))
    assert await drifts() == [
        ("new", DriftKind.PENDING, "revision 1 has not been handed on yet", 1),
        ("old", DriftKind.PENDING, "revision 2 has not been handed on yet", 2),
        (
            "waits",
            DriftKind.PENDING,
            "revision 3 has not been handed on yet: the ledger does not answer",
            3,
        ),
    ]


async def test_what_was_just_handed_on_may_not_be_listed_yet(
    surroundings: Surroundings, drifts: Any
) -> None:
    surroundings.define("a", every="1h")
    surroundings.record("a", revision=1, at=NOON - timedelta(seconds=2))
    surroundings.present.clear()
    ((_, kind, detail, _),) = await drifts()
    assert kind is DriftKind.PENDING
    assert "was just handed on" in detail


async def test_time_of_the_last_attempt_is_told(
    surroundings: Surroundings, service: DriftService
) -> None:
    surroundings.define("a", every="1h")
    surroundings.present.clear()
    (drift,) = (await service.report("dev")).drifts
    assert drift.attempted_at == ATTEMPTED


async def test_only_what_has_changed_is_read_again(
    surroundings: Surroundings, service: DriftService
) -> None:
    surroundings.define("a", every="1h")
    surroundings.define("b", every="1h")
    await service.report("dev")
    surroundings.define("b")
    report = await service.report("dev")
    assert surroundings.read == 3
    assert (list(report.drifts), report.scheduled_definitions) == ([], 1)


async def test_absence_of_temporal_is_not_reported_as_drift(
    surroundings: Surroundings, service: DriftService
) -> None:
    surroundings.define("a", every="1h")
    surroundings.failure = NeighbourUnavailableError("Temporal", "connection refused")
    with pytest.raises(NeighbourUnavailableError, match="Temporal does not answer"):
        await service.report("dev")


async def test_namespace_that_is_not_served_is_refused(service: DriftService) -> None:
    with pytest.raises(NamespaceNotServedError):
        await service.report("prod")
