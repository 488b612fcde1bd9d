"""Overlap over runs, through gRPC, on a real PostgreSQL: who waits, who wakes, who is cancelled."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import grpc
import pytest

from backbone.ledger.v1 import control_pb2, control_pb2_grpc
from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from contracts import canonical, identifiers
from contracts.decisions import AutomatedInstance, Decision
from contracts.definitions import Retry
from contracts.runs import TickInput
from contracts.triggers import Trigger
from runtime.postgres import Postgres

# The stubs know these types in their type hints only.
ControlStub: TypeAlias = "control_pb2_grpc.ControlServiceAsyncStub"
LedgerStub: TypeAlias = "pb_grpc.LedgerServiceAsyncStub"
Channels = Callable[..., Awaitable[grpc.aio.Channel]]

DEFINITION = "billing.every-second"
ALL = {"policy": "catchUp", "window": "P7D", "limit": 1000}
COMPRESS = {"policy": "compress", "window": "P7D"}


@pytest.fixture
async def control(calls: Channels) -> ControlStub:
    return control_pb2_grpc.ControlServiceStub(await calls())


async def put(
    ledger: LedgerStub, overlap: str, *, seconds: float, missed: dict[str, Any] | None = None
) -> None:
    """Have been due every second for so long."""
    schedule = {"every": "1s", "missedRuns": missed or ALL, "overlap": overlap}
    request = pb.PutScheduleRequest(
        namespace="dev",
        definition_id=DEFINITION,
        definition_version=1,
        schedules=json.dumps({"tick": schedule}).encode(),
        task_queue="billing-tq",
        enabled=True,
    )
    request.effective_from.FromDatetime(datetime.now(UTC) - timedelta(seconds=seconds))
    await ledger.PutSchedule(request)


async def advance(ledger: LedgerStub) -> list[Trigger]:
    """Be a tick, up to where it starts the runs that it is given."""
    request = pb.AdvanceScheduleRequest(namespace="dev", definition_id=DEFINITION)
    response = await ledger.AdvanceSchedule(request)
    return [Trigger.model_validate_json(run.trigger) for run in response.runs]


async def rows(ledger: LedgerStub) -> list[pb.DueTime]:
    """Return the due times, oldest first."""
    response = await ledger.ListDueTimes(
        pb.ListDueTimesRequest(namespace="dev", definition_id=DEFINITION, page_size=1000)
    )
    return list(response.due_times)[::-1]


async def outcomes(ledger: LedgerStub) -> list[int]:
    return [row.outcome for row in await rows(ledger)]


def run_id(trigger: Trigger) -> str:
    return identifiers.run_id(DEFINITION, trigger.key)


async def record(
    ledger: LedgerStub, trigger: Trigger, *, tasks: int = 0
) -> pb.RecordOutcome.ValueType:
    """Be the run, up to its decision; without tasks it is closed by that."""
    decided = [
        AutomatedInstance(
            task_id=identifiers.task_id("dev", run_id(trigger), "r", str(number)),
            rule="r",
            key=str(number),
            handler="send",
            task_queue="mail-tq",
            input={},
            timeout=timedelta(seconds=30),
            retry=Retry(),
        )
        for number in range(tasks)
    ]
    decision = Decision(
        definition_id=DEFINITION,
        definition_version=1,
        snapshot_sha256=canonical.digest(b"{}"),
        tasks=decided,
        rules=[],
    )
    response = await ledger.RecordRun(
        pb.RecordRunRequest(
            namespace="dev",
            run_id=run_id(trigger),
            definition_id=DEFINITION,
            trigger=canonical.render(trigger),
            snapshot=b"{}",
            decision=canonical.render(decision),
            workflow_run_id="w-1",
        )
    )
    return response.outcome


async def operations(control: ControlStub) -> list[control_pb2.Operation]:
    response = await control.ListOperations(control_pb2.ListOperationsRequest(namespace="dev"))
    return list(response.operations)


async def ticks(control: ControlStub) -> list[control_pb2.Operation]:
    return [one for one in await operations(control) if one.kind == control_pb2.OPERATION_KIND_TICK]


async def test_one_start_waits_and_the_end_of_the_run_asks_for_a_tick(
    ledger: LedgerStub, control: ControlStub
) -> None:
    await put(ledger, "bufferOne", seconds=5.5)
    [first] = await advance(ledger)
    run, waiting, *others = await outcomes(ledger)
    assert (run, waiting) == (pb.DUE_OUTCOME_RUN, pb.DUE_OUTCOME_WAITING)
    assert set(others) == {pb.DUE_OUTCOME_OVERLAPPED}
    assert await ticks(control) == []

    await record(ledger, first)
    [tick] = await ticks(control)
    claimed = await control.ClaimOperations(
        control_pb2.ClaimOperationsRequest(namespace="dev", limit=9, lease={"seconds": 5})
    )
    assert TickInput.model_validate_json(claimed.operations[0].input) == TickInput(
        namespace="dev", definition_id=DEFINITION
    )
    assert tick.reason == f"the run {run_id(first)} is closed"

    [second] = await advance(ledger)
    assert second.scheduled_for == (first.scheduled_for or datetime.now(UTC)) + timedelta(seconds=1)
    # The window begins where the one before it ended, however long it waited.
    assert second.window is not None
    assert second.window.start == first.scheduled_for
    assert (await outcomes(ledger))[1] == pb.DUE_OUTCOME_RUN


async def test_every_start_waits_for_its_turn_in_order(
    ledger: LedgerStub, control: ControlStub
) -> None:
    await put(ledger, "bufferAll", seconds=4.5)
    seen = []
    for _ in range(4):
        [trigger] = await advance(ledger)
        seen.append(trigger.scheduled_for)
        await record(ledger, trigger)
    assert seen == sorted(seen)
    assert [row.due_at.ToDatetime(tzinfo=UTC) for row in (await rows(ledger))[:4]] == seen
    assert len(await ticks(control)) >= 3


async def test_a_stretch_that_waited_is_one_run(ledger: LedgerStub) -> None:
    await put(ledger, "bufferOne", seconds=1.5, missed=COMPRESS)
    [first] = await advance(ledger)

    async def another_waits() -> bool:
        assert await advance(ledger) == []
        return (await outcomes(ledger)).count(pb.DUE_OUTCOME_WAITING) >= 2

    while not await another_waits():  # noqa: ASYNC110 - a clock tells nobody
        await asyncio.sleep(0.2)
    await record(ledger, first)
    [second] = await advance(ledger)
    assert len(second.coalesced) >= 1
    assert second.window is not None
    assert second.window.start == first.scheduled_for
    after = (await rows(ledger))[-len(second.coalesced) - 1 :]
    assert [row.outcome for row in after[:-1]] == [pb.DUE_OUTCOME_COALESCED] * len(second.coalesced)
    assert {row.run_id for row in after} == {run_id(second)}


async def test_the_run_that_is_open_is_cancelled_for_the_next(
    ledger: LedgerStub, control: ControlStub
) -> None:
    await put(ledger, "cancelOther", seconds=1.5)
    [first] = await advance(ledger)
    assert await record(ledger, first, tasks=1) == pb.RECORD_OUTCOME_RECORDED
    second = await next_run(ledger)
    told = (await ledger.GetRun(pb.GetRunRequest(namespace="dev", run_id=run_id(first)))).run
    assert told.status == pb.RUN_STATUS_CANCELLED
    assert told.close_reason == f"overlap is cancelOther, and the run {run_id(second)} is due"
    [cancelled] = await operations(control)
    assert (cancelled.kind, cancelled.workflow_id) == (
        control_pb2.OPERATION_KIND_CANCEL,
        run_id(first),
    )


async def test_a_run_that_nobody_recorded_is_cancelled_for_good(
    ledger: LedgerStub, control: ControlStub
) -> None:
    await put(ledger, "cancelOther", seconds=1.5)
    [first] = await advance(ledger)
    await next_run(ledger)
    told = (await ledger.GetRun(pb.GetRunRequest(namespace="dev", run_id=run_id(first)))).run
    assert (told.status, told.failure.type) == (pb.RUN_STATUS_FAILED, "RunCancelled")
    assert [one.workflow_id for one in await operations(control)] == [run_id(first)]
    # Its workflow may begin all the same: it ends without effects.
    assert await record(ledger, first, tasks=1) == pb.RECORD_OUTCOME_DUPLICATE


async def next_run(ledger: LedgerStub) -> Trigger:
    while not (found := await advance(ledger)):  # noqa: ASYNC110 - a clock tells nobody
        await asyncio.sleep(0.1)
    return found[-1]


async def test_whoever_closes_and_whoever_has_it_wait_never_miss_each_other(
    ledger: LedgerStub, control: ControlStub, postgres: Postgres
) -> None:
    await put(ledger, "bufferAll", seconds=40.5)
    [trigger] = await advance(ledger)
    for _ in range(30):
        before = len(await ticks(control))
        answers = await asyncio.gather(
            record(ledger, trigger), *(advance(ledger) for _ in range(3))
        )
        found = [one for answer in answers[1:] for one in answer]  # type: ignore[union-attr]
        # Either one of the ticks saw the run closed, or its end asked for another tick.
        if not found:
            assert len(await ticks(control)) > before
            found = await advance(ledger)
        [trigger] = found
    async with postgres.transaction("dev") as transaction:
        runs = await transaction.fetchval("SELECT count(*) FROM due_times WHERE outcome = 'run'")
    assert runs == 31
