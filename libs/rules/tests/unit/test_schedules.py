"""Due times: what names them, where clocks change, and what excludes them."""

import calendar
import itertools
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st
from schedule_cases import (
    BERLIN,
    NEW_YORK,
    all_crons,
    calendars,
    cron,
    crons,
    every,
    exclusions,
    moments,
    shared_crons,
    utc,
    zones,
)

from contracts.definitions import Schedule
from rules import clocks, schedules
from rules import cron as crontab
from rules.errors import ScheduleError


def due(schedule: Schedule, after: str, until: str) -> list[str]:
    """Return due times in the schedule's zone, with their offset."""
    zone = ZoneInfo(schedule.timezone)
    found = schedules.due_times(schedule, after=utc(after), until=utc(until))
    return [moment.astimezone(zone).strftime("%d %H:%M%z") for moment in found]


SPRING_BERLIN = ("2026-03-28T23:00", "2026-03-29T22:00")
SPRING_NEW_YORK = ("2026-03-08T05:00", "2026-03-09T04:00")
AUTUMN_BERLIN = ("2026-10-24T22:00", "2026-10-25T23:00")
AUTUMN_NEW_YORK = ("2026-11-01T04:00", "2026-11-02T05:00")


@pytest.mark.parametrize(
    ("zone", "night", "landing"),
    [
        (BERLIN, SPRING_BERLIN, "29 03:00+0200"),
        (NEW_YORK, SPRING_NEW_YORK, "08 03:00-0400"),
    ],
)
@pytest.mark.parametrize("text", ["30 2 * * *", "0,30 2 * * *", "59 2 * * *", "15 2,3 * * *"])
def test_a_time_of_day_that_clocks_skip_is_due_when_they_land(
    zone: str, night: tuple[str, str], landing: str, text: str
) -> None:
    assert due(cron(text, zone), *night)[0] == landing


@pytest.mark.parametrize(
    ("zone", "night", "expected"),
    [
        (BERLIN, SPRING_BERLIN, ["29 03:00+0200"]),
        (NEW_YORK, SPRING_NEW_YORK, ["08 03:00-0400"]),
    ],
)
def test_skipped_times_that_land_on_a_due_time_are_one(
    zone: str, night: tuple[str, str], expected: list[str]
) -> None:
    assert due(cron("0,20,40 2 * * *", zone), *night) == expected
    assert due(cron("0 2,3 * * *", zone), *night) == expected


@pytest.mark.parametrize(
    ("zone", "night", "text", "expected"),
    [
        (BERLIN, AUTUMN_BERLIN, "30 2 * * *", ["25 02:30+0200"]),
        (BERLIN, AUTUMN_BERLIN, "30 1 * * *", ["25 01:30+0200"]),
        (NEW_YORK, AUTUMN_NEW_YORK, "30 1 * * *", ["01 01:30-0400"]),
        (NEW_YORK, AUTUMN_NEW_YORK, "30 2 * * *", ["01 02:30-0500"]),
    ],
)
def test_a_time_of_day_that_comes_twice_is_due_the_first_time(
    zone: str, night: tuple[str, str], text: str, expected: list[str]
) -> None:
    assert due(cron(text, zone), *night) == expected


@pytest.mark.parametrize(
    ("zone", "night", "hours"),
    [
        (BERLIN, SPRING_BERLIN, 23),
        (NEW_YORK, SPRING_NEW_YORK, 23),
        (BERLIN, AUTUMN_BERLIN, 25),
        (NEW_YORK, AUTUMN_NEW_YORK, 25),
    ],
)
def test_hourly_and_quarter_hourly_are_due_as_time_passes(
    zone: str, night: tuple[str, str], hours: int
) -> None:
    for text, step, count in [("0 * * * *", 60, hours), ("*/15 * * * *", 15, hours * 4)]:
        after, until = utc(night[0]), utc(night[1])
        found = list(schedules.due_times(cron(text, zone), after=after, until=until))
        assert len(found) == count
        assert {later - sooner for sooner, later in itertools.pairwise(found)} == {
            timedelta(minutes=step)
        }


