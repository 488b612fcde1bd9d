"""Due times: which stretch of time each epoch of a definition's schedules answers for."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from contracts import identifiers
from contracts.definitions import Overlap, Schedule
from contracts.identifiers import RunId
from contracts.triggers import Trigger, TriggerKind, Window
from rules import jitter, overlaps, policy, schedules
from rules.policy import DueOutcome, Waiting

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
    """The time `(after, until]` that one epoch answers for, and what waits of its time."""

    epoch: Epoch
    after: datetime
    until: datetime
    waiting: Sequence[Waiting] = ()


@dataclass(frozen=True)
class DueRow:
    """A due time with what became of it; `run_id` is the run it became or went into.

    With `last_due_at` it stands for a stretch of `count` due times, of which it is the first.
    """

    due_at: datetime
    names: list[str]
    outcome: DueOutcome
    reason: str
    run_id: RunId | None
    definition_version: int
    task_queue: str
    window: Window | None = None
    coalesced: list[datetime] = field(default_factory=list)
    last_due_at: datetime | None = None
    count: int = 1
    ask: "Ask | None" = None


@dataclass(frozen=True)
class Ask:
    """Who has a due time be now, under which request id, and why."""

    request_id: str
    actor: str
    reason: str


@dataclass(frozen=True)
class Accounted:
    """Rows in ascending order of an epoch each, the new cursor, and whether more is left.

    `waits` says that something is left to wait for a run; `cancels` that the open runs make room;
    `waits_until` when the first due time is taken up that has come and waits for its jitter.
    """

    rows: list[DueRow]
    cursor: datetime
    more: bool = False
    waits: bool = False
    cancels: bool = False
    waits_until: datetime | None = None


@dataclass(frozen=True)
class OpenRun:
    """A run that a due time asked for and that is not closed; the trigger is what it began with."""

    run_id: RunId
    trigger: Trigger


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


def stretches(
    epochs: Sequence[Epoch],
    *,
    cursor: datetime,
    until: datetime,
    waiting: Sequence[Waiting] = (),
) -> Iterator[Stretch]:
    """Cut `(cursor, until]` where epochs begin; `epochs` are in order, the oldest first.

    Of epochs that begin at the same instant only the newest is in force. What waits goes with the
    epoch that is in force at its time.
    """
    begins = [epoch.effective_from for epoch in epochs]
    ends = [*begins[1:], max([until, *(one.due_at for one in waiting)])]
    for number, (epoch, end) in enumerate(zip(epochs, ends, strict=True)):
        after, before = max(cursor, epoch.effective_from), min(end, until)
        # The first epoch has what is older than it too: nothing that waits is left out.
        held = [
            one
            for one in waiting
            if one.due_at <= end and (number == 0 or one.due_at > epoch.effective_from)
        ]
        if after < before or held:
            yield Stretch(epoch=epoch, after=after, until=max(after, before), waiting=held)


def account(
    definition_id: str,
    epochs: Sequence[Epoch],
    *,
    cursor: datetime,
    now: datetime,
    open_run: bool,
    waiting: Sequence[Waiting] = (),
    ahead: Mapping[str, int] | None = None,
    unwanted: Mapping[datetime, str] | None = None,
    jittered: bool = True,
) -> Accounted:
    """Return what becomes of the due times in `(cursor, now]`, and of those that wait.

    Each is judged by the epoch it falls into. Windows join: the first of an epoch begins where the
    last due time of the one before was, so that no time between them is left out; where there was
    no schedule, there is nothing to join. Unless `jittered`, none waits for its jitter.
    """
    rows: list[DueRow] = []
    last = covered = cursor
    waits = Counter(ahead or {})
    waits_until: datetime | None = None
    cancels = more = False
    busy = open_run
    for stretch in stretches(epochs, cursor=cursor, until=now, waiting=waiting):
        if not stretch.epoch.schedules and not stretch.waiting:
            covered = stretch.until
            continue
        accounted = policy.account(
            definition_id=definition_id,
            schedules=stretch.epoch.schedules,
            cursor=stretch.after,
            now=now,
            until=stretch.until,
            open_run=busy,
            waiting=stretch.waiting,
            ahead=waits,
            unwanted=unwanted,
            jittered=jittered,
        )
        if accounted.cancels:
            cancels = open_run
            rows = _superseded(rows, by=accounted.runs[0].due_at)
        still = {(one.due_at, one.names) for one in stretch.waiting}
        for row in accounted.rows:
            if row.outcome is DueOutcome.WAITING:
                waits.update(row.names)
                if (row.due_at, row.names) in still:
                    continue
            rows.append(_row(definition_id, stretch, row, covered=covered))
        if accounted.cursor > stretch.after:
            last = covered = accounted.cursor
        busy = busy or bool(accounted.runs)
        more, waits_until = accounted.more, accounted.waits_until
        if more or waits_until is not None:
            break
    return Accounted(rows, last, more, waits=bool(+waits), cancels=cancels, waits_until=waits_until)


def _row(definition_id: str, stretch: Stretch, row: policy.DueRow, *, covered: datetime) -> DueRow:
    window = row.window
    if window is not None and window.start == stretch.after:
        window = Window(start=covered, end=window.end)
    if not stretch.epoch.enabled and row.outcome in policy.LATE:
        row = policy.as_disabled(row)
    return DueRow(
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


def _superseded(rows: Sequence[DueRow], *, by: datetime) -> list[DueRow]:
    """Return rows of earlier epochs whose runs would be cancelled before they began."""
    told = f"{identifiers.instant(by)} is due as well, and would cancel its run"
    return [
        replace(
            row,
            outcome=DueOutcome.OVERLAPPED,
            reason=f"{', '.join(row.names)}: {told}",
            run_id=None,
            window=None,
            coalesced=[],
        )
        if row.outcome in (DueOutcome.RUN, DueOutcome.COALESCED)
        else row
        for row in rows
    ]


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
    actor: str | None = None,
    reason: str | None = None,
) -> Trigger:
    """Return the trigger of a run that a due time asks for; an actor asked for it by hand."""
    return Trigger(
        kind=TriggerKind.SCHEDULE,
        names=names,
        definition_version=definition_version,
        scheduled_for=due_at,
        window=window,
        coalesced=coalesced,
        actor=actor,
        reason=reason,
    )


@dataclass(frozen=True)
class NextDue:
    """A due time that is to come, and when it is taken up."""

    due_at: datetime
    taken_up_at: datetime


def next_due(definition_id: str, epochs: Sequence[Epoch], cursor: datetime) -> NextDue | None:
    """Return the first due time after `cursor`; None when nothing is due any more.

    `epochs` are those in force anywhere after the cursor; of a disabled definition nothing is.
    """
    if not epochs or not epochs[-1].enabled:
        return None
    ends = [*(epoch.effective_from for epoch in epochs[1:]), None]
    for epoch, end in zip(epochs, ends, strict=True):
        after = max(cursor, epoch.effective_from)
        first = schedules.next_due_of(epoch.schedules.values(), after)
        if first is not None and (end is None or first <= end):
            return NextDue(first, taken_up(definition_id, epoch, first))
    return None


def next_to_run(
    definition_id: str,
    epochs: Sequence[Epoch],
    cursor: datetime,
    *,
    now: datetime,
    skipped: Set[datetime],
) -> datetime | None:
    """Return the first due time after `cursor` that is taken up after `now` and is not skipped."""
    following = next_due(definition_id, epochs, cursor)
    while following and (following.due_at in skipped or following.taken_up_at <= now):
        following = next_due(definition_id, epochs, following.due_at)
    return None if following is None else following.due_at


def taken_up(definition_id: str, epoch: Epoch, due_at: datetime) -> datetime:
    """Return when a due time of an epoch is taken up."""
    names = [name for name, one in epoch.schedules.items() if is_due(one, due_at)]
    return jitter.taken_up(definition_id, epoch.schedules, names, due_at)


def is_due(schedule: Schedule, at: datetime) -> bool:
    """Say whether a schedule is due at an instant."""
    found = schedules.due_times(schedule, after=at - timedelta(microseconds=1), until=at)
    return at in found


def epoch_of(epochs: Sequence[Epoch], at: datetime) -> Epoch | None:
    """Return the epoch that answers for an instant; None before the first one."""
    found = [epoch for epoch in epochs if epoch.effective_from < at]
    return found[-1] if found else None


def asked_for(
    definition_id: str,
    epoch: Epoch,
    name: str,
    ask: Ask,
    *,
    at: datetime,
    since: datetime,
    overlap: Overlap,
    open_run: bool,
    ahead: Mapping[str, int],
) -> tuple[DueRow, bool]:
    """Return what becomes of a due time that somebody asks for now, and whether it cancels.

    It is judged by the overlap that they name, and by no missed-run policy.
    """
    schedule = epoch.schedules[name].model_copy(update={"overlap": overlap})
    going = overlaps.judge(
        {**epoch.schedules, name: schedule}, {name: [at]}, open_run=open_run, ahead=ahead
    )
    verdict = going.verdicts[at, name]
    runs = verdict.outcome is DueOutcome.RUN
    row = DueRow(
        due_at=at,
        names=[name],
        outcome=verdict.outcome,
        reason=f"{name}: asked for by {ask.actor} ({ask.reason}); {verdict.reason}",
        run_id=due_run_id(definition_id, at) if runs else None,
        definition_version=epoch.definition_version,
        task_queue=epoch.task_queue,
        window=Window(start=since, end=at)
        if verdict.outcome in (DueOutcome.RUN, DueOutcome.WAITING)
        else None,
        ask=ask,
    )
    return row, going.cancels


def _run_of(definition_id: str, row: policy.DueRow) -> RunId | None:
    if row.outcome is DueOutcome.RUN:
        return due_run_id(definition_id, row.due_at)
    return None if row.into is None else due_run_id(definition_id, row.into)
