"""The use case of explaining an instant: what became of it, or why nothing did."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from contracts import identifiers
from contracts.switches import KillSwitch, Point
from ledger.domain import due
from ledger.domain.due import Epoch, NextDue
from ledger.domain.stretches import Pause
from ledger.errors import ScheduleNotFoundError
from ledger.ports.backfills import BackfillStore
from ledger.ports.schedules import Coverage, DueTimeRow, ScheduleStore, SkipRow
from ledger.ports.switches import Halts
from rules import schedules as evaluation
from runtime.postgres import Postgres, Transaction


class Standing(StrEnum):
    """How it stands with an instant, where no row says it."""

    ACCOUNTED = "accounted"
    NOT_DUE = "not_due"
    BEFORE_SCHEDULES = "before_schedules"
    AHEAD = "ahead"
    DISABLED = "disabled"
    PAUSED = "paused"
    HALTED = "halted"
    UNCOVERED = "uncovered"


@dataclass(frozen=True)
class Explained:
    """What is known of an instant: the row that holds it, or why there is none."""

    standing: Standing
    told: str
    row: DueTimeRow | None = None
    due_before: datetime | None = None
    due_after: datetime | None = None


class ScheduleExplaining:
    """Tells how it stands with an instant of a definition's schedules."""

    def __init__(
        self,
        *,
        database: Postgres,
        schedules: ScheduleStore,
        backfills: BackfillStore,
        halts: Halts,
    ) -> None:
        self._database = database
        self._schedules = schedules
        self._backfills = backfills
        self._halts = halts

    async def explain(self, *, namespace: str, definition_id: str, at: datetime) -> Explained:
        """Say what became of an instant, or why nothing did. Raises ScheduleNotFoundError."""
        async with self._database.transaction(namespace) as transaction:
            explained = await self._explain(transaction, definition_id, at)
            backfilled = await self._backfills.begun_by(transaction, definition_id, at)
        if backfilled is None:
            return explained
        backfill_id, run_id = backfilled
        told = f"{explained.told}; the backfill {backfill_id} has run it: {run_id}"
        return replace(explained, told=told)

    async def _explain(
        self, transaction: Transaction, definition_id: str, at: datetime
    ) -> Explained:
        coverage = await self._schedules.coverage(transaction, definition_id)
        if coverage is None:
            raise ScheduleNotFoundError(definition_id)
        epochs = await self._schedules.epochs_since(transaction, definition_id, at)
        row = await self._schedules.due_time_at(transaction, definition_id, at)
        pauses = await self._schedules.pauses_since(
            transaction, definition_id, coverage.covered_until
        )
        skips = await self._schedules.skips_after(
            transaction, definition_id, coverage.covered_until
        )
        if row is not None and row.due_at == at:
            return Explained(Standing.ACCOUNTED, row.reason, row)
        epoch = due.epoch_of(epochs, at)
        if epoch is None:
            return Explained(
                Standing.BEFORE_SCHEDULES, "no schedules of the definition were in force then"
            )
        names = [name for name, one in epoch.schedules.items() if due.is_due(one, at)]
        if not names:
            return _not_due(epoch, at)
        if row is not None:
            return Explained(Standing.ACCOUNTED, row.reason, row)
        # It may wait for the jitter of another one before it, too.
        taken_up = due.taken_up(definition_id, epoch, at)
        return _not_accounted(
            NextDue(at, max(taken_up, coverage.next_at or taken_up)),
            coverage,
            enabled=epochs[-1].enabled,
            pauses=pauses,
            skips=skips,
            switch=await self._halts.halting(transaction, Point.RUN, definition_id),
        )


def _not_due(epoch: Epoch, at: datetime) -> Explained:
    schedules = epoch.schedules.values()
    reach = at - timedelta(days=366)
    before = [
        last[-1]
        for one in schedules
        if (last := evaluation.last_due_times(one, after=reach, until=at, count=1))
    ]
    return Explained(
        Standing.NOT_DUE,
        "no schedule trigger of the definition was due then",
        due_before=max(before, default=None),
        due_after=evaluation.next_due_of(schedules, at),
    )


def _not_accounted(
    due_time: NextDue,
    coverage: Coverage,
    *,
    enabled: bool,
    pauses: Sequence[Pause],
    skips: Sequence[SkipRow],
    switch: KillSwitch | None,
) -> Explained:
    at, taken_up_at = due_time.due_at, due_time.taken_up_at
    if at <= coverage.covered_until:
        return Explained(
            Standing.BEFORE_SCHEDULES,
            "its time was accounted for before these schedules were put in force",
        )
    if taken_up_at > coverage.now:
        skip = next((one for one in skips if one.due_at == at), None)
        told = f"; it will be skipped: {skip.actor} asked for that ({skip.reason})" if skip else ""
        if at > coverage.now:
            return Explained(Standing.AHEAD, f"it has not come yet{told}")
        until = identifiers.instant(taken_up_at)
        return Explained(Standing.AHEAD, f"it waits for its jitter until {until}{told}")
    late = taken_up_at <= coverage.now - timedelta(minutes=1)
    return _held_back(enabled=enabled, pauses=pauses, switch=switch) or Explained(
        Standing.UNCOVERED,
        "nobody has looked at it yet"
        + ("; is there a worker of ticks, and does Temporal answer?" if late else ""),
    )


def _held_back(
    *, enabled: bool, pauses: Sequence[Pause], switch: KillSwitch | None
) -> Explained | None:
    """Say what keeps due times of a definition waiting; None when nothing does."""
    later = "it is judged when that is over"
    if not enabled:
        return Explained(Standing.DISABLED, f"the definition is disabled: {later}")
    pause = next((one for one in pauses if one.resumed_at is None), None)
    if pause is not None:
        return Explained(
            Standing.PAUSED, f"paused by {pause.paused_by} ({pause.pause_reason}): {later}"
        )
    if switch is not None:
        return Explained(Standing.HALTED, f"{switch.told}; {later}")
    return None
