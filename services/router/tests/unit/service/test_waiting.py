"""Which events of a batch are left to wait, and what is told of them."""

from types import SimpleNamespace
from typing import Any

import pytest

from contracts import envelope
from contracts.rejections import Reason
from contracts.triggers import Trigger
from router.domain.authentication import Authentication
from router.domain.instances import Directory
from router.errors import TransientError
from router.service.routing import Router, Settled

BATCH = {"maxEvents": 10, "maxWait": "5s"}
HOLD = {"whileDisabled": "hold"}


@pytest.fixture
def woken() -> list[int]:
    return []


@pytest.fixture
def router(request: pytest.FixtureRequest, pending: Any, woken: list[int]) -> Router:
    names = ("definitions", "starter", "seen", "dead_letters", "decision_log")
    return Router(
        "dev",
        **{name: request.getfixturevalue(name) for name in names},
        pending_starts=pending,
        observer=request.getfixturevalue("counts"),
        directory=Directory(b"a secret of these tests"),
        authentication=Authentication(clock=lambda: 0, is_open=True),
        concurrency=8,
        queued=lambda: woken.append(1),
    )


@pytest.fixture
def world(request: pytest.FixtureRequest) -> SimpleNamespace:
    """Everything around the router."""
    names = ("definitions", "starter", "pending", "decision_log", "dead_letters", "woken", "make")
    return SimpleNamespace(**{name: request.getfixturevalue(name) for name in names})


@pytest.fixture
def route(router: Router, make: Any) -> Any:
    async def route(*records: Any, cause: str = "") -> Any:
        return await router.route(
            records, attempts=lambda _: 1, may_begin=lambda: True, cause=cause
        )

    return route


async def test_events_that_are_gathered_are_recorded_and_not_started(
    route: Any, world: Any
) -> None:
    gathering = {"type": "paid", "batch": BATCH, "correlate": "event.payload.amount"}
    world.definitions.put("gathers", gathering, version=4)
    world.definitions.put("starts", {"type": "paid"})
    results = await route(world.make.record(world.make.event(), key=b"r"))
    assert results.settled == {0: Settled.STARTED}
    [event] = world.decision_log.events.values()
    [wait] = [d.wait for d in event.decisions if d.wait is not None]
    assert (wait.reason, wait.key, wait.definition_revision) == ("batched", "10", 4)
    assert wait.batch.max_events == 10
    assert envelope.parse(event.envelope).event_id == "e-1"
    assert [run.definition_id for run in world.starter.runs.values()] == ["starts"]
    assert world.woken == [1]


async def test_events_of_a_disabled_definition_are_held_if_it_says_so(
    route: Any, world: Any
) -> None:
    world.definitions.put("holds", {"type": "paid", "when": "false"}, disabled=True, **HOLD)
    world.definitions.put("drops", {"type": "paid"}, disabled=True)
    results = await route(world.make.record(world.make.event()))
    assert results.settled == {0: Settled.WAITING}
    assert sorted(world.decision_log.outcomes) == [(0, "drops", "disabled"), (0, "holds", "held")]
    assert world.starter.runs == {}


async def test_an_event_of_a_definition_that_holds_starts_directly_when_nothing_waits(
    route: Any, world: Any
) -> None:
    world.definitions.put("holds", {"type": "paid"}, **HOLD)
    await route(
        world.make.record(world.make.event("e-1"), key=b"a"),
        world.make.record(world.make.event("e-2"), offset=1),
    )
    assert len(world.starter.runs) == 2
    assert world.pending.asked == [("holds", "a")]
    assert world.woken == []


async def test_an_event_queues_behind_what_waits_of_its_key(route: Any, world: Any) -> None:
    world.definitions.put("holds", {"type": "paid"}, **HOLD)
    world.pending.waiting = {("holds", "a")}
    await route(
        world.make.record(world.make.event("e-1"), key=b"a"),
        world.make.record(world.make.event("e-2"), key=b"b", offset=1),
        world.make.record(world.make.event("e-3"), key=b"a", offset=2),
    )
    assert world.decision_log.outcomes == [
        (0, "holds", "limited"),
        (1, "holds", "started"),
        (2, "holds", "limited"),
    ]
    assert len(world.starter.runs) == 1


async def test_nothing_starts_while_it_is_not_known_what_waits(route: Any, world: Any) -> None:
    world.definitions.put("holds", {"type": "paid"}, **HOLD)
    world.definitions.put("starts", {"type": "other"})
    world.pending.away = True
    results = await route(
        world.make.record(world.make.event("e-1"), key=b"a"),
        world.make.record(world.make.event("e-2", type="other"), key=b"a", offset=1),
    )
    assert results.settled == {}
    assert {type(failure) for failure in results.failed.values()} == {TransientError}
    assert (world.starter.runs, world.decision_log.events) == ({}, {})


