"""Plans of backfills: which due times there were, and what is done about each."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.decisions import RunStatus
from contracts.definitions import CatchUpOrder, Schedule
from contracts.triggers import TriggerKind, Window
from ledger.domain import backfills
from ledger.domain.backfills import DueTime, Found, Outcome, Planned, Question, Standing, Step
from ledger.domain.due import Epoch
from ledger.domain.plans import Mode
from rules.policy import DueOutcome

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DEFINITION = "billing.hourly"


def epoch(effective_from: datetime, **schedules: dict[str, Any]) -> Epoch:
    missed = {"policy": "skip", "tolerance": "1m"}
    return Epoch(
        epoch=1,
        definition_version=7,
        schedules={
            name: Schedule.model_validate({"missedRuns": missed, **one})
            for name, one in schedules.items()
        },
        schedules_body=b"{}",
        task_queue="billing-tq",
        effective_from=effective_from,
        enabled=True,
    )


HOURLY = {"every": "1h"}


def question(**changes: Any) -> Question:
    given = {
        "definition_id": DEFINITION,
        "since": NOON,
        "until": NOON + 4 * HOUR,
        "mode": Mode.MISSING,
        "order": CatchUpOrder.OLDEST_FIRST,
        "concurrency": 2,
        **changes,
    }
    return Question(**given)


def due(hour: int, *, known: bool = True) -> DueTime:
    at = NOON + hour * HOUR
    return DueTime(at, ("hourly",), ("hourly",) if known else (), Window(start=at - HOUR, end=at))


def found(
    outcome: DueOutcome | None = None, status: RunStatus | None = None, **more: bool
) -> Found:
    return Found(outcome=outcome, run_id="r", status=status, **more)


def hours(times: list[DueTime]) -> list[float]:
    return [(one.due_at - NOON) / HOUR for one in times]


def test_the_first_is_included_and_the_last_is_not() -> None:
    times = list(
        backfills.due_times([epoch(NOON - HOUR, hourly=HOURLY)], since=NOON, until=NOON + 2 * HOUR)
    )
    assert hours(times) == [0, 1]
    # Windows touch, and the first one's begins at the due time before it.
    assert [(one.window.start, one.window.end) for one in times] == [
        (NOON - HOUR, NOON), (NOON, NOON + HOUR),
    ]  # fmt: skip


def test_before_the_first_schedules_they_hold_as_well() -> None:
    new = epoch(NOON, hourly=HOURLY)
    times = backfills.due_times([new], since=NOON - 2 * HOUR, until=NOON + HOUR)
    assert hours(list(times)) == [-2, -1, 0]


def test_the_schedules_of_their_time_say_what_was_due() -> None:
    rare = {"every": "2h"}
    epochs = [
        epoch(NOON - 9 * HOUR, hourly=HOURLY, gone=HOURLY),
        epoch(NOON + HOUR, hourly=rare),
    ]
    times = list(backfills.due_times(epochs, since=NOON, until=NOON + 5 * HOUR))
    assert hours(times) == [0, 1, 2, 4]
    assert [one.names for one in times[:2]] == [("gone", "hourly")] * 2
    assert {one.known for one in times} == {("hourly",)}
    # No time between the two is left out.
    assert times[2].window.start == NOON + HOUR


def test_a_stretch_without_a_due_time_is_an_empty_plan() -> None:
    daily = epoch(NOON, daily={"cron": "0 3 * * *"})
    assert list(backfills.due_times([daily], since=NOON, until=NOON + HOUR)) == []
    assert list(backfills.due_times([], since=NOON, until=NOON + HOUR)) == []


@pytest.mark.parametrize(
    ("known", "stands"),
    [
        (found(), Standing.NO_RUN),
        (found(DueOutcome.SKIPPED), Standing.NO_RUN),
        (found(DueOutcome.DROPPED), Standing.NO_RUN),
        (found(DueOutcome.OVERLAPPED), Standing.NO_RUN),
        (found(DueOutcome.DISABLED), Standing.NO_RUN),
        (found(DueOutcome.WAITING), Standing.WAITING),
        (found(DueOutcome.COALESCED), Standing.COALESCED),
        # It was asked for, and nobody has recorded it yet.
        (found(DueOutcome.RUN), Standing.OPEN),
        (found(DueOutcome.SKIPPED, started=True), Standing.OPEN),
        (found(DueOutcome.RUN, RunStatus.RUNNING), Standing.OPEN),
        (found(DueOutcome.RUN, RunStatus.WAITING), Standing.OPEN),
        (found(DueOutcome.RUN, RunStatus.COMPLETED), Standing.COMPLETED),
        (found(DueOutcome.SKIPPED, RunStatus.COMPLETED, started=True), Standing.COMPLETED),
        (found(DueOutcome.RUN, RunStatus.FAILED), Standing.FAILED),
        (found(DueOutcome.RUN, RunStatus.CANCELLED), Standing.CANCELLED),
        # The run is forgotten, its trigger key is not.
        (found(DueOutcome.SKIPPED, claimed=True), Standing.COMPLETED),
    ],
)
def test_a_due_time_stands_as_its_newest_run_does(known: Found, stands: Standing) -> None:
    assert backfills.standing(known) is stands


def test_what_is_done_follows_from_the_mode() -> None:
    does = {
        mode: {
            stands: backfills.step(mode, stands)
            for stands in Standing
            if backfills.step(mode, stands) is not Step.LEAVE
        }
        for mode in Mode
    }
    assert does == {
        Mode.MISSING: {Standing.NO_RUN: Step.START},
        Mode.FAILED: {Standing.FAILED: Step.RETRY},
        Mode.ALL: {
            Standing.NO_RUN: Step.START,
            Standing.FAILED: Step.RETRY,
            Standing.CANCELLED: Step.RETRY,
        },
    }


def planned(**changes: Any) -> list[Planned]:
    return backfills.plan(
        question(**changes),
        [
            (due(0), found(DueOutcome.SKIPPED)),
            (due(1), found(DueOutcome.RUN, RunStatus.COMPLETED)),
            (due(2, known=False), found(DueOutcome.SKIPPED)),
            (due(3), found()),
        ],
        covered_until=NOON + 2.5 * HOUR,
    )


def test_a_plan_says_of_every_due_time_what_is_done_and_why() -> None:
    assert [(one.ordinal, one.step, one.outcome, one.standing) for one in planned()] == [
        (0, Step.START, Outcome.PLANNED, Standing.NO_RUN),
        (1, Step.LEAVE, Outcome.LEFT, Standing.COMPLETED),
        (2, Step.LEAVE, Outcome.LEFT, Standing.NO_TRIGGER),
        # What the schedule itself has still to account for is left to it.
        (3, Step.LEAVE, Outcome.LEFT, Standing.AHEAD),
    ]
    assert all(one.told for one in planned())


def test_the_newest_go_first_if_asked() -> None:
    backwards = planned(order=CatchUpOrder.NEWEST_FIRST)
    assert [one.due_at for one in backwards] == [one.due_at for one in planned()][::-1]
    assert [one.ordinal for one in backwards] == [0, 1, 2, 3]


def test_the_hash_is_of_all_that_a_plan_says() -> None:
    version = epoch(NOON, hourly=HOURLY)

    def chain(ask: Question, steps: list[Planned]) -> bytes:
        return backfills.chain(ask, "b-1", version, steps)

    plans = {
        chain(question(), planned()),
        chain(question(concurrency=3), planned()),
        chain(question(), planned()[:3]),
        chain(question(), planned(mode=Mode.FAILED)),
        backfills.chain(question(), "b-2", version, planned()),
    }
    assert len(plans) == 5
    assert chain(question(), planned()) in plans


def test_its_run_has_the_id_that_its_due_time_has_by_the_schedule() -> None:
    (first, *_) = planned()
    trigger = backfills.trigger(
        "b-1", names=first.names, due_at=first.due_at, window=first.window,
        definition_version=7, actor="local/ana", reason="a gap",
    )  # fmt: skip
    assert trigger.kind is TriggerKind.BACKFILL
    assert trigger.key == "2026-11-01T12:00:00Z"
