"""Backfills: planned, carried out and stopped, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from backbone.ledger.v1 import backfills_pb2 as pb
from backbone.ledger.v1 import backfills_pb2_grpc as pb_grpc
from backbone.ledger.v1 import (
    control_pb2,
    control_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    schedules_pb2,
    schedules_pb2_grpc,
)
from contracts import canonical, identifiers
from contracts.decisions import AutomatedInstance, Decision
from contracts.definitions import Retry
from contracts.roles import Role
from contracts.runs import RetryTaskInput, RunInput
from contracts.triggers import Trigger, TriggerKind
from ledger.domain import backfills
from runtime.postgres import Postgres

# The stubs know these types in their type hints only.
BackfillStub: TypeAlias = "pb_grpc.BackfillServiceAsyncStub"
ControlStub: TypeAlias = "control_pb2_grpc.ControlServiceAsyncStub"
LedgerStub: TypeAlias = "ledger_pb2_grpc.LedgerServiceAsyncStub"
ScheduleStub: TypeAlias = "schedules_pb2_grpc.ScheduleServiceAsyncStub"
Channels = Callable[..., Awaitable[grpc.aio.Channel]]

DEFINITION = "billing.hourly"
SKIP = {"policy": "skip", "tolerance": "1s"}
CATCH_UP = {"policy": "catchUp", "window": "P7D", "limit": 1000}
HOUR = timedelta(hours=1)
BEGUN = datetime.now(UTC).replace(minute=30, second=0, microsecond=0) - 12 * HOUR


def at(hour: int) -> datetime:
    """Return the due time so many hours after the schedules came in force, about."""
    return BEGUN.replace(minute=0) + hour * HOUR


def run_id(hour: int) -> str:
    return identifiers.run_id(DEFINITION, identifiers.schedule_trigger_key(at(hour)))


class World:
    """A definition with due times in the past, and a worker that carries out what there is."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.backfills: BackfillStub = pb_grpc.BackfillServiceStub(channel)
        self.control: ControlStub = control_pb2_grpc.ControlServiceStub(channel)
        self.ledger: LedgerStub = ledger_pb2_grpc.LedgerServiceStub(channel)
        self.schedules: ScheduleStub = schedules_pb2_grpc.ScheduleServiceStub(channel)
        self.started: list[RunInput] = []

    async def put(
        self,
        *,
        enabled: bool = True,
        missed: dict[str, Any] | None = None,
        until: datetime | None = None,
    ) -> None:
        """Put schedules in force from `BEGUN`, or take them away from `until` on."""
        schedule = {"every": "1h", "missedRuns": missed or SKIP, "overlap": "allowAll"}
        request = ledger_pb2.PutScheduleRequest(
            namespace="dev",
            definition_id=DEFINITION,
            definition_version=3,
            schedules=json.dumps({"hourly": {**schedule, "end": at(6).isoformat()}}).encode(),
            task_queue="billing-tq",
            enabled=enabled,
        )
        request.effective_from.FromDatetime(until or BEGUN)
        await self.ledger.PutSchedule(request)

    async def tick(self) -> list[ledger_pb2.DueRun]:
        request = ledger_pb2.AdvanceScheduleRequest(namespace="dev", definition_id=DEFINITION)
        return list((await self.ledger.AdvanceSchedule(request)).runs)

    async def plan(self, backfill_id: str = "b-1", **asked: Any) -> pb.Backfill:
        request = pb.PlanBackfillRequest(
            **{
                "namespace": "dev", "backfill_id": backfill_id, "definition_id": DEFINITION,
                "mode": pb.BACKFILL_MODE_MISSING, "concurrency": 2, "reason": "a gap", **asked,
            }
        )  # fmt: skip
        if not request.HasField("due_from"):
            request.due_from.FromDatetime(at(1))
        if not request.HasField("due_to"):
            request.due_to.FromDatetime(at(6))
        return (await self.backfills.PlanBackfill(request)).backfill

    async def apply(self, planned: pb.Backfill, *, plan_hash: str = "") -> pb.Backfill:
        request = pb.ApplyBackfillRequest(
            namespace="dev",
            backfill_id=planned.backfill_id,
            plan_hash=plan_hash or planned.plan_hash,
            request_id=uuid4().hex,
            reason="looked at it",
        )
        return (await self.backfills.ApplyBackfill(request)).backfill

    async def get(self, backfill_id: str = "b-1") -> pb.Backfill:
        request = pb.GetBackfillRequest(namespace="dev", backfill_id=backfill_id)
        return (await self.backfills.GetBackfill(request)).backfill

    async def outcomes(self, backfill_id: str = "b-1") -> dict[str, int]:
        tallies = (await self.get(backfill_id)).tallies
        return {f"{one.outcome} {one.standing}".strip(): one.due_times for one in tallies}

    async def times(self, backfill_id: str = "b-1") -> list[pb.BackfillDueTime]:
        request = pb.ListBackfillDueTimesRequest(namespace="dev", backfill_id=backfill_id)
        return list((await self.backfills.ListBackfillDueTimes(request)).due_times)

    def asked(self, backfill_id: str = "b-1") -> dict[str, str]:
        return {
            "namespace": "dev", "backfill_id": backfill_id, "request_id": uuid4().hex,
            "reason": "the bank is down",
        }  # fmt: skip

    async def claim(self) -> list[control_pb2.Operation]:
        request = control_pb2.ClaimOperationsRequest(
            namespace="dev", limit=100, lease=Duration(seconds=60)
        )
        return list((await self.control.ClaimOperations(request)).operations)

    async def begun(self, count: int) -> list[control_pb2.Operation]:
        """Claim until so many operations came, each told of as done."""
        found: list[control_pb2.Operation] = []
        async with asyncio.timeout(30):
            while len(found) < count:
                operations = await self.claim()
                await self.control.ConfirmOperations(
                    control_pb2.ConfirmOperationsRequest(
                        namespace="dev",
                        results=[
                            control_pb2.OperationResult(
                                operation_id=one.operation_id, lease=one.lease, done=True
                            )
                            for one in operations
                        ],
                    )
                )
                found += operations
                await asyncio.sleep(0 if operations else 0.05)
        self.started += [
            RunInput.model_validate_json(one.input)
            for one in found
            if one.kind == control_pb2.OPERATION_KIND_START_RUN
        ]
        return found

    async def decide(self, trigger: Trigger, *, tasks: int = 0) -> list[str]:
        """Record a run with so many tasks; without one it is completed."""
        run_id = identifiers.run_id(DEFINITION, trigger.key)
        decided = [
            AutomatedInstance(
                task_id=identifiers.task_id("dev", run_id, "remind", str(number)), rule="remind",
                key=str(number), handler="send_reminder", task_queue="notifications-tq",
                input={}, timeout=timedelta(seconds=30), retry=Retry(),
            )
            for number in range(tasks)
        ]  # fmt: skip
        decision = Decision(
            definition_id=DEFINITION, definition_version=3, tasks=decided, rules=[],
            snapshot_sha256=canonical.digest(b"{}"),
        )  # fmt: skip
        await self.ledger.RecordRun(
            ledger_pb2.RecordRunRequest(
                namespace="dev", run_id=run_id, definition_id=DEFINITION,
                trigger=canonical.render(trigger), snapshot=b"{}",
                decision=canonical.render(decision), workflow_run_id="w-1",
            )
        )  # fmt: skip
        return [str(task.task_id) for task in decided]

    async def fail_to_decide(self, trigger: Trigger) -> None:
        await self.ledger.RecordRunFailure(
            ledger_pb2.RecordRunFailureRequest(
                namespace="dev", run_id=identifiers.run_id(DEFINITION, trigger.key),
                definition_id=DEFINITION, trigger=canonical.render(trigger),
                workflow_run_id="w-1",
                failure=ledger_pb2.Failure(type="Undecidable", message="no such key"),
            )
        )  # fmt: skip

    async def finished(self, backfill_id: str = "b-1") -> pb.Backfill:
        """Claim, which is what carries a backfill on, until it has come to its end."""
        async with asyncio.timeout(30):
            while (found := await self.get(backfill_id)).state != pb.BACKFILL_STATE_FINISHED:
                assert await self.claim() == []
                await asyncio.sleep(0.05)
        return found


