"""Accounting for due times, through gRPC, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import grpc
import pytest

from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from contracts import canonical, identifiers
from contracts.decisions import Decision
from contracts.definitions import Schedule
from contracts.triggers import Trigger
from rules import jitter
from runtime.postgres import Postgres

# The stub knows this type in its type hints only.
LedgerStub: TypeAlias = "pb_grpc.LedgerServiceAsyncStub"

DEFINITION = "billing.hourly"
CATCH_UP = {"policy": "catchUp", "window": "P7D", "limit": 100}
COMPRESS = {"policy": "compress", "window": "P7D"}


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


@pytest.fixture(autouse=True)
async def away_from_the_hour() -> None:
    """Let an ending hour end: the ledger goes by the database's clock, and tests count hours."""

    def left() -> timedelta:
        now = datetime.now(UTC)
        return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1) - now

    while left() < timedelta(seconds=20):  # noqa: ASYNC110 - a clock tells nobody
        await asyncio.sleep(0.5)


def whole_hours(*, after: datetime) -> list[datetime]:
    """The whole hours in (after, now], which is what `every: 1h` is due at."""
    first = after.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    count = int((datetime.now(UTC) - first) / timedelta(hours=1)) + 1
    return [first + timedelta(hours=number) for number in range(count)]


def put_request(
    effective_from: datetime,
    *,
    missed: dict[str, Any] | None = None,
    version: int = 1,
    overlap: str = "allowAll",
    enabled: bool = True,
    every: str = "1h",
    empty: bool = False,
    **fields: Any,
) -> pb.PutScheduleRequest:
    schedules = {
        "hourly": {"every": every, "missedRuns": missed or CATCH_UP, "overlap": overlap, **fields}
    }
    request = pb.PutScheduleRequest(
        namespace="dev",
        definition_id=DEFINITION,
        definition_version=version,
        schedules=json.dumps({} if empty else schedules).encode(),
        task_queue="billing-tq",
        enabled=enabled,
        reason="because",
    )
    request.effective_from.FromDatetime(effective_from)
    return request


async def advance(ledger: LedgerStub, *, woken_for: datetime | None = None) -> dict[str, Trigger]:
    request = pb.AdvanceScheduleRequest(namespace="dev", definition_id=DEFINITION)
    if woken_for is not None:
        request.woken_for.FromDatetime(woken_for)
    response = await ledger.AdvanceSchedule(request)
    assert {run.task_queue for run in response.runs} <= {"billing-tq"}
    return {run.run_id: Trigger.model_validate_json(run.trigger) for run in response.runs}


async def acknowledge(ledger: LedgerStub, run_ids: list[str]) -> None:
    await ledger.AcknowledgeRuns(
        pb.AcknowledgeRunsRequest(namespace="dev", definition_id=DEFINITION, run_ids=run_ids)
    )


async def due_times(ledger: LedgerStub) -> list[pb.DueTime]:
    response = await ledger.ListDueTimes(
        pb.ListDueTimesRequest(namespace="dev", definition_id=DEFINITION, page_size=1000)
    )
    return list(response.due_times)


async def complete(ledger: LedgerStub, trigger: Trigger) -> None:
    """Record the run without tasks, so that it is closed at once."""
    decision = Decision(
        definition_id=DEFINITION,
        definition_version=trigger.definition_version,
        snapshot_sha256=canonical.digest(b"{}"),
        tasks=[],
        rules=[],
    )
    await ledger.RecordRun(
        pb.RecordRunRequest(
            namespace="dev",
            run_id=identifiers.run_id(DEFINITION, trigger.key),
            definition_id=DEFINITION,
            trigger=canonical.render(trigger),
            snapshot=b"{}",
            decision=canonical.render(decision),
            workflow_run_id="w-1",
        )
    )


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_every_due_time_since_the_beginning_becomes_a_run(ledger: LedgerStub) -> None:
    start = hours_ago(5)
    assert (await ledger.PutSchedule(put_request(start))).changed
    runs = await advance(ledger)
    expected = whole_hours(after=start)
    assert [trigger.scheduled_for for trigger in runs.values()] == expected
    assert list(runs) == [
        identifiers.run_id(DEFINITION, identifiers.schedule_trigger_key(at)) for at in expected
    ]
    windows = [trigger.window for trigger in runs.values()]
    assert windows[0] is not None
    assert windows[0].start == start
    assert [window.start for window in windows[1:] if window] == expected[:-1]
    rows = await due_times(ledger)
    assert [row.outcome for row in rows] == [pb.DUE_OUTCOME_RUN] * len(expected)
    assert [row.due_at.ToDatetime(tzinfo=UTC) for row in rows] == expected[::-1]


async def test_due_time_is_accounted_for_once(ledger: LedgerStub) -> None:
    await ledger.PutSchedule(put_request(hours_ago(3)))
    runs = await advance(ledger)
    await acknowledge(ledger, list(runs))
    assert await advance(ledger) == {}
    assert all(row.HasField("acknowledged_at") for row in await due_times(ledger))


