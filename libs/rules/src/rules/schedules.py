"""When a schedule is due: the authority, of which Temporal's Schedule is only the alarm clock.

Cron and calendars are read in an IANA time zone. Where clocks change:

- A schedule that names times of the day (none of second, minute and hour begins with `*`) is due
  once for each: a time that the clocks skip is due when they land after the gap, a time that comes
  twice is due the first time.
- Any other schedule is due as time passes: what lies in a gap is not due, and what comes twice is
  due twice. `0 * * * *` is so due once in every hour that passes.

Two times that fall on one instant are one due time. `every` counts from 1970-01-01T00:00:00Z, also
when the schedule has a start. Exclusions go by what the clocks show at the due time. Jitter moves
no due time: it says when a due time is taken up (`rules.jitter`).
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from contracts.definitions import Schedule
from rules import clocks
from rules import cron as crontab
from rules.cron import Cron
from rules.errors import ScheduleError
from rules.exclusions import Exclusions

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)

# Local times of the calendar's first and last days have no place in UTC.
_FIRST = datetime(2, 1, 1, tzinfo=UTC)
_LAST = datetime(9998, 1, 1, tzinfo=UTC)

# Where clocks are set, hours are looked at again for so long: they were never set back further.
_LONGEST_FOLD = timedelta(hours=25)

# 29 February on a given weekday comes every 28 years, and 40 years apart around 2100.
_HORIZON = timedelta(days=366 * 41)

_MAX_EXCLUDED = 20_000
"""After so many times in a row that are excluded, what is asked for the next due time gives up."""

# Starting a cron anew costs about a day of looking back.
_WORTH_A_NEW_START = timedelta(days=3)

_Source = Callable[[datetime, datetime], Iterator[datetime]]


def due_times(schedule: Schedule, *, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the due times in `(after, until]`, ascending, in UTC. Lazy: stop reading at any time.

    Raises:
        ScheduleError: cron, a calendar or the time zone cannot be read.
        ValueError: `after` or `until` is naive.
    """
    return _due_times(schedule, after=after, until=until)


def _due_times(
    schedule: Schedule, *, after: datetime, until: datetime, patience: int | None = None
) -> Iterator[datetime]:
    if after.tzinfo is None or until.tzinfo is None:
        raise ValueError("due times lie between two times with a zone")
    after, until = _within(schedule, after, until)
    source = _source(schedule)
    if not schedule.exclusions:
        return source(after, until)
    excluded = Exclusions(
        [crontab.of_calendar(one) for one in schedule.exclusions], clocks.zone(schedule.timezone)
    )
    return _without(source, excluded, after, until, patience)


