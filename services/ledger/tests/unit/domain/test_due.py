"""Which epoch answers for which time, and how their windows join."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.definitions import Schedule
from ledger.domain import due
from ledger.domain.due import Epoch

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def epoch(number: int, effective_from: datetime, *, policy: str = "catchUp") -> Epoch:
    schedules = {}
    if policy != "none":
        schedules["hourly"] = Schedule.model_validate(
            {
                "every": "1h",
                "missedRuns": {"policy": policy, "window": "P7D"},
                "overlap": "allowAll",
            }
        )
    return Epoch(
        epoch=number,
        definition_version=number,
        schedules=schedules,
        schedules_body=b"{}",
        task_queue="billing-tq",
        effective_from=effective_from,
        enabled=True,
    )


def test_stretches_cut_the_time_where_epochs_begin() -> None:
    epochs = [epoch(1, NOON - 9 * HOUR), epoch(2, NOON + HOUR), epoch(3, NOON + 2 * HOUR)]
    cut = due.stretches(epochs, cursor=NOON, until=NOON + 5 * HOUR)
    assert [(each.epoch.epoch, each.after, each.until) for each in cut] == [
        (1, NOON, NOON + HOUR),
        (2, NOON + HOUR, NOON + 2 * HOUR),
        (3, NOON + 2 * HOUR, NOON + 5 * HOUR),
    ]


def test_of_epochs_that_begin_together_the_newest_is_in_force() -> None:
    epochs = [epoch(1, NOON), epoch(2, NOON)]
    cut = list(due.stretches(epochs, cursor=NOON, until=NOON + HOUR))
    assert [each.epoch.epoch for each in cut] == [2]


def test_epoch_of_the_future_is_not_in_force_yet() -> None:
    epochs = [epoch(1, NOON), epoch(2, NOON + 9 * HOUR)]
    cut = list(due.stretches(epochs, cursor=NOON, until=NOON + HOUR))
    assert [(each.epoch.epoch, each.until) for each in cut] == [(1, NOON + HOUR)]


def test_windows_of_two_epochs_leave_no_time_out() -> None:
    edit = NOON + 2.5 * HOUR
    rows, more = due.account(
        "billing.hourly",
        [epoch(1, NOON), epoch(2, edit, policy="compress")],
        cursor=NOON,
        now=NOON + 5 * HOUR,
        open_run=False,
    )
    windows = [row.window for row in rows if row.window is not None]
    assert not more
    assert [(window.start, window.end) for window in windows] == [
        (NOON, NOON + HOUR),
        (NOON + HOUR, NOON + 2 * HOUR),
        (NOON + 2 * HOUR, NOON + 5 * HOUR),
    ]


def test_window_does_not_reach_back_into_a_time_without_schedules() -> None:
    rows, _ = due.account(
        "billing.hourly",
        [epoch(1, NOON - 9 * HOUR, policy="none"), epoch(2, NOON)],
        cursor=NOON - 9 * HOUR,
        now=NOON + HOUR,
        open_run=False,
    )
    (row,) = rows
    assert row.window is not None
    assert row.window.start == NOON


def test_coalesced_due_time_names_the_run_it_went_into() -> None:
    rows, _ = due.account(
        "billing.hourly",
        [epoch(1, NOON, policy="compress")],
        cursor=NOON,
        now=NOON + 2 * HOUR,
        open_run=False,
    )
    assert {row.run_id for row in rows} == {"billing.hourly:2026-11-01T14:00:00Z"}


@pytest.mark.parametrize(
    ("woken_for", "believed"),
    [
        (None, NOON),
        (NOON - HOUR, NOON),
        (NOON + timedelta(seconds=3), NOON + timedelta(seconds=3)),
        (NOON + HOUR, NOON + due.MAX_CLOCK_SKEW),
    ],
)
def test_wake_up_may_be_a_little_ahead_of_our_clock(
    woken_for: datetime | None, believed: datetime
) -> None:
    assert due.believed_now(NOON, woken_for) == believed
