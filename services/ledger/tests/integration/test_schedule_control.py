"""Pauses, skips, starts by hand, and what is told of due times, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import uuid4

import grpc
import pytest

from backbone.ledger.v1 import control_pb2, control_pb2_grpc, schedules_pb2, schedules_pb2_grpc
from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from contracts.definitions import Schedule
from contracts.roles import Role
from contracts.triggers import Trigger
from ledger.adapters.postgres_schedules import PostgresScheduleStore
from ledger.service import schedule_watch
from ledger.service.schedule_watch import ScheduleWatch
from rules import jitter
from runtime.postgres import Postgres

# The stubs know these types in their type hints only.
LedgerStub: TypeAlias = "pb_grpc.LedgerServiceAsyncStub"
ScheduleStub: TypeAlias = "schedules_pb2_grpc.ScheduleServiceAsyncStub"
Channels = Callable[..., Awaitable[grpc.aio.Channel]]

DEFINITION = "billing.hourly"
CATCH_UP = {"policy": "catchUp", "window": "P7D", "limit": 1000}
COMPRESS = {"policy": "compress", "window": "P7D"}
SKIP = {"policy": "skip", "tolerance": "1s"}
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
async def away_from_the_hour() -> None:
    """Let an ending hour end: the ledger goes by the database's clock, and tests count hours."""
    while datetime.now(UTC).minute == 59:  # noqa: ASYNC110 - a clock tells nobody
        await asyncio.sleep(0.5)


@pytest.fixture
async def schedules(calls: Channels) -> ScheduleStub:
    return schedules_pb2_grpc.ScheduleServiceStub(await calls(actor="ana"))


async def put(
    ledger: LedgerStub,
    *,
    ago: timedelta,
    missed: dict[str, Any] | None = None,
    every: str = "1h",
    overlap: str = "allowAll",
    enabled: bool = True,
    names: tuple[str, ...] = ("hourly",),
    **fields: str,
) -> None:
    schedule = {"every": every, "missedRuns": missed or CATCH_UP, "overlap": overlap, **fields}
    request = pb.PutScheduleRequest(
        namespace="dev",
        definition_id=DEFINITION,
        definition_version=1,
        schedules=json.dumps(dict.fromkeys(names, schedule)).encode(),
        task_queue="billing-tq",
        enabled=enabled,
    )
    request.effective_from.FromDatetime(datetime.now(UTC) - ago)
    await ledger.PutSchedule(request)


async def advance(ledger: LedgerStub) -> list[Trigger]:
    request = pb.AdvanceScheduleRequest(namespace="dev", definition_id=DEFINITION)
    response = await ledger.AdvanceSchedule(request)
    return [Trigger.model_validate_json(run.trigger) for run in response.runs]


async def rows(ledger: LedgerStub, **asked: Any) -> list[pb.DueTime]:
    """Return the due times, oldest first."""
    request = pb.ListDueTimesRequest(
        namespace="dev", definition_id=DEFINITION, page_size=1000, **asked
    )
    return list((await ledger.ListDueTimes(request)).due_times)[::-1]


def asked(request_id: str = "") -> dict[str, str]:
    return {
        "namespace": "dev",
        "definition_id": DEFINITION,
        "request_id": request_id or uuid4().hex,
        "reason": "a holiday",
    }


async def explain(schedules: ScheduleStub, at: datetime) -> Any:
    request = schedules_pb2.ExplainDueTimeRequest(namespace="dev", definition_id=DEFINITION)
    request.at.FromDatetime(at)
    return await schedules.ExplainDueTime(request)


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


def whole_hour(hours_back: int = 0) -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - hours_back * HOUR


async def ticks_asked(calls: Channels) -> int:
    control: control_pb2_grpc.ControlServiceAsyncStub = control_pb2_grpc.ControlServiceStub(
        await calls()
    )
    listed = await control.ListOperations(control_pb2.ListOperationsRequest(namespace="dev"))
    return sum(one.kind == control_pb2.OPERATION_KIND_TICK for one in listed.operations)