def next_due(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first due time after `after`.

    None when none comes within 41 years from then, or from the schedule's start if that is later,
    or when the exclusions take the next 20,000.

    Raises:
        ScheduleError: cron, a calendar or the time zone cannot be read.
    """
    since = after if schedule.start is None else max(after, schedule.start)
    until = since + _HORIZON if since < _LAST - _HORIZON else _LAST
    return next(_due_times(schedule, after=after, until=until, patience=_MAX_EXCLUDED), None)


def next_due_of(schedules: Iterable[Schedule], after: datetime) -> datetime | None:
    """Return the first due time after `after` of any of these schedules; see `next_due`."""
    found = (next_due(one, after) for one in schedules)
    return min((due for due in found if due is not None), default=None)


def first_due(schedule: Schedule) -> datetime | None:
    """Return the first due time of all, from 2000 or the start on; None when it is never due.

    It depends on no clock: the same schedule gives the same answer today and next year.

    Raises:
        ScheduleError: cron, a calendar or the time zone cannot be read.
    """
    since = datetime(crontab.FIRST_YEAR, 1, 1, tzinfo=UTC) - _MICROSECOND
    years = [
        min(cron.years)
        for cron in map(crontab.of_calendar, schedule.calendars or ())
        if cron.years is not None
    ]
    if years and len(years) == len(schedule.calendars or ()):
        since = max(since, datetime(min(years), 1, 1, tzinfo=UTC) - timedelta(days=2))
    return next_due(schedule, since)


def last_due_times(
    schedule: Schedule, *, after: datetime, until: datetime, count: int
) -> list[datetime]:
    """Return the newest `count` due times in `(after, until]`, ascending.

    The work grows with `count`, not with how far back `after` lies.

    Raises:
        ScheduleError: cron, a calendar or the time zone cannot be read.
    """
    after, until = _within(schedule, after, until)
    if count < 1 or after >= until:
        return []
    stretch = count * _usual_gap(schedule)
    found: list[datetime] = []
    end = until
    while end > after and len(found) < count:
        start = _back(after, end, stretch)
        # A stretch that held nothing says that due times are rare: the next may be longer.
        part = list(due_times(schedule, after=start, until=end))
        found = part + found
        end, stretch = start, stretch * 4 if len(part) * 4 < count else stretch
    return found[-count:]


def _usual_gap(schedule: Schedule) -> timedelta:
    """Return the shortest time between two due times, as a first guess."""
    if schedule.every is not None:
        return schedule.every
    by_second = schedule.cron is not None and len(crontab.parse(schedule.cron).seconds) > 1
    return _SECOND if by_second else timedelta(minutes=1)


def _back(after: datetime, end: datetime, stretch: timedelta) -> datetime:
    return max(after, end - stretch) if end - after > stretch else after


def _within(schedule: Schedule, after: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Return the part of `(after, until]` that lies in the schedule's start and end, in UTC."""
    after, until = max(after.astimezone(UTC), _FIRST), min(until.astimezone(UTC), _LAST)
    if schedule.start is not None and schedule.start > _FIRST:
        after = max(after, schedule.start - _MICROSECOND)
    if schedule.end is not None:
        until = min(until, schedule.end)
    return after, until


def _source(schedule: Schedule) -> _Source:
    """Return what yields the times that cron, calendars or the period name."""
    if schedule.every is not None:
        period = schedule.every // _MICROSECOND
        return lambda after, until: _periodic(period, after, until)
    place = clocks.zone(schedule.timezone)
    crons = of_schedule(schedule)
    if len(crons) == 1:
        return lambda after, until: _by_cron(crons[0], place, after, until)
    return lambda after, until: _once(
        heapq.merge(*(_by_cron(cron, place, after, until) for cron in crons))
    )


def of_schedule(schedule: Schedule) -> list[Cron]:
    """Return what cron or calendars name; nothing for a period.

    Raises:
        ScheduleError: cron or a calendar cannot be read.
    """
    if schedule.cron is not None:
        return [crontab.parse(schedule.cron)]
    return [crontab.of_calendar(one) for one in schedule.calendars or ()]


def _without(
    source: _Source,
    excluded: Exclusions,
    after: datetime,
    until: datetime,
    patience: int | None,
) -> Iterator[datetime]:
    opens, in_a_row = after, 0
    while after < until:
        for due in source(after, until):
            if due >= opens:
                opens = excluded.first_open(due, until)
                if opens == due:
                    in_a_row = 0
                    yield due
                    continue
            if opens > until:
                return
            in_a_row += 1
            if patience is not None and in_a_row > patience:
                return
            if opens - due > _WORTH_A_NEW_START:
                after = opens - _MICROSECOND
                break
        else:
            return


def _once(times: Iterator[datetime]) -> Iterator[datetime]:
    previous: datetime | None = None
    for moment in times:
        if moment != previous:
            yield moment
            previous = moment


def _periodic(period: int, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield multiples of a period of microseconds."""
    if period <= 0:
        raise ScheduleError("the period is not longer than zero")
    last = (until - EPOCH) // _MICROSECOND
    tick = ((after - EPOCH) // _MICROSECOND // period + 1) * period
    while tick <= last:
        yield EPOCH + timedelta(microseconds=tick)
        tick += period


def _by_cron(cron: Cron, place: tzinfo, after: datetime, until: datetime) -> Iterator[datetime]:
    # Hour of the wall clock by hour. An hour's due times are held back until no later hour of the
    # wall clock can come before them, which matters only where clocks are set back over midnight.
    if after >= until:
        return
    start = clocks.wall(after, place)
    if clocks.offset(after - _LONGEST_FOLD, place) != clocks.offset(after + _LONGEST_FOLD, place):
        start -= _LONGEST_FOLD
    last = clocks.wall(until, place) + _LONGEST_FOLD
    held: list[datetime] = []
    previous: datetime | None = None
    for hour in _hours(cron, start, last.date()):
        opens = clocks.bounds(hour, place)
        if opens[0] > until and not held:
            return
        ready = [due for due in held if due < opens[0]]
        for due in ready:
            if due > until:
                return
            if due != previous:
                yield due
                previous = due
        fresh = [due for due in held if due >= opens[0]]
        closes = clocks.bounds(hour + _HOUR, place)
        if closes[1] > after:
            plain = opens[0] == opens[1] and closes[0] == closes[1] == opens[0] + _HOUR
            fresh += [due for due in _in_hour(cron, hour, place, plain=plain) if due > after]
            fresh.sort()
        held = fresh
    for due in held:
        if due <= until and due != previous:
            yield due
            previous = due


def _hours(cron: Cron, start: datetime, last: date) -> Iterator[datetime]:
    """Yield the hours of the wall clock from the one that `start` lies in."""
    for day in cron.dates(start.date(), last):
        for hour in cron.hours:
            begin = datetime.combine(day, time(hour))
            if begin + _HOUR > start:
                yield begin


def _in_hour(cron: Cron, hour: datetime, place: tzinfo, *, plain: bool) -> Iterator[datetime]:
    """Yield the instants in an hour of the wall clock; in a plain one no clock is set."""
    begin = clocks.bounds(hour, place)[0]
    for minute in cron.minutes:
        for second in cron.seconds:
            if plain:
                yield begin + timedelta(minutes=minute, seconds=second)
            else:
                shown = hour.replace(minute=minute, second=second)
                yield from clocks.instants(shown, place, once=cron.by_the_clock)
