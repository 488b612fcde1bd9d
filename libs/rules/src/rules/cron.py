"""Cron, strictly: what two readers of cron could understand differently is refused.

Five fields are minute, hour, day of month, month and day of week; six begin with the second. Each
is `*`, numbers, names (`mon`, `jan`), ranges, lists and steps of `*` or of a range. Days have more:

- of the month: `L` (the last), `L-3` (three before the last), `15W` (the weekday, Monday to Friday,
  nearest to the 15th in that month) and `LW` (the last weekday);
- of the week: `fri#2` or `5#2` (the second Friday of the month) and `friL` or `5L` (the last).

As in Debian's cron, a day has to match both day fields when one of them begins with `*`, and either
of them otherwise. A calendar has the same fields by name, and its days always have to match both.
"""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from contracts.definitions import Calendar
from rules.errors import ScheduleError

FIRST_YEAR, LAST_YEAR = 2000, 2100
"""What Temporal's calendars can hold."""

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SATURDAY, _SUNDAY = 6, 0
_LEAST_BEFORE_LAST = 30


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_SECOND, _MINUTE, _HOUR = _Field("second", 0, 59), _Field("minute", 0, 59), _Field("hour", 0, 23)
_DAY, _MONTH = _Field("day of month", 1, 31), _Field("month", 1, 12, _MONTHS)
_WEEKDAY, _YEAR = _Field("day of week", 0, 7, _DAYS), _Field("year", FIRST_YEAR, LAST_YEAR)
_FIVE = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)
_OF_CALENDAR = {
    "minute": _MINUTE,
    "hour": _HOUR,
    "dayOfMonth": _DAY,
    "month": _MONTH,
    "dayOfWeek": _WEEKDAY,
    "year": _YEAR,
}

_TERM = re.compile(r"(?P<start>\*|\w+)(?:-(?P<end>\w+))?(?:/(?P<step>\w+))?", re.ASCII)
_LAST = re.compile(r"l(?:-(?P<before>[0-9]{1,4}))?")
_NEAREST = re.compile(r"(?P<day>[0-9]{1,4})w")
_NTH = re.compile(r"(?P<day>[a-z]{3}|[0-9]{1,4})#(?P<nth>[0-9]{1,4})")
_LAST_OF_WEEK = re.compile(r"(?P<day>[a-z]{3}|[0-9]{1,4})l")


@dataclass(frozen=True)
class MonthDays:
    """Days of a month: numbers, days before its last, and weekdays nearest to a number."""

    numbers: frozenset[int] = frozenset()
    before_last: frozenset[int] = frozenset()
    nearest: frozenset[int] = frozenset()
    last_weekday: bool = False

    def in_month(self, first_weekday: int, length: int) -> Iterator[int]:
        """Yield the days in a month that begins on a weekday (Sunday is 0) and is so long."""
        yield from (day for day in self.numbers if day <= length)
        yield from (length - before for before in self.before_last if before < length)
        for day in self.nearest:
            if day <= length:
                yield _nearest(day, first_weekday, length)
        if self.last_weekday:
            yield _nearest(length, first_weekday, length)

    @property
    def shortest(self) -> int:
        """How long a month has to be at least to hold one of these days."""
        if self.last_weekday:
            return 1
        return min([*self.numbers, *self.nearest, *(before + 1 for before in self.before_last)])


