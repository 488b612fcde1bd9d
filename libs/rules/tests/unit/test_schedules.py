"""Due times where clocks change, and the wake-up times that have to include them."""

import calendar
import itertools
import warnings
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.definitions import Schedule
from rules import schedules
from rules.errors import ScheduleError

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
MISSED = {"policy": "skip", "tolerance": "1h"}


def cron(text: str, timezone: str = "UTC") -> Schedule:
    return Schedule.model_validate({"cron": text, "timezone": timezone, "missedRuns": MISSED})


def every(period: str) -> Schedule:
    return Schedule.model_validate({"every": period, "missedRuns": MISSED})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


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
        schedules.zone(name)


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # Ranges of one number are left out: the other reader takes 4-4/2 for 4-59/2.
    pairs = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1])
    ranges = pairs.map(lambda pair: f"{pair[0]}-{pair[1]}")
    step = st.integers(1, max(high // 2, 1))
    return st.one_of(
        st.just("*"),
        st.lists(number.map(str), min_size=1, max_size=3).map(",".join),
        ranges,
        st.tuples(st.just("*") | ranges, step).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    )


crons = st.tuples(
    numbers(0, 59), numbers(0, 23), numbers(1, 28), numbers(1, 12), numbers(0, 6)
).map(" ".join)
moments = st.datetimes(
    min_value=datetime(2015, 1, 1),  # noqa: DTZ001 - hypothesis takes bounds without a zone
    max_value=datetime(2035, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


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


zones = st.sampled_from(
    [
        "UTC",
        BERLIN,
        NEW_YORK,
        "Africa/Casablanca",
        "America/St_Johns",
        "Antarctica/Casey",
        "Antarctica/Troll",
        "Asia/Kathmandu",
        "Asia/Tehran",
        "Australia/Lord_Howe",
        "Europe/London",
        "Pacific/Apia",
        "Pacific/Chatham",
        "America/Sao_Paulo",
    ]
)


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
    spec = schedules.wake_spec(schedule)
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
    spec = schedules.wake_spec(schedule)
    after = datetime(year, month, 1, tzinfo=UTC)
    found = list(
        itertools.islice(
            schedules.due_times(schedule, after=after, until=after + timedelta(days=31)), 3000
        )
    )
    assert found == sorted(set(found))
    assert all(map(spec.matches, found))


def test_a_wake_up_in_utc_is_due_exactly_and_a_period_is_an_interval() -> None:
    [calendar] = schedules.wake_spec(cron("*/20 9-17 * * mon-fri")).calendars
    assert calendar == schedules.WakeCalendar(
        minute=(schedules.Span(0, 40, 20),),
        hour=(schedules.Span(9, 17),),
        day_of_week=(schedules.Span(1, 5),),
    )
    spec = schedules.wake_spec(every("90s"))
    assert spec == schedules.WakeSpec(intervals=(schedules.WakeInterval(timedelta(seconds=90)),))


def test_days_that_are_ored_are_two_calendars() -> None:
    # Temporal's calendars AND their fields.
    assert len(schedules.wake_spec(cron("0 9 13 * fri")).calendars) == 2


def test_a_wake_up_spec_stays_small() -> None:
    counts = {
        zone: len(schedules.wake_spec(cron("30 2 * * 1", zone)).calendars)
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
