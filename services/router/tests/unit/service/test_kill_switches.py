"""What a router does about kill switches: what waits, what is refused, what follows in order."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.routing import PendingOutcome
from contracts.switches import KillSwitch, Point
from router.domain.authentication import Authentication
from router.domain.instances import Directory
from router.domain.pending import DueStart
from router.errors import IngressHaltedError, RunsHaltedError, TransientError
from router.service.dispatching import Dispatcher
from router.service.kill_switches import KillSwitches
from router.service.manual import ManualTrigger
from router.service.routing import Router, Settled

TEAM = {"team": "payments"}
STOPS_RUNS = KillSwitch("s-1", Point.RUN, {}, "ana", "an incident")
STOPS_THE_TEAM = KillSwitch("s-2", Point.RUN, TEAM, "ana", "an incident")
STOPS_INGRESS = KillSwitch("s-3", Point.INGRESS, {}, "ana", "an incident")
STOPS_EFFECTS = KillSwitch("s-4", Point.EFFECT, {}, "ana", "an incident")


class Selections:
    """Takes what is told of labels; `away` makes it unreachable."""

    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, list[str]]]] = []
        self.away = False

    async def select(
        self, namespace: str, selected: Mapping[str, Sequence[str]], *, revision: int
    ) -> None:
        assert namespace == "dev"
        if self.away:
            raise TransientError("no ledger now")
        self.told.append((revision, {one: sorted(ids) for one, ids in selected.items()}))


@pytest.fixture
def selections() -> Selections:
    return Selections()


@pytest.fixture
def switches(definitions: Any, selections: Selections) -> KillSwitches:
    return KillSwitches("dev", definitions=definitions, selections=selections)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> SimpleNamespace:
    names = ("definitions", "starter", "pending", "decision_log", "make", "switches", "selections")
    return SimpleNamespace(**{name: request.getfixturevalue(name) for name in names})


@pytest.fixture
def router(request: pytest.FixtureRequest, pending: Any, switches: KillSwitches) -> Router:
    names = ("definitions", "starter", "seen", "dead_letters", "decision_log")
    return Router(
        "dev",
        **{name: request.getfixturevalue(name) for name in names},
        pending_starts=pending,
        observer=request.getfixturevalue("counts"),
        directory=Directory(b"a secret of these tests"),
        authentication=Authentication(clock=lambda: 0, is_open=True),
        concurrency=8,
        switches=switches,
    )


@pytest.fixture
def route(router: Router) -> Any:
    async def route(*records: Any, cause: str = "") -> Any:
        return await router.route(
            records, attempts=lambda _: 1, may_begin=lambda: True, cause=cause
        )

    return route


@pytest.fixture
def dispatcher(
    definitions: Any, starter: Any, pending: Any, counts: Any, switches: KillSwitches
) -> Dispatcher:
    return Dispatcher(
        "dev",
        definitions=definitions,
        pending_starts=pending,
        starter=starter,
        directory=Directory(b"a secret of these tests"),
        observer=counts,
        switches=switches,
        limit=10,
        poll=timedelta(seconds=1),
    )


def record(world: Any, number: int, *, key: bytes | None = b"a") -> Any:
    return world.make.record(world.make.event(f"e-{number}"), key=key, offset=number)


def outcomes(world: Any) -> list[str]:
    return [outcome for _, _, outcome in world.decision_log.outcomes]


async def test_nothing_is_routed_before_the_ledger_has_told_of_switches(
    route: Any, world: Any
) -> None:
    world.definitions.put("a", {"type": "paid"})
    results = await route(record(world, 1))
    assert (results.settled, list(results.failed)) == ({}, [0])
    world.switches.hear([], [], asked=0)
    assert (await route(record(world, 1))).settled == {0: Settled.STARTED}


async def test_events_of_what_is_selected_wait_and_say_for_what(route: Any, world: Any) -> None:
    world.definitions.put("selected", {"type": "paid"}, labels={**TEAM, "risk": "high"})
    world.definitions.put("other", {"type": "paid"}, labels={"team": "sales"})
    world.switches.hear([STOPS_THE_TEAM, STOPS_EFFECTS], [], asked=0)
    results = await route(record(world, 1))
    assert results.settled == {0: Settled.STARTED}
    [event] = world.decision_log.events.values()
    decisions = {one.definition.definition_id: one for one in event.decisions}
    assert decisions["other"].outcome == "started"
    waits = decisions["selected"]
    assert (waits.outcome, waits.detail) == ("limited", STOPS_THE_TEAM.told)
    assert (waits.wait.kill_switch_id, waits.wait.key) == ("s-2", "a")
    assert [run.definition_id for run in world.starter.runs.values()] == ["other"]


async def test_a_disabled_definition_holds_or_drops_as_it_does(route: Any, world: Any) -> None:
    world.definitions.put("drops", {"type": "paid"}, disabled=True)
    world.definitions.put("holds", {"type": "paid"}, disabled=True, whileDisabled="hold")
    world.switches.hear([STOPS_RUNS], [], asked=0)
    await route(record(world, 1))
    assert sorted(outcomes(world)) == ["disabled", "held"]


async def test_what_comes_after_the_reset_follows_what_waits_of_its_key(
    route: Any, world: Any
) -> None:
    world.definitions.put("a", {"type": "paid"})
    world.switches.hear([STOPS_RUNS], [], asked=0)
    asked = world.switches.asked()
    await route(record(world, 1))
    # This answer is of before the event was queued.
    world.switches.hear([], [], asked=asked)
    world.pending.waiting = {("a", "a")}
    await route(record(world, 2), record(world, 3, key=b"b"))
    assert outcomes(world) == ["limited", "limited", "started"]
    world.switches.hear([], [], asked=world.switches.asked())
    await route(record(world, 4))
    assert outcomes(world)[-1] == "started"
    assert world.pending.asked == [("a", "a"), ("a", "b")]


async def test_what_the_ledger_says_is_left_of_a_switch_is_followed_by_a_new_router(
    route: Any, world: Any
) -> None:
    world.definitions.put("a", {"type": "paid"})
    world.switches.hear([], ["a"], asked=0)
    world.pending.waiting = {("a", "a")}
    await route(record(world, 1), record(world, 2, key=b"b"))
    assert outcomes(world) == ["limited", "started"]
    [first, _] = world.decision_log.events.values()
    assert first.decisions[0].wait.kill_switch_id


async def test_what_comes_in_stays_where_it_is_but_not_what_a_person_asked_for(
    route: Any, world: Any
) -> None:
    world.definitions.put("a", {"type": "paid"})
    world.switches.hear([STOPS_INGRESS], [], asked=0)
    results = await route(record(world, 1), record(world, 2))
    assert [type(one) for one in results.failed.values()] == [IngressHaltedError] * 2
    assert world.decision_log.calls == 0
    assert (await route(record(world, 1), cause="redrive:r-1")).settled == {0: Settled.STARTED}


async def test_a_start_by_hand_is_refused_but_one_made_before_is_told(world: Any) -> None:
    world.definitions.put("a", labels=TEAM)
    manual = ManualTrigger(
        definitions=world.definitions, starter=world.starter, switches={"dev": world.switches}
    )

    async def trigger(request_id: str) -> Any:
        return await manual.trigger(
            namespace="dev",
            definition_id="a",
            request_id=request_id,
            input_json=b"{}",
            actor="local/ada",
            reason="a test",
        )

    with pytest.raises(TransientError):
        await trigger("r-1")
    world.switches.hear([], [], asked=0)
    assert (await trigger("r-1")).started
    world.switches.hear([STOPS_THE_TEAM], [], asked=0)
    assert not (await trigger("r-1")).started
    with pytest.raises(RunsHaltedError, match="s-2 of ana: an incident"):
        await trigger("r-2")


async def test_the_ledger_is_told_what_labels_select_and_again_when_that_changes(
    dispatcher: Dispatcher, world: Any
) -> None:
    world.definitions.put("selected", {"type": "paid"}, version=3, labels=TEAM)
    world.definitions.put("other", {"type": "paid"})
    world.pending.thrown = [STOPS_THE_TEAM, STOPS_RUNS]
    world.selections.away = True
    await dispatcher.dispatch()
    world.selections.away = False
    await dispatcher.dispatch()
    await dispatcher.dispatch()
    assert world.selections.told == [(3, {"s-2": ["selected"]})]
    world.definitions.put("new", {"type": "paid"}, version=4, labels=TEAM)
    await dispatcher.dispatch()
    assert world.selections.told[1:] == [(4, {"s-2": ["new", "selected"]})]


async def test_a_start_of_what_is_selected_is_given_back(
    dispatcher: Dispatcher, world: Any
) -> None:
    world.definitions.put("billing", {"type": "paid"}, labels=TEAM)
    world.pending.thrown = [STOPS_THE_TEAM]
    world.pending.due = [
        DueStart(
            pending_id="p" * 26,
            lease="lease",
            definition_id="billing",
            definition_version=1,
            task_queue="test-tq",
            trigger_names=["t0"],
            reason="limited",
            key="k",
            events=[],
            attempts=1,
            as_one_run=False,
        )
    ]
    await dispatcher.dispatch()
    [told] = world.pending.told
    assert told.outcome is PendingOutcome.RETURNED
    assert world.starter.runs == {}
