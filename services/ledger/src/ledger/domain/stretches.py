"""How rows of due times are told: those of a pause as such, long equal stretches as one row."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ledger.domain.due import DueRow
from rules.policy import LATE, DueOutcome

SHORTEST = 100
"""Due times in a row that came to the same become one row from so many on."""

_SINGLE = frozenset({DueOutcome.RUN, DueOutcome.WAITING})


@dataclass(frozen=True)
class Pause:
    """A time in which somebody held a definition's schedules; open while it is not resumed."""

    paused_at: datetime
    paused_by: str
    pause_reason: str
    resumed_at: datetime | None = None

    def holds(self, at: datetime) -> bool:
        """Say whether a due time fell into it."""
        return at > self.paused_at and (self.resumed_at is None or at <= self.resumed_at)


def with_pauses(rows: Sequence[DueRow], pauses: Sequence[Pause]) -> list[DueRow]:
    """Return rows where those say so that did not run and fell due in a pause."""

    def told(row: DueRow) -> DueRow:
        pause = next((one for one in pauses if one.holds(row.due_at)), None)
        if pause is None or row.outcome not in LATE:
            return row
        return replace(
            row,
            outcome=DueOutcome.DISABLED,
            reason=f"{row.reason}; paused by {pause.paused_by} ({pause.pause_reason})",
        )

    return [told(row) for row in rows]


def gathered(rows: Sequence[DueRow], *, cursor: datetime) -> list[DueRow]:
    """Return rows with long stretches of the same outcome as one row each.

    What runs, and what waits to, has a row of its own, and so has what waited: its row is there,
    and so may be others between. Rows after the cursor have no other due time between them.
    """

    def same(row: DueRow) -> tuple[object, ...]:
        if row.outcome in _SINGLE or row.due_at <= cursor:
            return (row.due_at,)
        return (row.outcome, row.names, row.definition_version, row.run_id)

    return [one for _, group in itertools.groupby(rows, same) for one in _gathered(list(group))]


def _gathered(group: Sequence[DueRow]) -> Iterator[DueRow]:
    if len(group) < SHORTEST:
        yield from group
        return
    first, last = group[0], group[-1]
    yield replace(
        first,
        reason=f"{first.reason} (the first of {len(group)})",
        last_due_at=last.due_at,
        count=len(group),
    )
