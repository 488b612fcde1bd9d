"""Schedules against a fake clock: what would become of each due time, without any service.

The same evaluator and the same policy as in the ledger, moved by hand: a `Rehearsal` is woken at
each due time (with its jitter) and when a run ends that others wait for, unless something is away
or the definition is disabled, and looks once more when that is over.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts.definitions import ActivityDefinition
from contracts.scheduletests import Case
from rules import jitter, policy, schedules
from rules.errors import RulesError
from rules.policy import DueOutcome, DueRow, Waiting

MAX_DUE_TIMES = 20_000
"""Of one rehearsal."""

_MICROSECOND = timedelta(microseconds=1)


class RehearsalError(RulesError):
    """A rehearsal cannot go on: there is too much of it."""


@dataclass(frozen=True)
class Happened:
    """A due time with what became of it, and when that was decided: for a run, its start."""

    row: DueRow
    decided_at: datetime


class Rehearsal:
    """The schedules of a definition, in force from a time on, and a clock that is moved by hand."""

    def __init__(
        self,
        definition: ActivityDefinition,
        *,
        at: datetime,
        runs_last: timedelta = timedelta(0),
        awake: bool = True,
    ) -> None:
        self._definition_id = definition.metadata.id
        self._schedules = definition.schedules
        self._runs_last = runs_last
        self._cursor = at
        self._ends: list[datetime] = []
        self._waiting: list[Waiting] = []
        self._happened: dict[datetime, Happened] = {}
        self._awake = awake
        self.now = at

    @property
    def happened(self) -> list[Happened]:
        """What became of each due time so far, in their order."""
        return [self._happened[due] for due in sorted(self._happened)]

    def pass_until(self, moment: datetime) -> None:
        """Let time pass up to a moment, which is included.

        Raises:
            RehearsalError: there are too many due times.
        """
        self._pass_before(moment + _MICROSECOND)
        self.now = moment

    def fall_asleep(self) -> None:
        """Let nothing wake from now on: something is away, or the definition is disabled."""
        self._awake = False

    def wake(self) -> None:
        """Look at what was due in between, and be woken again from now on."""
        self._awake = True
        self._look()

    def pass_before(self, moment: datetime) -> None:
        """Let time pass up to a moment; what wakes at it is left for later."""
        self._pass_before(moment)
        self.now = moment

    def _pass_before(self, moment: datetime) -> None:
        while self._awake:
            wakes_at = self._wakes_at()
            if wakes_at is None or wakes_at >= moment:
                return
            self.now = max(self.now, wakes_at)
            self._look()

    def _wakes_at(self) -> datetime | None:
        """Return when the next due time is taken up, or a run has ended that one waits for."""
        wakes = [self._next_taken_up()]
        if self._waiting:
            wakes.append(max(self._ends, default=self.now))
        return min((at for at in wakes if at is not None), default=None)

    def _next_taken_up(self) -> datetime | None:
        found = {
            name: due
            for name, schedule in self._schedules.items()
            if (due := schedules.next_due(schedule, self._cursor)) is not None
        }
        if not found:
            return None
        first = min(found.values())
        names = [name for name, due in found.items() if due == first]
        return jitter.taken_up(self._definition_id, self._schedules, names, first)

    def _look(self) -> None:
        more = True
        while more:
            open_run = any(end > self.now for end in self._ends)
            accounted = policy.account(
                definition_id=self._definition_id,
                schedules=self._schedules,
                cursor=self._cursor,
                now=self.now,
                open_run=open_run,
                waiting=() if open_run else self._waiting,
                ahead=Counter(name for one in self._waiting for name in one.names)
                if open_run
                else None,
            )
            if accounted.cancels:
                self._ends = []
            self._ends += [self.now + self._runs_last] * len(accounted.runs)
            self._ends = [end for end in self._ends if end > self.now]
            self._waiting = [
                *(self._waiting if open_run else ()),
                *(
                    Waiting(row.due_at, row.names, row.window.start)
                    for row in accounted.rows
                    if row.outcome is DueOutcome.WAITING and row.window is not None
                ),
            ]
            for row in accounted.rows:
                self._happened[row.due_at] = Happened(row, self.now)
            if len(self._happened) > MAX_DUE_TIMES:
                raise RehearsalError(
                    f"more than {MAX_DUE_TIMES} due times; let less time pass in a test"
                )
            self._cursor, more = accounted.cursor, accounted.more


def rehearse(definition: ActivityDefinition, case: Case) -> list[Happened]:
    """Return what becomes of each due time of a test, in their order.

    Raises:
        RehearsalError: there are too many due times.
        ScheduleError: a schedule cannot be read.
    """
    rehearsal = Rehearsal(
        definition,
        at=case.from_,
        runs_last=case.given.runs_last or timedelta(0),
        awake=_awake(case, case.from_),
    )
    for moment in _turns(case):
        rehearsal.pass_before(moment)
        if _awake(case, moment):
            rehearsal.wake()
        else:
            rehearsal.fall_asleep()
    rehearsal.pass_until(case.until)
    return [_as_disabled(case, one) for one in rehearsal.happened]


def counted(happened: list[Happened]) -> dict[DueOutcome, int]:
    """Return how many due times ended how."""
    ended = [one.row.outcome for one in happened]
    return {outcome: ended.count(outcome) for outcome in DueOutcome}


def _turns(case: Case) -> Iterator[datetime]:
    """Yield when something goes away or comes back within the test."""
    given = case.given
    turns = {side for one in (*given.outages, *given.disabled) for side in (one.from_, one.to)}
    if given.created_at is not None:
        turns.add(given.created_at)
    yield from sorted(turn for turn in turns if case.from_ < turn <= case.until)


def _as_disabled(case: Case, one: Happened) -> Happened:
    """Return what came too late because the definition was disabled as the ledger tells it."""
    row = one.row
    if row.outcome not in policy.LATE or not any(
        stretch.from_ < row.due_at <= stretch.to for stretch in case.given.disabled
    ):
        return one
    return replace(one, row=policy.as_disabled(row))


def _awake(case: Case, moment: datetime) -> bool:
    given = case.given
    if given.created_at is not None and moment < given.created_at:
        return False
    return not any(one.from_ <= moment < one.to for one in (*given.outages, *given.disabled))
