"""The part of many like cases that a session takes: a sample that moves on from day to day.

What has to be killed or cut at each of many places takes long: every session comes to some of
them, spread over all, and those of later days to the others. `make test-full` comes to all.
"""

import os
from collections.abc import Sequence
from datetime import date
from typing import TypeVar

T = TypeVar("T")

ASKED = "BACKBONE_CRASHPOINTS"
"""The variable that asks for `all`, or for other crash points than the sample."""
_DAY = "BACKBONE_SAMPLE_DAY"


def fix_day() -> None:
    """Have the workers of this session take the sample of one day, also at midnight."""
    os.environ.setdefault(_DAY, date.today().isoformat())  # noqa: DTZ011 - any day will do


def today() -> date:
    """Return the day of this session's sample."""
    fix_day()
    return date.fromisoformat(os.environ[_DAY])


def spread(cases: Sequence[T], number: int, day: date) -> list[T]:
    """Return so many of the cases on a day; on as many days as there are cases, each of them."""
    return [
        cases[(turn * len(cases) // number + day.toordinal()) % len(cases)]
        for turn in range(min(number, len(cases)))
    ]


def of_today(cases: Sequence[T], number: int) -> list[T]:
    """Return today's sample, or all cases where all are asked for."""
    if os.environ.get(ASKED) == "all":
        return list(cases)
    return spread(cases, number, today())
