"""What becomes of each due time: the missed-run and the overlap policy, as pure accounting.

Each trigger is judged by its own policy; then due times of one instant are put together:

- An instant has one row. Triggers that run at one instant share one run, which lists them.
- Where policies disagree about an instant, the strongest outcome is the row's: run, coalesced,
  waiting, overlapped, skipped, dropped. `names` are the triggers that have it; the reason tells the
  others. What runs for one trigger is not waited for by another.
- Overlap (`rules.overlaps`) holds over runs of the whole definition, those that this call asks for
  included. What waits is given again when no run is open, and judged again with what fell due
  meanwhile: a run that was open is one cause of lateness among others.
- A run's window `(last covered, due]` begins at the due time before the first that it stands for,
  of whatever trigger and outcome, or at the cursor when there is none.

A due time with jitter is left for a later call until it is taken up (`rules.jitter`), and so are
all after it: due times are accounted for in their order. None is late before the longest jitter of
the definition's triggers is over.

A call looks at no more than `limit` new due times, the oldest. What a policy counts (the newest so
and so many) is counted up to now all the same; a compressed stretch is left whole for the next call
if it fits there, and otherwise gets one run for each part. It never holds more than `limit` due
times of its trigger: older ones are dropped.
"""

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from contracts import durations
from contracts.definitions import CatchUpMissed, Schedule, SkipMissed
from contracts.triggers import Window
from rules import jitter, overlaps
from rules import schedules as due
from rules.overlaps import DueOutcome, Verdict, Waiting

__all__ = [
    "LATE",
    "MAX_DUE_TIMES",
    "Accounted",
    "DueOutcome",
    "DueRow",
    "Waiting",
    "account",
    "as_disabled",
    "instants",
]

MAX_DUE_TIMES = 10_000
"""How many due times one call accounts for."""
LATE = frozenset({DueOutcome.SKIPPED, DueOutcome.DROPPED})
"""What does not run for being late, or unwanted."""


@dataclass(frozen=True)
class DueRow:
    """One due time with its outcome and the reason, a sentence for people.

    `into` is the due time whose run stands for a coalesced one. `coalesced`, the due times it
    stands for besides its own, belongs to a run; `window` to a run and to what waits to become one.
    """

    due_at: datetime
    names: tuple[str, ...]
    outcome: DueOutcome
    reason: str
    into: datetime | None = None
    window: Window | None = None
    coalesced: tuple[datetime, ...] = ()


@dataclass(frozen=True)
class Accounted:
    """The rows in ascending order, and the new cursor: the last due time accounted for.

    Rows of what waited are among them, also where they wait on. `more` says that due times up to
    now are left for another call, `cancels` that the open runs make room for the first new one,
    `waits_until` when the first of those that wait for their jitter is taken up.
    """

    rows: tuple[DueRow, ...]
    cursor: datetime
    more: bool = False
    cancels: bool = False
    waits_until: datetime | None = None

    @property
    def runs(self) -> tuple[DueRow, ...]:
        """The rows that ask for a run."""
        return tuple(row for row in self.rows if row.outcome is DueOutcome.RUN)


def as_disabled(row: DueRow) -> DueRow:
    """Return a row of `LATE` that fell due while the definition was disabled."""
    reason = f"{row.reason}; the definition was disabled"
    return replace(row, outcome=DueOutcome.DISABLED, reason=reason)


