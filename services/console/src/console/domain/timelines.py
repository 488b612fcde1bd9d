"""Due times on a line: which lanes there are, and where each mark lies, in percent of the width."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

AHEAD = "ahead"
"""The lane of due times that have not come."""

# Those that did what they were to do come first, those to come last.
_ORDER = (
    *("run", "coalesced", "waiting", "overlapped", "skipped", "disabled", "dropped"),
    AHEAD,
)
_KINDS = {
    "run": "good",
    "coalesced": "good",
    "waiting": "late",
    "disabled": "late",
    "dropped": "bad",
    AHEAD: "open",
}
_LEAST = timedelta(seconds=1)


@dataclass(frozen=True)
class Due:
    """A due time, or a stretch of `count` of them up to `until`, that came to one outcome."""

    outcome: str
    at: datetime
    until: datetime
    count: int = 1


@dataclass(frozen=True)
class Mark:
    """Where a due time lies: percent from the left; `width` is 0 for an instant."""

    left: float
    width: float
    due: Due


@dataclass(frozen=True)
class Lane:
    """The due times of one outcome; `kind` is the class of its colour, empty for a plain one."""

    outcome: str
    kind: str
    count: int
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Timeline:
    """Lanes over one stretch of time; `now` is percent from the left, None outside of it."""

    begins: datetime
    ends: datetime
    now: float | None
    lanes: Sequence[Lane]


def drawn(dues: Sequence[Due], *, ahead: Sequence[datetime] = (), now: datetime) -> Timeline | None:
    """Lay due times out, and those that are `ahead`; None when there is nothing to lay out."""
    all_ = [*dues, *(Due(AHEAD, at, at) for at in ahead)]
    if not all_:
        return None
    begins = min(due.at for due in all_)
    ends = max(due.until for due in all_)
    if ahead:
        begins, ends = min(begins, now), max(ends, now)
    whole = max(ends - begins, _LEAST)

    def percent(at: datetime) -> float:
        return round((at - begins) / whole * 100, 3)

    lanes = []
    for outcome in sorted({due.outcome for due in all_}, key=_rank):
        own = [due for due in all_ if due.outcome == outcome]
        marks = [
            Mark(percent(due.at), round(percent(due.until) - percent(due.at), 3), due)
            for due in own
        ]
        lanes.append(Lane(outcome, _KINDS.get(outcome, ""), sum(due.count for due in own), marks))
    return Timeline(begins, ends, percent(now) if begins <= now <= ends else None, lanes)


def _rank(outcome: str) -> tuple[int, str]:
    return (_ORDER.index(outcome) if outcome in _ORDER else len(_ORDER), outcome)
