"""Missed-run and overlap accounting, against a model that is written another way."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.definitions import Overlap, Schedule
from rules import policy
from rules.policy import Accounted, DueOutcome, DueRow

START = datetime(2026, 3, 2, 12, tzinfo=UTC)

SKIP_LATE = {"policy": "skip", "tolerance": "80s"}
CATCH_UP = {"policy": "catchUp", "window": "1h", "limit": 3}
COMPRESS = {"policy": "compress", "window": "10m"}


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def every(period: str, missed: Mapping[str, Any] = COMPRESS, overlap: str = "allowAll") -> Schedule:
    return Schedule.model_validate({"every": period, "missedRuns": missed, "overlap": overlap})


def account(
    schedule: Schedule | dict[str, Schedule],
    *,
    now: float,
    open_run: bool = False,
    limit: int = 1000,
    cursor: float = 0,
) -> Accounted:
    schedules = schedule if isinstance(schedule, dict) else {"tick": schedule}
    return policy.account(
        schedules=schedules, cursor=at(cursor), now=at(now), open_run=open_run, limit=limit
    )


def outcomes(accounted: Accounted) -> str:
    letters = {"run": "R", "coalesced": "C", "overlapped": "O", "skipped": "S", "dropped": "D"}
    return "".join(letters[row.outcome] for row in accounted.rows)


def test_nothing_due_leaves_the_cursor() -> None:
    accounted = account(every("5m"), now=4.9)
    assert accounted == Accounted((), at(0))


def test_a_clock_behind_the_cursor_accounts_for_nothing() -> None:
    assert account(every("1m"), now=-10) == Accounted((), at(0))


def test_cursor_moves_to_the_last_due_time_and_never_to_now() -> None:
    assert account(every("5m"), now=12).cursor == at(10)


def test_a_due_time_on_the_cursor_is_not_due_again_and_one_at_now_is() -> None:
    accounted = account(every("5m", CATCH_UP), now=10, cursor=5)
    assert [row.due_at for row in accounted.rows] == [at(10)]


@pytest.mark.parametrize(
    ("missed", "overlap", "expected"),
    [
        (SKIP_LATE, "allowAll", "SSSSR"),
        (CATCH_UP, "allowAll", "DDRRR"),
        ({**CATCH_UP, "window": "80s"}, "allowAll", "DDDDR"),
        (COMPRESS, "allowAll", "CCCCR"),
        ({**COMPRESS, "window": "140s"}, "allowAll", "DDDCR"),
        (SKIP_LATE, "skip", "SSSSR"),
        (CATCH_UP, "skip", "DDROO"),
        (COMPRESS, "skip", "CCCCR"),
    ],
)
def test_five_missed_due_times(missed: Mapping[str, Any], overlap: str, expected: str) -> None:
    assert outcomes(account(every("1m", missed, overlap), now=5.5)) == expected


@pytest.mark.parametrize(
    ("missed", "expected"), [(SKIP_LATE, "SSSSO"), (CATCH_UP, "DDOOO"), (COMPRESS, "OOOOO")]
)
def test_an_open_run_overlaps_what_would_run(missed: Mapping[str, Any], expected: str) -> None:
    assert outcomes(account(every("1m", missed, "skip"), now=5.5, open_run=True)) == expected


def test_an_open_run_does_not_hold_back_allow_all() -> None:
    assert outcomes(account(every("1m", CATCH_UP), now=2.5, open_run=True)) == "RR"


def test_a_compressed_run_stands_for_all_it_missed() -> None:
    accounted = account(every("1m"), now=4.5)
    [run] = accounted.runs
    assert run.window is not None
    assert (run.window.start, run.window.end) == (at(0), at(4))
    assert run.coalesced == (at(1), at(2), at(3))
    assert {row.into for row in accounted.rows[:-1]} == {at(4)}


def test_a_compressed_window_leaves_out_what_was_dropped() -> None:
    [run] = account(every("1m", {**COMPRESS, "window": "140s"}), now=5.5).runs
    assert run.window is not None
    assert run.window.start == at(3)
    assert run.coalesced == (at(4),)


def test_windows_of_runs_that_are_caught_up_touch() -> None:
    runs = account(every("1m", CATCH_UP), now=3.5).runs
    assert [(run.window.start, run.window.end) for run in runs if run.window] == [
        (at(0), at(1)),
        (at(1), at(2)),
        (at(2), at(3)),
    ]


def test_reasons_are_for_people() -> None:
    accounted = account(every("1m", {**COMPRESS, "window": "100s"}, "skip"), now=3.2)
    assert [row.reason for row in accounted.rows] == [
        "tick: 132s late, more than the window of 100s",
        "tick: compressed into the run of 2026-03-02T12:03:00Z",
        "tick: due, the newest of 2 that are compressed",
    ]
    blocked = account(every("1m", CATCH_UP, "skip"), now=2, open_run=False)
    assert blocked.rows[1].reason == (
        "tick: the run of 2026-03-02T12:01:00Z goes first, and overlap is skip"
    )


def test_triggers_due_at_one_instant_are_one_run_that_lists_them() -> None:
    accounted = account({"b": every("1m", CATCH_UP), "a": every("2m", CATCH_UP, "skip")}, now=2.5)
    assert [(row.due_at, row.names) for row in accounted.runs] == [
        (at(1), ("b",)),
        (at(2), ("b",)),
    ]
    alone = account({"b": every("2m", CATCH_UP, "skip"), "a": every("2m", COMPRESS)}, now=2.5)
    assert [(row.due_at, row.names) for row in alone.rows] == [(at(2), ("a", "b"))]


def test_the_strongest_outcome_of_an_instant_is_its_row() -> None:
    accounted = account({"a": every("1m", COMPRESS), "b": every("2m", CATCH_UP)}, now=3.5)
    assert outcomes(accounted) == "CRR"
    middle, last = accounted.rows[1:]
    assert middle.names == ("b",)
    assert middle.reason == "b: due; a: compressed into the run of 2026-03-02T12:03:00Z"
    # The last run stands for the whole stretch of its trigger, though another ran in between.
    assert last.coalesced == (at(1), at(2))
    assert last.window is not None
    assert last.window.start == at(0)


def test_a_stretch_whose_newest_is_overlapped_is_overlapped_as_a_whole() -> None:
    accounted = account({"a": every("1m", COMPRESS, "skip"), "b": every("2m", CATCH_UP)}, now=3.5)
    assert outcomes(accounted) == "ORO"
    assert accounted.rows[1].names == ("b",)
    assert accounted.runs[0].coalesced == ()


def test_a_due_time_in_two_stretches_goes_into_the_run_that_comes_first() -> None:
    accounted = account({"a": every("1m", COMPRESS), "b": every("2m", COMPRESS)}, now=5.5)
    assert outcomes(accounted) == "CCCRR"
    assert accounted.rows[1].names == ("b",)
    assert accounted.rows[1].into == at(4)
    assert accounted.runs[0].coalesced == (at(2),)
    assert accounted.runs[1].coalesced == (at(1), at(2), at(3), at(4))


def test_one_call_is_bounded_and_the_next_goes_on() -> None:
    schedule = every("1s", CATCH_UP)
    first = account(schedule, now=60, limit=100)
    assert len(first.rows) == 100
    assert first.more
    assert first.cursor == first.rows[-1].due_at == START + timedelta(seconds=100)


def test_the_limit_of_catch_up_counts_to_now_and_not_to_the_end_of_a_call() -> None:
    schedules = {"tick": every("1m", CATCH_UP)}
    rows, _ = drain(schedules, now=at(20), limit=6)
    assert [row.due_at for row in rows if row.outcome is DueOutcome.RUN] == [at(18), at(19), at(20)]


def test_a_compressed_stretch_is_not_torn_apart_by_the_limit() -> None:
    rows, calls = drain({"tick": every("1m", {**COMPRESS, "window": "8m"})}, now=at(20), limit=10)
    assert calls == 2
    [run] = [row for row in rows if row.outcome is DueOutcome.RUN]
    assert len(run.coalesced) == 8


def test_a_run_stands_for_at_most_the_limit() -> None:
    rows, _ = drain({"tick": every("1m")}, now=at(9), limit=4)
    assert [row.outcome for row in rows[:5]] == [DueOutcome.DROPPED] * 5
    assert rows[0].reason == "tick: not among the newest 4 due times, which is the limit"
    assert rows[-1].coalesced == (at(6), at(7), at(8))


def test_a_year_of_seconds_is_accounted_in_bounded_work() -> None:
    accounted = policy.account(
        schedules={"tick": every("1s", {**COMPRESS, "window": "2h"})},
        cursor=START - timedelta(days=365),
        now=START,
        open_run=False,
    )
    assert len(accounted.rows) == policy.MAX_DUE_TIMES
    assert accounted.more


def test_schedules_of_an_earlier_stretch_are_judged_by_the_time_that_it_is_now() -> None:
    accounted = policy.account(
        schedules={"tick": every("1m", {"policy": "skip", "tolerance": "4m"})},
        cursor=at(0),
        until=at(3),
        now=at(6.5),
        open_run=False,
    )
    assert outcomes(accounted) == "SSR"
    assert accounted.cursor == at(3)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        account(every("1m"), now=1, limit=0)


def drain(
    schedules: dict[str, Schedule], *, now: datetime, limit: int, open_run: bool = False
) -> tuple[list[DueRow], int]:
    rows: list[DueRow] = []
    cursor, calls = START, 0
    while True:
        accounted = policy.account(
            schedules=schedules, cursor=cursor, now=now, open_run=open_run, limit=limit
        )
        calls += 1
        rows += accounted.rows
        open_run = open_run or bool(accounted.runs)
        assert accounted.cursor > cursor or not accounted.more
        cursor = accounted.cursor
        if not accounted.more:
            return rows, calls


# The model: due times by counting seconds, policies one due time at a time, no limit.


def model(
    schedules: Mapping[str, Schedule], cursor: datetime, now: datetime, *, open_run: bool
) -> dict[datetime, tuple[str, set[str]]]:
    dues = {name: model_dues(schedule, cursor, now) for name, schedule in schedules.items()}
    live: dict[str, list[datetime]] = {}
    said: dict[tuple[datetime, str], str] = {}
    for name, schedule in schedules.items():
        missed = schedule.missed_runs
        live[name] = []
        for later, moment in enumerate(reversed(dues[name])):
            if missed.policy == "skip":
                if now - moment > missed.tolerance:
                    said[moment, name] = "skipped"
                    continue
            elif now - moment > missed.window or (
                missed.policy == "catchUp" and later >= missed.limit
            ):
                said[moment, name] = "dropped"
                continue
            live[name].insert(0, moment)
    busy = open_run
    for moment in sorted({moment for times in dues.values() for moment in times}):
        started = False
        for name, schedule in schedules.items():
            if moment not in live[name]:
                continue
            compress = schedule.missed_runs.policy == "compress"
            if compress and moment != live[name][-1]:
                continue
            blocked = busy and schedule.overlap is Overlap.SKIP
            said[moment, name] = "overlapped" if blocked else "run"
            if compress:
                for earlier in live[name][:-1]:
                    said[earlier, name] = "overlapped" if blocked else "coalesced"
            started = started or not blocked
        busy = busy or started
    strength = ["run", "coalesced", "overlapped", "skipped", "dropped"]
    result: dict[datetime, tuple[str, set[str]]] = {}
    for moment in {moment for moment, _ in said}:
        here = {name: outcome for (when, name), outcome in said.items() if when == moment}
        best = min(here.values(), key=strength.index)
        result[moment] = (best, {name for name, outcome in here.items() if outcome == best})
    return result


def model_dues(schedule: Schedule, cursor: datetime, now: datetime) -> list[datetime]:
    assert schedule.every is not None
    period = int(schedule.every.total_seconds())
    seconds = range(int(cursor.timestamp()) + 1, int(now.timestamp()) + 1)
    return [datetime.fromtimestamp(second, UTC) for second in seconds if second % period == 0]


missed_policies = st.one_of(
    st.builds(
        lambda t: {"policy": "skip", "tolerance": f"{t}s"}, st.integers(min_value=1, max_value=90)
    ),
    st.builds(
        lambda w, n: {"policy": "catchUp", "window": f"{w}s", "limit": n},
        st.integers(min_value=1, max_value=200),
        st.integers(min_value=1, max_value=12),
    ),
    st.builds(
        lambda w: {"policy": "compress", "window": f"{w}s"},
        st.integers(min_value=1, max_value=200),
    ),
)
schedule_triggers = st.builds(
    lambda period, missed, overlap: every(f"{period}s", missed, overlap),
    st.sampled_from([5, 7, 10, 15, 60]),
    missed_policies,
    st.sampled_from(["skip", "allowAll"]),
)
definitions = st.dictionaries(st.sampled_from(["a", "b", "c"]), schedule_triggers, min_size=1)


@settings(deadline=None)
@given(
    definitions,
    st.lists(st.tuples(st.integers(min_value=0, max_value=150), st.booleans()), max_size=6),
)
def test_every_outage_is_accounted_as_the_model_says(
    schedules: dict[str, Schedule], wakes: list[tuple[int, bool]]
) -> None:
    cursor = now = START
    for seconds, open_run in wakes:
        now += timedelta(seconds=seconds)
        accounted = policy.account(schedules=schedules, cursor=cursor, now=now, open_run=open_run)
        expected = model(schedules, cursor, now, open_run=open_run)
        assert [row.due_at for row in accounted.rows] == sorted(expected)
        for row in accounted.rows:
            outcome, names = expected[row.due_at]
            assert row.outcome == outcome
            # Of a due time in two stretches, the row names the triggers of the run it goes into.
            assert set(row.names) <= names if outcome == "coalesced" else set(row.names) == names
        check_runs(accounted)
        assert accounted.cursor == (max(expected) if expected else cursor)
        cursor = accounted.cursor


@settings(deadline=None)
@given(
    definitions,
    st.lists(st.integers(min_value=0, max_value=150), max_size=5),
    st.integers(min_value=1, max_value=9),
)
def test_every_due_time_has_one_outcome_whatever_the_limit(
    schedules: dict[str, Schedule], outages: list[int], limit: int
) -> None:
    cursor = now = START
    seen: list[datetime] = []
    for seconds in outages:
        now += timedelta(seconds=seconds)
        more = True
        while more:
            accounted = policy.account(
                schedules=schedules, cursor=cursor, now=now, open_run=False, limit=limit
            )
            assert len(accounted.rows) <= limit
            check_runs(accounted)
            seen += [row.due_at for row in accounted.rows]
            cursor, more = accounted.cursor, accounted.more
    due = {at for schedule in schedules.values() for at in model_dues(schedule, START, now)}
    assert seen == sorted(due)


@settings(deadline=None)
@given(schedule_triggers, st.integers(min_value=0, max_value=300), st.integers(1, 40))
def test_the_limit_changes_nothing_for_one_trigger_within_its_count(
    schedule: Schedule, outage: int, limit: int
) -> None:
    now = START + timedelta(seconds=outage)
    whole = policy.account(
        schedules={"a": schedule}, cursor=START, now=now, open_run=False, limit=10_000
    )
    parts, _ = drain({"a": schedule}, now=now, limit=limit)
    assert [row.due_at for row in parts] == [row.due_at for row in whole.rows]
    if schedule.missed_runs.policy != "compress" or len(whole.rows) <= limit:
        assert [row.outcome for row in parts] == [row.outcome for row in whole.rows]
    else:
        assert [row.outcome for row in parts][-limit:] == [r.outcome for r in whole.rows][-limit:]


def check_runs(accounted: Accounted) -> None:
    into = {row.into for row in accounted.rows if row.into is not None}
    assert into <= {row.due_at for row in accounted.runs}
    for row in accounted.rows:
        assert row.names
        assert row.reason
        assert (row.into is None) == (row.outcome is not DueOutcome.COALESCED)
        assert (row.window is None) == (row.outcome is not DueOutcome.RUN)
        if row.window is not None:
            assert row.window.end == row.due_at
            assert all(row.window.start < covered < row.due_at for covered in row.coalesced)