def test_a_wildcard_within_the_hour_that_comes_twice_is_due_in_both() -> None:
    assert due(cron("*/30 2 * * *", BERLIN), *AUTUMN_BERLIN) == [
        "25 02:00+0200",
        "25 02:30+0200",
        "25 02:00+0100",
        "25 02:30+0100",
    ]
    assert due(cron("*/30 2 * * *", BERLIN), *SPRING_BERLIN) == []


def test_starting_inside_the_second_copy_of_an_hour_never_goes_back() -> None:
    # 02:20 the second time. A reader that forgets which copy it is in would say 02:30 the first.
    after = utc("2026-10-25T01:20")
    found = next(
        schedules.due_times(cron("30 2 * * *", BERLIN), after=after, until=utc("2027-01-01"))
    )
    assert found == utc("2026-10-26T01:30")


def test_clocks_that_go_back_over_midnight_keep_the_order() -> None:
    # In St. John's, 2010-11-07 00:01 became 2010-11-06 23:01.
    schedule = cron("*/30 * * * *", "America/St_Johns")
    found = list(
        schedules.due_times(schedule, after=utc("2010-11-07T01:00"), until=utc("2010-11-07T05:00"))
    )
    assert found == sorted(set(found))
    assert [moment.minute for moment in found] == [30, 0] * 4


def test_a_day_that_a_zone_skips_is_due_when_the_next_begins() -> None:
    # Samoa had no 30 December 2011.
    schedule = cron("0 9 * * *", "Pacific/Apia")
    assert due(schedule, "2011-12-29T12:00", "2011-12-31T12:00") == [
        "29 09:00-1000",
        "31 00:00+1400",
        "31 09:00+1400",
    ]


def test_the_interval_is_open_at_the_start_and_closed_at_the_end() -> None:
    schedule = cron("0 * * * *")
    assert due(schedule, "2026-01-01T00:00", "2026-01-01T02:00") == [
        "01 01:00+0000",
        "01 02:00+0000",
    ]
    assert due(every("1h"), "2026-01-01T00:00", "2026-01-01T02:00") == due(
        schedule, "2026-01-01T00:00", "2026-01-01T02:00"
    )
    assert due(schedule, "2026-01-01T02:00", "2026-01-01T02:00") == []


def test_every_counts_from_the_epoch() -> None:
    found = schedules.due_times(
        every("7m"), after=utc("1970-01-01T00:00"), until=utc("1970-01-01T00:21")
    )
    assert [moment.minute for moment in found] == [7, 14, 21]


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValueError, match="with a zone"):
        next(
            schedules.due_times(
                every("1m"),
                after=datetime(2026, 1, 1),  # noqa: DTZ001 - what is refused
                until=utc("2026-01-02"),
            )
        )


def test_next_due_finds_what_comes_every_28_years_and_says_when_nothing_does() -> None:
    # 29 February on a Sunday; 2100 has no 29 February.
    leap_sundays = [
        year
        for year in range(2089, 2140)
        if calendar.isleap(year) and date(year, 2, 29).weekday() == calendar.SUNDAY
    ]
    assert schedules.next_due(cron("0 0 29 2 */7"), utc("2089-01-01T00:00")) == datetime(
        leap_sundays[0], 2, 29, tzinfo=UTC
    )
    assert schedules.next_due(cron("0 9 * * mon"), utc("2026-01-01T00:00")) == utc(
        "2026-01-05T09:00"
    )
    assert schedules.next_due(every("1h"), datetime(9999, 6, 1, tzinfo=UTC)) is None


def test_a_year_back_costs_nothing_until_it_is_read() -> None:
    found = schedules.due_times(
        cron("* * * * *", BERLIN), after=utc("1990-01-01"), until=utc("2026-01-01")
    )
    assert len(list(itertools.islice(found, 10))) == 10


