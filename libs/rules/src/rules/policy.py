"""What becomes of each due time: the missed-run and the overlap policy, as pure accounting.

Each trigger is judged by its own policy; then due times of one instant are put together:

- An instant has one row. Triggers that run at one instant share one run, which lists them.
- Where policies disagree about an instant, the strongest outcome is the row's: run, coalesced,
  overlapped, skipped, dropped. `names` are the triggers that have it; the reason tells the others.
- `overlap: skip` holds over runs of the whole definition, those that this call asks for included,
  oldest first: of several due times that were missed only the first can then run. A compressed
  stretch whose newest due time is overlapped is overlapped as a whole: no run stands for it.
- A run's window `(last covered, due]` begins at the due time before the first that it stands for,
  of whatever trigger and outcome, or at the cursor when there is none.

A call looks at no more than `limit` due times, the oldest. What a policy counts (the newest so and
so many) is counted up to now all the same; a compressed stretch is left whole for the next call
if it fits there, and otherwise gets one run for each part. It never holds more than `limit` due
times of its trigger: older ones are dropped.
"""

import heapq
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from contracts import durations, identifiers
from contracts.definitions import CatchUpMissed, CompressMissed, Overlap, Schedule, SkipMissed
from contracts.triggers import Window
from rules import schedules as due

MAX_DUE_TIMES = 10_000
"""How many due times one call accounts for."""


class DueOutcome(StrEnum):
    """What became of a due time."""

    RUN = "run"
    COALESCED = "coalesced"
    OVERLAPPED = "overlapped"
    SKIPPED = "skipped"
    DROPPED = "dropped"


@dataclass(frozen=True)
class DueRow:
    """One due time with its outcome and the reason, a sentence for people.

    `into` is the due time whose run stands for a coalesced one. `window` and `coalesced`, the due
    times it stands for besides its own, belong to runs.
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

    `more` says that due times up to now are left for another call.
    """

    rows: tuple[DueRow, ...]
    cursor: datetime
    more: bool = False

    @property
    def runs(self) -> tuple[DueRow, ...]:
        """The rows that ask for a run."""
        return tuple(row for row in self.rows if row.outcome is DueOutcome.RUN)


def account(
    *,
    schedules: Mapping[str, Schedule],
    cursor: datetime,
    now: datetime,
    open_run: bool,
    until: datetime | None = None,
    limit: int = MAX_DUE_TIMES,
) -> Accounted:
    """Account for the due times in `(cursor, until]` of the schedule triggers of one definition.

    `until` is `now` unless the schedules were in force for an earlier stretch only; how late a due
    time is counts from `now` all the same. `open_run` says whether a run of the definition is open.
    The cursor moves to a due time, never to `until`, and stays when nothing is due.

    Raises:
        ScheduleError: cron or a time zone cannot be read.
        ValueError: a time is naive, or `limit` is less than 1.
    """
    if limit < 1:
        raise ValueError("a call accounts for at least one due time")
    until = now if until is None else until
    instants = _instants(schedules, cursor, until, limit)
    more = len(instants) > limit
    judges = {
        name: _Judge(schedule, cursor=cursor, now=now, until=until, limit=limit)
        for name, schedule in schedules.items()
    }
    if more:
        instants = instants[: _cut(instants[:limit], judges)]
    if not instants:
        return Accounted((), cursor)
    batch = _Batch(schedules, cursor, open_run=open_run)
    for instant, names in instants:
        for name in names:
            batch.judge(instant, name, judges[name])
    return Accounted(tuple(batch.rows(instants)), instants[-1][0], more)


_Instants = list[tuple[datetime, tuple[str, ...]]]


def _instants(
    schedules: Mapping[str, Schedule], cursor: datetime, until: datetime, limit: int
) -> _Instants:
    """Return the oldest due times, one more than `limit`, with the triggers that are due then."""

    def named(name: str, schedule: Schedule) -> Iterator[tuple[datetime, str]]:
        return ((at, name) for at in due.due_times(schedule, after=cursor, until=until))

    merged = heapq.merge(*(named(name, schedule) for name, schedule in sorted(schedules.items())))
    together = itertools.groupby(merged, key=lambda pair: pair[0])
    return [
        (at, tuple(name for _, name in pairs))
        for at, pairs in itertools.islice(together, limit + 1)
    ]


def _cut(instants: _Instants, judges: "Mapping[str, _Judge]") -> int:
    """Return how many due times to take: up to a stretch to compress, which is kept together."""
    for index, (instant, names) in enumerate(instants):
        if any(judges[name].compresses(instant) for name in names):
            return index or len(instants)
    return len(instants)


