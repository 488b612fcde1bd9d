"""What the clocks on the wall show in a zone, and where they are set.

A wall time is a `datetime` without a zone; an instant is one in UTC.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from rules.errors import ScheduleError


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


def wall(moment: datetime, place: tzinfo) -> datetime:
    """Return what the clocks of a zone show at an instant."""
    return moment.astimezone(place).replace(tzinfo=None, fold=0)


def offset(moment: datetime, place: tzinfo) -> timedelta:
    """Return how far a zone's clocks are ahead of UTC at an instant."""
    return moment.astimezone(place).utcoffset() or timedelta(0)


def bounds(shown: datetime, place: tzinfo) -> tuple[datetime, datetime]:
    """Return two instants: no time at or after a wall time comes earlier, none before it later."""
    first, second = _candidates(shown, place)
    return (first, second) if first <= second else (second, first)


def instants(shown: datetime, place: tzinfo, *, once: bool) -> tuple[datetime, ...]:
    """Return when the clocks show a wall time: never, once or twice.

    With `once` it is once: the first time, and for a time that the clocks skip, when they land.
    """
    first, second = _candidates(shown, place)
    if first == second:
        return (first,)
    if first < second:
        return (first,) if once else (first, second)
    # In a gap: read with the offset of before it lies after the change, and the other way round.
    return (change_between(place, second, first),) if once else ()


def change_between(place: tzinfo, low: datetime, high: datetime) -> datetime:
    """Return the instant in `(low, high]` at which the offset becomes what it is at `high`."""
    becomes = high.astimezone(place).utcoffset()
    span = (high - low) // timedelta(seconds=1)
    below, above = 0, span
    while above - below > 1:
        middle = (below + above) // 2
        if (low + timedelta(seconds=middle)).astimezone(place).utcoffset() == becomes:
            above = middle
        else:
            below = middle
    return low + timedelta(seconds=above)


def _candidates(shown: datetime, place: tzinfo) -> tuple[datetime, datetime]:
    """Return the instants of a wall time by the offset before and after a change."""
    before = place.utcoffset(shown.replace(tzinfo=place, fold=0)) or timedelta(0)
    after = place.utcoffset(shown.replace(tzinfo=place, fold=1)) or timedelta(0)
    return (shown - before).replace(tzinfo=UTC), (shown - after).replace(tzinfo=UTC)
