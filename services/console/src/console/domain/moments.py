"""Times as people type them and addresses have them: in UTC, unless they say otherwise."""

from datetime import UTC, datetime

from contracts import identifiers


def parse(text: str) -> datetime:
    """Return the time that a text tells, in UTC. Raises ValueError with a sentence."""
    try:
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ValueError("This is no time, such as 2026-03-01T09:30.") from exc


def in_field(time: datetime) -> str:
    """Return a time as a browser's field for times takes it, which has no zone: ours is UTC."""
    return instant(time).removesuffix("Z")


def instant(time: datetime) -> str:
    """Return a time as JSON documents have it, to the second: `2026-03-01T09:30:00Z`."""
    return identifiers.instant(time.replace(microsecond=0))