@dataclass(frozen=True)
class WeekDays:
    """Days of the week, Sunday is 0: any of them, the nth in the month, or the last in it."""

    numbers: frozenset[int] = frozenset()
    nth: frozenset[tuple[int, int]] = frozenset()
    last: frozenset[int] = frozenset()

    def in_month(self, first_weekday: int, length: int) -> Iterator[int]:
        """Yield the days in a month that begins on a weekday and is so long."""
        for day in range(1, length + 1):
            weekday = (first_weekday + day - 1) % 7
            if (
                weekday in self.numbers
                or (weekday, (day + 6) // 7) in self.nth
                or (day + 7 > length and weekday in self.last)
            ):
                yield day


def _nearest(day: int, first_weekday: int, length: int) -> int:
    """Return the Monday-to-Friday nearest to a day, in the same month."""
    weekday = (first_weekday + day - 1) % 7
    if weekday == _SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == _SUNDAY:
        return day + 1 if day < length else day - 2
    return day


@dataclass(frozen=True)
class Cron:
    """Times of the day on some days; `years` is None for all.

    `both_days` says that a day has to match both day fields. `by_the_clock` is true when none of
    second, minute and hour begins with `*`: such a schedule names times of the day, and each is due
    once a day whatever the clocks do. Others are due as time passes.
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: MonthDays
    months: frozenset[int]
    weekdays: WeekDays
    years: frozenset[int] | None
    both_days: bool
    by_the_clock: bool

    def includes(self, day: date) -> bool:
        """Say whether a day is one of these."""
        return day.day in self._in_month(day.year, day.month)

    def dates(self, first: date, last: date = date.max) -> Iterator[date]:
        """Yield the days from `first` to `last`, both included."""
        year, month = first.year, first.month
        while (year, month) <= (last.year, last.month):
            for number in sorted(self._in_month(year, month)):
                day = date(year, month, number)
                if first <= day <= last:
                    yield day
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)

    def _in_month(self, year: int, month: int) -> frozenset[int]:
        if month not in self.months or (self.years is not None and year not in self.years):
            return frozenset()
        monday_is_0, length = calendar.monthrange(year, month)
        return _matching(self.days, self.weekdays, (monday_is_0 + 1) % 7, length, self.both_days)


# There are no more than 28 kinds of month.
@lru_cache(maxsize=65536)
def _matching(
    days: MonthDays,
    weekdays: WeekDays,
    first_weekday: int,
    length: int,
    both: bool,  # noqa: FBT001 - a cache's key
) -> frozenset[int]:
    of_month = frozenset(days.in_month(first_weekday, length))
    of_week = frozenset(weekdays.in_month(first_weekday, length))
    return of_month & of_week if both else of_month | of_week


@lru_cache(maxsize=4096)
def parse(text: str) -> Cron:
    """Read a cron expression.

    Raises:
        ScheduleError: it is not one, or no day ever matches it; all of its faults are told.
    """
    parts = text.lower().split()
    if len(parts) not in (5, 6):
        raise ScheduleError(
            "cron has five fields (minute hour day-of-month month day-of-week), or six with the "
            f"second first; this has {len(parts)}"
        )
    second = parts[0] if len(parts) == 6 else "0"
    fields = dict(zip((_SECOND, *_FIVE), (second, *parts[-5:]), strict=True))
    faults: list[str] = []
    for field, part in fields.items():
        try:
            _read(part, field)
        except ScheduleError as exc:
            faults.append(str(exc))
    if faults:
        raise ScheduleError("; ".join(faults))
    day, weekday = fields[_DAY], fields[_WEEKDAY]
    return _cron(fields, both=day.startswith("*") or weekday.startswith("*"))


def of_calendar(given: Calendar) -> Cron:
    """Read a calendar or an exclusion.

    Raises:
        ScheduleError: a field cannot be read (`calendar_faults` tells which), or no day matches.
    """
    return _of_calendar(tuple(_texts(given).values()))


@lru_cache(maxsize=4096)
def _of_calendar(texts: tuple[str, ...]) -> Cron:
    fields = dict(zip(_OF_CALENDAR.values(), (text.lower() for text in texts), strict=True))
    return _cron({_SECOND: "0", **fields}, both=True)


def calendar_faults(given: Calendar) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a calendar: each field, by its name in the language, and why."""
    wrong = False
    for name, text in _texts(given).items():
        try:
            _read(text.lower(), _OF_CALENDAR[name])
        except ScheduleError as exc:
            wrong = True
            yield name, str(exc)
    if not wrong:
        try:
            of_calendar(given)
        except ScheduleError as exc:
            yield "dayOfMonth", str(exc)


def _texts(given: Calendar) -> dict[str, str]:
    return {name: str(text) for name, text in given.model_dump(by_alias=True).items()}


def _cron(fields: dict[_Field, str], *, both: bool) -> Cron:
    read = {field: _read(text, field) for field, text in fields.items()}
    days, weekdays = _month_days(fields[_DAY]), _week_days(fields[_WEEKDAY])
    months = frozenset(read[_MONTH])
    if both and days.shortest > max(_LONGEST[month - 1] for month in months):
        raise ScheduleError(f"never due: no month of {fields[_MONTH]!r} has a day {fields[_DAY]}")
    year = fields.get(_YEAR, "*")
    return Cron(
        seconds=tuple(sorted(read[_SECOND])),
        minutes=tuple(sorted(read[_MINUTE])),
        hours=tuple(sorted(read[_HOUR])),
        days=days,
        months=months,
        weekdays=weekdays,
        years=None if year == "*" else frozenset(read[_YEAR]),
        both_days=both,
        by_the_clock=not any(fields[field].startswith("*") for field in (_SECOND, _MINUTE, _HOUR)),
    )


def _month_days(text: str) -> MonthDays:
    numbers: set[int] = set()
    before_last: set[int] = set()
    nearest: set[int] = set()
    last_weekday = False
    for term in text.split(","):
        if term == "lw":
            last_weekday = True
        elif (match := _LAST.fullmatch(term)) is not None:
            before = int(match["before"] or 0)
            if before > _LEAST_BEFORE_LAST:
                raise ScheduleError(f"day of month: no month has so many days before {term!r}")
            before_last.add(before)
        elif (match := _NEAREST.fullmatch(term)) is not None:
            nearest.add(_value(match["day"], _DAY))
        else:
            numbers |= _numbers(term, _DAY)
    return MonthDays(
        frozenset(numbers), frozenset(before_last), frozenset(nearest), last_weekday=last_weekday
    )


def _week_days(text: str) -> WeekDays:
    numbers: set[int] = set()
    nth: set[tuple[int, int]] = set()
    last: set[int] = set()
    for term in text.split(","):
        if (match := _NTH.fullmatch(term)) is not None:
            number = int(match["nth"])
            if not 1 <= number <= 5:
                raise ScheduleError(f"day of week: {term!r} is the first to the fifth, #1 to #5")
            nth.add((_value(match["day"], _WEEKDAY) % 7, number))
        elif (match := _LAST_OF_WEEK.fullmatch(term)) is not None:
            last.add(_value(match["day"], _WEEKDAY) % 7)
        elif term == "l":
            raise ScheduleError("day of week: write satL for the last Saturday of the month")
        else:
            numbers |= {number % 7 for number in _numbers(term, _WEEKDAY)}
    return WeekDays(frozenset(numbers), frozenset(nth), frozenset(last))


def _read(text: str, field: _Field) -> set[int]:
    """Return the numbers of a field; of days, those that are numbers."""
    if field is _DAY:
        return set(_month_days(text).numbers)
    if field is _WEEKDAY:
        return set(_week_days(text).numbers)
    return set().union(*(_numbers(term, field) for term in text.split(",")))


def _numbers(term: str, field: _Field) -> set[int]:
    name, high = field.name, field.high
    if term == "?":
        raise ScheduleError(f"{name}: write * for '?'")
    match = _TERM.fullmatch(term)
    if match is None:
        raise ScheduleError(f"{name}: cannot read {term!r}")
    start, end, step = match["start"], match["end"], match["step"]
    if start == "*" and end is not None:
        raise ScheduleError(f"{name}: cannot read {term!r}; a range has two numbers")
    if start == "*":
        # 7 is Sunday's second name, never a day of its own.
        first, last = field.low, 6 if field is _WEEKDAY else high
    else:
        first = last = _value(start, field)
        if end is not None:
            last = _value(end, field)
            if field is _WEEKDAY and last == 0 and first > 0:
                last = 7
    if last < first:
        raise ScheduleError(f"{name}: {term!r} runs backwards; write two ranges with a comma")
    width = 1
    if step is not None:
        if start != "*" and end is None:
            raise ScheduleError(f"{name}: write {start}-{high}/{step} for {term!r}")
        width = _number(step, name)
        if not 1 <= width <= high:
            raise ScheduleError(f"{name}: the step of {term!r} lies between 1 and {high}")
    return set(range(first, last + 1, width))


def _value(text: str, field: _Field) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    value = _number(text, field.name)
    if not field.low <= value <= field.high:
        raise ScheduleError(
            f"{field.name}: {value} does not lie between {field.low} and {field.high}"
        )
    return value


def _number(text: str, name: str) -> int:
    if not text.isdecimal() or len(text) > 4:
        raise ScheduleError(f"{name}: cannot read {text!r}")
    return int(text)