@pytest.fixture
async def world(calls: Channels) -> World:
    return World(await calls(actor="ana"))


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_a_plan_says_of_each_due_time_what_is_done_and_starts_nothing(
    world: World,
) -> None:
    await world.put()
    assert await world.tick() == []
    planned = await world.plan()
    assert planned.state == pb.BACKFILL_STATE_PLANNED
    assert (planned.definition_version, planned.due_times, planned.starts) == (3, 5, 5)
    assert (planned.created_by, planned.created_reason) == ("local/ana", "a gap")
    times = await world.times()
    assert [one.due_at.ToDatetime(tzinfo=UTC) for one in times] == [at(n) for n in range(1, 6)]
    assert {(one.step, one.outcome, one.told) for one in times} == {
        ("start", "planned", "it has no run")
    }
    assert [one.run_id for one in times] == [run_id(number) for number in range(1, 6)]
    assert await world.claim() == []
    # The same question is the same plan; another one has another id.
    assert await world.plan() == planned
    code, told = await refused(world.plan(concurrency=3))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert "choose another id" in told


async def test_what_was_looked_at_is_carried_out_with_no_more_at_once_than_it_says(
    world: World,
) -> None:
    await world.put()
    await world.tick()
    planned = await world.plan(order=pb.BACKFILL_ORDER_NEWEST_FIRST)
    code, told = await refused(world.apply(planned, plan_hash="f" * 64))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "has another hash" in told
    assert (await world.apply(planned)).state == pb.BACKFILL_STATE_RUNNING

    await world.begun(2)
    assert await world.outcomes() == {"begun": 2, "planned": 3}
    for number in range(5):
        trigger = world.started[number].trigger
        assert trigger.kind is TriggerKind.BACKFILL
        assert (trigger.actor, trigger.reason) == ("local/ana", "looked at it")
        assert trigger.window is not None
        assert trigger.window.start == trigger.window.end - HOUR
        await world.decide(trigger)
        if number < 3:
            # One has made room for one.
            await world.begun(1)
            assert (await world.outcomes())["begun"] == 2
    assert [run.trigger.scheduled_for for run in world.started] == [
        at(number) for number in (5, 4, 3, 2, 1)
    ]
    await world.finished()
    assert await world.outcomes() == {"completed": 5}
    # The schedule's account stays as it is, and tells of it.
    request = schedules_pb2.ExplainDueTimeRequest(namespace="dev", definition_id=DEFINITION)
    request.at.FromDatetime(at(1))
    explained = await world.schedules.ExplainDueTime(request)
    assert explained.due_time.outcome == ledger_pb2.DUE_OUTCOME_SKIPPED
    assert explained.explanation.endswith(f"; the backfill b-1 has run it: {run_id(1)}")
    # What has run is left alone from then on.
    again = await world.plan("b-2", mode=pb.BACKFILL_MODE_ALL)
    assert again.starts == 0
    assert await world.outcomes("b-2") == {"left completed": 5}


