"""When a schedule is due: the authority, of which Temporal's Schedule is only the alarm clock.

Cron is read in an IANA time zone. Where clocks change:

- A schedule that names times of the day (neither minute nor hour begins with `*`) is due once for
  each: a time that the clocks skip is due when they land after the gap, a time that comes twice is
  due the first time.
- Any other schedule is due as time passes: what lies in a gap is not due, and what comes twice is
  due twice. `0 * * * *` is so due once in every hour that passes.

Two times that fall on one instant are one due time. `every` counts from 1970-01-01T00:00:00Z.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from contracts.definitions import Schedule
from rules import cron as crontab
from rules.cron import Cron
from rules.errors import ScheduleError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOUR = timedelta(hours=1)

# Local times of the calendar's first and last days have no place in UTC.
_FIRST = datetime(2, 1, 1, tzinfo=UTC)
_LAST = datetime(9998, 1, 1, tzinfo=UTC)

# A day is looked at again that long after it began: clocks were never set back further than this.
_LONGEST_FOLD = timedelta(hours=25)

# 29 February on a given weekday comes every 28 years, and 40 years apart around 2100.
_HORIZON = timedelta(days=366 * 41)


def due_times(schedule: Schedule, *, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the due times in `(after, until]`, ascending, in UTC. Lazy: stop reading at any time.

    Raises:
        ScheduleError: cron or the time zone cannot be read.
        ValueError: `after` or `until` is naive.
    """
    if after.tzinfo is None or until.tzinfo is None:
        raise ValueError("due times lie between two times with a zone")
    after, until = max(after.astimezone(UTC), _FIRST), min(until.astimezone(UTC), _LAST)
    if schedule.every is not None:
        return _periodic(schedule.every, after, until)
    return _by_cron(crontab.parse(schedule.cron or ""), zone(schedule.timezone), after, until)


