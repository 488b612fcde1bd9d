"""Times, durations and figures as people read them."""

from datetime import UTC, datetime, timedelta

_STEPS = (
    (timedelta(days=2), timedelta(days=1), "day"),
    (timedelta(hours=2), timedelta(hours=1), "hour"),
    (timedelta(minutes=2), timedelta(minutes=1), "minute"),
    (timedelta(seconds=2), timedelta(seconds=1), "second"),
)


def moment(time: datetime) -> str:
    """Return a time in UTC to the second: `2026-03-01 09:30:00 UTC`."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def ago(time: datetime, *, now: datetime) -> str:
    """Return how far a time lies from now: `3 minutes ago`, `in 2 hours`, `now`."""
    distance = now - time
    for from_, unit, name in _STEPS:
        if abs(distance) >= from_:
            told = f"{abs(distance) // unit} {name}s"
            return f"{told} ago" if distance > timedelta(0) else f"in {told}"
    return "now"


def span(duration: timedelta) -> str:
    """Return how long something lasts: `3 minutes`; `0 seconds` for what is negative."""
    for from_, unit, name in _STEPS:
        if duration >= from_:
            return f"{duration // unit} {name}s"
    seconds = max(0, round(duration.total_seconds()))
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def count(number: int, thing: str, things: str = "") -> str:
    """Return a number of things: `1 task`, `2 tasks`, `1,000 tasks`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