def account(
    *,
    definition_id: str,
    schedules: Mapping[str, Schedule],
    cursor: datetime,
    now: datetime,
    open_run: bool,
    until: datetime | None = None,
    limit: int = MAX_DUE_TIMES,
    waiting: Sequence[Waiting] = (),
    ahead: Mapping[str, int] | None = None,
    unwanted: Mapping[datetime, str] | None = None,
    jittered: bool = True,
) -> Accounted:
    """Account for the due times in `(cursor, until]` of the schedule triggers of one definition.

    `until` is `now` unless the schedules were in force for an earlier stretch only; how late a due
    time is counts from `now` all the same. `open_run` says whether a run of the definition is open.
    `waiting` are due times up to the cursor that wait, in order, to be judged again; `ahead` counts
    by trigger those that wait and are not. `unwanted` due times are skipped for the reason that is
    given with each. Unless `jittered`, none waits for its jitter. The cursor moves to a due time,
    never to `until`, and stays when nothing is due.

    Raises:
        ScheduleError: cron, a calendar or a time zone cannot be read.
        ValueError: a time is naive, or `limit` is less than 1.
    """
    if limit < 1:
        raise ValueError("a call accounts for at least one due time")
    until = now if until is None else until
    # One more than it takes, to know whether there are more.
    found = list(itertools.islice(instants(schedules, after=cursor, until=until), limit + 1))
    slack, waits_until = jitter.longest(schedules), None
    if slack and jittered:
        found, waits_until = _taken_up(definition_id, schedules, found, now)
    more = len(found) > limit
    judges = {
        name: _Judge(
            schedule,
            cursor=cursor,
            now=now - slack,
            until=until,
            limit=limit,
            waiting=[one.due_at for one in waiting if name in one.names],
        )
        for name, schedule in schedules.items()
    }
    if more:
        found = found[: _cut(found[:limit], judges)]
        waits_until = None
    if not found and not waiting:
        return Accounted((), cursor, waits_until=waits_until)
    batch = _Batch(schedules, open_run=open_run, ahead=ahead or {}, unwanted=unwanted or {})
    for one in waiting:
        batch.take(one.due_at, since=one.since)
        for name in one.names:
            batch.judge(one.due_at, name, judges.get(name))
    before = cursor
    for instant, names in found:
        batch.take(instant, since=before)
        before = instant
        for name in names:
            batch.judge(instant, name, judges[name])
    rows = tuple(batch.rows())
    return Accounted(rows, before, more, cancels=batch.cancels, waits_until=waits_until)


_Instants = list[tuple[datetime, tuple[str, ...]]]


def instants(
    schedules: Mapping[str, Schedule], *, after: datetime, until: datetime
) -> Iterator[tuple[datetime, tuple[str, ...]]]:
    """Yield the due times in `(after, until]`, ascending, with the triggers that are due then.

    Raises:
        ScheduleError: cron, a calendar or a time zone cannot be read.
    """

    def named(name: str, schedule: Schedule) -> Iterator[tuple[datetime, str]]:
        return ((at, name) for at in due.due_times(schedule, after=after, until=until))

    merged = heapq.merge(*(named(name, schedule) for name, schedule in sorted(schedules.items())))
    for at, pairs in itertools.groupby(merged, key=lambda pair: pair[0]):
        yield at, tuple(name for _, name in pairs)


def _taken_up(
    definition_id: str, schedules: Mapping[str, Schedule], instants: _Instants, now: datetime
) -> tuple[_Instants, datetime | None]:
    """Return the due times before the first that waits for its jitter, and until when it waits."""
    for index, (at, names) in enumerate(instants):
        taken_up = jitter.taken_up(definition_id, schedules, names, at)
        if taken_up > max(at, now):
            return instants[:index], taken_up
    return instants, None


def _cut(instants: _Instants, judges: "Mapping[str, _Judge]") -> int:
    """Return how many due times to take: up to a stretch that has to be judged together."""
    for index, (instant, names) in enumerate(instants):
        if any(judges[name].holds_together(instant) for name in names):
            return index or len(instants)
    return len(instants)


