"""Due times: which stretch of time each epoch of a definition's schedules answers for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from contracts import identifiers
from contracts.definitions import Schedule
from contracts.identifiers import RunId
from contracts.triggers import Trigger, TriggerKind, Window
from rules import policy
from rules.policy import DueOutcome

MAX_CLOCK_SKEW = timedelta(seconds=30)
"""How far a wake-up's nominal time may lie ahead of the database's clock and still be believed."""


@dataclass(frozen=True)
class Epoch:
    """What is due from `effective_from` on, until a later epoch's."""

    epoch: int
    definition_version: int
    schedules: Mapping[str, Schedule]
    schedules_body: bytes
    task_queue: str
    effective_from: datetime
    enabled: bool

    def says_the_same(self, other: "Epoch") -> bool:
        """Say whether `other` would put in force exactly what this one does, from the same time."""
        return (
            self.definition_version == other.definition_version
            and self.schedules_body == other.schedules_body
            and self.task_queue == other.task_queue
            and self.effective_from == other.effective_from
            and self.enabled == other.enabled
        )


@dataclass(frozen=True)
class Stretch:
    """The time `(after, until]` that one epoch answers for."""

    epoch: Epoch
    after: datetime
    until: datetime


@dataclass(frozen=True)
class DueRow:
    """A due time with what became of it; `run_id` is the run it became or went into."""

    due_at: datetime
    names: list[str]
    outcome: DueOutcome
    reason: str
    run_id: RunId | None
    definition_version: int
    task_queue: str
    window: Window | None = None
    coalesced: list[datetime] = field(default_factory=list)


@dataclass(frozen=True)
class LeasedRun:
    """A run that a tick has to start."""

    run_id: str
    task_queue: str
    trigger: Trigger


def believed_now(clock: datetime, woken_for: datetime | None) -> datetime:
    """Return the time to account up to.

    Temporal may wake us, by its clock, a moment before ours reaches the due time; a nominal time
    that is further ahead than `MAX_CLOCK_SKEW` is not a clock's difference.
    """
    if woken_for is None:
        return clock
    return max(clock, min(woken_for, clock + MAX_CLOCK_SKEW))


def stretches(epochs: Sequence[Epoch], *, cursor: datetime, until: datetime) -> Iterator[Stretch]:
    """Cut `(cursor, until]` where epochs begin; `epochs` are in order, the oldest first.

    Of epochs that begin at the same instant only the newest is in force.
    """
    ends = [epoch.effective_from for epoch in epochs[1:]] + [until]
    for epoch, end in zip(epochs, ends, strict=True):
        after, before = max(cursor, epoch.effective_from), min(end, until)
        if after < before:
            yield Stretch(epoch=epoch, after=after, until=before)


def account(
    definition_id: str,
    epochs: Sequence[Epoch],
    *,
    cursor: datetime,
    now: datetime,
    open_run: bool,
) -> tuple[list[DueRow], bool]:
    """Return what becomes of the due times in `(cursor, now]`, and whether there are more of them.

    Each is judged by the epoch it falls into. Windows join: the first of an epoch begins where the
    last due time of the one before was, so that no time between them is left out; where there was
    no schedule, there is nothing to join.
    """
    rows: list[DueRow] = []
    covered = cursor
    for stretch in stretches(epochs, cursor=cursor, until=now):
        if not stretch.epoch.schedules:
            covered = stretch.until
            continue
        accounted = policy.account(
            schedules=stretch.epoch.schedules,
            cursor=stretch.after,
            now=now,
            until=stretch.until,
            open_run=open_run,
        )
        for row in accounted.rows:
            window = row.window
            if window is not None and window.start == stretch.after:
                window = Window(start=covered, end=window.end)
            rows.append(
                DueRow(
                    due_at=row.due_at,
                    names=list(row.names),
                    outcome=row.outcome,
                    reason=row.reason,
                    run_id=_run_of(definition_id, row),
                    definition_version=stretch.epoch.definition_version,
                    task_queue=stretch.epoch.task_queue,
                    window=window,
                    coalesced=list(row.coalesced),
                )
            )
        if accounted.rows:
            covered = accounted.cursor
        open_run = open_run or bool(accounted.runs)
        if accounted.more:
            return rows, True
    return rows, False


def due_run_id(definition_id: str, due_at: datetime) -> RunId:
    """Return the id of the run that a due time asks for."""
    return identifiers.run_id(definition_id, identifiers.schedule_trigger_key(due_at))


def due_trigger(
    *,
    names: list[str],
    definition_version: int,
    due_at: datetime,
    window: Window,
    coalesced: list[datetime],
) -> Trigger:
    """Return the trigger of a run that a due time asks for."""
    return Trigger(
        kind=TriggerKind.SCHEDULE,
        names=names,
        definition_version=definition_version,
        scheduled_for=due_at,
        window=window,
        coalesced=coalesced,
    )


def _run_of(definition_id: str, row: policy.DueRow) -> RunId | None:
    if row.outcome is DueOutcome.RUN:
        return due_run_id(definition_id, row.due_at)
    return None if row.into is None else due_run_id(definition_id, row.into)
