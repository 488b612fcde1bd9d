"""Replays of events over gRPC: what a plan holds, and that it is carried out so and once."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc, replay_pb2_grpc, routing_pb2_grpc
from backbone.ledger.v1 import replay_pb2 as pb
from backbone.ledger.v1 import routing_pb2 as routing
from contracts import identifiers
from contracts.roles import Role
from contracts.triggers import Trigger

Channels = Callable[..., Awaitable[grpc.aio.Channel]]
ReplayStub: TypeAlias = "replay_pb2_grpc.ReplayServiceAsyncStub"
DEFINITION, OTHER = "billing.overdue", "billing.audited"
TOPIC = "dev.payments"
MISSING, FAILED, ALL = pb.REPLAY_MODE_MISSING, pb.REPLAY_MODE_FAILED, pb.REPLAY_MODE_ALL
LIMITED, STARTED, FILTERED, HELD = (
    routing.ROUTING_OUTCOME_LIMITED,
    routing.ROUTING_OUTCOME_STARTED,
    routing.ROUTING_OUTCOME_FILTERED,
    routing.ROUTING_OUTCOME_HELD,
)


def document(number: int) -> dict[str, Any]:
    return {
        "event_id": f"e-{number}",
        "type": "paid",
        "source": "shop",
        "occurred_at": "2026-11-01T12:00:00Z",
        "payload": {"number": number},
    }


def event(
    number: int,
    *,
    offset: int | None = None,
    outcome: int = LIMITED,
    definitions: tuple[str, ...] = (DEFINITION,),
    key: str = "k",
    version: int = 3,
    bytes_: bytes | None = None,
    **waiting: Any,
) -> routing.RoutedEvent:
    envelope = json.dumps(document(number)).encode()
    waits = outcome in (LIMITED, HELD)
    return routing.RoutedEvent(
        place=routing.RecordPlace(
            topic=TOPIC, partition=0, offset=number if offset is None else offset
        ),
        source="shop",
        event_id=f"e-{number}",
        type="paid",
        digest=hashlib.sha256(bytes_ or envelope).digest(),
        envelope=envelope if waits else b"",
        candidates=[
            routing.RoutedCandidate(
                definition_id=definition_id,
                definition_version=version,
                outcome=outcome,  # type: ignore[arg-type]
                trigger_names=["paid"],
                run_id=run_id(number, definition_id) if outcome == STARTED else "",
                waiting=routing.Waiting(task_queue="billing-tq", key=key, **waiting)
                if waits
                else None,
            )
            for definition_id in definitions
        ],
    )


def run_id(number: int, definition_id: str = DEFINITION) -> str:
    return identifiers.run_id(definition_id, identifiers.event_trigger_key("shop", f"e-{number}"))


def replayed(number: int, replay_id: str = "r-1", definition_id: str = DEFINITION) -> str:
    return f"{run_id(number, definition_id)}:replay:{replay_id}"


class World:
    """The ledger as the router, its dispatchers and people meet it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.replays: ReplayStub = replay_pb2_grpc.ReplayServiceStub(channel)
        self.routing: routing_pb2_grpc.RoutingServiceAsyncStub = (
            routing_pb2_grpc.RoutingServiceStub(channel)
        )
        self.runs: ledger_pb2_grpc.LedgerServiceAsyncStub = ledger_pb2_grpc.LedgerServiceStub(
            channel
        )

    async def record(self, *events: routing.RoutedEvent) -> None:
        await self.routing.RecordRouting(
            routing.RecordRoutingRequest(namespace="dev", events=events)
        )

    async def failed(self, number: int) -> None:
        trigger = Trigger.model_validate(
            {
                "kind": "event",
                "names": ["paid"],
                "definition_version": 3,
                "events": [document(number)],
            }
        )
        await self.runs.RecordRunFailure(
            ledger_pb2.RecordRunFailureRequest(
                namespace="dev",
                run_id=run_id(number),
                definition_id=DEFINITION,
                trigger=trigger.model_dump_json().encode(),
                workflow_run_id=uuid4().hex,
                failure=ledger_pb2.Failure(type="Broken", message="it was"),
            )
        )

    async def create(
        self, mode: int = MISSING, *, replay_id: str = "r-1", rate: int = 1000, end: int = 100
    ) -> pb.Replay:
        request = pb.CreateReplayRequest(
            namespace="dev",
            replay_id=replay_id,
            topic=TOPIC,
            records_from=Timestamp(seconds=1),
            records_to=Timestamp(seconds=2),
            mode=mode,  # type: ignore[arg-type]
            max_starts_per_second=rate,
            stretches=[pb.ReplayStretch(partition=0, next_offset=0, end_offset=end)] * (end > 0),
            actor="ann",
            reason="it was broken",
        )
        return (await self.replays.CreateReplay(request)).replay

    async def add(
        self,
        *events: routing.RoutedEvent,
        replay_id: str = "r-1",
        before: tuple[int, int] = (0, 100),
        after: tuple[int, int] | None = None,
        **more: Any,
    ) -> pb.Replay:
        def stretches(one: tuple[int, int] | None) -> list[pb.ReplayStretch]:
            if one is None:
                return []
            return [pb.ReplayStretch(partition=0, next_offset=one[0], end_offset=one[1])]

        request = pb.AddToReplayRequest(
            namespace="dev",
            replay_id=replay_id,
            before=stretches(before),
            after=stretches(after),
            records=len(events),
            events=events,
            **more,
        )
        return (await self.replays.AddToReplay(request)).replay

    async def planned(
        self, *events: routing.RoutedEvent, mode: int = MISSING, replay_id: str = "r-1", **how: Any
    ) -> pb.Replay:
        await self.create(mode, replay_id=replay_id, **how)
        return await self.add(*events, replay_id=replay_id)

    async def apply(self, replay: pb.Replay, **fields: Any) -> pb.Replay:
        request = pb.ApplyReplayRequest(
            **{
                "namespace": "dev",
                "replay_id": replay.replay_id,
                "plan_hash": replay.plan_hash,
                "request_id": "q-1",
                "reason": "mended",
                **fields,
            }
        )
        return (await self.replays.ApplyReplay(request)).replay

    async def pause(self, replay_id: str = "r-1") -> pb.Replay:
        request = pb.PauseReplayRequest(
            namespace="dev", replay_id=replay_id, request_id=uuid4().hex, reason="too much"
        )
        return (await self.replays.PauseReplay(request)).replay

    async def resume(self, replay_id: str = "r-1") -> pb.Replay:
        request = pb.ResumeReplayRequest(
            namespace="dev", replay_id=replay_id, request_id=uuid4().hex, reason="enough"
        )
        return (await self.replays.ResumeReplay(request)).replay

    async def cancel(self, replay_id: str = "r-1") -> pb.Replay:
        request = pb.CancelReplayRequest(
            namespace="dev", replay_id=replay_id, request_id=uuid4().hex, reason="wrong"
        )
        return (await self.replays.CancelReplay(request)).replay

    async def get(self, replay_id: str = "r-1") -> pb.Replay:
        request = pb.GetReplayRequest(namespace="dev", replay_id=replay_id)
        return (await self.replays.GetReplay(request)).replay

    async def claim(self, limit: int = 100) -> list[routing.PendingStart]:
        request = routing.ClaimPendingStartsRequest(
            namespace="dev", holder="test", limit=limit, lease=Duration(seconds=60)
        )
        return list((await self.routing.ClaimPendingStarts(request)).starts)

    async def confirm(self, *starts: routing.PendingStart) -> list[str]:
        """Confirm starts as started; return the ids of their runs."""
        runs = [started(start) for start in starts]
        await self.routing.ConfirmPendingStarts(
            routing.ConfirmPendingStartsRequest(
                namespace="dev",
                confirmations=[
                    routing.Confirmation(
                        pending_id=start.pending_id,
                        lease=start.lease,
                        outcome=STARTED,
                        definition_version=start.definition_version,
                        run_id=run,
                    )
                    for start, run in zip(starts, runs, strict=True)
                ],
            )
        )
        return runs

    async def carried_out(self, replay_id: str = "r-1") -> list[str]:
        """Start all that a replay has, as a dispatcher does; return the runs in their order."""
        runs: list[str] = []
        async with asyncio.timeout(30):
            while (await self.get(replay_id)).state == pb.REPLAY_STATE_RUNNING:
                runs += await self.confirm(*await self.claim())
        return runs

    async def decisions(self, definition_id: str = DEFINITION) -> set[tuple[str, str, str]]:
        """Cause, outcome and run of each decision."""
        request = routing.ListRoutingDecisionsRequest(namespace="dev", definition_id=definition_id)
        found = (await self.routing.ListRoutingDecisions(request)).decisions
        return {
            (one.cause, routing.RoutingOutcome.Name(one.outcome)[16:], one.run_id) for one in found
        }