async def test_a_key_that_cannot_be_had_parks_the_event_and_stops_no_other(
    route: Any, world: Any
) -> None:
    world.definitions.put(
        "wrong", {"type": "paid", "batch": BATCH, "correlate": "event.payload.no"}
    )
    world.definitions.put("right", {"type": "paid"})
    results = await route(world.make.record(world.make.event()))
    assert results.settled == {0: Settled.DEAD_LETTER}
    assert world.dead_letters.reasons == [Reason.EXPRESSION_ERROR]
    outcomes = world.decision_log.outcomes
    assert outcomes == [(0, "right", "started"), (0, "wrong", "errored")]
    assert len(world.starter.runs) == 1


async def test_an_event_that_is_remembered_waits_no_second_time(route: Any, world: Any) -> None:
    world.definitions.put("gathers", {"type": "paid", "batch": BATCH})
    await route(world.make.record(world.make.event()))
    await route(world.make.record(world.make.event(), offset=1))
    assert world.decision_log.outcomes == [(0, "gathers", "batched"), (1, "gathers", "duplicate")]


async def test_a_copy_of_a_held_event_is_a_duplicate(route: Any, world: Any) -> None:
    world.definitions.put("holds", {"type": "paid"}, disabled=True, **HOLD)
    await route(world.make.record(world.make.event()))
    await route(world.make.record(world.make.event(), offset=1))
    assert world.decision_log.outcomes == [(0, "holds", "held"), (1, "holds", "duplicate")]


STATEFUL = {"mode": "stateful", "instance": {"initial": {"count": "0"}}}


async def test_an_event_of_a_stateful_definition_is_told_to_its_instance(
    route: Any, world: Any
) -> None:
    correlated = {"type": "paid", "correlate": "event.payload.amount"}
    world.definitions.put("counts", correlated, **STATEFUL)
    results = await route(world.make.record(world.make.event()))
    assert results.settled == {0: Settled.SIGNALLED}
    [address] = world.starter.woken
    assert (address.definition_id, address.task_queue) == ("counts", "test-tq")
    [event] = world.decision_log.events.values()
    [decision] = event.decisions
    assert decision.application.address == address
    trigger = Trigger.model_validate_json(decision.application.trigger)
    assert (decision.outcome, decision.run_id) == ("signalled", f"counts:{trigger.key}")
    assert decision.detail == f"to the instance {address.workflow_id}"


async def test_an_instance_is_woken_once_for_what_a_batch_has_for_it(
    route: Any, world: Any
) -> None:
    correlated = {"type": "paid", "correlate": "event.payload.amount % 2"}
    world.definitions.put("counts", correlated, **STATEFUL)
    await route(
        *(
            world.make.record(world.make.event(event_id=f"e-{n}", payload={"amount": n}), offset=n)
            for n in range(6)
        )
    )
    assert len(world.decision_log.outcomes) == 6
    assert len(world.starter.woken) == len(set(world.starter.woken)) == 2


async def test_an_event_without_a_key_is_an_error_of_its_own(route: Any, world: Any) -> None:
    correlated = {"type": "paid", "correlate": "event.payload.none"}
    world.definitions.put("counts", correlated, **STATEFUL)
    world.definitions.put("starts", {"type": "paid"})
    results = await route(world.make.record(world.make.event()))
    assert results.settled == {0: Settled.DEAD_LETTER}
    assert sorted(world.decision_log.outcomes) == [
        (0, "counts", "errored"),
        (0, "starts", "started"),
    ]


async def test_an_instance_that_cannot_be_told_holds_the_record(route: Any, world: Any) -> None:
    correlated = {"type": "paid", "correlate": "event.payload.amount"}
    world.definitions.put("counts", correlated, **STATEFUL)
    world.starter.away = True
    results = await route(world.make.record(world.make.event()))
    # It waits in the ledger by now; the record comes again, and with it the wake-up.
    assert isinstance(results.failed[0], TransientError)
    assert world.decision_log.outcomes == [(0, "counts", "signalled")]
    world.starter.away = False
    results = await route(world.make.record(world.make.event()))
    assert results.settled == {0: Settled.SIGNALLED}
    assert len(world.starter.woken) == 1


async def test_an_instance_that_temporal_refuses_is_left_to_the_sweep(
    route: Any, world: Any
) -> None:
    correlated = {"type": "paid", "correlate": "event.payload.amount"}
    world.definitions.put("counts", correlated, **STATEFUL)
    world.starter.refuses.add("counts")
    results = await route(world.make.record(world.make.event()))
    assert results.settled == {0: Settled.SIGNALLED}