async def test_ticks_at_once_share_the_runs_without_overlap(ledger: LedgerStub) -> None:
    start = hours_ago(6)
    await ledger.PutSchedule(put_request(start))
    answers = await asyncio.gather(*(advance(ledger) for _ in range(5)))
    given = [run_id for answer in answers for run_id in answer]
    assert sorted(given) == sorted(set(given))
    assert len(given) == len(whole_hours(after=start))


async def test_retried_tick_gets_its_runs_again_and_another_one_after_the_lease(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    await ledger.PutSchedule(put_request(hours_ago(3)))
    woken_for = datetime.now(UTC).replace(microsecond=0)
    runs = await advance(ledger, woken_for=woken_for)
    assert runs
    assert await advance(ledger, woken_for=woken_for) == runs
    assert await advance(ledger, woken_for=woken_for - timedelta(hours=1)) == {}
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("UPDATE due_times SET leased_until = now() - interval '1 s'")
    assert await advance(ledger, woken_for=woken_for - timedelta(hours=1)) == runs


async def test_missed_due_times_are_compressed_into_one_run(ledger: LedgerStub) -> None:
    start = hours_ago(6)
    await ledger.PutSchedule(put_request(start, missed=COMPRESS))
    ((run_id, trigger),) = (await advance(ledger)).items()
    expected = whole_hours(after=start)
    assert trigger.scheduled_for == expected[-1]
    assert trigger.coalesced == expected[:-1]
    assert trigger.window is not None
    assert (trigger.window.start, trigger.window.end) == (start, expected[-1])
    newest, *older = await due_times(ledger)
    assert newest.outcome == pb.DUE_OUTCOME_RUN
    assert {row.outcome for row in older} == {pb.DUE_OUTCOME_COALESCED}
    assert {row.run_id for row in [newest, *older]} == {run_id}


async def test_overlapping_due_time_is_skipped_until_the_run_is_closed(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    await ledger.PutSchedule(put_request(hours_ago(1.5), missed=COMPRESS, overlap="skip"))
    ((run_id, trigger),) = (await advance(ledger)).items()

    async def another_hour(older: timedelta) -> None:
        """Let the newest due time be one that nobody has looked at, and the others `older`."""
        async with postgres.transaction("dev") as transaction:
            await transaction.execute(
                "UPDATE schedule_cursors SET covered_until = covered_until - interval '1 h'"
            )
            await transaction.execute("UPDATE due_times SET due_at = due_at - $1::interval", older)

    # Started but not recorded yet: open. Closed: not open.
    await acknowledge(ledger, [run_id])
    await another_hour(timedelta(hours=10))
    assert await advance(ledger) == {}
    assert (await due_times(ledger))[0].outcome == pb.DUE_OUTCOME_OVERLAPPED
    await complete(ledger, trigger)
    await another_hour(timedelta(hours=100))
    assert len(await advance(ledger)) == 1


async def test_due_times_while_disabled_are_judged_when_enabled(ledger: LedgerStub) -> None:
    start = hours_ago(5)
    await ledger.PutSchedule(put_request(start, enabled=False))
    assert await advance(ledger) == {}
    assert await due_times(ledger) == []
    await ledger.PutSchedule(put_request(hours_ago(0), missed=COMPRESS))
    assert [trigger.scheduled_for for trigger in (await advance(ledger)).values()] == whole_hours(
        after=start
    )


async def test_edit_leaves_earlier_due_times_to_the_schedules_of_their_time(
    ledger: LedgerStub,
) -> None:
    start, edit = hours_ago(6), hours_ago(3)
    await ledger.PutSchedule(put_request(start, version=1))
    await ledger.PutSchedule(put_request(edit, version=2, missed=COMPRESS))
    triggers = list((await advance(ledger)).values())
    expected = whole_hours(after=start)
    before = [at for at in expected if at <= edit]
    assert [(t.definition_version, t.scheduled_for) for t in triggers] == [
        *((1, at) for at in before),
        (2, expected[-1]),
    ]
    # No time between the two is left out of the windows.
    assert triggers[-1].window is not None
    assert triggers[-1].window.start == before[-1]


async def test_earlier_version_that_is_in_force_again_runs_from_then_on(ledger: LedgerStub) -> None:
    first, second, back = hours_ago(9), hours_ago(6), hours_ago(3)
    await ledger.PutSchedule(put_request(first, version=1))
    await ledger.PutSchedule(put_request(second, version=2))
    assert (await ledger.PutSchedule(put_request(back, version=1))).changed
    assert not (await ledger.PutSchedule(put_request(back, version=1))).changed
    triggers = (await advance(ledger)).values()
    assert [(t.definition_version, t.scheduled_for) for t in triggers] == [
        (2 if second < at <= back else 1, at) for at in whole_hours(after=first)
    ]


async def test_same_schedules_again_change_nothing(ledger: LedgerStub) -> None:
    start = hours_ago(2)
    assert (await ledger.PutSchedule(put_request(start))).changed
    assert not (await ledger.PutSchedule(put_request(start))).changed
    assert (await ledger.PutSchedule(put_request(hours_ago(1), version=2))).changed
    code, told = await refused(ledger.PutSchedule(put_request(start)))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "later than these" in told


async def test_definition_that_lost_its_schedules_is_due_no_more(ledger: LedgerStub) -> None:
    start, edit = hours_ago(6), hours_ago(3)
    await ledger.PutSchedule(put_request(start))
    await ledger.PutSchedule(put_request(edit, version=2, empty=True))
    due = [trigger.scheduled_for for trigger in (await advance(ledger)).values()]
    assert due == [at for at in whole_hours(after=start) if at <= edit]


async def test_wake_up_ahead_of_our_clock_is_believed_within_reason(ledger: LedgerStub) -> None:
    await ledger.PutSchedule(put_request(hours_ago(0), every="10s"))
    ahead = datetime.now(UTC) + timedelta(seconds=20)
    assert len(await advance(ledger, woken_for=ahead)) in (2, 3)
    far = datetime.now(UTC) + timedelta(days=20)
    assert len(await advance(ledger, woken_for=far)) <= 2


async def test_due_times_are_listed_by_page(ledger: LedgerStub) -> None:
    start = hours_ago(5)
    await ledger.PutSchedule(put_request(start))
    await advance(ledger)
    asked = pb.ListDueTimesRequest(namespace="dev", definition_id=DEFINITION, page_size=2)
    seen: list[datetime] = []
    while True:
        page = await ledger.ListDueTimes(asked)
        seen += [row.due_at.ToDatetime(tzinfo=UTC) for row in page.due_times]
        if not page.next_page_token:
            break
        asked.page_token = page.next_page_token
    assert seen == whole_hours(after=start)[::-1]


async def test_definition_without_schedules_is_not_found(ledger: LedgerStub) -> None:
    code, _ = await refused(advance(ledger))
    assert code == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schedules": b'{"x": {"every": "1h"}}'}, "schedules.x.missedRuns"),
        ({"task_queue": "billing"}, "not a task queue"),
        ({"definition_version": 0}, "counts from 1"),
        ({"effective_from": None}, "effective_from is missing"),
    ],
)
async def test_malformed_schedules_are_refused_in_a_sentence(
    ledger: LedgerStub, change: dict[str, Any], sentence: str
) -> None:
    request = put_request(hours_ago(1))
    for name, value in change.items():
        request.ClearField(name)  # type: ignore[arg-type]
        if value is not None:
            setattr(request, name, value)
    code, told = await refused(ledger.PutSchedule(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert sentence in told


async def test_due_time_with_jitter_waits_and_keeps_its_id(ledger: LedgerStub) -> None:
    begun = hours_ago(3.5)
    *earlier, waiting = whole_hours(after=begun)
    # Longer than from one due time to the next: there is a wait at every minute of the hour.
    written = {"cron": "0 * * * *", "missedRuns": CATCH_UP, "overlap": "allowAll", "jitter": "2h"}
    jittered = {"hourly": Schedule.model_validate(written)}

    def taken_up(name: str, due: datetime) -> datetime:
        return jitter.taken_up(name, jittered, ["hourly"], due)

    # The definition is chosen so that its newest due time, and no other, waits for longer than
    # this test lasts.
    now = datetime.now(UTC)
    definition = next(
        name
        for name in (f"billing.jittered-{n}" for n in range(10_000))
        if taken_up(name, waiting) > now + timedelta(minutes=1)
        and all(taken_up(name, due) < now for due in earlier)
    )
    request = put_request(begun)
    request.definition_id = definition
    request.schedules = json.dumps({"hourly": written}).encode()
    await ledger.PutSchedule(request)

    advance_request = pb.AdvanceScheduleRequest(namespace="dev", definition_id=definition)
    response = await ledger.AdvanceSchedule(advance_request)
    assert response.next_at.ToDatetime(tzinfo=UTC) == taken_up(definition, waiting)
    assert [run.run_id for run in response.runs] == [
        identifiers.run_id(definition, identifiers.schedule_trigger_key(due)) for due in earlier
    ]
    rows = await ledger.ListDueTimes(
        pb.ListDueTimesRequest(namespace="dev", definition_id=definition, page_size=10)
    )
    assert [row.due_at.ToDatetime(tzinfo=UTC) for row in rows.due_times] == earlier[::-1]


async def test_nothing_waits_where_nothing_has_jitter(ledger: LedgerStub) -> None:
    await ledger.PutSchedule(put_request(hours_ago(1.5)))
    response = await ledger.AdvanceSchedule(
        pb.AdvanceScheduleRequest(namespace="dev", definition_id=DEFINITION)
    )
    assert not response.HasField("next_at")


async def test_excluded_times_and_times_out_of_bounds_are_no_due_times(ledger: LedgerStub) -> None:
    begun = hours_ago(6.5)
    dues = whole_hours(after=begun)
    excluded = [{"hour": str(dues[2].hour)}]
    bounds = {"start": dues[1].isoformat(), "end": dues[4].isoformat()}
    await ledger.PutSchedule(put_request(begun, exclusions=excluded, **bounds))
    found = [trigger.scheduled_for for trigger in (await advance(ledger)).values()]
    assert found == [dues[1], dues[3], dues[4]]
