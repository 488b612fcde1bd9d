"""The wake-up times, which have to include the due times and little else."""

import itertools
import warnings
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
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
    utc,
    zones,
)

from rules import schedules, wakeups


@settings(max_examples=300, deadline=None)
@given(crons, zones, moments)
@example("30 2 * * *", BERLIN, datetime(2026, 3, 28, tzinfo=UTC))
@example("30 2 29 3 *", BERLIN, datetime(2026, 3, 28, tzinfo=UTC))
@example("0 0 1 * *", BERLIN, datetime(2026, 3, 28, tzinfo=UTC))
@example("0 9 1 1 1", "Pacific/Apia", datetime(2026, 1, 1, tzinfo=UTC))
@example("59 23 31 12 *", NEW_YORK, datetime(2026, 1, 1, tzinfo=UTC))
@example("0 9 * * *", "Pacific/Apia", datetime(2011, 12, 29, tzinfo=UTC))
@example("0 0 29 2 *", NEW_YORK, datetime(2027, 1, 1, tzinfo=UTC))
@example("0 23 29 2 *", NEW_YORK, datetime(2027, 1, 1, tzinfo=UTC))
def test_every_due_time_is_one_to_wake_up_at(text: str, zone: str, after: datetime) -> None:
    schedule = cron(text, zone)
    spec = wakeups.wake_spec(schedule)
    found = schedules.due_times(schedule, after=after, until=after + timedelta(days=800))
    for moment in itertools.islice(found, 60):
        assert spec.matches(moment), moment


@settings(deadline=None)
@given(crons, zones, st.sampled_from([3, 10, 11]), st.integers(2015, 2035))
def test_every_due_time_of_a_night_on_which_clocks_change_is_one_to_wake_up_at(
    text: str, zone: str, month: int, year: int
) -> None:
    minute, hour, *_ = text.split()
    schedule = cron(f"{minute} {hour} * * *", zone)
    spec = wakeups.wake_spec(schedule)
    after = datetime(year, month, 1, tzinfo=UTC)
    found = list(
        itertools.islice(
            schedules.due_times(schedule, after=after, until=after + timedelta(days=31)), 3000
        )
    )
    assert found == sorted(set(found))
    assert all(map(spec.matches, found))


def test_a_wake_up_in_utc_is_due_exactly_and_a_period_is_an_interval() -> None:
    [calendar] = wakeups.wake_spec(cron("*/20 9-17 * * mon-fri")).calendars
    assert calendar == wakeups.WakeCalendar(
        minute=(wakeups.Span(0, 40, 20),),
        hour=(wakeups.Span(9, 17),),
        day_of_week=(wakeups.Span(1, 5),),
    )
    spec = wakeups.wake_spec(every("90s"))
    assert spec == wakeups.WakeSpec(intervals=(wakeups.WakeInterval(timedelta(seconds=90)),))


def test_days_that_are_ored_are_two_calendars() -> None:
    # Temporal's calendars AND their fields.
    assert len(wakeups.wake_spec(cron("0 9 13 * fri")).calendars) == 2


def test_a_wake_up_spec_stays_small() -> None:
    counts = {
        zone: len(wakeups.wake_spec(cron("30 2 * * 1", zone)).calendars)
        for zone in (BERLIN, NEW_YORK, "Antarctica/Casey", "Africa/Casablanca")
    }
    assert max(counts.values()) <= 8


def test_every_zone_has_offsets_of_whole_minutes_where_wake_ups_are_compiled() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = sorted(available_timezones())
    days = [datetime(year, month, 15, tzinfo=UTC) for year in (2000, 2026) for month in (1, 7)]
    for name in names:
        zone = ZoneInfo(name)
        for day in days:
            offset = day.astimezone(zone).utcoffset()
            assert offset is not None
            assert offset % timedelta(minutes=1) == timedelta(0), name


@settings(max_examples=100, deadline=None)
@given(all_crons, zones, exclusions, moments)
def test_with_special_days_and_exclusions_every_due_time_is_one_to_wake_up_at(
    text: str, zone: str, excluded: list[dict[str, str]], after: datetime
) -> None:
    schedule = cron(text, zone, exclusions=excluded)
    spec = wakeups.wake_spec(schedule)
    found = schedules.due_times(schedule, after=after, until=after + timedelta(days=500))
    for moment in itertools.islice(found, 60):
        assert spec.matches(moment), moment