class _Judge:
    """One trigger's policy, over all of its due times up to `until`."""

    def __init__(
        self,
        schedule: Schedule,
        *,
        cursor: datetime,
        now: datetime,
        until: datetime,
        limit: int,
        waiting: Sequence[datetime] = (),
    ) -> None:
        self._missed = schedule.missed_runs
        self._later_count = overlaps.looks_ahead(schedule)
        self._now = now
        self._oldest: datetime | None = None
        self._count = limit
        if isinstance(self._missed, SkipMissed):
            return
        if isinstance(self._missed, CatchUpMissed):
            self._count = self._missed.limit
        newest = due.last_due_times(schedule, after=cursor, until=until, count=self._count)
        newest = [*waiting, *newest][-self._count :]
        self._oldest = newest[0] if newest else None

    def refusal(self, instant: datetime) -> Verdict | None:
        """Return why the due time comes too late, or None when it may run."""
        late = self._now - instant
        if isinstance(self._missed, SkipMissed):
            if late > self._missed.tolerance:
                allowed = durations.render(self._missed.tolerance)
                return Verdict(
                    DueOutcome.SKIPPED,
                    f"{_whole(late)} late, more than the tolerance of {allowed}",
                )
            return None
        if late > self._missed.window:
            allowed = durations.render(self._missed.window)
            return Verdict(
                DueOutcome.DROPPED,
                f"{_whole(late)} late, more than the window of {allowed}",
            )
        if self._oldest is not None and instant < self._oldest:
            return Verdict(
                DueOutcome.DROPPED,
                f"not among the newest {self._count} due times, which is the limit",
            )
        return None

    def holds_together(self, instant: datetime) -> bool:
        """Say whether what becomes of a due time depends on the later ones of its trigger."""
        return self._later_count and self.refusal(instant) is None


@dataclass
class _Batch:
    schedules: Mapping[str, Schedule]
    open_run: bool
    ahead: Mapping[str, int]
    unwanted: Mapping[datetime, str]
    since: dict[datetime, datetime] = field(default_factory=dict)
    verdicts: dict[datetime, dict[str, Verdict]] = field(default_factory=dict)
    live: dict[str, list[datetime]] = field(default_factory=dict)
    cancels: bool = False

    def take(self, instant: datetime, *, since: datetime) -> None:
        self.since[instant] = since
        self.verdicts[instant] = {}

    def judge(self, instant: datetime, name: str, judge: _Judge | None) -> None:
        refusal: Verdict | None
        if instant in self.unwanted:
            refusal = Verdict(DueOutcome.SKIPPED, self.unwanted[instant])
        elif judge is None:
            refusal = Verdict(DueOutcome.DROPPED, "there is no such trigger any more")
        else:
            refusal = judge.refusal(instant)
        if refusal is not None:
            self.verdicts[instant][name] = refusal
            return
        self.live.setdefault(name, []).append(instant)

    def rows(self) -> Iterator[DueRow]:
        going = overlaps.judge(self.schedules, self.live, open_run=self.open_run, ahead=self.ahead)
        self.cancels = going.cancels
        for (instant, name), verdict in going.verdicts.items():
            self.verdicts[instant][name] = verdict
        for instant, verdicts in self.verdicts.items():
            outcome = min((one.outcome for one in verdicts.values()), key=_STRENGTH.index)
            chosen = [name for name in verdicts if verdicts[name].outcome is outcome]
            into = None
            if outcome is DueOutcome.COALESCED:
                # Two stretches may hold it: the run that comes first stands for it.
                into = min(at for name in chosen if (at := verdicts[name].into) is not None)
                chosen = [name for name in chosen if verdicts[name].into == into]
            covers = tuple(sorted(going.runs.get(instant, ())))
            window = None
            if outcome in (DueOutcome.RUN, DueOutcome.WAITING):
                window = Window(start=self.since[min((instant, *covers))], end=instant)
            yield DueRow(
                due_at=instant,
                names=tuple(chosen),
                outcome=outcome,
                reason=_reason(chosen, verdicts),
                into=into,
                window=window,
                coalesced=covers,
            )


_STRENGTH = list(DueOutcome)


def _reason(chosen: Sequence[str], verdicts: Mapping[str, Verdict]) -> str:
    told: dict[str, list[str]] = {}
    for name in (*chosen, *sorted(set(verdicts) - set(chosen))):
        told.setdefault(verdicts[name].reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in told.items())


def _whole(late: timedelta) -> str:
    # Rounded up, so that a fraction too late does not read as just in time.
    return durations.render(-(-late // timedelta(seconds=1)) * timedelta(seconds=1))
