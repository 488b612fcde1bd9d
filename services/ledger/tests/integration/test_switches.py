"""Kill switches on a real PostgreSQL: what is thrown, what is not handed out, what goes on."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from backbone.ledger.v1 import (
    control_pb2,
    control_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    routing_pb2,
    routing_pb2_grpc,
    schedules_pb2,
    schedules_pb2_grpc,
    switches_pb2,
    switches_pb2_grpc,
)
from contracts import canonical, identifiers
from contracts.decisions import Decision
from contracts.triggers import Trigger, TriggerKind
from runtime.postgres import Postgres

Channels = Callable[..., Awaitable[grpc.aio.Channel]]

INGRESS = switches_pb2.KILL_SWITCH_POINT_INGRESS
RUN = switches_pb2.KILL_SWITCH_POINT_RUN
EFFECT = switches_pb2.KILL_SWITCH_POINT_EFFECT
TEAM = {"team": "payments"}


class World:
    """The services that kill switches have to do with, as one caller has them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.switches = switches_pb2_grpc.KillSwitchServiceStub(channel)
        self.routing = routing_pb2_grpc.RoutingServiceStub(channel)
        self.ledger = ledger_pb2_grpc.LedgerServiceStub(channel)
        self.schedules = schedules_pb2_grpc.ScheduleServiceStub(channel)
        self.control = control_pb2_grpc.ControlServiceStub(channel)

    async def throw(
        self, point: Any, labels: dict[str, str] | None = None, *, request_id: str = ""
    ) -> Any:
        answer = await self.switches.ThrowKillSwitch(
            switches_pb2.ThrowKillSwitchRequest(
                namespace="dev",
                point=point,
                labels=labels or {},
                request_id=request_id or str(uuid.uuid4()),
                reason="an incident",
            )
        )
        return answer.kill_switch

    async def reset(self, switch: Any, *, request_id: str = "") -> Any:
        answer = await self.switches.ResetKillSwitch(
            switches_pb2.ResetKillSwitchRequest(
                namespace="dev",
                switch_id=switch.switch_id,
                request_id=request_id or str(uuid.uuid4()),
                reason="it is over",
            )
        )
        return answer.kill_switch

    async def select(self, switch: Any, *definition_ids: str, revision: int) -> None:
        await self.switches.SelectDefinitions(
            switches_pb2.SelectDefinitionsRequest(
                namespace="dev",
                registry_revision=revision,
                selections=[
                    switches_pb2.DefinitionSelection(
                        switch_id=switch.switch_id, definition_ids=definition_ids
                    )
                ],
            )
        )

    async def halting(self, definition_id: str, point: Any = RUN) -> str:
        answer = await self.switches.FindKillSwitch(
            switches_pb2.FindKillSwitchRequest(
                namespace="dev", point=point, definition_id=definition_id
            )
        )
        return str(answer.kill_switch.switch_id)

    async def queue(self, *definition_ids: str, offset: int = 0, switch_id: str = "") -> None:
        """Leave an event to wait for definitions, as a router does."""
        event = routing_pb2.RoutedEvent(
            place=routing_pb2.RecordPlace(topic="dev.orders", partition=0, offset=offset),
            source="shop",
            event_id=f"e-{offset}",
            type="paid",
            digest=b"d" * 32,
            envelope=json.dumps({"event_id": f"e-{offset}"}).encode(),
            candidates=[
                routing_pb2.RoutedCandidate(
                    definition_id=definition_id,
                    definition_version=1,
                    outcome=routing_pb2.ROUTING_OUTCOME_LIMITED,
                    trigger_names=["paid"],
                    waiting=routing_pb2.Waiting(
                        task_queue="a-tq",
                        key="k",
                        definition_revision=1,
                        kill_switch_id=switch_id,
                    ),
                )
                for definition_id in definition_ids
            ],
        )
        await self.routing.RecordRouting(
            routing_pb2.RecordRoutingRequest(namespace="dev", events=[event])
        )

    async def claim(self) -> Any:
        request = routing_pb2.ClaimPendingStartsRequest(namespace="dev", holder="me", limit=100)
        request.lease.FromTimedelta(timedelta(seconds=20))
        return await self.routing.ClaimPendingStarts(request)

    async def claimed(self) -> list[tuple[str, int]]:
        return [
            (start.definition_id, int(json.loads(envelope)["event_id"].removeprefix("e-")))
            for start in (await self.claim()).starts
            for envelope in start.envelopes
        ]

    async def operations(self) -> list[tuple[int, str]]:
        request = control_pb2.ClaimOperationsRequest(namespace="dev", limit=100)
        request.lease.FromTimedelta(timedelta(seconds=30))
        found = await self.control.ClaimOperations(request)
        return [(one.kind, one.definition_id) for one in found.operations]

    async def put_schedule(self, definition_id: str) -> None:
        request = ledger_pb2.PutScheduleRequest(
            namespace="dev",
            definition_id=definition_id,
            definition_version=1,
            schedules=json.dumps(
                {
                    "often": {
                        "every": "1h",
                        "missedRuns": {"policy": "catchUp", "window": "P7D", "limit": 1000},
                        "overlap": "allowAll",
                    }
                }
            ).encode(),
            task_queue="a-tq",
            enabled=True,
        )
        request.effective_from.FromDatetime(datetime.now(UTC) - timedelta(hours=3, minutes=1))
        await self.ledger.PutSchedule(request)

    async def explain(self, definition_id: str) -> Any:
        """Ask about the due time of the hour that has begun."""
        request = schedules_pb2.ExplainDueTimeRequest(namespace="dev", definition_id=definition_id)
        request.at.FromDatetime(datetime.now(UTC).replace(minute=0, second=0, microsecond=0))
        return await self.schedules.ExplainDueTime(request)

    async def tick(self, definition_id: str) -> int:
        request = ledger_pb2.AdvanceScheduleRequest(namespace="dev", definition_id=definition_id)
        return len((await self.ledger.AdvanceSchedule(request)).runs)


