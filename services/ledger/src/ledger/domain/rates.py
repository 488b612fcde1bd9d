"""How many runs a rate still allows: at most `count` in any stretch of time of length `window`.

What was handed out is counted in slots of a sixtieth of the window, each by its end, so that a rate
costs sixty numbers and errs on the side of fewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_SLOTS = 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Taken = Sequence[tuple[datetime, int]]
"""How many were handed out by the end of each slot, oldest first."""


@dataclass(frozen=True)
class Rate:
    """At most `count` in any `window`."""

    count: int
    window: timedelta

    def left(self, taken: Taken, now: datetime) -> int:
        """Return how many may be handed out now."""
        return max(0, self.count - sum(number for _, number in self._counting(taken, now)))

    def left_again(self, taken: Taken, now: datetime) -> datetime:
        """Return when more may be handed out than now; now when nothing counts any more."""
        counting = self._counting(taken, now)
        return counting[0][0] + self.window if counting else now

    def take(self, taken: Taken, number: int, now: datetime) -> Taken:
        """Return what counts once `number` more are handed out."""
        counting = self._counting(taken, now)
        if not number:
            return counting
        width = max(self.window / _SLOTS, timedelta(microseconds=1))
        until = _EPOCH + ((now - _EPOCH) // width + 1) * width
        if counting and counting[-1][0] >= until:
            last, before = counting[-1]
            return [*counting[:-1], (last, before + number)]
        return [*counting, (until, number)]

    def _counting(self, taken: Taken, now: datetime) -> list[tuple[datetime, int]]:
        return [(until, number) for until, number in taken if until > now - self.window]