async def test_what_falls_due_in_a_pause_is_judged_when_it_is_over(
    ledger: LedgerStub, schedules: ScheduleStub, calls: Channels
) -> None:
    await put(ledger, ago=HOUR * 3, missed=COMPRESS)
    paused = (
        await schedules.PauseSchedule(schedules_pb2.PauseScheduleRequest(**asked("p-1")))
    ).schedule
    assert (paused.pause.paused_by, paused.pause.reason) == ("local/ana", "a holiday")
    assert await advance(ledger) == []
    assert await rows(ledger) == []
    standing = await explain(schedules, whole_hour())
    assert standing.standing == schedules_pb2.DUE_TIME_STANDING_PAUSED
    assert "paused by local/ana (a holiday)" in standing.explanation

    # The same request again changes nothing; another one is told who was first.
    await schedules.PauseSchedule(schedules_pb2.PauseScheduleRequest(**asked("p-1")))
    code, told = await refused(
        schedules.PauseSchedule(schedules_pb2.PauseScheduleRequest(**asked()))
    )
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert told == f"the schedules of {DEFINITION} are paused by local/ana: a holiday"

    await schedules.ResumeSchedule(schedules_pb2.ResumeScheduleRequest(**asked("p-2")))
    assert await ticks_asked(calls) == 1
    [run] = await advance(ledger)
    assert len(run.coalesced) == 2
    code, _ = await refused(
        schedules.ResumeSchedule(schedules_pb2.ResumeScheduleRequest(**asked()))
    )
    assert code is grpc.StatusCode.FAILED_PRECONDITION


async def test_what_does_not_run_for_a_pause_or_a_disabled_definition_says_so(
    ledger: LedgerStub, schedules: ScheduleStub, postgres: Postgres
) -> None:
    await put(ledger, ago=HOUR * 5, missed=SKIP)
    await schedules.PauseSchedule(schedules_pb2.PauseScheduleRequest(**asked()))
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "UPDATE schedule_pauses SET paused_at = now() - interval '2.5 hours'"
        )
    await schedules.ResumeSchedule(schedules_pb2.ResumeScheduleRequest(**asked()))
    assert await advance(ledger) == []
    found = await rows(ledger)
    late = {at: row.outcome for row in found if (at := row.due_at.ToDatetime(tzinfo=UTC))}
    paused_at = datetime.now(UTC) - HOUR * 2.5
    assert set(late.values()) == {pb.DUE_OUTCOME_SKIPPED, pb.DUE_OUTCOME_DISABLED}
    assert all(
        (outcome == pb.DUE_OUTCOME_DISABLED) == (at > paused_at) for at, outcome in late.items()
    )
    assert found[-1].reason.endswith("; paused by local/ana (a holiday)")


async def test_due_times_of_a_disabled_definition_are_told_as_such(
    ledger: LedgerStub, schedules: ScheduleStub
) -> None:
    await put(ledger, ago=HOUR * 3, missed=SKIP, enabled=False)
    assert await advance(ledger) == []
    told = await explain(schedules, whole_hour())
    assert told.standing == schedules_pb2.DUE_TIME_STANDING_DISABLED
    await put(ledger, ago=timedelta(0), missed=SKIP)
    assert await advance(ledger) == []
    assert {row.outcome for row in await rows(ledger)} == {pb.DUE_OUTCOME_DISABLED}
    assert "the definition was disabled" in (await explain(schedules, whole_hour())).explanation