def next_due(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first due time after `after`, or None when none comes within 41 years.

    Raises:
        ScheduleError: cron or the time zone cannot be read.
    """
    until = after + _HORIZON if after < _LAST - _HORIZON else _LAST
    return next(due_times(schedule, after=after, until=until), None)


def last_due_times(
    schedule: Schedule, *, after: datetime, until: datetime, count: int
) -> list[datetime]:
    """Return the newest `count` due times in `(after, until]`, ascending.

    The work grows with `count`, not with how far back `after` lies.

    Raises:
        ScheduleError: cron or the time zone cannot be read.
    """
    if count < 1 or after >= until:
        return []
    if schedule.every is not None:
        # Aligned or not, `count` periods back there are `count` due times.
        return list(
            due_times(schedule, after=_back(after, until, schedule.every * count), until=until)
        )
    found: list[datetime] = []
    end, stretch = until, timedelta(minutes=count)
    while end > after and len(found) < count:
        start = _back(after, end, stretch)
        # A stretch that held nothing says that due times are rare: the next may be longer.
        part = list(due_times(schedule, after=start, until=end))
        found = part + found
        end, stretch = start, stretch * 4 if len(part) * 4 < count else stretch
    return found[-count:]


def _back(after: datetime, end: datetime, stretch: timedelta) -> datetime:
    return max(after, end - stretch) if end - after > stretch else after


def zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name.

    Raises:
        ScheduleError: there is none of that name.
    """
    if name in ("UTC", "Etc/UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as exc:
        raise ScheduleError(
            f"unknown time zone {name!r}; write an IANA name such as Europe/Berlin"
        ) from exc


def _periodic(every: timedelta, after: datetime, until: datetime) -> Iterator[datetime]:
    period = every // _MICROSECOND
    if period <= 0:
        raise ScheduleError("the period is not longer than zero")
    last = (until - EPOCH) // _MICROSECOND
    tick = ((after - EPOCH) // _MICROSECOND // period + 1) * period
    while tick <= last:
        yield EPOCH + timedelta(microseconds=tick)
        tick += period


def _by_cron(cron: Cron, zone: tzinfo, after: datetime, until: datetime) -> Iterator[datetime]:
    # Hour of the wall clock by hour. An hour's due times are held back until no later hour of the
    # wall clock can come before them, which matters only where clocks are set back over midnight.
    start = _wall(after, zone) - _LONGEST_FOLD
    held: list[datetime] = []
    previous: datetime | None = None
    for hour in _hours(cron, start.date()):
        begin = _bounds(hour, zone)[0]
        if begin > until and not held:
            return
        ready = [due for due in held if due < begin]
        for due in ready:
            if due > until:
                return
            if due != previous:
                yield due
                previous = due
        fresh = [due for due in held if due >= begin]
        if _bounds(hour + _HOUR, zone)[1] > after:
            fresh += [
                due
                for minute in cron.minutes
                for due in _instants(hour.replace(minute=minute), zone, once=cron.by_the_clock)
                if due > after
            ]
            fresh.sort()
        held = fresh
    for due in held:
        if due <= until and due != previous:
            yield due
            previous = due


def _hours(cron: Cron, first: date) -> Iterator[datetime]:
    for day in cron.dates(first):
        for hour in cron.hours:
            yield datetime.combine(day, time(hour))


def _wall(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _candidates(wall: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the instants of a wall-clock time by the offset before and after a change."""
    before = zone.utcoffset(wall.replace(tzinfo=zone, fold=0)) or timedelta(0)
    after = zone.utcoffset(wall.replace(tzinfo=zone, fold=1)) or timedelta(0)
    return (wall - before).replace(tzinfo=UTC), (wall - after).replace(tzinfo=UTC)


def _bounds(wall: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return two instants: no time at or after `wall` comes earlier, none before it later."""
    first, second = _candidates(wall, zone)
    return (first, second) if first <= second else (second, first)


def _instants(wall: datetime, zone: tzinfo, *, once: bool) -> tuple[datetime, ...]:
    first, second = _candidates(wall, zone)
    if first == second:
        return (first,)
    if first < second:
        return (first,) if once else (first, second)
    # In a gap: read with the offset of before it lies after the change, and the other way round.
    return (change_between(zone, second, first),) if once else ()


def change_between(zone: tzinfo, low: datetime, high: datetime) -> datetime:
    """Return the instant in `(low, high]` at which the offset becomes what it is at `high`."""
    offset = high.astimezone(zone).utcoffset()
    span = (high - low) // timedelta(seconds=1)
    below, above = 0, span
    while above - below > 1:
        middle = (below + above) // 2
        if (low + timedelta(seconds=middle)).astimezone(zone).utcoffset() == offset:
            above = middle
        else:
            below = middle
    return low + timedelta(seconds=above)


@dataclass(frozen=True)
class Span:
    """The numbers from `start` to `end`, both included, by `step`."""

    start: int
    end: int
    step: int = 1


@dataclass(frozen=True)
class WakeCalendar:
    """Times of day in UTC at second 0: a time matches when every field matches; Sunday is 0."""

    minute: tuple[Span, ...]
    hour: tuple[Span, ...]
    day_of_month: tuple[Span, ...] = (Span(1, 31),)
    month: tuple[Span, ...] = (Span(1, 12),)
    day_of_week: tuple[Span, ...] = (Span(0, 6),)

    def matches(self, moment: datetime) -> bool:
        """Say whether an aware time is one of these."""
        at = moment.astimezone(UTC)
        return (at.second, at.microsecond) == (0, 0) and all(
            any(number in range(span.start, span.end + 1, span.step) for span in spans)
            for number, spans in (
                (at.minute, self.minute),
                (at.hour, self.hour),
                (at.day, self.day_of_month),
                (at.month, self.month),
                (at.isoweekday() % 7, self.day_of_week),
            )
        )


@dataclass(frozen=True)
class WakeInterval:
    """Every `every` from 1970-01-01T00:00:00Z."""

    every: timedelta

    def matches(self, moment: datetime) -> bool:
        """Say whether an aware time is one of these."""
        return (moment - EPOCH) % self.every == timedelta(0)


@dataclass(frozen=True)
class WakeSpec:
    """When to wake up and look: at every due time, and at some others, since it knows no zone."""

    calendars: tuple[WakeCalendar, ...] = ()
    intervals: tuple[WakeInterval, ...] = ()

    def matches(self, moment: datetime) -> bool:
        """Say whether an aware time is one to wake up at."""
        return any(calendar.matches(moment) for calendar in self.calendars) or any(
            interval.matches(moment) for interval in self.intervals
        )


def wake_spec(schedule: Schedule) -> WakeSpec:
    """Return times in UTC that include every due time from 2000 to 2100.

    A zone's local times are shifted by each offset that it has in these years, so the installed
    time zone data decides: compile again when it changes.

    Raises:
        ScheduleError: cron or the time zone cannot be read.
    """
    if schedule.every is not None:
        return WakeSpec(intervals=(WakeInterval(schedule.every),))
    cron = crontab.parse(schedule.cron or "")
    offsets, gaps = _offsets(schedule.timezone)
    calendars = [calendar for offset in offsets for calendar in _shifted(cron, offset)]
    if cron.by_the_clock:
        calendars += _landings(cron, gaps)
    return WakeSpec(calendars=tuple(dict.fromkeys(calendars)))


@dataclass(frozen=True)
class _Gap:
    landing: datetime
    skipped_from: datetime
    skipped_to: datetime


@lru_cache(maxsize=1024)
def _offsets(name: str) -> tuple[tuple[int, ...], tuple[_Gap, ...]]:
    """Return a zone's offsets in minutes, and the gaps of its clocks, from 2000 to 2100."""
    place = zone(name)
    if place is UTC:
        return (0,), ()
    offsets: set[timedelta] = set()
    gaps: list[_Gap] = []
    # Morocco sets its clocks for a month a year, the shortest stay of an offset in these years.
    moment, step = datetime(1999, 12, 20, tzinfo=UTC), timedelta(days=7)
    previous = moment.astimezone(place).utcoffset() or timedelta(0)
    while moment.year <= 2100:
        offset = (moment + step).astimezone(place).utcoffset() or timedelta(0)
        if offset > previous:
            landing = change_between(place, moment, moment + step)
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
        for day_of_month, month, day_of_week in _days(cron, days):
            yield WakeCalendar(
                minute=_spans(at_minutes),
                hour=_spans(at_hours),
                day_of_month=_spans(day_of_month),
                month=_spans(month),
                day_of_week=_spans(day_of_week),
            )


_Days = tuple[set[int], set[int], set[int]]


def _days(cron: Cron, shift: int) -> Iterator[_Days]:
    """Yield days of month, months and weekdays, `shift` days away; each triple is ANDed."""
    in_month, months = set(cron.days), set(cron.months)
    if shift:
        moved = {day + shift for day in in_month}
        if 0 in moved:
            # The day before the first: some last day, of the month before.
            moved |= {28, 29, 30, 31}
            months |= {(month - 2) % 12 + 1 for month in months}
        if shift > 0 and moved & {29, 30, 31, 32}:
            # The day after a last day: the first of the month after.
            moved |= {1}
            months |= {month % 12 + 1 for month in months}
        in_month = moved & set(range(1, 32))
    in_week = {(day + shift) % 7 for day in cron.weekdays}
    every_day, every_weekday = set(range(1, 32)), set(range(7))
    if cron.both_days:
        yield in_month, months, in_week
        return
    yield in_month, months, every_weekday
    if shift:
        months = set(cron.months) | {(month - 1 + shift) % 12 + 1 for month in cron.months}
    yield every_day, months, in_week


def _landings(cron: Cron, gaps: tuple[_Gap, ...]) -> Iterator[WakeCalendar]:
    """Yield the ends of gaps that skip a time of the day which the schedule names."""
    at: dict[tuple[int, int], tuple[set[int], set[int]]] = {}
    for gap in gaps:
        if _skips(cron, gap):
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


def _skips(cron: Cron, gap: _Gap) -> bool:
    wall = gap.skipped_from.replace(second=0, microsecond=0)
    while wall < gap.skipped_to:
        if wall >= gap.skipped_from and wall.minute in cron.minutes and wall.hour in cron.hours:
            return True
        wall += timedelta(minutes=1)
    return False


def _spans(numbers: set[int] | frozenset[int]) -> tuple[Span, ...]:
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
