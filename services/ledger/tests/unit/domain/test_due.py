"""Which epoch answers for which time, and how their windows join."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.definitions import Schedule
from ledger.domain import due
from ledger.domain.due import Epoch
from rules.policy import DueOutcome, Waiting

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def epoch(
    number: int,
    effective_from: datetime,
    *,
    policy: str = "catchUp",
    overlap: str = "allowAll",
    **fields: str,
) -> Epoch:
    schedules = {}
    if policy != "none":
        schedules["hourly"] = Schedule.model_validate(
            {
                "every": "1h",
                "missedRuns": {"policy": policy, "window": "P7D"},
                "overlap": overlap,
                **fields,
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
    accounted = due.account(
        "billing.hourly",
        [epoch(1, NOON), epoch(2, edit, policy="compress")],
        cursor=NOON,
        now=NOON + 5 * HOUR,
        open_run=False,
    )
    windows = [row.window for row in accounted.rows if row.window is not None]
    assert not accounted.more
    assert accounted.cursor == NOON + 5 * HOUR
    assert [(window.start, window.end) for window in windows] == [
        (NOON, NOON + HOUR),
        (NOON + HOUR, NOON + 2 * HOUR),
        (NOON + 2 * HOUR, NOON + 5 * HOUR),
    ]


def test_window_does_not_reach_back_into_a_time_without_schedules() -> None:
    rows = due.account(
        "billing.hourly",
        [epoch(1, NOON - 9 * HOUR, policy="none"), epoch(2, NOON)],
        cursor=NOON - 9 * HOUR,
        now=NOON + HOUR,
        open_run=False,
    ).rows
    (row,) = rows
    assert row.window is not None
    assert row.window.start == NOON


def test_coalesced_due_time_names_the_run_it_went_into() -> None:
    rows = due.account(
        "billing.hourly",
        [epoch(1, NOON, policy="compress")],
        cursor=NOON,
        now=NOON + 2 * HOUR,
        open_run=False,
    ).rows
    assert {row.run_id for row in rows} == {"billing.hourly:2026-11-01T14:00:00Z"}


def test_what_waits_is_judged_by_the_schedules_of_its_time() -> None:
    edit = NOON + 2.5 * HOUR
    epochs = [
        epoch(1, NOON, overlap="bufferAll"),
        epoch(2, edit, policy="compress", overlap="bufferOne"),
    ]
    first = due.account(
        "billing.hourly", epochs[:1], cursor=NOON, now=NOON + 2 * HOUR, open_run=True
    )
    assert [row.outcome for row in first.rows] == [DueOutcome.WAITING] * 2
    assert first.waits
    held = [
        Waiting(row.due_at, tuple(row.names), row.window.start) for row in first.rows if row.window
    ]
    second = due.account(
        "billing.hourly",
        epochs,
        cursor=first.cursor,
        now=NOON + 4 * HOUR,
        open_run=False,
        waiting=held,
    )
    # The first runs, the second goes on waiting as it stands, and so does what the trigger asks for
    # by its new schedule: a stretch that grows.
    assert [(row.due_at - NOON, row.outcome, row.definition_version) for row in second.rows] == [
        (HOUR, DueOutcome.RUN, 1),
        (3 * HOUR, DueOutcome.WAITING, 2),
        (4 * HOUR, DueOutcome.WAITING, 2),
    ]
    assert second.waits


def test_what_waits_of_a_time_before_the_oldest_epoch_is_judged_all_the_same() -> None:
    held = [Waiting(NOON, ("hourly",), NOON - HOUR)]
    found = due.account(
        "billing.hourly",
        [epoch(1, NOON)],
        cursor=NOON,
        now=NOON,
        open_run=False,
        waiting=held,
    )
    assert [row.outcome for row in found.rows] == [DueOutcome.RUN]
    assert found.cursor == NOON
    assert not found.waits


def test_a_run_of_an_earlier_epoch_that_would_be_cancelled_does_not_begin() -> None:
    epochs = [epoch(1, NOON), epoch(2, NOON + HOUR, overlap="cancelOther")]
    found = due.account("billing.hourly", epochs, cursor=NOON, now=NOON + 2 * HOUR, open_run=True)
    assert [row.outcome for row in found.rows] == [DueOutcome.OVERLAPPED, DueOutcome.RUN]
    assert found.rows[0].run_id is None
    assert found.cancels


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


def test_a_due_time_is_next_when_it_is_due_and_taken_up_after_its_jitter() -> None:
    epochs = [epoch(1, NOON, jitter="30m")]
    found = due.next_due("billing.hourly", epochs, NOON)
    assert found is not None
    assert found.due_at == NOON + HOUR
    assert found.taken_up_at == due.taken_up("billing.hourly", epochs[0], NOON + HOUR)
    assert found.due_at < found.taken_up_at <= NOON + 1.5 * HOUR
    waiting = due.account("billing.hourly", epochs, cursor=NOON, now=NOON + HOUR, open_run=False)
    assert (waiting.rows, waiting.waits_until) == ([], found.taken_up_at)
    at_once = due.account(
        "billing.hourly", epochs, cursor=NOON, now=NOON + HOUR, open_run=False, jittered=False
    )
    assert [row.due_at for row in at_once.rows] == [NOON + HOUR]
    assert at_once.waits_until is None


def test_what_waits_for_its_jitter_has_yet_to_run() -> None:
    epochs = [epoch(1, NOON, jitter="30m")]

    def next_to_run(skipped: set[datetime]) -> datetime | None:
        return due.next_to_run("billing.hourly", epochs, NOON, now=NOON + HOUR, skipped=skipped)

    assert next_to_run(set()) == NOON + HOUR
    assert next_to_run({NOON + HOUR}) == NOON + 2 * HOUR
