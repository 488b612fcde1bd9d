"""When a due time is taken up: its jitter, which is always the same for it.

Jitter spreads definitions that are due at one time. What identifies a due time, its run and its
window stays the nominal time.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from contracts import identifiers
from contracts.definitions import Schedule

MAX_JITTER = timedelta(hours=12)
"""A wake-up waits for it, and a wake-up lives for a day at most."""

_MILLISECOND = timedelta(milliseconds=1)
_NONE = timedelta(0)


def delay(definition_id: str, trigger: str, schedule: Schedule, due: datetime) -> timedelta:
    """Return how long after its due time a trigger is taken up: from nothing up to its jitter.

    In whole milliseconds, evenly spread. It follows from the definition's id, the trigger's name
    and the due time alone.
    """
    if schedule.jitter is None:
        return _NONE
    text = "\n".join((definition_id, trigger, identifiers.instant(due)))
    drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return drawn % (schedule.jitter // _MILLISECOND + 1) * _MILLISECOND


def taken_up(
    definition_id: str, schedules: Mapping[str, Schedule], names: Iterable[str], due: datetime
) -> datetime:
    """Return when a due time of several triggers is taken up: when the first of them would be."""
    return due + min(delay(definition_id, name, schedules[name], due) for name in names)


def longest(schedules: Mapping[str, Schedule]) -> timedelta:
    """Return the longest jitter of a definition's triggers."""
    return max((schedule.jitter or _NONE for schedule in schedules.values()), default=_NONE)
