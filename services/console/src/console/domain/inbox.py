"""What an inbox says of human tasks: how soon they are due, whose, what happened to them."""

import re
from datetime import datetime, timedelta

_SOON = timedelta(days=1)
_WITHIN = {"overdue": timedelta(0), "day": timedelta(days=1), "week": timedelta(days=7)}


def lateness(due: datetime, *, now: datetime) -> str:
    """Return how soon something is due: `overdue`, `due soon` (within a day) or `due later`."""
    if due <= now:
        return "overdue"
    return "due soon" if due <= now + _SOON else "due later"


def due_before(within: str, *, now: datetime) -> datetime | None:
    """Return before when what is wanted is due (`overdue`, `day`, `week`); None for whenever."""
    return now + _WITHIN[within] if within in _WITHIN else None


def names(text: str) -> list[str]:
    """Return the names in a text that has commas or spaces between them, each once."""
    return list(dict.fromkeys(re.findall(r"[^,\s]+", text)))


def change(event_type: str) -> str:
    """Return what an event says that was done to a task: `claimed`, of `backbone.TaskClaimed`."""
    return event_type.rpartition(".")[2].removeprefix("Task").lower()
