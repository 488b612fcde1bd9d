"""When to wake a definition: times in UTC that hold every due time, and some others.

What wakes knows no time zone of ours, no `L`, `W` or `#` and no exclusion by date. So a zone's
local times are shifted by each offset that it has from 2000 to 2100, days that follow from the
month are widened to all that they can be, and of exclusions only those hours are left out that are
excluded in every week. A wake-up too many finds nothing due. There are never more of them than the
schedule has due times without its exclusions, on any day, once for each offset of its zone.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from contracts.definitions import Schedule
from rules import clocks, schedules
from rules import cron as crontab
from rules.cron import FIRST_YEAR, LAST_YEAR, Cron, MonthDays, WeekDays

_EVERY_DAY, _EVERY_WEEKDAY = frozenset(range(1, 32)), frozenset(range(7))
_WHOLE_HOUR = frozenset(range(60))
_HOURS_OF_WEEK = 7 * 24


@dataclass(frozen=True)
class Span:
    """The numbers from `start` to `end`, both included, by `step`."""

    start: int
    end: int
    step: int = 1


_ALL_MINUTES = (Span(0, 59),)


@dataclass(frozen=True)
class WakeCalendar:
    """Times in UTC: one matches when every field matches; Sunday is 0, no year is every year."""

    minute: tuple[Span, ...]
    hour: tuple[Span, ...]
    second: tuple[Span, ...] = (Span(0, 0),)
    day_of_month: tuple[Span, ...] = (Span(1, 31),)
    month: tuple[Span, ...] = (Span(1, 12),)
    day_of_week: tuple[Span, ...] = (Span(0, 6),)
    year: tuple[Span, ...] = ()

    def matches(self, moment: datetime) -> bool:
        """Say whether an aware time is one of these."""
        at = moment.astimezone(UTC)
        return at.microsecond == 0 and all(
            any(number in range(span.start, span.end + 1, span.step) for span in spans)
            for number, spans in (
                (at.second, self.second),
                (at.minute, self.minute),
                (at.hour, self.hour),
                (at.day, self.day_of_month),
                (at.month, self.month),
                (at.isoweekday() % 7, self.day_of_week),
                (at.year, self.year or (Span(at.year, at.year),)),
            )
        )


@dataclass(frozen=True)
class WakeInterval:
    """Every `every` from 1970-01-01T00:00:00Z."""

    every: timedelta

    def matches(self, moment: datetime) -> bool:
        """Say whether an aware time is one of these."""
        return (moment - schedules.EPOCH) % self.every == timedelta(0)


@dataclass(frozen=True)
class WakeSpec:
    """What any of `calendars` and `intervals` holds and none of `skip`, from `start` to `end`."""

    calendars: tuple[WakeCalendar, ...] = ()
    intervals: tuple[WakeInterval, ...] = ()
    skip: tuple[WakeCalendar, ...] = ()
    start: datetime | None = None
    end: datetime | None = None

    def matches(self, moment: datetime) -> bool:
        """Say whether an aware time is one to wake up at."""
        if (self.start is not None and moment < self.start) or (
            self.end is not None and moment > self.end
        ):
            return False
        parts: tuple[WakeCalendar | WakeInterval, ...] = (*self.calendars, *self.intervals)
        return any(part.matches(moment) for part in parts) and not any(
            part.matches(moment) for part in self.skip
        )


def wake_spec(*given: Schedule) -> WakeSpec:
    """Return times in UTC that include every due time of the schedules from 2000 to 2100.

    The installed time zone data decides: compile again when it changes.

    Raises:
        ScheduleError: cron, a calendar or a time zone cannot be read.
    """
    starts = [one.start for one in given if one.start is not None]
    ends = [one.end for one in given if one.end is not None]
    quiet = [_quiet_hours(one) for one in given]
    return WakeSpec(
        calendars=tuple(dict.fromkeys(part for one in given for part in _calendars(one))),
        intervals=tuple(
            dict.fromkeys(WakeInterval(one.every) for one in given if one.every is not None)
        ),
        skip=tuple(_skips(frozenset.intersection(*quiet))) if quiet else (),
        # What begins or ends for one trigger may go on for another.
        start=min(starts) if starts and len(starts) == len(given) else None,
        end=max(ends) if ends and len(ends) == len(given) else None,
    )


def _calendars(schedule: Schedule) -> Iterator[WakeCalendar]:
    crons = schedules.of_schedule(schedule)
    offsets, gaps = _offsets("UTC" if schedule.every is not None else schedule.timezone)
    for cron in crons:
        for offset in offsets:
            yield from _shifted(cron, offset)
        if cron.by_the_clock:
            yield from _landings(cron, gaps)


@dataclass(frozen=True)
class _Gap:
    landing: datetime
    skipped_from: datetime
    skipped_to: datetime


@lru_cache(maxsize=1024)
def _offsets(name: str) -> tuple[tuple[int, ...], tuple[_Gap, ...]]:
    """Return a zone's offsets in minutes, and the gaps of its clocks, from 2000 to 2100."""
    place = clocks.zone(name)
    if place is UTC:
        return (0,), ()
    offsets: set[timedelta] = set()
    gaps: list[_Gap] = []
    # Morocco sets its clocks for a month a year, the shortest stay of an offset in these years.
    moment, step = datetime(FIRST_YEAR - 1, 12, 20, tzinfo=UTC), timedelta(days=7)
    previous = clocks.offset(moment, place)
    while moment.year <= LAST_YEAR:
        offset = clocks.offset(moment + step, place)
        if offset > previous:
            landing = clocks.change_between(place, moment, moment + step)
            wall = landing.replace(tzinfo=None)
            gaps.append(_Gap(landing, wall + previous, wall + offset))
        offsets.add(offset)
        moment, previous = moment + step, offset
    return tuple(sorted({offset // timedelta(minutes=1) for offset in offsets})), tuple(gaps)


def _shifted(cron: Cron, offset: int) -> Iterator[WakeCalendar]:
    """Yield the calendars of a cron whose zone is `offset` minutes ahead of UTC."""
    by_shift: dict[tuple[int, int], set[int]] = {}
    for minute in cron.minutes:
        hours, there = divmod(minute - offset, 60)
        for hour in cron.hours:
            days, at = divmod(hour + hours, 24)
            by_shift.setdefault((days, at), set()).add(there)
    grouped: dict[tuple[int, frozenset[int]], set[int]] = {}
    for (days, hour), minutes in by_shift.items():
        grouped.setdefault((days, frozenset(minutes)), set()).add(hour)
    for (days, at_minutes), at_hours in grouped.items():
        for part in _days(cron):
            there_days = part.moved(days)
            yield WakeCalendar(
                second=_spans(cron.seconds),
                minute=_spans(at_minutes),
                hour=_spans(at_hours),
                day_of_month=_spans(there_days.days),
                month=_spans(there_days.months),
                day_of_week=_spans(there_days.weekdays),
                year=_years(cron.years, days),
            )


@dataclass(frozen=True)
class _Days:
    """Days that match all three."""

    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def moved(self, shift: int) -> "_Days":
        """Return days that include those `shift` days away, which is -1, 0 or 1."""
        days, months = {day + shift for day in self.days}, set(self.months)
        if 0 in days:
            # The day before the first: some last day, of the month before.
            days |= {28, 29, 30, 31}
            months |= {(month - 2) % 12 + 1 for month in self.months}
        if shift > 0 and days & {29, 30, 31, 32}:
            # The day after a last day: the first of the month after.
            days |= {1}
            months |= {month % 12 + 1 for month in self.months}
        weekdays = {(day + shift) % 7 for day in self.weekdays}
        return _Days(_EVERY_DAY & days, frozenset(months), frozenset(weekdays))


def _days(cron: Cron) -> Iterator[_Days]:
    """Yield what includes the days of a cron, as triples that are ANDed."""
    of_month, of_week = list(_of_month(cron.days)), list(_of_week(cron.weekdays))
    parts = (
        [
            (days & others, weekdays & other_weekdays)
            for (days, weekdays), (others, other_weekdays) in itertools.product(of_month, of_week)
        ]
        if cron.both_days
        else of_month + of_week
    )
    for days, weekdays in parts:
        if days and weekdays:
            yield _Days(days, cron.months, weekdays)


_Part = tuple[frozenset[int], frozenset[int]]


def _of_month(given: MonthDays) -> Iterator[_Part]:
    days = set(given.numbers)
    for before in given.before_last:
        days |= set(range(max(1, 28 - before), 32 - before))
    if days:
        yield frozenset(days), _EVERY_WEEKDAY
    # The nearest weekday is at most two days away; the last one of February may be the 26th.
    weekdays = {near for day in given.nearest for near in range(day - 2, day + 3)}
    if given.last_weekday:
        weekdays |= set(range(26, 32))
    if weekdays:
        yield _EVERY_DAY & weekdays, frozenset(range(1, 6))


def _of_week(given: WeekDays) -> Iterator[_Part]:
    if given.numbers:
        yield _EVERY_DAY, given.numbers
    for weekday, nth in sorted(given.nth):
        yield _EVERY_DAY & set(range(7 * nth - 6, 7 * nth + 1)), frozenset({weekday})
    if given.last:
        yield frozenset(range(22, 32)), given.last


def _years(years: frozenset[int] | None, shift: int) -> tuple[Span, ...]:
    if years is None:
        return ()
    moved = years | {year + shift for year in years}
    return _spans(moved & frozenset(range(FIRST_YEAR, LAST_YEAR + 1)))


def _landings(cron: Cron, gaps: tuple[_Gap, ...]) -> Iterator[WakeCalendar]:
    """Yield the ends of gaps that skip a time of the day which the schedule names."""
    at: dict[tuple[int, int], tuple[set[int], set[int]]] = {}
    for gap in gaps:
        if _skips_a_time(cron, gap):
            days, months = at.setdefault((gap.landing.hour, gap.landing.minute), (set(), set()))
            days.add(gap.landing.day)
            months.add(gap.landing.month)
    for (hour, minute), (days, months) in at.items():
        yield WakeCalendar(
            minute=_spans({minute}),
            hour=_spans({hour}),
            day_of_month=_spans(days),
            month=_spans(months),
        )


def _skips_a_time(cron: Cron, gap: _Gap) -> bool:
    return any(
        hour in cron.hours and not minutes.isdisjoint(cron.minutes)
        for hour, minutes in _skipped(gap.skipped_from, gap.skipped_to)
    )


@lru_cache(maxsize=4096)  # A zone's gaps are the same for every schedule.
def _skipped(since: datetime, until: datetime) -> tuple[tuple[int, frozenset[int]], ...]:
    """Return the whole minutes of the wall clock in a gap, by their hours."""
    by_hour: dict[int, set[int]] = {}
    wall = since.replace(second=0, microsecond=0)
    while wall < until:
        if wall >= since:
            by_hour.setdefault(wall.hour, set()).add(wall.minute)
        wall += timedelta(minutes=1)
    return tuple((hour, frozenset(minutes)) for hour, minutes in by_hour.items())


def _quiet_hours(schedule: Schedule) -> frozenset[int]:
    """Return the hours of the week in UTC, from Sunday 00:00, that are excluded in every week."""
    crons = [crontab.of_calendar(one) for one in schedule.exclusions]
    weekly: set[tuple[int, int]] = set()
    for day, hour in itertools.product(range(7), range(24)):
        minutes = {
            minute
            for cron in crons
            if _is_weekly(cron) and day in cron.weekdays.numbers and hour in cron.hours
            for minute in cron.minutes
        }
        if minutes == _WHOLE_HOUR:
            weekly.add((day, hour))
    if not weekly:
        return frozenset()
    offsets, _ = _offsets(schedule.timezone)
    return frozenset(
        hour
        for hour in range(_HOURS_OF_WEEK)
        if all(
            divmod((hour * 60 + minutes + offset) // 60 % _HOURS_OF_WEEK, 24) in weekly
            for offset in offsets
            # Where the offset is no whole hour, an hour in UTC is parts of two on the wall.
            for minutes in (0, 59)
        )
    )


def _is_weekly(cron: Cron) -> bool:
    return cron.days.numbers == _EVERY_DAY and len(cron.months) == 12 and cron.years is None


def _skips(quiet: Iterable[int]) -> Iterator[WakeCalendar]:
    days: dict[int, set[int]] = {}
    for hour_of_week in quiet:
        day, hour = divmod(hour_of_week, 24)
        days.setdefault(day, set()).add(hour)
    by_hours: dict[frozenset[int], set[int]] = {}
    for day, hours in days.items():
        by_hours.setdefault(frozenset(hours), set()).add(day)
    for together, weekdays in sorted(by_hours.items(), key=lambda item: min(item[1])):
        yield WakeCalendar(
            second=_ALL_MINUTES,
            minute=_ALL_MINUTES,
            hour=_spans(together),
            day_of_week=_spans(weekdays),
        )


def _spans(numbers: Iterable[int]) -> tuple[Span, ...]:
    ordered = sorted(numbers)
    if len(ordered) > 2:
        step = ordered[1] - ordered[0]
        if ordered == list(range(ordered[0], ordered[-1] + 1, step)):
            return (Span(ordered[0], ordered[-1], step),)
    spans: list[Span] = []
    for number in ordered:
        if spans and spans[-1].end + 1 == number:
            spans[-1] = Span(spans[-1].start, number)
        else:
            spans.append(Span(number, number))
    return tuple(spans)
