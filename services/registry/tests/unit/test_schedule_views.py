"""How schedules stand: every state, pages that follow one another, one in full."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backbone.registry.v1 import schedules_pb2 as pb
from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.adapters import grpc_schedules
from registry.domain import materialisation
from registry.domain.materialisation import Tampered, Wakeup
from registry.domain.mending import Difference, DriftKind, Expected, Standing
from registry.domain.resources import Change, Key, Resource
from registry.errors import InvalidRequestError, NamespaceNotServedError, ResourceNotFoundError
from registry.ports import FoundDrift, Lease, Materialisation
from registry.service.schedule_views import ScheduleState, ScheduleViews
from runtime import rpcerrors

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class World:
    """Definitions, what was recorded of them, and a clock."""

    def __init__(self, document: Callable[..., bytes]) -> None:
        self._document = document
        self.resources: dict[str, Resource] = {}
        self.recorded: dict[str, Materialisation] = {}
        self.standing: dict[str, Standing] = {}
        self.rows: list[FoundDrift] = []

    def define(
        self, definition_id: str, *, state: ResourceState = ResourceState.ACTIVE, **schedule: Any
    ) -> None:
        """Apply a definition, and hand it on without a fault."""
        key = Key(ResourceKind.ACTIVITY_DEFINITION, definition_id)
        revision = len(self.resources) + 1
        change = Change(revision, key, ChangeKind.APPLIED, 1, state, NOON, "ada", "why")
        content = self._document(definition_id, **schedule)
        resource = Resource("dev", key, 1, content, "0" * 64, change, change, 1)
        self.resources[definition_id] = resource
        self.recorded[definition_id] = Materialisation(definition_id, revision, NOON, None)
        wakeup = materialisation.wakeup(materialisation.desired(resource))
        if wakeup is not None:
            facts = {"mark": wakeup.fingerprint}
            self.standing[definition_id] = Standing(wakeup.fingerprint, facts, b"")

    def found(self, definition_id: str) -> None:
        """Record a drift that is not repaired."""
        number = len(self.rows) + 1
        row = FoundDrift(number, definition_id, DriftKind.MISSING, [], 1, NOON, None)
        self.rows.insert(0, row)

    async def revision(self, namespace: str) -> int:
        return len(self.resources)

    async def changed(
        self, namespace: str, *, after_revision: int, limit: int, max_bytes: int
    ) -> list[Resource]:
        newer = [one for one in self.resources.values() if one.revision > after_revision]
        return newer[:limit]

    async def resource(self, namespace: str, key: Key, version: int = 0) -> Resource | None:
        return self.resources.get(key.resource_id)

    async def of(self, namespace: str, ids: Collection[str]) -> list[Materialisation]:
        return [self.recorded[one] for one in ids if one in self.recorded]

    async def open(self, namespace: str) -> set[str]:
        return {row.definition_id for row in self.rows}

    async def page(
        self, namespace: str, *, definition_id: str, before: int | None, limit: int
    ) -> list[FoundDrift]:
        return [
            row
            for row in self.rows
            if definition_id in {"", row.definition_id}
            and (before is None or row.drift_id < before)
        ][:limit]

    async def lease(self, namespace: str) -> Lease:
        return Lease("one", 3, leads=True, compared_at=NOON)

    async def inspect(self, definition_id: str) -> Standing | None:
        return self.standing.get(definition_id)

    async def expected(self, wakeup: Wakeup) -> Expected:
        return Expected(wakeup.fingerprint, {"mark": wakeup.fingerprint})


@pytest.fixture
def world(document: Callable[..., bytes]) -> Any:
    return World(document)


@pytest.fixture
def views(world: Any) -> Any:
    return ScheduleViews(world, world, world, world, {"dev": world}, now=lambda: NOON)


@pytest.fixture
def states(views: ScheduleViews) -> Any:
    """Lists all, as {id: state}."""

    async def call(state: ScheduleState | None = None) -> Any:
        page = await views.list("dev", state=state, page_size=0, page_token="")
        return {one.definition_id: one.state for one in page.schedules}

    return call


async def test_each_state_is_told_and_can_be_asked_for(world: World, states: Any) -> None:
    world.define("active", every="1h")
    world.define("drifted", every="1h")
    world.found("drifted")
    world.define("paused", every="1h", state=ResourceState.DISABLED)
    world.define("pending", every="1h")
    del world.recorded["pending"]
    world.define("quiet")
    world.define("refused", every="1h")
    world.recorded["refused"] = Materialisation("refused", 6, NOON, "the ledger refuses it")
    world.define("waits", every="1h")
    waits = materialisation.waits_for("Temporal")
    world.recorded["waits"] = Materialisation("waits", 7, NOON, waits)
    assert await states() == {
        "active": ScheduleState.ACTIVE,
        "drifted": ScheduleState.DRIFTED,
        "paused": ScheduleState.PAUSED,
        "pending": ScheduleState.PENDING,
        "refused": ScheduleState.REFUSED,
        "waits": ScheduleState.PENDING,
    }
    for state in ScheduleState:
        assert set((await states(state)).values()) == {state}


async def test_pages_follow_one_another_and_hold_each_once(
    world: World, views: ScheduleViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.service.schedule_views._CHUNK", 3)
    for number in range(10):
        state = ResourceState.DISABLED if number % 2 else ResourceState.ACTIVE
        world.define(f"d{number}", state=state, every="1h")
    found, token = [], ""
    while True:
        page = await views.list("dev", state=ScheduleState.PAUSED, page_size=2, page_token=token)
        found += [one.definition_id for one in page.schedules]
        assert len(page.schedules) <= 2
        token = page.next_token
        if not token:
            break
    assert found == ["d1", "d3", "d5", "d7", "d9"]


async def test_one_in_full_tells_what_differs_and_when_it_is_due(
    world: World, views: ScheduleViews
) -> None:
    world.define("a", every="1h")
    sound = await views.get("dev", "a")
    assert (sound.brief.state, sound.differences) == (ScheduleState.ACTIVE, ())
    assert sound.next_due == [NOON + timedelta(hours=hours) for hours in range(1, 6)]
    wanted = dict(sound.wanted)
    world.standing["a"] = Standing(Tampered.EDITED, {"mark": "another"}, b"")
    edited = await views.get("dev", "a")
    assert edited.brief.state is ScheduleState.DRIFTED
    assert edited.differences == (Difference("mark", wanted["mark"], "another"),)
    del world.standing["a"]
    assert (await views.get("dev", "a")).brief.state is ScheduleState.DRIFTED


async def test_what_no_definition_asks_for_is_shown_as_well(
    world: World, views: ScheduleViews
) -> None:
    world.standing["ghost"] = Standing("x" * 26, {"mark": "x"}, b"")
    ghost = await views.get("dev", "ghost")
    assert (ghost.brief.state, ghost.brief.revision) == (ScheduleState.DRIFTED, 0)
    world.define("quiet")
    quiet = (await views.get("dev", "quiet")).brief
    assert (quiet.state, quiet.detail) == (ScheduleState.ACTIVE, "it has no schedules")
    for definition_id in ("no.such", "no such", "x" * 129):
        with pytest.raises(ResourceNotFoundError):
            await views.get("dev", definition_id)


async def test_disabled_definition_is_not_due(world: World, views: ScheduleViews) -> None:
    world.define("a", every="1h", state=ResourceState.DISABLED)
    assert (await views.get("dev", "a")).next_due == []


async def test_drifts_are_paged_newest_first(world: World, views: ScheduleViews) -> None:
    for number in range(5):
        world.found(f"d{number % 2}")
    first = await views.drifts("dev", definition_id="", page_size=3, page_token="")
    rest = await views.drifts("dev", definition_id="", page_size=3, page_token=first.next_token)
    assert [row.drift_id for row in (*first.drifts, *rest.drifts)] == [5, 4, 3, 2, 1]
    assert rest.next_token == ""
    only = await views.drifts("dev", definition_id="d1", page_size=0, page_token="")
    assert [row.drift_id for row in only.drifts] == [4, 2]


async def test_what_cannot_be_asked_is_refused(views: ScheduleViews) -> None:
    with pytest.raises(NamespaceNotServedError):
        await views.list("prod", state=None, page_size=0, page_token="")
    with pytest.raises(NamespaceNotServedError):
        await views.get("prod", "a")
    with pytest.raises(InvalidRequestError):
        await views.drifts("dev", definition_id="", page_size=-1, page_token="")
    servicer = grpc_schedules.ScheduleServicer(views)
    unknown = pb.ListSchedulesRequest(namespace="dev", state=99)  # type: ignore[arg-type]
    with pytest.raises(rpcerrors.InvalidArgumentError, match="state"):
        await servicer.ListSchedules(unknown, None)  # type: ignore[arg-type]


async def test_messages_say_all_of_it(world: World, views: ScheduleViews) -> None:
    world.define("a", every="1h")
    world.found("a")
    servicer = grpc_schedules.ScheduleServicer(views)
    request = pb.GetScheduleRequest(namespace="dev", definition_id="a")
    shown = await servicer.GetSchedule(request, None)  # type: ignore[arg-type]
    assert shown.schedule.state == pb.SCHEDULE_STATE_ACTIVE
    assert (shown.reconciler.leader, shown.reconciler.term) == ("one", 3)
    assert [one.kind for one in shown.drifts] == [pb.SCHEDULE_DRIFT_KIND_MISSING]
    assert not shown.drifts[0].HasField("repaired_at")
    listing = pb.ListScheduleDriftsRequest(namespace="dev")
    drifts = await servicer.ListScheduleDrifts(listing, None)  # type: ignore[arg-type]
    assert list(drifts.drifts) == list(shown.drifts)