def started(start: routing.PendingStart) -> str:
    if start.as_one_run:
        key = identifiers.batch_trigger_key(start.pending_id)
    else:
        first = json.loads(start.envelopes[0])
        key = identifiers.event_trigger_key(first["source"], first["event_id"])
    if start.replay_id:
        key = identifiers.replayed(key, start.replay_id)
    return identifiers.run_id(start.definition_id, key)


def told(replay: pb.Replay, definition_id: str = DEFINITION) -> dict[str, int]:
    [definition] = [one for one in replay.definitions if one.definition_id == definition_id]
    return {one.outcome: one.events for one in definition.planned}


def outcomes(replay: pb.Replay, definition_id: str = DEFINITION) -> dict[str, int]:
    [definition] = [one for one in replay.definitions if one.definition_id == definition_id]
    return {one.outcome: one.events for one in definition.outcomes}


@pytest.fixture
async def world(calls: Channels) -> World:
    return World(await calls())


async def test_what_is_missing_is_started_in_order_and_marked_with_its_replay(
    world: World,
) -> None:
    await world.record(event(1, outcome=STARTED), event(2, outcome=HELD, key="held"))
    plan = await world.planned(*(event(n) for n in range(5)), event(9, outcome=FILTERED))
    assert told(plan) == {"start": 3, "has_run": 1, "waiting": 1, "filtered": 1}
    assert plan.state == pb.REPLAY_STATE_PLANNED
    assert await world.claim() == []
    await world.apply(plan)
    assert await world.carried_out() == [replayed(n) for n in (0, 3, 4)]
    done = await world.get()
    assert (done.state, done.begun, done.open_events) == (pb.REPLAY_STATE_FINISHED, 3, 0)
    assert outcomes(done) == {"started": 3}
    assert ("replay:r-1", "STARTED", replayed(3)) in await world.decisions()