@pytest.fixture
async def world(calls: Channels) -> World:
    return World(await calls(actor="ana"))


async def refused(call: Awaitable[Any], code: grpc.StatusCode, told: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code
    assert told in (caught.value.details() or "")


async def test_a_switch_is_thrown_once_and_reset_once_with_events(
    world: World, postgres: Postgres
) -> None:
    thrown = await world.throw(RUN, request_id="r-1")
    assert (await world.throw(RUN, request_id="r-1")).switch_id == thrown.switch_id
    assert (thrown.thrown_by, thrown.reason) == ("local/ana", "an incident")
    await refused(
        world.throw(RUN), grpc.StatusCode.FAILED_PRECONDITION, f"kill switch {thrown.switch_id}"
    )
    await world.throw(RUN, TEAM)
    await refused(world.throw(INGRESS, TEAM), grpc.StatusCode.INVALID_ARGUMENT, "takes no labels")
    done = await world.reset(thrown, request_id="r-2")
    assert (await world.reset(thrown, request_id="r-2")).reset_at == done.reset_at
    assert (done.reset_by, done.reset_reason) == ("local/ana", "it is over")
    await refused(world.reset(thrown), grpc.StatusCode.FAILED_PRECONDITION, "was reset by")
    await refused(
        world.reset(SimpleNamespace(switch_id="none")), grpc.StatusCode.NOT_FOUND, "no kill switch"
    )
    again = await world.throw(RUN)
    listed = await world.switches.ListKillSwitches(
        switches_pb2.ListKillSwitchesRequest(namespace="dev")
    )
    assert listed.kill_switches[0].switch_id == again.switch_id
    assert len(listed.kill_switches) == 2
    async with postgres.transaction("dev") as transaction:
        rows = await transaction.fetch(
            "SELECT type, version FROM events WHERE stream = $1 ORDER BY version",
            f"kill-switch:{thrown.switch_id}",
        )
    assert [tuple(row) for row in rows] == [
        ("backbone.KillSwitchThrown", 1),
        ("backbone.KillSwitchReset", 2),
    ]


async def test_two_who_throw_the_same_at_once_throw_one(world: World) -> None:
    async def attempt() -> Any:
        try:
            return await world.throw(EFFECT)
        except grpc.aio.AioRpcError as exc:
            return exc.code()

    made = await asyncio.gather(*(attempt() for _ in range(8)))
    assert made.count(grpc.StatusCode.FAILED_PRECONDITION) == 7


async def test_no_start_is_handed_out_while_runs_are_stopped_and_all_in_order_then(
    world: World,
) -> None:
    switch = await world.throw(RUN)
    for offset in range(3):
        await world.queue("a.one", offset=offset, switch_id=switch.switch_id)
    await world.queue("b.two", offset=3)
    claim = await world.claim()
    assert (list(claim.starts), claim.HasField("next_due_at")) == ([], False)
    assert [one.switch_id for one in claim.kill_switches] == [switch.switch_id]
    assert list(claim.halted_definition_ids) == ["a.one"]
    waiting = await world.routing.ListPendingStarts(
        routing_pb2.ListPendingStartsRequest(namespace="dev", reason="halted")
    )
    assert len(waiting.starts) == 3
    await world.reset(switch)
    claim = await world.claim()
    assert not claim.kill_switches
    assert list(claim.halted_definition_ids) == ["a.one"]
    handed = [
        (start.definition_id, json.loads(start.envelopes[0])["event_id"]) for start in claim.starts
    ]
    assert [event for definition, event in handed if definition == "a.one"] == ["e-0", "e-1", "e-2"]
    assert ("b.two", "e-3") in handed


async def test_labels_stop_what_a_router_says_they_select(world: World) -> None:
    switch = await world.throw(RUN, TEAM)
    await world.queue("a.one", "b.two")
    await world.select(switch, "a.one", revision=7)
    assert [name for name, _ in await world.claimed()] == ["b.two"]
    assert await world.halting("a.one") == switch.switch_id
    assert await world.halting("a.one", EFFECT) == ""
    # A router that lags behind is not believed.
    await world.select(switch, "c.three", revision=6)
    assert [await world.halting(one) for one in ("a.one", "c.three")] == [switch.switch_id, ""]
    await world.select(switch, "c.three", revision=8)
    assert [await world.halting(one) for one in ("a.one", "c.three")] == ["", switch.switch_id]
    assert [name for name, _ in await world.claimed()] == ["a.one"]


async def test_one_of_two_switches_is_enough_to_stop(world: World) -> None:
    everything, some = await world.throw(RUN), await world.throw(RUN, TEAM)
    await world.select(some, "a.one", revision=1)
    await world.queue("a.one", "b.two")
    await world.reset(everything)
    assert [name for name, _ in await world.claimed()] == ["b.two"]
    await world.reset(some)
    assert [name for name, _ in await world.claimed()] == ["a.one"]


async def test_due_times_wait_for_the_reset_and_a_tick_is_asked_for(world: World) -> None:
    await world.put_schedule("a.hourly")
    switch = await world.throw(RUN)
    assert await world.tick("a.hourly") == 0
    overdue = schedules_pb2.ListOverdueSchedulesRequest(namespace="dev", page_size=10)
    overdue.min_age.FromTimedelta(timedelta(0))
    assert not (await world.schedules.ListOverdueSchedules(overdue)).schedules
    by_hand = schedules_pb2.TriggerScheduleRequest(
        namespace="dev",
        definition_id="a.hourly",
        overlap=schedules_pb2.OVERLAP_POLICY_ALLOW_ALL,
        request_id=str(uuid.uuid4()),
        reason="now",
    )
    await refused(
        world.schedules.TriggerSchedule(by_hand),
        grpc.StatusCode.FAILED_PRECONDITION,
        "run is stopped by kill switch",
    )
    assert await world.operations() == []
    told = await world.explain("a.hourly")
    assert told.standing == schedules_pb2.DUE_TIME_STANDING_HALTED
    assert f"run is stopped by kill switch {switch.switch_id} of local/ana" in told.explanation
    await world.reset(switch)
    assert (await world.explain("a.hourly")).standing == schedules_pb2.DUE_TIME_STANDING_UNCOVERED
    assert await world.operations() == [(control_pb2.OPERATION_KIND_TICK, "a.hourly")]
    assert await world.tick("a.hourly") >= 3


async def test_a_run_is_recorded_and_told_that_effects_are_stopped(world: World) -> None:
    async def record(number: int) -> Any:
        trigger = Trigger(
            kind=TriggerKind.MANUAL, definition_version=1, request_id=f"r-{number}", actor="ana"
        )
        return await world.ledger.RecordRun(
            ledger_pb2.RecordRunRequest(
                namespace="dev",
                run_id=identifiers.run_id("a.one", trigger.key),
                definition_id="a.one",
                trigger=canonical.render(trigger),
                snapshot=b"{}",
                decision=canonical.render(
                    Decision(
                        definition_id="a.one",
                        definition_version=1,
                        snapshot_sha256=canonical.digest(b"{}"),
                        tasks=[],
                        rules=[],
                    )
                ),
                workflow_run_id="w",
            )
        )

    assert not (await record(1)).effects_halted
    switch = await world.throw(EFFECT)
    assert (await record(1)).effects_halted
    answer = await record(2)
    assert answer.effects_halted
    assert answer.outcome == ledger_pb2.RECORD_OUTCOME_RECORDED
    assert await world.halting("a.one", EFFECT) == switch.switch_id
    await world.queue("a.one")
    assert await world.claimed() == [("a.one", 0)]
    await world.reset(switch)
    assert not (await record(2)).effects_halted


@pytest.mark.parametrize(
    ("point", "handed"),
    [
        (RUN, {"retry_task", "tell_failure", "tick", "cancel"}),
        (EFFECT, {"start_run", "tick", "cancel"}),
        (INGRESS, {"start_run", "retry_task", "tell_failure", "tick", "cancel"}),
    ],
)
async def test_operations_that_would_start_or_do_something_wait(
    world: World, postgres: Postgres, point: Any, handed: set[str]
) -> None:
    kinds = ("start_run", "retry_task", "tell_failure", "tick", "cancel")
    async with postgres.transaction("dev") as transaction:
        for kind in kinds:
            await transaction.execute(
                "INSERT INTO pending_operations (namespace, operation_id, kind, workflow_id, "
                "definition_id, definition_version, task_id, generation, input, actor, reason, "
                "queued_at, due_at) VALUES ('dev', $1, $1, $1, 'a.one', 1, $2, $3, $4, 'ana', "
                "'why', now(), now())",
                kind,
                uuid.uuid4() if kind == "retry_task" else None,
                2 if kind == "retry_task" else None,
                b"" if kind == "cancel" else b"{}",
            )
    switch = await world.throw(point)
    names = {
        control_pb2.OperationKind.Value(f"OPERATION_KIND_{kind.upper()}"): kind for kind in kinds
    }
    assert {names[kind] for kind, _ in await world.operations()} == handed
    await world.reset(switch)
    assert {names[kind] for kind, _ in await world.operations()} == set(kinds) - handed


async def test_a_switch_is_of_its_namespace(world: World) -> None:
    await world.throw(RUN)
    other = routing_pb2.ClaimPendingStartsRequest(namespace="prod", holder="me", limit=1)
    other.lease.FromTimedelta(timedelta(seconds=20))
    assert not (await world.routing.ClaimPendingStarts(other)).kill_switches
    served = await world.switches.ListServedNamespaces(
        switches_pb2.ListServedNamespacesRequest(namespace="dev")
    )
    assert list(served.namespaces) == ["dev", "prod"]