@dataclass(frozen=True)
class _Verdict:
    outcome: DueOutcome
    reason: str
    into: datetime | None = None


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
    ) -> None:
        self._missed = schedule.missed_runs
        self._now = now
        self._oldest: datetime | None = None
        self._count = limit
        if isinstance(self._missed, SkipMissed):
            return
        if isinstance(self._missed, CatchUpMissed):
            self._count = self._missed.limit
        newest = due.last_due_times(schedule, after=cursor, until=until, count=self._count)
        self._oldest = newest[0] if newest else None

    def refusal(self, instant: datetime) -> _Verdict | None:
        """Return why the due time comes too late, or None when it may run."""
        late = self._now - instant
        if isinstance(self._missed, SkipMissed):
            if late > self._missed.tolerance:
                allowed = durations.render(self._missed.tolerance)
                return _Verdict(
                    DueOutcome.SKIPPED,
                    f"{_whole(late)} late, more than the tolerance of {allowed}",
                )
            return None
        if late > self._missed.window:
            allowed = durations.render(self._missed.window)
            return _Verdict(
                DueOutcome.DROPPED,
                f"{_whole(late)} late, more than the window of {allowed}",
            )
        if self._oldest is not None and instant < self._oldest:
            return _Verdict(
                DueOutcome.DROPPED,
                f"not among the newest {self._count} due times, which is the limit",
            )
        return None

    @property
    def compress(self) -> bool:
        return isinstance(self._missed, CompressMissed)

    def compresses(self, instant: datetime) -> bool:
        return self.compress and self.refusal(instant) is None


@dataclass
class _Batch:
    schedules: Mapping[str, Schedule]
    cursor: datetime
    open_run: bool
    verdicts: dict[datetime, dict[str, _Verdict]] = field(default_factory=dict)
    live: dict[str, list[datetime]] = field(default_factory=dict)
    compressing: set[str] = field(default_factory=set)

    def judge(self, instant: datetime, name: str, judge: _Judge) -> None:
        refusal = judge.refusal(instant)
        at = self.verdicts.setdefault(instant, {})
        if refusal is not None:
            at[name] = refusal
            return
        self.live.setdefault(name, []).append(instant)
        if judge.compress:
            self.compressing.add(name)

    def rows(self, instants: _Instants) -> Iterator[DueRow]:
        runs = self._run()
        before = self.cursor
        previous = {}
        for instant, _ in instants:
            previous[instant] = before
            before = instant
        for instant, names in instants:
            verdicts = self.verdicts[instant]
            outcome = min((verdicts[name].outcome for name in names), key=_STRENGTH.index)
            chosen = [name for name in names if verdicts[name].outcome is outcome]
            into = None
            if outcome is DueOutcome.COALESCED:
                # Two stretches may hold it: the run that comes first stands for it.
                into = min(at for name in chosen if (at := verdicts[name].into) is not None)
                chosen = [name for name in chosen if verdicts[name].into == into]
            covers = tuple(sorted(runs.get(instant, ())))
            window = None
            if outcome is DueOutcome.RUN:
                start = previous[min((instant, *covers))]
                window = Window(start=start, end=instant)
            yield DueRow(
                due_at=instant,
                names=tuple(chosen),
                outcome=outcome,
                reason=self._reason(chosen, verdicts),
                into=into,
                window=window,
                coalesced=covers,
            )

    def _run(self) -> dict[datetime, set[datetime]]:
        """Judge what may run, oldest first; return each run with what it stands for."""
        asking: dict[datetime, list[str]] = {}
        for name, times in self.live.items():
            for instant in times[-1:] if name in self.compressing else times:
                asking.setdefault(instant, []).append(name)
        runs: dict[datetime, set[datetime]] = {}
        first: datetime | None = None
        for instant in sorted(asking):
            busy = self.open_run or first is not None
            reason = (
                "a run of the definition is open"
                if first is None
                else f"the run of {identifiers.instant(first)} goes first"
            )
            for name in asking[instant]:
                stretch = self.live[name] if name in self.compressing else [instant]
                if busy and self.schedules[name].overlap is Overlap.SKIP:
                    for at in stretch:
                        self.verdicts[at][name] = _Verdict(
                            DueOutcome.OVERLAPPED, f"{reason}, and overlap is skip"
                        )
                    continue
                runs.setdefault(instant, set()).update(stretch[:-1])
                for at in stretch[:-1]:
                    self.verdicts[at][name] = _Verdict(
                        DueOutcome.COALESCED,
                        f"compressed into the run of {identifiers.instant(instant)}",
                        into=instant,
                    )
                self.verdicts[instant][name] = _Verdict(DueOutcome.RUN, _due(len(stretch)))
            if first is None and instant in runs:
                first = instant
        return runs

    @staticmethod
    def _reason(chosen: list[str], verdicts: Mapping[str, _Verdict]) -> str:
        told: dict[str, list[str]] = {}
        for name in (*chosen, *sorted(set(verdicts) - set(chosen))):
            told.setdefault(verdicts[name].reason, []).append(name)
        return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in told.items())


_STRENGTH = list(DueOutcome)


def _due(stretch: int) -> str:
    return "due" if stretch == 1 else f"due, the newest of {stretch} that are compressed"


def _whole(late: timedelta) -> str:
    # Rounded up, so that a fraction too late does not read as just in time.
    return durations.render(-(-late // timedelta(seconds=1)) * timedelta(seconds=1))