async def test_an_instant_runs_once_whoever_asks(world: World) -> None:
    await world.put()
    await world.tick()
    plans = [await world.plan(f"b-{number}", concurrency=100) for number in range(3)]
    await asyncio.gather(*(world.apply(one) for one in plans))
    # Several workers ask at once, of several ledgers as far as the ledger can tell.
    found = await asyncio.gather(*(world.claim() for _ in range(6)))
    operations = [one for part in found for one in part]
    assert sorted(one.workflow_id for one in operations) == [
        run_id(number) for number in range(1, 6)
    ]
    for one in operations:
        await world.decide(RunInput.model_validate_json(one.input).trigger)
    for number in range(3):
        await world.finished(f"b-{number}")
    told = [await world.outcomes(f"b-{number}") for number in range(3)]
    assert sum(one.get("completed", 0) for one in told) == 5
    assert sum(one.get("left", 0) for one in told) == 10


async def test_what_a_schedule_has_run_is_missing_nowhere(world: World) -> None:
    await world.put(missed=CATCH_UP)
    runs = await world.tick()
    assert len(runs) == 6
    planned = await world.plan(mode=pb.BACKFILL_MODE_ALL)
    assert planned.starts == 0
    assert await world.outcomes() == {"left open": 5}


async def test_a_run_that_comes_after_the_plan_is_not_made_twice(world: World) -> None:
    await world.put()
    await world.tick()
    first, second = await world.plan("b-1"), await world.plan("b-2", concurrency=100)
    await world.apply(second)
    await world.begun(5)
    for run in world.started:
        await world.decide(run.trigger)
    await world.apply(first)
    await world.finished("b-1")
    assert await world.outcomes("b-1") == {"left": 5}
    assert {one.told for one in await world.times("b-1")} == {
        "it has run, and an instant runs once"
    }