async def test_a_trigger_is_due_now_once_for_a_request(
    ledger: LedgerStub, schedules: ScheduleStub, calls: Channels
) -> None:
    await put(ledger, ago=HOUR * 2)
    request = schedules_pb2.TriggerScheduleRequest(
        overlap=schedules_pb2.OVERLAP_POLICY_ALLOW_ALL, **asked("t-1")
    )
    first = (await schedules.TriggerSchedule(request)).due_time
    again = (await schedules.TriggerSchedule(request)).due_time
    assert first == again
    assert first.outcome == pb.DUE_OUTCOME_RUN
    assert await ticks_asked(calls) == 1
    *missed, by_hand = await advance(ledger)
    assert len(missed) == 2
    assert (by_hand.actor, by_hand.reason) == ("local/ana", "a holiday")
    # The windows touch: nothing is looked at twice, and nothing is left out.
    assert by_hand.window is not None
    assert by_hand.window.start == missed[-1].scheduled_for
    state = (
        await schedules.GetSchedule(
            schedules_pb2.GetScheduleRequest(namespace="dev", definition_id=DEFINITION)
        )
    ).schedule
    assert state.covered_until == first.due_at
    assert state.next_at.ToDatetime(tzinfo=UTC) == whole_hour(-1)
    other = schedules_pb2.TriggerScheduleRequest(
        overlap=schedules_pb2.OVERLAP_POLICY_SKIP, **asked("t-1")
    )
    code, _ = await refused(schedules.TriggerSchedule(other))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_waits_for_its_jitter_is_to_come_until_somebody_is_ahead_of_it(
    ledger: LedgerStub, schedules: ScheduleStub
) -> None:
    jittered = Schedule.model_validate({"every": "1h", "missedRuns": CATCH_UP, "jitter": "3599s"})
    # The trigger's name is chosen so that the due time waits for longer than this test lasts.
    name = next(
        name
        for name in (f"hourly-{number}" for number in range(10_000))
        if whole_hour() + jitter.delay(DEFINITION, name, jittered, whole_hour())
        > datetime.now(UTC) + timedelta(seconds=10)
    )
    taken_up = whole_hour() + jitter.delay(DEFINITION, name, jittered, whole_hour())
    await put(ledger, ago=datetime.now(UTC) - whole_hour(1), names=(name,), jitter="3599s")
    assert await advance(ledger) == []
    told = await explain(schedules, whole_hour())
    assert told.standing == schedules_pb2.DUE_TIME_STANDING_AHEAD
    assert told.explanation.startswith("it waits for its jitter until ")
    state = (
        await schedules.GetSchedule(
            schedules_pb2.GetScheduleRequest(namespace="dev", definition_id=DEFINITION)
        )
    ).schedule
    assert state.next_at.ToDatetime(tzinfo=UTC) == taken_up

    skipped = await schedules.SkipNextDueTime(schedules_pb2.SkipNextDueTimeRequest(**asked()))
    assert skipped.due_at.ToDatetime(tzinfo=UTC) == whole_hour()
    skipped = await schedules.SkipNextDueTime(schedules_pb2.SkipNextDueTimeRequest(**asked()))
    assert skipped.due_at.ToDatetime(tzinfo=UTC) == whole_hour(-1)

    by_hand = schedules_pb2.TriggerScheduleRequest(
        overlap=schedules_pb2.OVERLAP_POLICY_ALLOW_ALL, **asked()
    )
    await schedules.TriggerSchedule(by_hand)
    [at_hand] = await advance(ledger)
    assert at_hand.window is not None
    assert at_hand.window.start == whole_hour()
    first, _ = await rows(ledger)
    assert first.outcome == pb.DUE_OUTCOME_SKIPPED