@pytest.mark.parametrize("count", [1, 3, 1000])
@pytest.mark.parametrize(
    "schedule", [cron("*/7 8-17 * * mon-fri", BERLIN), cron("0 9 1 1 *"), every("90s")]
)
def test_the_newest_due_times_are_the_end_of_all(schedule: Schedule, count: int) -> None:
    after, until = utc("2025-06-01"), utc("2026-06-03T12:00")
    everything = list(schedules.due_times(schedule, after=after, until=until))
    newest = schedules.last_due_times(schedule, after=after, until=until, count=count)
    assert newest == everything[-count:]


@pytest.mark.parametrize("name", ["Europe/Berln", "", "../etc/passwd", "/etc/passwd", "CEST+2"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ScheduleError, match="unknown time zone"):
        clocks.zone(name)


@settings(deadline=None)
@given(crons, moments)
def test_in_utc_due_times_are_those_of_another_reader_of_cron(text: str, after: datetime) -> None:
    expected = list(itertools.islice(CronSim(text, after), 5))
    until = expected[-1]
    assert list(schedules.due_times(cron(text), after=after, until=until)) == expected


@settings(deadline=None)
@given(crons, st.sampled_from([BERLIN, NEW_YORK, "Asia/Kolkata", "Australia/Lord_Howe"]), moments)
def test_away_from_changes_zones_are_those_of_another_reader(
    text: str, zone: str, after: datetime
) -> None:
    # June and January, in which none of these zones sets its clocks.
    for month in (1, 6):
        start = after.replace(month=month, day=min(after.day, 20)).astimezone(ZoneInfo(zone))
        expected = [
            moment.astimezone(UTC)
            for moment in itertools.takewhile(
                lambda moment: moment < start + timedelta(days=8),  # noqa: B023 - used at once
                itertools.islice(CronSim(text, start), 20),
            )
        ]
        if not expected:
            continue
        found = schedules.due_times(cron(text, zone), after=start, until=expected[-1])
        assert list(found) == expected


@settings(deadline=None)
@given(shared_crons, moments)
def test_six_fields_and_special_days_are_those_of_another_reader(
    text: str, after: datetime
) -> None:
    # Of its `*` in a list it makes 7 a day of its own, and it looks no further than fifty years.
    expected = list(itertools.islice(CronSim(text, after), 4))
    found = schedules.due_times(cron(text), after=after, until=expected[-1])
    assert list(found) == expected


# The model: every minute of some days is looked at, with the clocks that people see.


def modelled(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    """Return due times on whole minutes by walking through time, without any inversion."""
    zone = ZoneInfo(schedule.timezone)
    named = [crontab.of_calendar(one) for one in schedule.calendars or ()]
    named += [crontab.parse(schedule.cron)] if schedule.cron is not None else []
    excluded = [crontab.of_calendar(one) for one in schedule.exclusions]
    minute = timedelta(minutes=1)
    moment = after.replace(second=0, microsecond=0) - timedelta(hours=30)
    shown_before: set[datetime] = set()
    found = []
    expected_next = None
    while moment <= until:
        shown = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        skipped = []
        while expected_next is not None and expected_next < shown:
            skipped.append(expected_next)
            expected_next += minute
        due = False
        for one in named:
            if one.by_the_clock:
                due |= any(
                    names(one, wall) for wall in [*skipped, shown] if wall not in shown_before
                )
            else:
                due |= names(one, shown)
        if due and not any(names(one, shown) for one in excluded) and after < moment:
            found.append(moment)
        shown_before.update([*skipped, shown])
        expected_next = shown + minute
        moment += minute
    return found


def names(cron: crontab.Cron, wall: datetime) -> bool:
    return wall.minute in cron.minutes and wall.hour in cron.hours and cron.includes(wall.date())


CHANGES = [
    (BERLIN, "2026-03-29T01:00"),
    (BERLIN, "2026-10-25T01:00"),
    (NEW_YORK, "2026-03-08T07:00"),
    (NEW_YORK, "2026-11-01T06:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("Africa/Casablanca", "2026-02-15T02:00"),
    ("Africa/Casablanca", "2026-03-22T02:00"),
    ("Pacific/Apia", "2011-12-30T10:00"),
    ("America/St_Johns", "2010-11-07T02:31"),
    ("America/Sao_Paulo", "2018-11-04T03:00"),
    ("Antarctica/Troll", "2026-03-29T01:00"),
]
_times_of_day = st.one_of(
    st.tuples(
        st.sampled_from(["0", "30", "*/20", "0-59", "59", "15,45"]),
        st.sampled_from(["*", "0-3", "2", "1,2,3", "23", "*/2"]),
    ).map(" ".join),
)


@pytest.mark.parametrize(("zone", "change"), CHANGES)
@settings(deadline=None, max_examples=12)
@given(text=_times_of_day, excluded=exclusions, start=st.integers(-20, 3))
@example(text="30 2", excluded=[], start=-5)
@example(text="*/20 *", excluded=[{"hour": "2"}], start=-5)
@example(text="0-59 *", excluded=[{"minute": "0-29"}], start=-1)
def test_around_a_change_of_the_clocks_due_times_are_those_of_a_walk_through_time(
    zone: str, change: str, text: str, excluded: list[dict[str, str]], start: int
) -> None:
    schedule = cron(f"{text} * * *", zone, exclusions=excluded)
    after = utc(change) + timedelta(hours=start)
    until = utc(change) + timedelta(hours=8)
    found = list(schedules.due_times(schedule, after=after, until=until))
    assert found == modelled(schedule, after, until)


@settings(deadline=None)
@given(all_crons, zones, exclusions, moments, st.integers(1, 40))
def test_exclusions_take_what_the_clocks_show_and_nothing_else(
    text: str, zone: str, excluded: list[dict[str, str]], after: datetime, days: int
) -> None:
    schedule = cron(text, zone, exclusions=excluded)
    until = after + timedelta(days=days)
    holds = [crontab.of_calendar(one) for one in schedule.exclusions]
    place = ZoneInfo(zone)
    expected = [
        due
        for due in itertools.islice(
            schedules.due_times(cron(text, zone), after=after, until=until), 2000
        )
        if not any(names(one, due.astimezone(place).replace(tzinfo=None)) for one in holds)
    ]
    found = itertools.islice(
        schedules.due_times(schedule, after=after, until=until), len(expected) + 1
    )
    assert list(found)[: len(expected)] == expected


def test_calendars_are_due_when_any_of_them_is_and_only_once() -> None:
    first_monday = {"hour": "9", "dayOfMonth": "1-7", "dayOfWeek": "mon"}
    schedule = calendars(
        first_monday,
        {"hour": "9", "month": "6", "dayOfWeek": "mon"},
        {"hour": "12", "dayOfMonth": "24", "month": "12", "year": "2027"},
        timezone=BERLIN,
    )
    assert due(schedule, "2026-05-31T00:00", "2026-07-07T00:00") == [
        "01 09:00+0200", "08 09:00+0200", "15 09:00+0200", "22 09:00+0200", "29 09:00+0200",
        "06 09:00+0200",
    ]  # fmt: skip
    assert due(schedule, "2027-12-07T00:00", "2027-12-31T00:00") == ["24 12:00+0100"]
    assert due(schedule, "2028-12-07T00:00", "2028-12-31T00:00") == []


def test_nothing_is_due_before_the_start_and_after_the_end_and_both_may_be() -> None:
    bounds = {"start": "2026-01-01T02:00:00Z", "end": "2026-01-01T04:00:00Z"}
    for schedule in (every("1h", **bounds), cron("0 * * * *", **bounds)):
        assert due(schedule, "2025-01-01T00:00", "2027-01-01T00:00") == [
            "01 02:00+0000",
            "01 03:00+0000",
            "01 04:00+0000",
        ]
        assert schedules.next_due(schedule, utc("2026-01-01T04:00")) is None
        newest = schedules.last_due_times(
            schedule, after=utc("2020-01-01"), until=utc("2030-01-01"), count=2
        )
        assert newest == [utc("2026-01-01T03:00"), utc("2026-01-01T04:00")]


def test_a_start_moves_no_period() -> None:
    # Counted from 1970, not from the start: 25 minutes past are no multiple of an hour.
    schedule = every("1h", start="2026-01-01T00:25:00Z")
    assert schedules.next_due(schedule, utc("2020-01-01")) == utc("2026-01-01T01:00")


def test_a_start_far_away_is_found_at_once() -> None:
    schedule = cron("0 0 29 2 mon", start="9000-01-01T00:00:00Z")
    assert schedules.next_due(schedule, utc("2026-01-01")) == datetime(9000, 2, 3, tzinfo=UTC)
    assert schedules.next_due(every("1s", start="9997-12-31T23:59:59Z"), utc("2026-01-01"))
    assert schedules.next_due(every("1s", start="9999-01-01T00:00:00Z"), utc("2026-01-01")) is None


HOUR_BY_HOUR = [{"hour": "0-11"}, {"hour": "12-23"}]
NEVER: dict[str, Any] = {
    "no such day": cron("0 0 29 2 *", exclusions=[{"month": "feb"}]),
    "every second, all excluded": every("1s", exclusions=HOUR_BY_HOUR),
    "every second, in parts": every("1s", exclusions=[{"minute": "0-29"}, {"minute": "30-59"}]),
    "seven seconds in a zone": every("7s", timezone=BERLIN, exclusions=HOUR_BY_HOUR),
    "each due time by itself": cron("0 * * * *", exclusions=[{"minute": "0"}]),
    "every minute of a fifth monday": cron("* * * 2 mon#5", exclusions=[{"dayOfMonth": "29"}]),
    "by years": every("1s", exclusions=[{"year": "2000-2050"}, {"year": "2051-2100"}]),
    "calendars of the past": calendars({"year": "2001"}, exclusions=[{"year": "2001"}]),
    "ended before it began": every("10m", start="2026-01-01T00:01:00Z",
                                   end="2026-01-01T00:09:00Z"),
}  # fmt: skip


@pytest.mark.parametrize("schedule", NEVER.values(), ids=NEVER.keys())
def test_what_is_never_due_is_found_in_bounded_work(schedule: Schedule) -> None:
    begun = time.process_time()
    assert schedules.first_due(schedule) is None
    assert time.process_time() - begun < 5


def test_a_long_exclusion_costs_days_and_not_seconds() -> None:
    schedule = every("1s", exclusions=[{"year": "2026-2040"}])
    begun = time.process_time()
    assert schedules.next_due(schedule, utc("2026-01-01T00:00")) == utc("2041-01-01T00:00")
    assert time.process_time() - begun < 5


def test_what_is_due_once_is_due_whatever_the_year_is_now() -> None:
    assert schedules.first_due(calendars({"year": "2090"})) == utc("2090-01-01T00:00")
    assert schedules.first_due(every("1h", end="2010-01-01T00:00:00Z")) == utc("2000-01-01T00:00")


def test_exclusions_leave_the_newest_due_times_right() -> None:
    schedule = every("10m", timezone=BERLIN, exclusions=[{"hour": "0-5"}, {"dayOfWeek": "sat,sun"}])
    after, until = utc("2026-03-20"), utc("2026-04-03T03:00")
    everything = list(schedules.due_times(schedule, after=after, until=until))
    for count in (1, 7, 300):
        newest = schedules.last_due_times(schedule, after=after, until=until, count=count)
        assert newest == everything[-count:]