async def test_what_failed_is_retried_and_nothing_else(world: World) -> None:
    await world.put(missed=CATCH_UP)
    undecided, failed, well, going, cancelled, _ = await world.tick()
    await world.fail_to_decide(Trigger.model_validate_json(undecided.trigger))
    (task,) = await world.decide(Trigger.model_validate_json(failed.trigger), tasks=1)
    await world.ledger.RecordTaskOutcome(
        ledger_pb2.RecordTaskOutcomeRequest(
            namespace="dev", run_id=failed.run_id, task_id=task,
            failure=ledger_pb2.Failure(type="SmtpError", message="no"),
        )
    )  # fmt: skip
    await world.decide(Trigger.model_validate_json(well.trigger))
    await world.decide(Trigger.model_validate_json(going.trigger), tasks=1)
    await world.decide(Trigger.model_validate_json(cancelled.trigger), tasks=1)
    await world.control.CancelRun(
        control_pb2.CancelRunRequest(
            namespace="dev", run_id=cancelled.run_id, request_id="c-1", reason="no longer"
        )
    )
    await world.begun(1)

    planned = await world.plan(mode=pb.BACKFILL_MODE_FAILED, concurrency=10)
    assert [one.step for one in await world.times()] == ["retry", "retry", *["leave"] * 3]
    assert (await world.plan("all", mode=pb.BACKFILL_MODE_ALL)).starts == 3
    await world.apply(planned)
    operations = {one.kind: one for one in await world.begun(2)}
    again = RunInput.model_validate_json(operations[control_pb2.OPERATION_KIND_START_RUN].input)
    assert again.run_id == f"{undecided.run_id}:retry:1"
    carried_out = RetryTaskInput.model_validate_json(
        operations[control_pb2.OPERATION_KIND_RETRY_TASK].input
    )
    assert (carried_out.run_id, carried_out.generation) == (failed.run_id, 2)
    await world.decide(again.trigger)
    await world.ledger.RecordTaskOutcome(
        ledger_pb2.RecordTaskOutcomeRequest(
            namespace="dev", run_id=failed.run_id, task_id=task, generation=2,
            failure=ledger_pb2.Failure(type="SmtpError", message="no"),
        )
    )  # fmt: skip
    await world.finished()
    assert await world.outcomes() == {
        "completed": 1, "failed": 1, "left completed": 1, "left open": 1, "left cancelled": 1,
    }  # fmt: skip


async def test_a_paused_one_begins_nothing_and_a_cancelled_one_never_again(world: World) -> None:
    await world.put()
    await world.tick()
    await world.apply(await world.plan())
    first, second = await world.begun(2)
    paused = await world.backfills.PauseBackfill(pb.PauseBackfillRequest(**world.asked()))
    assert paused.backfill.state == pb.BACKFILL_STATE_PAUSED
    assert (paused.backfill.changed_by, paused.backfill.changed_reason) == (
        "local/ana", "the bank is down",
    )  # fmt: skip
    for one in (first, second):
        await world.decide(RunInput.model_validate_json(one.input).trigger)
    assert await world.outcomes() == {"completed": 2, "planned": 3}
    assert await world.claim() == []
    code, told = await refused(
        world.backfills.PauseBackfill(pb.PauseBackfillRequest(**world.asked()))
    )
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert told == ("the backfill b-1 is paused, and can be told to pause only when it is running")
    await world.backfills.ResumeBackfill(pb.ResumeBackfillRequest(**world.asked()))
    await world.begun(2)
    cancel = pb.CancelBackfillRequest(**world.asked())
    for _ in "12":
        cancelled = (await world.backfills.CancelBackfill(cancel)).backfill
        assert cancelled.state == pb.BACKFILL_STATE_CANCELLED
    for run in world.started[2:]:
        await world.decide(run.trigger)
    assert await world.claim() == []
    assert await world.outcomes() == {"completed": 4, "left": 1}
    assert (await world.times())[-1].told == "the backfill was cancelled before its turn"


