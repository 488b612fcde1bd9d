"""Which due times may go while a run of their definition is open: the overlap policy.

A due time that no missed-run policy refuses asks for a run; of a compressed stretch the newest
does, for all of it. They are looked at one after the other, those of triggers that catch up oldest
first in their order, then the others from the newest on. The first finds what `open_run` says, the
next ones the run of the first.

- `skip`: it does not run. A compressed stretch is overlapped as a whole: no run stands for it.
- `bufferOne`, `bufferAll`: it waits; one start at most for the definition, or `MAX_WAITING`. A
  compressed stretch is one start, which grows. What finds no room is overlapped.
- `allowAll`: it runs.
- `cancelOther`: the newest such due time goes before all others, and the runs that are open are
  cancelled for it. What lies before it and would run is overlapped: it would be cancelled as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from contracts import identifiers
from contracts.definitions import CatchUpMissed, CatchUpOrder, CompressMissed, Overlap, Schedule

MAX_WAITING = 1000
"""Starts of a definition that wait at once under `bufferAll`."""

_WAITS = frozenset({Overlap.BUFFER_ONE, Overlap.BUFFER_ALL})


class DueOutcome(StrEnum):
    """What became of a due time, the strongest first. What waits gets another outcome yet."""

    RUN = "run"
    COALESCED = "coalesced"
    WAITING = "waiting"
    OVERLAPPED = "overlapped"
    SKIPPED = "skipped"
    DROPPED = "dropped"
    DISABLED = "disabled"
    """Not of a policy: skipped or dropped, and it fell due while nothing was to run."""


@dataclass(frozen=True)
class Waiting:
    """A due time that waits for an open run, for these triggers; `since` is the one before it."""

    due_at: datetime
    names: tuple[str, ...]
    since: datetime


@dataclass(frozen=True)
class Verdict:
    """What is said of a due time of one trigger."""

    outcome: DueOutcome
    reason: str
    into: datetime | None = None


@dataclass
class Going:
    """The verdict on each due time and trigger; each run with the due times that it stands for.

    `cancels` says that the open runs are to be cancelled.
    """

    verdicts: dict[tuple[datetime, str], Verdict] = field(default_factory=dict)
    runs: dict[datetime, set[datetime]] = field(default_factory=dict)
    cancels: bool = False


def judge(
    schedules: Mapping[str, Schedule],
    live: Mapping[str, Sequence[datetime]],
    *,
    open_run: bool,
    ahead: Mapping[str, int],
) -> Going:
    """Judge the due times of each trigger that no missed-run policy refuses, ascending.

    `ahead` counts by trigger what waits already and is not among them.
    """
    asking: dict[datetime, list[str]] = {}
    for name, times in live.items():
        for instant in times[-1:] if _compresses(schedules[name]) else times:
            asking.setdefault(instant, []).append(name)
    latest = max(
        (
            instant
            for instant, names in asking.items()
            if any(schedules[name].overlap is Overlap.CANCEL_OTHER for name in names)
        ),
        default=None,
    )
    judging = _Judging(schedules, live, latest, _Room(schedules, ahead))
    for instant in _in_order(schedules, asking, latest):
        for name in asking[instant]:
            judging.judge(instant, name, open_run=open_run)
        if judging.first is None and instant in judging.going.runs:
            judging.first = instant
    judging.going.cancels = open_run and latest is not None
    return judging.going


def looks_ahead(schedule: Schedule) -> bool:
    """Say whether the newest of several due times decides about the older ones."""
    return (
        _compresses(schedule) or _newest_first(schedule) or schedule.overlap is Overlap.CANCEL_OTHER
    )


def _compresses(schedule: Schedule) -> bool:
    return isinstance(schedule.missed_runs, CompressMissed)


def _newest_first(schedule: Schedule) -> bool:
    missed = schedule.missed_runs
    return isinstance(missed, CatchUpMissed) and missed.order is CatchUpOrder.NEWEST_FIRST


def _in_order(
    schedules: Mapping[str, Schedule],
    asking: Mapping[datetime, Sequence[str]],
    latest: datetime | None,
) -> Iterator[datetime]:
    if latest is not None:
        yield latest
    backwards = {
        at for at, names in asking.items() if all(_newest_first(schedules[name]) for name in names)
    }
    yield from (at for at in sorted(asking.keys() - backwards) if at != latest)
    yield from (at for at in sorted(backwards, reverse=True) if at != latest)


class _Room:
    """How much waits, counted in starts."""

    def __init__(self, schedules: Mapping[str, Schedule], ahead: Mapping[str, int]) -> None:
        self._starts = {
            name: min(1, count) if name in schedules and _compresses(schedules[name]) else count
            for name, count in ahead.items()
        }

    def take(self, name: str, schedule: Schedule) -> bool:
        """Let one more start wait; False when there is no room."""
        if _compresses(schedule) and self._starts.get(name):
            return True
        most = 1 if schedule.overlap is Overlap.BUFFER_ONE else MAX_WAITING
        if sum(self._starts.values()) >= most:
            return False
        self._starts[name] = self._starts.get(name, 0) + 1
        return True


@dataclass
class _Judging:
    schedules: Mapping[str, Schedule]
    live: Mapping[str, Sequence[datetime]]
    latest: datetime | None
    room: _Room
    going: Going = field(default_factory=Going)
    first: datetime | None = None

    def judge(self, instant: datetime, name: str, *, open_run: bool) -> None:
        schedule = self.schedules[name]
        stretch = self.live[name] if _compresses(schedule) else [instant]
        overlap = schedule.overlap
        if overlap not in _WAITS and self.latest is not None and instant < self.latest:
            self._all(
                stretch,
                name,
                DueOutcome.OVERLAPPED,
                f"{identifiers.instant(self.latest)} is due as well, and would cancel its run",
            )
            return
        busy = open_run or self.first is not None
        if not busy or overlap is Overlap.ALLOW_ALL or overlap is Overlap.CANCEL_OTHER:
            self._run(instant, name, stretch, cancels=open_run and instant == self.latest)
            return
        blocked = (
            "a run of the definition is open"
            if self.first is None
            else f"the run of {identifiers.instant(self.first)} goes first"
        )
        if overlap is Overlap.SKIP:
            outcome, told = DueOutcome.OVERLAPPED, f"{blocked}, and overlap is skip"
        elif self.room.take(name, schedule):
            outcome, told = DueOutcome.WAITING, f"{blocked}, and overlap is {overlap}"
        else:
            outcome = DueOutcome.OVERLAPPED
            told = f"{blocked}, and as many wait as overlap {overlap} allows"
        self._all(stretch, name, outcome, told)

    def _run(
        self, instant: datetime, name: str, stretch: Sequence[datetime], *, cancels: bool
    ) -> None:
        self.going.runs.setdefault(instant, set()).update(stretch[:-1])
        self._all(
            stretch[:-1],
            name,
            DueOutcome.COALESCED,
            f"compressed into the run of {identifiers.instant(instant)}",
            into=instant,
        )
        told = "due"
        if len(stretch) > 1:
            told += f", the newest of {len(stretch)} that are compressed"
        if cancels:
            told += "; the run that was open is cancelled for it"
        self.going.verdicts[instant, name] = Verdict(DueOutcome.RUN, told)

    def _all(
        self,
        stretch: Sequence[datetime],
        name: str,
        outcome: DueOutcome,
        reason: str,
        into: datetime | None = None,
    ) -> None:
        for at in stretch:
            self.going.verdicts[at, name] = Verdict(outcome, reason, into)