@settings(max_examples=60, deadline=None)
@given(all_crons, zones, exclusions, moments)
def test_there_are_never_absurdly_many_wake_ups(
    text: str, zone: str, excluded: list[dict[str, str]], after: datetime
) -> None:
    """In any hour: no more than a schedule of every day has due times, once for each offset."""
    spec = wakeups.wake_spec(cron(text, zone, exclusions=excluded))
    minutes, _, _, _, _ = text.split()
    hour = after.replace(minute=0, second=0, microsecond=0)
    offsets = {
        (hour.replace(month=month, year=year, day=1)).astimezone(ZoneInfo(zone)).utcoffset()
        for year in range(2000, 2041)
        for month in (1, 3, 7, 11)
    }
    named = {
        due.minute
        for due in schedules.due_times(
            cron(f"{minutes} * * * *"), after=hour, until=hour + timedelta(hours=1)
        )
    }
    woken = [hour + timedelta(minutes=minute) for minute in range(60)]
    # The end of a gap is one more.
    assert len(list(filter(spec.matches, woken))) <= len(named) * len(offsets) + 1


def test_seconds_years_and_bounds_are_kept() -> None:
    [calendar] = wakeups.wake_spec(cron("*/20 0 9 * * *")).calendars
    assert calendar.second == (wakeups.Span(0, 40, 20),)
    spec = wakeups.wake_spec(
        calendars({"year": "2026-2028"}, start="2026-01-05T00:00:00Z", end="2026-12-01T00:00:00Z")
    )
    assert spec.calendars[0].year == (wakeups.Span(2026, 2028),)
    assert [spec.matches(utc(day)) for day in ("2026-01-04", "2026-01-05", "2026-12-01")] == [
        False, True, True,
    ]  # fmt: skip
    assert not spec.matches(utc("2026-12-02"))


def test_what_begins_for_one_trigger_goes_on_for_another() -> None:
    bounded = every("1h", start="2026-01-01T00:00:00Z", end="2027-01-01T00:00:00Z")
    later = every("2h", start="2026-06-01T00:00:00Z", end="2028-01-01T00:00:00Z")
    both, open_ended = wakeups.wake_spec(bounded, later), wakeups.wake_spec(bounded, every("2h"))
    assert (both.start, both.end) == (utc("2026-01-01"), utc("2028-01-01"))
    assert (open_ended.start, open_ended.end) == (None, None)


def test_hours_that_are_excluded_in_every_week_are_not_woken_in() -> None:
    night = [{"hour": "0-7"}, {"hour": "20-23"}, {"dayOfWeek": "sat,sun"}]
    spec = wakeups.wake_spec(every("1s", timezone=BERLIN, exclusions=night))
    week = [utc("2026-07-06") + timedelta(hours=hour) for hour in range(7 * 24)]
    # In Berlin 8:00 to 20:00 are 6:00 to 18:00 in UTC in summer, 7:00 to 19:00 in winter.
    assert [moment.hour for moment in filter(spec.matches, week)] == [*range(6, 19)] * 5
    # Of two triggers only what both exclude.
    assert wakeups.wake_spec(every("1s", exclusions=night), every("1m")).skip == ()


@pytest.mark.parametrize(
    "excluded", [[{"hour": "1", "minute": "0-58"}], [{"month": "1"}], [{"dayOfMonth": "1-30"}]]
)
def test_what_is_not_excluded_in_every_week_is_woken_for(excluded: list[dict[str, str]]) -> None:
    assert wakeups.wake_spec(every("1m", exclusions=excluded)).skip == ()


def test_an_offset_that_is_no_whole_hour_keeps_the_parts_of_an_hour() -> None:
    # In Kathmandu, 5:45 ahead, 0:00 to 23:00 excluded leaves 17:15 to 18:15 in UTC.
    schedule = every("15m", timezone="Asia/Kathmandu", exclusions=[{"hour": "0-22"}])
    spec = wakeups.wake_spec(schedule)
    found = list(schedules.due_times(schedule, after=utc("2026-01-01"), until=utc("2026-01-02")))
    assert len(found) == 4
    assert all(map(spec.matches, found))
    day = [utc("2026-01-01") + timedelta(minutes=15 * step) for step in range(96)]
    assert len(list(filter(spec.matches, day))) == 8


def test_a_spec_rich_in_exclusions_stays_small() -> None:
    excluded = [
        {"month": str(month), "dayOfMonth": str(day)}
        for month in range(1, 13)
        for day in (1, 2, 3, 15)
    ]
    weekly = [{"hour": str(hour), "dayOfWeek": "sat"} for hour in range(0, 4, 2)]
    spec: wakeups.WakeSpec = wakeups.wake_spec(
        cron("*/5 * * * *", "Africa/Casablanca", exclusions=[*excluded, *weekly])
    )
    assert len(spec.calendars) <= 4
    assert len(spec.skip) <= 7
