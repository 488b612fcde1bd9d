"""Missed-run and overlap accounting, against a model that is written another way."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.definitions import Overlap, Schedule
from rules import jitter, overlaps, policy
from rules.policy import Accounted, DueOutcome, DueRow, Waiting

DEFINITION = "billing.hourly"
START = datetime(2026, 3, 2, 12, tzinfo=UTC)

SKIP_LATE = {"policy": "skip", "tolerance": "80s"}
CATCH_UP = {"policy": "catchUp", "window": "1h", "limit": 3}
NEWEST_FIRST = {**CATCH_UP, "order": "newestFirst"}
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
    **waits: Any,
) -> Accounted:
    schedules = schedule if isinstance(schedule, dict) else {"tick": schedule}
    return policy.account(
        definition_id=DEFINITION,
        schedules=schedules,
        cursor=at(cursor),
        now=at(now),
        open_run=open_run,
        limit=limit,
        **waits,
    )


def outcomes(accounted: Accounted) -> str:
    letters = {
        "waiting": "W",
        "run": "R",
        "coalesced": "C",
        "overlapped": "O",
        "skipped": "S",
        "dropped": "D",
    }
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
        (CATCH_UP, "bufferOne", "DDRWO"),
        (CATCH_UP, "bufferAll", "DDRWW"),
        (COMPRESS, "bufferOne", "CCCCR"),
        (NEWEST_FIRST, "skip", "DDOOR"),
        (NEWEST_FIRST, "bufferOne", "DDOWR"),
        (NEWEST_FIRST, "bufferAll", "DDWWR"),
        (CATCH_UP, "cancelOther", "DDOOR"),
        (COMPRESS, "cancelOther", "CCCCR"),
    ],
)
def test_five_missed_due_times(missed: Mapping[str, Any], overlap: str, expected: str) -> None:
    assert outcomes(account(every("1m", missed, overlap), now=5.5)) == expected


@pytest.mark.parametrize(
    ("missed", "expected"), [(SKIP_LATE, "SSSSO"), (CATCH_UP, "DDOOO"), (COMPRESS, "OOOOO")]
)
def test_an_open_run_overlaps_what_would_run(missed: Mapping[str, Any], expected: str) -> None:
    assert outcomes(account(every("1m", missed, "skip"), now=5.5, open_run=True)) == expected


@pytest.mark.parametrize(
    ("missed", "overlap", "expected"),
    [
        (SKIP_LATE, "bufferAll", "SSSSW"),
        (CATCH_UP, "bufferOne", "DDWOO"),
        (CATCH_UP, "bufferAll", "DDWWW"),
        (NEWEST_FIRST, "bufferOne", "DDOOW"),
        (COMPRESS, "bufferOne", "WWWWW"),
        (COMPRESS, "bufferAll", "WWWWW"),
    ],
)
def test_an_open_run_has_what_would_run_wait(
    missed: Mapping[str, Any], overlap: str, expected: str
) -> None:
    accounted = account(every("1m", missed, overlap), now=5.5, open_run=True)
    assert outcomes(accounted) == expected
    assert not accounted.cancels
    assert all(row.window for row in accounted.rows if row.outcome is DueOutcome.WAITING)


@pytest.mark.parametrize("missed", [CATCH_UP, COMPRESS])
def test_the_newest_due_time_cancels_what_is_open(missed: Mapping[str, Any]) -> None:
    accounted = account(every("1m", missed, "cancelOther"), now=5.5, open_run=True)
    assert accounted.cancels
    assert [run.due_at for run in accounted.runs] == [at(5)]
    assert "the run that was open is cancelled for it" in accounted.rows[-1].reason
    assert not account(every("1m", missed, "cancelOther"), now=5.5).cancels


def test_nothing_that_does_not_run_cancels() -> None:
    late = {"policy": "skip", "tolerance": "1s"}
    assert not account(every("1m", late, "cancelOther"), now=1.5, open_run=True).cancels


def waiting(*minutes: float, name: str = "tick") -> list[Waiting]:
    return [Waiting(at(minute), (name,), at(minute - 1)) for minute in minutes]


def test_what_waited_runs_first_and_the_next_goes_on_waiting() -> None:
    accounted = account(
        every("1m", {**CATCH_UP, "limit": 10}, "bufferAll"),
        now=5.5,
        cursor=3,
        waiting=waiting(2, 3),
    )
    assert outcomes(accounted) == "RWWW"
    [run] = accounted.runs
    assert run.window is not None
    assert (run.window.start, run.window.end) == (at(1), at(2))
    assert accounted.cursor == at(5)


def test_what_waited_is_judged_by_how_late_it_is_now() -> None:
    late = account(every("1m", SKIP_LATE, "bufferAll"), now=5.5, cursor=5, waiting=waiting(3, 5))
    assert outcomes(late) == "SR"
    dropped = account(every("1m", CATCH_UP, "bufferAll"), now=5.5, cursor=3, waiting=waiting(2, 3))
    assert outcomes(dropped) == "DRWW"
    assert late.cursor == at(5)


def test_a_stretch_that_waited_becomes_one_run_with_what_fell_due_since() -> None:
    accounted = account(
        every("1m", COMPRESS, "bufferOne"), now=5.5, cursor=3, waiting=waiting(2, 3)
    )
    assert outcomes(accounted) == "CCCR"
    [run] = accounted.runs
    assert run.window is not None
    assert run.window.start == at(1)
    assert run.coalesced == (at(2), at(3), at(4))


def test_buffer_one_has_room_for_one_start_of_the_definition() -> None:
    schedules = {"a": every("1m", CATCH_UP, "bufferOne"), "b": every("1m", COMPRESS, "bufferOne")}
    full = account(schedules, now=1.5, open_run=True, ahead={"a": 1})
    assert outcomes(full) == "O"
    growing = account(schedules, now=1.5, open_run=True, ahead={"b": 7})
    assert [(row.outcome, row.names) for row in growing.rows] == [(DueOutcome.WAITING, ("b",))]


def test_buffer_all_is_bounded() -> None:
    schedule = every("1m", CATCH_UP, "bufferAll")
    almost = account(schedule, now=2.5, open_run=True, ahead={"tick": overlaps.MAX_WAITING - 1})
    assert outcomes(almost) == "WO"
    assert almost.rows[1].reason.endswith("as many wait as overlap bufferAll allows")


def test_a_stretch_that_waits_is_one_start_however_long_it_is() -> None:
    schedules = {"a": every("1m", CATCH_UP, "bufferAll"), "b": every("1h", COMPRESS, "bufferAll")}
    accounted = account(schedules, now=1.5, open_run=True, ahead={"b": overlaps.MAX_WAITING + 1})
    assert outcomes(accounted) == "W"


def test_what_waits_for_a_trigger_that_is_gone_is_dropped() -> None:
    accounted = account(every("1h"), now=1, cursor=1, waiting=waiting(1, name="old"))
    assert outcomes(accounted) == "D"
    assert accounted.rows[0].reason == "old: there is no such trigger any more"


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
        definition_id=DEFINITION,
        schedules={"tick": every("1s", {**COMPRESS, "window": "2h"})},
        cursor=START - timedelta(days=365),
        now=START,
        open_run=False,
    )
    assert len(accounted.rows) == policy.MAX_DUE_TIMES
    assert accounted.more


def test_schedules_of_an_earlier_stretch_are_judged_by_the_time_that_it_is_now() -> None:
    accounted = policy.account(
        definition_id=DEFINITION,
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
    ahead: Counter[str] = Counter()
    while True:
        accounted = policy.account(
            definition_id=DEFINITION,
            schedules=schedules,
            cursor=cursor,
            now=now,
            open_run=open_run,
            limit=limit,
            ahead=ahead,
        )
        calls += 1
        ahead.update(n for r in accounted.rows if r.outcome is DueOutcome.WAITING for n in r.names)
        rows += accounted.rows
        open_run = open_run or bool(accounted.runs)
        assert accounted.cursor > cursor or not accounted.more
        cursor = accounted.cursor
        if not accounted.more:
            return rows, calls


# The model: due times by counting seconds, policies one due time at a time, no limit. It knows each
# due time by its trigger, and what waits by itself.


class Model:
    def __init__(self, schedules: Mapping[str, Schedule]) -> None:
        self.schedules = schedules
        self.cursor = START
        self.queue: dict[tuple[datetime, str], None] = {}
        """What waits."""

    def account(self, now: datetime, *, open_run: bool) -> dict[datetime, tuple[str, set[str]]]:
        said, live = self.missed(now, open_run=open_run)
        queued = dict(self.queue) if open_run else {}
        asks = self.asks(live)
        cancelling = [m for m, name in asks if self.schedules[name].overlap == "cancelOther"]
        last = max(cancelling, default=None)
        asks.sort(key=lambda ask: ask[0] != last)
        running: set[datetime] = set()
        started: datetime | None = None
        for moment, name in asks:
            schedule = self.schedules[name]
            stretch = live[name] if schedule.missed_runs.policy == "compress" else [moment]
            busy = open_run or started not in (None, moment)
            buffers = schedule.overlap.startswith("buffer")
            if not buffers and last and moment < last:
                verdict = "overlapped"
            elif schedule.overlap in ("allowAll", "cancelOther") or not busy:
                verdict = "run"
            else:
                verdict = "waiting" if buffers and self.room(queued, name) else "overlapped"
            for one in stretch:
                said[one, name] = "coalesced" if verdict == "run" and one != moment else verdict
                if verdict == "waiting":
                    queued[one, name] = None
            if verdict == "run":
                running.add(moment)
                started = started or moment
        return self.settle(said, now, open_run=open_run)

    def missed(
        self, now: datetime, *, open_run: bool
    ) -> tuple[dict[tuple[datetime, str], str], dict[str, list[datetime]]]:
        said: dict[tuple[datetime, str], str] = {}
        live: dict[str, list[datetime]] = {}
        for name, schedule in self.schedules.items():
            times = model_dues(schedule, self.cursor, now)
            if not open_run:
                times = sorted({*times, *(at for at, whose in self.queue if whose == name)})
            live[name] = []
            for later, moment in enumerate(reversed(times)):
                verdict = self.too_late(schedule, now - moment, later)
                if verdict:
                    said[moment, name] = verdict
                else:
                    live[name].insert(0, moment)
        return said, live

    def settle(
        self, said: dict[tuple[datetime, str], str], now: datetime, *, open_run: bool
    ) -> dict[datetime, tuple[str, set[str]]]:
        strength = ["run", "coalesced", "waiting", "overlapped", "skipped", "dropped"]
        result: dict[datetime, tuple[str, set[str]]] = {}
        for moment in {moment for moment, _ in said}:
            here = {name: outcome for (when, name), outcome in said.items() if when == moment}
            best = min(here.values(), key=strength.index)
            result[moment] = (best, {name for name, outcome in here.items() if outcome == best})
        if not open_run:
            self.queue = {}
        for moment, (outcome, names) in sorted(result.items()):
            if outcome == "waiting":
                self.queue |= {(moment, name): None for name in names}
        fresh = [m for name in self.schedules.values() for m in model_dues(name, self.cursor, now)]
        self.cursor = max([self.cursor, *fresh])
        return result

    @staticmethod
    def too_late(schedule: Schedule, late: timedelta, later: int) -> str | None:
        missed = schedule.missed_runs
        if missed.policy == "skip":
            return "skipped" if late > missed.tolerance else None
        beyond = missed.policy == "catchUp" and later >= missed.limit
        return "dropped" if late > missed.window or beyond else None

    def asks(self, live: Mapping[str, list[datetime]]) -> list[tuple[datetime, str]]:
        found = []
        for name, times in live.items():
            only = times[-1:] if self.schedules[name].missed_runs.policy == "compress" else times
            found += [(moment, name) for moment in only]
        backwards = {
            moment
            for moment, _ in found
            if all(
                getattr(self.schedules[name].missed_runs, "order", "oldestFirst") == "newestFirst"
                for when, name in found
                if when == moment
            )
        }
        forth = sorted(ask for ask in found if ask[0] not in backwards)
        back = sorted((ask for ask in found if ask[0] in backwards), key=lambda a: a[0])[::-1]
        return forth + back

    def room(self, queued: Mapping[tuple[datetime, str], None], name: str) -> bool:
        def compresses(whose: str) -> bool:
            return self.schedules[whose].missed_runs.policy == "compress"

        if compresses(name) and any(whose == name for _, whose in queued):
            return True
        starts = {(None if compresses(whose) else at, whose) for at, whose in queued}
        return not starts or self.schedules[name].overlap == "bufferAll"


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
        lambda w, n, o: {"policy": "catchUp", "window": f"{w}s", "limit": n, "order": o},
        st.integers(min_value=1, max_value=200),
        st.integers(min_value=1, max_value=12),
        st.sampled_from(["oldestFirst", "newestFirst"]),
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
    st.sampled_from(list(Overlap)),
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
    model, cursor, now = Model(schedules), START, START
    held: list[Waiting] = []
    told: dict[datetime, int] = {}
    for seconds, open_run in wakes:
        now += timedelta(seconds=seconds)
        expected = model.account(now, open_run=open_run)
        accounted = policy.account(
            definition_id=DEFINITION,
            schedules=schedules,
            cursor=cursor,
            now=now,
            open_run=open_run,
            waiting=() if open_run else held,
            ahead=Counter(name for one in held for name in one.names) if open_run else None,
        )
        assert [row.due_at for row in accounted.rows] == sorted(expected)
        for row in accounted.rows:
            outcome, names = expected[row.due_at]
            assert row.outcome == outcome
            # Of a due time in two stretches, the row names the triggers of the run it goes into.
            assert set(row.names) <= names if outcome == "coalesced" else set(row.names) == names
            told[row.due_at] = told.get(row.due_at, 0) + (row.outcome is not DueOutcome.WAITING)
        check_runs(accounted)
        if not open_run:
            held = []
        held += [
            Waiting(row.due_at, row.names, row.window.start)
            for row in accounted.rows
            if row.outcome is DueOutcome.WAITING and row.window
        ]
        cursor = accounted.cursor
        assert cursor == model.cursor
    # What does not wait any more was told one outcome, once.
    still = {one.due_at for one in held}
    assert told == {moment: int(moment not in still) for moment in told}
    due = {m for schedule in schedules.values() for m in model_dues(schedule, START, now)}
    assert told.keys() == due


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
                definition_id=DEFINITION,
                schedules=schedules,
                cursor=cursor,
                now=now,
                open_run=False,
                limit=limit,
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
        definition_id=DEFINITION,
        schedules={"a": schedule},
        cursor=START,
        now=now,
        open_run=False,
        limit=10_000,
    )
    parts, _ = drain({"a": schedule}, now=now, limit=limit)
    assert [row.due_at for row in parts] == [row.due_at for row in whole.rows]
    if not overlaps.looks_ahead(schedule) or len(whole.rows) <= limit:
        assert [row.outcome for row in parts] == [row.outcome for row in whole.rows]
    elif schedule.missed_runs.policy == "compress" and schedule.overlap == "allowAll":
        assert [row.outcome for row in parts][-limit:] == [r.outcome for r in whole.rows][-limit:]


def check_runs(accounted: Accounted) -> None:
    into = {row.into for row in accounted.rows if row.into is not None}
    assert into <= {row.due_at for row in accounted.runs}
    for row in accounted.rows:
        assert row.names
        assert row.reason
        assert (row.into is None) == (row.outcome is not DueOutcome.COALESCED)
        assert (row.window is None) == (row.outcome not in (DueOutcome.RUN, DueOutcome.WAITING))
        if row.window is not None:
            assert row.window.end == row.due_at
            assert all(row.window.start < covered < row.due_at for covered in row.coalesced)


def jittered(text: str, missed: Mapping[str, Any] = COMPRESS) -> Schedule:
    return Schedule.model_validate(
        {"every": "1m", "missedRuns": missed, "overlap": "allowAll", "jitter": text}
    )


def test_a_due_time_waits_for_its_jitter_and_those_after_it_wait_too() -> None:
    schedules = {"slow": jittered("50s", CATCH_UP), "prompt": every("90s", CATCH_UP)}
    delay = jitter.delay(DEFINITION, "slow", schedules["slow"], at(1))
    early = policy.account(
        definition_id=DEFINITION, schedules=schedules, cursor=START,
        now=at(1) + delay - timedelta(milliseconds=1), open_run=False,
    )  # fmt: skip
    assert early == Accounted((), START, waits_until=at(1) + delay)
    ready = policy.account(
        definition_id=DEFINITION, schedules=schedules, cursor=START, now=at(1) + delay,
        open_run=False,
    )  # fmt: skip
    # The other trigger's due time has waited with it.
    assert delay > timedelta(seconds=30)
    assert [row.due_at for row in ready.rows] == [at(1), at(1.5)]
    assert ready.waits_until is None


def test_jitter_makes_no_due_time_late() -> None:
    missed = {"policy": "skip", "tolerance": "1s"}
    accounted = account(jittered("30s", missed), now=1.5)
    assert outcomes(accounted) == "R"
    late = account(jittered("30s", missed), now=1.9)
    assert outcomes(late) == "S"
    assert late.rows[0].reason.startswith("tick: 24s late, more than the tolerance of 1s")


@settings(deadline=None)
@given(
    st.sampled_from(["1s", "20s", "59s"]),
    missed_policies,
    st.lists(st.integers(min_value=0, max_value=150), max_size=6),
)
def test_with_jitter_every_due_time_has_one_outcome_and_none_comes_early(
    text: str, missed: dict[str, Any], wakes: list[int]
) -> None:
    schedules = {"tick": jittered(text, missed)}
    cursor = now = START
    seen: list[datetime] = []
    for seconds in [*wakes, 120]:
        now += timedelta(seconds=seconds)
        accounted = policy.account(
            definition_id=DEFINITION, schedules=schedules, cursor=cursor, now=now, open_run=False
        )
        for row in accounted.rows:
            assert jitter.taken_up(DEFINITION, schedules, ["tick"], row.due_at) <= now
        if accounted.waits_until is not None:
            assert accounted.waits_until > now
        seen += [row.due_at for row in accounted.rows]
        cursor = accounted.cursor
    due = model_dues(schedules["tick"], START, now)
    assert seen == due[: len(seen)]
    assert len(due) - len(seen) <= 1
