"""What the ledger says of due times, and what an independent small model says that it has to.

The model judges one look at a time: the due times that were decided upon at one instant, by the
policy alone. Why they were late plays no part in it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
from history import DueTime

PERIOD = timedelta(seconds=3)


@dataclass(frozen=True)
class Epoch:
    """From when on a definition was enabled, or was not; `due` says whether it had a schedule.

    The ledger knew of it from `recorded_at` on: what it had decided by then stands.
    """

    effective_from: datetime
    recorded_at: datetime
    enabled: bool
    due: bool


@dataclass(frozen=True)
class Policy:
    """What becomes of late due times: exactly one of the three, or a window with a limit."""

    tolerance: timedelta | None = None
    window: timedelta | None = None
    limit: int | None = None
    compress: bool = False

    def too_late(self, late: timedelta, newer: int) -> str | None:
        """Say what becomes of one that does not run; `newer` of its epoch have followed."""
        if self.tolerance is not None and late > self.tolerance:
            return "skipped"
        beyond = self.limit is not None and newer >= self.limit
        if beyond or (self.window is not None and late > self.window):
            return "dropped"
        return None


async def epochs(
    connection: "asyncpg.Connection[asyncpg.Record]", definition_id: str
) -> list[Epoch]:
    """Return the epochs of a definition's schedules, oldest first."""
    rows = await connection.fetch(
        "SELECT effective_from, recorded_at, enabled, schedules <> '{}' AS due"
        " FROM ledger.schedules WHERE definition_id = $1 ORDER BY epoch",
        definition_id,
    )
    return [Epoch(**row) for row in rows]


def due_times(rows: Sequence[DueTime], found: Sequence[Epoch]) -> list[datetime]:
    """Return what was due from the first of these epochs to the last, which has no schedule.

    Of what came after the last one's beginning, `rows` may have what was decided upon before the
    ledger knew of it.
    """
    last = found[-1]
    before = [row.due_at for row in rows if row.decided_at < last.recorded_at]
    begin, end = found[0].effective_from, max([last.effective_from, *before])
    first = begin.timestamp() // PERIOD.total_seconds() + 1
    at = datetime.fromtimestamp(first * PERIOD.total_seconds(), begin.tzinfo)
    times = []
    while at <= end:
        times.append(at)
        at += PERIOD
    return times


def wrong(policy: Policy, rows: Sequence[DueTime], found: Sequence[Epoch]) -> list[str]:
    """Return what differs from the model: of every look, by the policy, in each epoch."""
    expected = due_times(rows, found)
    if [row.due_at for row in rows] != expected:
        return [f"accounted is {[row.due_at for row in rows]}, due was {expected}"]
    looks: dict[datetime, list[DueTime]] = defaultdict(list)
    for row in rows:
        looks[row.decided_at].append(row)
    differences = []
    for at, seen in looks.items():
        told = _expected(policy, [row.due_at for row in seen], at, found)
        differences += [
            f"{row.due_at} was {row.outcome} at {at}, and has to be {told[row.due_at]}"
            for row in seen
            if row.outcome != told[row.due_at]
        ]
    return differences


def _expected(
    policy: Policy, dues: Sequence[datetime], at: datetime, found: Sequence[Epoch]
) -> dict[datetime, str]:
    # Temporal's clock may wake us a moment early by the database's.
    now = max(at, dues[-1])
    told: dict[datetime, str] = {}
    live: dict[Epoch, datetime] = {}
    for due in dues:
        known = [one for one in found if one.recorded_at <= at]
        epoch = [one for one in known if one.effective_from < due][-1]
        # A limit counts what followed in the same epoch.
        ends = [one.effective_from for one in known if one.effective_from >= due]
        late = policy.too_late(now - due, (min([now, *ends]) - due) // PERIOD)
        if late is not None:
            told[due] = late if epoch.enabled else "disabled"
            continue
        told[due] = "run"
        if policy.compress and epoch in live:
            told[live[epoch]] = "coalesced"
        live[epoch] = due
    return told