async def test_what_is_not_accounted_for_is_left_to_the_schedule(world: World) -> None:
    await world.put()
    planned = await world.plan()
    assert planned.starts == 0
    assert await world.outcomes() == {"left ahead": 5}


async def test_a_new_definition_is_run_for_the_time_before_it(world: World) -> None:
    await world.put()
    await world.tick()
    request = pb.PlanBackfillRequest()
    request.due_from.FromDatetime(at(-3))
    request.due_to.FromDatetime(at(1))
    planned = await world.plan(due_from=request.due_from, due_to=request.due_to)
    assert planned.starts == 4
    await world.apply(planned)
    await world.begun(2)
    assert [run.trigger.scheduled_for for run in world.started] == [at(-3), at(-2)]


async def test_a_disabled_definition_starts_nothing(world: World) -> None:
    await world.put()
    await world.tick()
    planned = await world.plan()
    await world.put(enabled=False, until=at(7))
    code, told = await refused(world.plan("b-2"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert told == f"{DEFINITION} is disabled: enable it first"
    await world.apply(planned)
    assert await world.claim() == []
    assert await world.outcomes() == {"planned": 5}


async def test_a_run_that_was_never_heard_of_is_told_to_the_sweep(
    world: World, postgres: Postgres
) -> None:
    await world.put()
    await world.tick()
    await world.apply(await world.plan(concurrency=1))
    await world.begun(1)
    request = control_pb2.ListOpenExecutionsRequest(namespace="dev", page_size=10)
    request.min_age.FromTimedelta(timedelta(0))
    [found] = (await world.control.ListOpenExecutions(request)).executions
    [run] = world.started
    assert found.workflow_id == run.run_id
    lost = Trigger.model_validate_json(found.unrecorded_trigger)
    assert (lost.kind, lost.key) == (TriggerKind.BACKFILL, run.trigger.key)
    await world.fail_to_decide(lost)
    await world.begun(1)
    assert await world.outcomes() == {"failed": 1, "begun": 1, "planned": 3}


async def test_what_cannot_be_planned_is_told_in_a_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, told = await refused(world.plan())
    assert (code, told) == (
        grpc.StatusCode.NOT_FOUND, f"no schedule was ever put for {DEFINITION}",
    )  # fmt: skip
    await world.put()
    for asked, sentence in (
        ({"concurrency": 0}, "concurrency is from 1 to 100"),
        ({"concurrency": 101}, "concurrency is from 1 to 100"),
        ({"mode": pb.BACKFILL_MODE_UNSPECIFIED}, "mode is missing: missing, failed or all"),
        ({"backfill_id": "a b"}, "not a backfill_id: 'a b'"),
    ):
        named = {"backfill_id": "b-9", **asked}
        code, told = await refused(world.plan(**named))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert told == sentence
    monkeypatch.setattr(backfills, "MAX_DUE_TIMES", 4)
    code, told = await refused(world.plan())
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert told == "more than 4 due times: plan shorter stretches of time"


async def test_only_operators_backfill(calls: Channels, world: World) -> None:
    await world.put()
    viewer: BackfillStub = pb_grpc.BackfillServiceStub(await calls(Role.VIEWER))
    planned = await world.plan()
    get = pb.GetBackfillRequest(namespace="dev", backfill_id="b-1")
    assert (await viewer.GetBackfill(get)).backfill == planned
    listed = await viewer.ListBackfills(pb.ListBackfillsRequest(namespace="dev"))
    assert [one.backfill_id for one in listed.backfills] == ["b-1"]
    for call in (
        viewer.PlanBackfill(pb.PlanBackfillRequest(namespace="dev")),
        viewer.CancelBackfill(pb.CancelBackfillRequest(namespace="dev", backfill_id="b-1")),
    ):
        code, _ = await refused(call)
        assert code is grpc.StatusCode.PERMISSION_DENIED