async def test_what_failed_is_started_again_and_what_is_well_is_not(world: World) -> None:
    await world.record(event(1, outcome=STARTED), event(2, outcome=STARTED))
    await world.failed(1)
    plan = await world.planned(event(1), event(2), event(3), mode=FAILED)
    assert told(plan) == {"start": 1, "not_failed": 1, "no_run": 1}
    await world.apply(plan)
    assert await world.carried_out() == [replayed(1)]


async def test_all_are_started_again_whatever_they_started(world: World) -> None:
    await world.record(event(1, outcome=STARTED), event(2, outcome=HELD, key="held"))
    plan = await world.planned(event(1), event(2), event(2, offset=7), mode=ALL)
    assert told(plan) == {"start": 2, "duplicate": 1}
    await world.apply(plan)
    assert await world.carried_out() == [replayed(1), replayed(2)]


async def test_one_replay_after_another_finds_what_the_first_has_started(world: World) -> None:
    await world.apply(await world.planned(event(1)))
    await world.carried_out()
    again = await world.planned(event(1), replay_id="r-2")
    assert told(again) == {"has_run": 1}


async def test_a_run_that_came_after_the_plan_is_not_made_twice(world: World) -> None:
    plan = await world.planned(event(1), event(2))
    await world.record(event(1, outcome=STARTED))
    await world.apply(plan)
    assert await world.carried_out() == [replayed(2)]
    assert outcomes(await world.get()) == {"started": 1, "left": 1}


async def test_events_of_a_batch_are_one_run_by_plan(world: World) -> None:
    how: dict[str, Any] = {"batch_max_events": 2, "batch_max_wait": Duration(seconds=3600)}
    await world.create()
    await world.add(event(1, **how), event(2, key="other", **how), after=(50, 100))
    plan = await world.add(event(51, **how), event(52, **how), before=(50, 100))
    assert plan.starts == 3
    await world.apply(plan)
    starts: list[routing.PendingStart] = []
    while len(starts) < 3:
        starts += await world.claim()
    numbers = [[json.loads(e)["payload"]["number"] for e in start.envelopes] for start in starts]
    assert numbers == [[1, 51], [2], [52]]
    runs = await world.confirm(*starts)
    assert all(":batch:" in run and run.endswith(":replay:r-1") for run in runs)


async def test_a_plan_is_applied_only_with_its_hash_and_only_when_it_is_complete(
    world: World,
) -> None:
    half = await world.create()
    with pytest.raises(grpc.aio.AioRpcError, match="is planning"):
        await world.apply(half, plan_hash="0" * 64)
    plan = await world.add(event(1))
    with pytest.raises(grpc.aio.AioRpcError, match="another hash"):
        await world.apply(plan, plan_hash="0" * 64)
    applied = await world.apply(plan)
    assert (await world.apply(plan)).state == applied.state == pb.REPLAY_STATE_RUNNING
    with pytest.raises(grpc.aio.AioRpcError, match="is running"):
        await world.apply(plan, request_id="q-2")


