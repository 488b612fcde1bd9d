"""Five-field cron, strictly: what two readers of cron could understand differently is refused.

Fields are minute, hour, day of month, month and day of week; each is `*`, numbers, names (`mon`,
`jan`), ranges, lists and steps of `*` or of a range. As in Debian's cron, a day has to match both
day fields when one of them begins with `*`, and either of them otherwise.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, date, timedelta
from functools import lru_cache

from rules.errors import ScheduleError

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_TERM = re.compile(r"(?P<start>\*|\w+)(?:-(?P<end>\w+))?(?:/(?P<step>\w+))?", re.ASCII)


@dataclass(frozen=True)
class Cron:
    """A cron expression as sets; Sunday is 0.

    `by_the_clock` is true when neither minute nor hour begins with `*`: such a schedule names times
    of the day, and each is due once a day whatever the clocks do. Others are due as time passes.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both_days: bool
    by_the_clock: bool

    def includes(self, day: date) -> bool:
        """Say whether the schedule is due on `day`."""
        if day.month not in self.months:
            return False
        in_month = day.day in self.days
        in_week = day.isoweekday() % 7 in self.weekdays
        return (in_month and in_week) if self.both_days else (in_month or in_week)

    def dates(self, first: date) -> Iterator[date]:
        """Yield the days it is due on, from `first` on, to the end of the calendar."""
        day = first
        while True:
            if day.month not in self.months:
                if (day.year, day.month) == (MAXYEAR, 12):
                    return
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            if self.includes(day):
                yield day
            if day == date.max:
                return
            day += timedelta(days=1)


@lru_cache(maxsize=4096)
def parse(text: str) -> Cron:
    """Read a cron expression.

    Raises:
        ScheduleError: it is not one, or no day ever matches it.
    """
    parts = text.lower().split()
    if len(parts) != len(_FIELDS):
        raise ScheduleError(
            "cron has five fields (minute hour day-of-month month day-of-week), "
            f"this has {len(parts)}"
        )
    minutes, hours, days, months, weekdays = (
        _field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)
    )
    both = parts[2].startswith("*") or parts[4].startswith("*")
    if both and min(days) > max(_LONGEST[month - 1] for month in months):
        raise ScheduleError(f"never due: no month of {parts[3]!r} has a day {parts[2]}")
    return Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(day % 7 for day in weekdays),
        both_days=both,
        by_the_clock=not parts[0].startswith("*") and not parts[1].startswith("*"),
    )


def _field(text: str, name: str, low: int, high: int, names: tuple[str, ...]) -> set[int]:
    values: set[int] = set()
    for term in text.split(","):
        match = _TERM.fullmatch(term)
        if match is None:
            raise ScheduleError(f"{name}: cannot read {term!r}")
        start, end, step = match["start"], match["end"], match["step"]
        if start == "*" and end is not None:
            raise ScheduleError(f"{name}: cannot read {term!r}; a range has two numbers")
        if start == "*":
            # 7 is Sunday's second name, never a day of its own.
            first, last = low, 6 if names is _DAYS else high
        else:
            first = last = _value(start, name, low, high, names)
            if end is not None:
                last = _value(end, name, low, high, names)
                if names is _DAYS and last == 0 and first > 0:
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
        values.update(range(first, last + 1, width))
    return values


def _value(text: str, name: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text) + low
    value = _number(text, name)
    if not low <= value <= high:
        raise ScheduleError(f"{name}: {value} does not lie between {low} and {high}")
    return value


def _number(text: str, name: str) -> int:
    if not text.isdecimal() or len(text) > 4:
        raise ScheduleError(f"{name}: cannot read {text!r}")
    return int(text)