@pytest.mark.parametrize(
    ("overlap", "outcome"),
    [
        (schedules_pb2.OVERLAP_POLICY_SKIP, pb.DUE_OUTCOME_OVERLAPPED),
        (schedules_pb2.OVERLAP_POLICY_BUFFER_ONE, pb.DUE_OUTCOME_WAITING),
        (schedules_pb2.OVERLAP_POLICY_BUFFER_ALL, pb.DUE_OUTCOME_WAITING),
        (schedules_pb2.OVERLAP_POLICY_ALLOW_ALL, pb.DUE_OUTCOME_RUN),
        (schedules_pb2.OVERLAP_POLICY_CANCEL_OTHER, pb.DUE_OUTCOME_RUN),
    ],
)
async def test_a_start_by_hand_beside_an_open_run_does_what_it_names(
    ledger: LedgerStub,
    schedules: ScheduleStub,
    overlap: "schedules_pb2.OverlapPolicy.ValueType",
    outcome: "pb.DueOutcome.ValueType",
) -> None:
    await put(ledger, ago=HOUR, overlap="skip")
    await advance(ledger)
    request = schedules_pb2.TriggerScheduleRequest(overlap=overlap, **asked())
    found = (await schedules.TriggerSchedule(request)).due_time
    assert found.outcome == outcome
    open_runs = [row for row in await rows(ledger) if row.outcome == pb.DUE_OUTCOME_RUN]
    state = (
        await schedules.GetSchedule(
            schedules_pb2.GetScheduleRequest(namespace="dev", definition_id=DEFINITION)
        )
    ).schedule
    cancels = overlap == schedules_pb2.OVERLAP_POLICY_CANCEL_OTHER
    assert list(state.open_run_ids) == [row.run_id for row in open_runs][cancels:]
    assert state.waiting == (outcome == pb.DUE_OUTCOME_WAITING)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"overlap": 0}, "overlap is missing"),
        ({"trigger_name": "no"}, "there is no schedule trigger 'no'; the definition has: a, b"),
        ({"trigger_name": ""}, "name a schedule trigger; the definition has: a, b"),
    ],
)
async def test_a_start_by_hand_that_says_too_little_is_refused(
    ledger: LedgerStub, schedules: ScheduleStub, fields: dict[str, Any], sentence: str
) -> None:
    await put(ledger, ago=timedelta(0), names=("b", "a"))
    given = {"overlap": schedules_pb2.OVERLAP_POLICY_SKIP, "trigger_name": "a", **fields}
    code, told = await refused(
        schedules.TriggerSchedule(schedules_pb2.TriggerScheduleRequest(**asked(), **given))
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert sentence in told


async def test_a_start_by_hand_is_refused_while_nothing_is_to_run(
    ledger: LedgerStub, schedules: ScheduleStub
) -> None:
    await put(ledger, ago=timedelta(0), enabled=False)
    request = schedules_pb2.TriggerScheduleRequest(
        overlap=schedules_pb2.OVERLAP_POLICY_SKIP, **asked()
    )
    code, told = await refused(schedules.TriggerSchedule(request))
    assert (code, told) == (grpc.StatusCode.FAILED_PRECONDITION, f"{DEFINITION} is disabled")


async def test_the_next_due_times_are_skipped_one_after_the_other(
    ledger: LedgerStub, schedules: ScheduleStub, postgres: Postgres
) -> None:
    await put(ledger, ago=timedelta(0))

    async def skip(request_id: str) -> datetime:
        request = schedules_pb2.SkipNextDueTimeRequest(**asked(request_id))
        return (await schedules.SkipNextDueTime(request)).due_at.ToDatetime(tzinfo=UTC)

    assert await skip("s-1") == await skip("s-1") == whole_hour(-1)
    assert await skip("s-2") == whole_hour(-2)
    ahead = await explain(schedules, whole_hour(-1))
    assert ahead.standing == schedules_pb2.DUE_TIME_STANDING_AHEAD
    assert "it will be skipped: local/ana asked for that (a holiday)" in ahead.explanation
    async with postgres.transaction("dev") as transaction:
        for table, column in (
            ("schedules", "effective_from"),
            ("schedule_cursors", "covered_until"),
            ("schedule_skips", "due_at"),
        ):
            await transaction.execute(
                f"UPDATE {table} SET {column} = {column} - interval '3 hours'"  # noqa: S608 - of here
            )
    [run] = await advance(ledger)
    first, second, third = await rows(ledger)
    assert [row.outcome for row in (first, second, third)] == [
        *(pb.DUE_OUTCOME_SKIPPED, pb.DUE_OUTCOME_SKIPPED, pb.DUE_OUTCOME_RUN),
    ]
    assert first.reason == "hourly: skipped by local/ana (a holiday)"
    assert run.scheduled_for == whole_hour()


async def test_nothing_is_skipped_of_a_definition_that_is_not_due(
    ledger: LedgerStub, schedules: ScheduleStub
) -> None:
    await put(ledger, ago=timedelta(0), enabled=False)
    code, _ = await refused(
        schedules.SkipNextDueTime(schedules_pb2.SkipNextDueTimeRequest(**asked()))
    )
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    request = schedules_pb2.SkipNextDueTimeRequest(**{**asked(), "definition_id": "no.such"})
    code, _ = await refused(schedules.SkipNextDueTime(request))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_a_long_stretch_that_came_to_the_same_is_one_row(
    ledger: LedgerStub, schedules: ScheduleStub
) -> None:
    await put(ledger, ago=timedelta(minutes=10), every="1s", missed=SKIP)
    await advance(ledger)
    stretch, *after = await rows(ledger)
    assert stretch.outcome == pb.DUE_OUTCOME_SKIPPED
    assert stretch.count + len(after) in range(599, 605)
    within = stretch.due_at.ToDatetime(tzinfo=UTC) + timedelta(seconds=77)
    found = await explain(schedules, within)
    assert found.standing == schedules_pb2.DUE_TIME_STANDING_ACCOUNTED
    assert found.due_time == stretch
    between = await explain(schedules, within + timedelta(milliseconds=500))
    assert between.standing == schedules_pb2.DUE_TIME_STANDING_NOT_DUE
    assert between.due_before.ToDatetime(tzinfo=UTC) == within
    assert between.due_after.ToDatetime(tzinfo=UTC) == within + timedelta(seconds=1)
    last = stretch.last_due_at
    assert (await rows(ledger, since=last))[0] == stretch


async def test_due_times_are_listed_since_a_time(ledger: LedgerStub) -> None:
    await put(ledger, ago=HOUR * 4)
    await advance(ledger)
    since = pb.ListDueTimesRequest()
    since.since.FromDatetime(whole_hour(1))
    found = await rows(ledger, since=since.since)
    assert [row.due_at.ToDatetime(tzinfo=UTC) for row in found] == [whole_hour(1), whole_hour()]


async def test_an_instant_without_a_row_is_explained(
    ledger: LedgerStub, schedules: ScheduleStub
) -> None:
    await put(ledger, ago=HOUR * 2)
    before = await explain(schedules, whole_hour(5))
    assert before.standing == schedules_pb2.DUE_TIME_STANDING_BEFORE_SCHEDULES
    uncovered = await explain(schedules, whole_hour())
    assert uncovered.standing == schedules_pb2.DUE_TIME_STANDING_UNCOVERED
    ahead = await explain(schedules, whole_hour(-3))
    assert ahead.standing == schedules_pb2.DUE_TIME_STANDING_AHEAD
    await advance(ledger)
    ran = await explain(schedules, whole_hour())
    assert ran.due_time.run_id.startswith(DEFINITION)


async def test_what_nobody_looks_after_is_overdue_until_a_tick_has(
    ledger: LedgerStub, schedules: ScheduleStub, postgres: Postgres
) -> None:
    async def overdue(min_age: timedelta = timedelta(0)) -> list[str]:
        request = schedules_pb2.ListOverdueSchedulesRequest(namespace="dev")
        request.min_age.FromTimedelta(min_age)
        found = await schedules.ListOverdueSchedules(request)
        return [one.definition_id for one in found.schedules]

    watch = ScheduleWatch(database=postgres, schedules=PostgresScheduleStore(), namespaces=["dev"])
    await put(ledger, ago=HOUR * 2)
    assert await overdue() == [DEFINITION]
    assert await overdue(HOUR * 3) == []
    await watch.look()
    assert [one.value for one in watch.observed()] == [1]
    runs = await advance(ledger)
    # Accounted for, but not started.
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("UPDATE due_times SET leased_until = now() - interval '1 h'")
    assert await overdue(schedule_watch.MIN_AGE) == [DEFINITION]
    await ledger.AcknowledgeRuns(
        pb.AcknowledgeRunsRequest(
            namespace="dev",
            definition_id=DEFINITION,
            run_ids=[f"{DEFINITION}:{run.key}" for run in runs],
        )
    )
    assert await overdue() == []
    await watch.look()
    assert [one.value for one in watch.observed()] == [0]


async def test_nothing_is_overdue_of_what_is_held(
    ledger: LedgerStub, schedules: ScheduleStub
) -> None:
    await put(ledger, ago=HOUR * 2)
    await schedules.PauseSchedule(schedules_pb2.PauseScheduleRequest(**asked()))
    request = schedules_pb2.ListOverdueSchedulesRequest(namespace="dev")
    assert not (await schedules.ListOverdueSchedules(request)).schedules
    await schedules.ResumeSchedule(schedules_pb2.ResumeScheduleRequest(**asked()))
    assert (await schedules.ListOverdueSchedules(request)).schedules
    await put(ledger, ago=timedelta(0), enabled=False)
    assert not (await schedules.ListOverdueSchedules(request)).schedules


async def test_who_only_looks_changes_nothing(calls: Channels) -> None:
    stub: ScheduleStub = schedules_pb2_grpc.ScheduleServiceStub(await calls(Role.VIEWER))
    for call in (
        stub.PauseSchedule(schedules_pb2.PauseScheduleRequest(**asked())),
        stub.ResumeSchedule(schedules_pb2.ResumeScheduleRequest(**asked())),
        stub.TriggerSchedule(schedules_pb2.TriggerScheduleRequest(**asked())),
        stub.SkipNextDueTime(schedules_pb2.SkipNextDueTimeRequest(**asked())),
    ):
        code, _ = await refused(call)
        assert code is grpc.StatusCode.PERMISSION_DENIED