async def test_an_id_stands_for_one_question(world: World) -> None:
    first = await world.create()
    assert (await world.create()).created_at == first.created_at
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.create(ALL)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_who_reads_beside_another_changes_nothing(world: World) -> None:
    await world.create()
    await world.add(event(1), after=(50, 100))
    with pytest.raises(grpc.aio.AioRpcError, match="somebody else") as caught:
        await world.add(event(1), after=(50, 100))
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert told(await world.get()) == {"start": 1}


async def test_a_definition_that_changes_meanwhile_ends_the_plan(world: World) -> None:
    await world.create()
    await world.add(event(1), after=(50, 100))
    with pytest.raises(grpc.aio.AioRpcError, match="version 3 when the plan began"):
        await world.add(event(51, version=4), before=(50, 100))


async def test_a_stolen_id_and_what_is_refused_are_counted(world: World) -> None:
    await world.record(event(1, outcome=STARTED))
    plan = await world.planned(event(1, bytes_=b"other"), replay_id="r-1", mode=ALL)
    assert {one.outcome: one.events for one in plan.refused} == {"id_conflict": 1}
    assert plan.starts == 0


async def test_a_paused_replay_starts_nothing_until_it_is_resumed(world: World) -> None:
    plan = await world.planned(*(event(n) for n in range(50)), rate=1)
    await world.apply(plan)
    [first] = await world.claim()
    await world.pause()
    await world.confirm(first)
    assert await world.claim() == []
    paused = await world.get()
    assert (paused.begun, paused.state) == (1, pb.REPLAY_STATE_PAUSED)
    await world.resume()
    assert [started(one) for one in await world.claim()] == [replayed(1)]


async def test_no_more_is_begun_than_the_rate_allows(world: World) -> None:
    await world.apply(await world.planned(*(event(n) for n in range(50)), rate=10))
    begun = [len(await world.claim()) for _ in range(5)]
    # A lot of two, each time a fifth of a second is over: the five looks take less.
    assert begun[0] == 2
    assert sum(begun) <= 4


async def test_a_cancelled_replay_is_over(world: World) -> None:
    plan = await world.planned(*(event(n) for n in range(50)), rate=1)
    await world.apply(plan)
    [first] = await world.claim()
    await world.cancel()
    assert await world.confirm(first) == [replayed(0)]
    ended = await world.get()
    assert (ended.state, ended.open_events) == (pb.REPLAY_STATE_CANCELLED, 0)
    request = pb.ListReplayStartsRequest(namespace="dev", replay_id="r-1")
    assert list((await world.replays.ListReplayStarts(request)).starts) == []
    with pytest.raises(grpc.aio.AioRpcError, match="is cancelled"):
        await world.resume()


async def test_a_plan_lists_its_starts_with_their_runs(world: World) -> None:
    await world.planned(event(1, definitions=(DEFINITION, OTHER)), event(2))
    starts: list[pb.ReplayStart] = []
    token = ""
    while True:
        request = pb.ListReplayStartsRequest(
            namespace="dev", replay_id="r-1", page_size=2, page_token=token
        )
        page = await world.replays.ListReplayStarts(request)
        starts += page.starts
        token = page.next_page_token
        if not token:
            break
    assert [(one.run_id, one.events[0].event_id) for one in starts] == [
        (replayed(1), "e-1"),
        (replayed(1, definition_id=OTHER), "e-1"),
        (replayed(2), "e-2"),
    ]


async def test_a_plan_of_no_records_is_complete_and_ends_when_it_is_applied(world: World) -> None:
    plan = await world.create(end=0)
    assert plan.state == pb.REPLAY_STATE_PLANNED
    await world.apply(plan)
    assert await world.carried_out() == []


async def test_several_dispatchers_begin_each_start_once(world: World) -> None:
    await world.apply(await world.planned(*(event(n, key="") for n in range(60))))
    claims: list[list[routing.PendingStart]] = []
    async with asyncio.timeout(30):
        while sum(map(len, claims)) < 60:
            claims += await asyncio.gather(*(world.claim(10) for _ in range(6)))
    runs = [run for starts in claims for run in await world.confirm(*starts)]
    assert sorted(runs) == sorted(replayed(n) for n in range(60))
    assert outcomes(await world.get()) == {"started": 60}


async def test_replays_are_for_services_and_operators(calls: Channels) -> None:
    world = World(await calls(Role.VIEWER))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.create()
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.get("r-none")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
