"""A backfill: the pure part of its plan and of how it is carried out.

A plan holds every due time of a stretch of time, each with what it has come to so far and what is
done about it. Each is carried out by itself: neither the missed-run nor the overlap policy has a
say. An instant runs once, whoever asks for it: what has run well is left alone in every mode.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from contracts import identifiers
from contracts.decisions import RunStatus
from contracts.definitions import CatchUpOrder, Schedule
from contracts.triggers import Trigger, TriggerKind, Window
from ledger.domain import due, plans
from ledger.domain.due import Epoch
from ledger.domain.plans import Mode
from rules import policy, schedules
from rules.policy import DueOutcome

MAX_DUE_TIMES = 10_000
"""Due times of one plan."""
MAX_CONCURRENCY = 100
"""Runs of one backfill that are open at once."""
LOT = 50
"""Runs that are begun together, in one transaction."""
RELOOK = timedelta(seconds=1)
"""How soon it is looked again whether there is room, or an end."""
_TICK = timedelta(microseconds=1)
_REACH = timedelta(days=366)


class Standing(StrEnum):
    """What a due time has come to so far."""

    NO_RUN = "no_run"
    OPEN = "open"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    COALESCED = "coalesced"
    WAITING = "waiting"
    AHEAD = "ahead"
    NO_TRIGGER = "no_trigger"


class Step(StrEnum):
    """What is done about a due time."""

    START = "start"
    RETRY = "retry"
    LEAVE = "leave"


class Outcome(StrEnum):
    """What became of a due time of a plan; `BEGUN` while its run is open."""

    PLANNED = "planned"
    BEGUN = "begun"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LEFT = "left"


TOLD: Mapping[Standing, str] = {
    Standing.NO_RUN: "it has no run",
    Standing.OPEN: "its run is open",
    Standing.COMPLETED: "it has run, and an instant runs once",
    Standing.FAILED: "its run failed",
    Standing.CANCELLED: "its run was cancelled",
    Standing.COALESCED: "it is part of the run of a later due time",
    Standing.WAITING: "it waits for an open run",
    Standing.AHEAD: "it is not accounted for yet: the schedule itself will see to it",
    Standing.NO_TRIGGER: "the definition has no such trigger any more",
}


@dataclass(frozen=True)
class Question:
    """What is asked of a backfill: due times in `[since, until)`."""

    definition_id: str
    since: datetime
    until: datetime
    mode: Mode
    order: CatchUpOrder
    concurrency: int


@dataclass(frozen=True)
class DueTime:
    """A due time that somebody may want to run; `known` are its triggers that there still are."""

    due_at: datetime
    names: tuple[str, ...]
    known: tuple[str, ...]
    window: Window


@dataclass(frozen=True)
class Found:
    """What the ledger knows of a due time.

    `outcome` is that of its row, `status` that of its newest run. `claimed` says that its trigger
    key was taken once, `started` that a run of it was asked for that is not recorded yet.
    """

    outcome: DueOutcome | None
    run_id: str
    status: RunStatus | None
    claimed: bool = False
    started: bool = False


@dataclass(frozen=True)
class Planned:
    """A due time of a plan, in the order in which it is carried out."""

    ordinal: int
    due_at: datetime
    names: tuple[str, ...]
    window: Window
    standing: Standing
    step: Step
    run_id: str
    outcome: Outcome
    told: str


def due_times(epochs: Sequence[Epoch], *, since: datetime, until: datetime) -> Iterator[DueTime]:
    """Yield the due times in `[since, until)` by the schedules of their time, ascending.

    Before the first epoch its schedules hold as well: that is how a new definition is run for the
    past. `epochs` are all there are, the oldest first.
    """
    after, before = since - _TICK, until - _TICK
    if not epochs or after >= before:
        return
    first, latest = epochs[0], epochs[-1]
    begun = replace(first, effective_from=min(first.effective_from, after))
    covered: datetime | None = None
    for stretch in due.stretches([begun, *epochs[1:]], cursor=after, until=before):
        named = stretch.epoch.schedules
        for at, names in policy.instants(named, after=stretch.after, until=stretch.until):
            start = covered or _previous(named, at) or at - _TICK
            known = tuple(name for name in names if name in latest.schedules)
            yield DueTime(at, names, known, Window(start=start, end=at))
            covered = at


def _previous(named: Mapping[str, Schedule], at: datetime) -> datetime | None:
    """Return the due time before an instant, as far as it is no more than a year away."""
    found = [
        last[-1]
        for one in named.values()
        if (last := schedules.last_due_times(one, after=at - _REACH, until=at - _TICK, count=1))
    ]
    return max(found, default=None)


def standing(found: Found) -> Standing:
    """Return what a due time has come to, by its newest run if it has one."""
    if found.status is not None:
        return _OF_RUN.get(found.status, Standing.OPEN)
    if found.started or found.outcome is DueOutcome.RUN:
        return Standing.OPEN
    if found.claimed:
        return Standing.COMPLETED
    return _OF_ROW.get(found.outcome, Standing.NO_RUN)


_OF_RUN = {
    RunStatus.COMPLETED: Standing.COMPLETED,
    RunStatus.FAILED: Standing.FAILED,
    RunStatus.CANCELLED: Standing.CANCELLED,
}
_OF_ROW: Mapping[DueOutcome | None, Standing] = {
    DueOutcome.COALESCED: Standing.COALESCED,
    DueOutcome.WAITING: Standing.WAITING,
}


def step(mode: Mode, stands: Standing) -> Step:
    """Return what is done about a due time that has come to that."""
    if stands is Standing.NO_RUN:
        return Step.LEAVE if mode is Mode.FAILED else Step.START
    if stands is Standing.FAILED:
        return Step.LEAVE if mode is Mode.MISSING else Step.RETRY
    if stands is Standing.CANCELLED:
        return Step.RETRY if mode is Mode.ALL else Step.LEAVE
    return Step.LEAVE


def plan(
    question: Question,
    found: Sequence[tuple[DueTime, Found]],
    *,
    covered_until: datetime,
) -> list[Planned]:
    """Return the plan over due times, which ascend, with what is known of each."""
    planned = [_planned(question.mode, one, has, covered_until) for one, has in found]
    if question.order is CatchUpOrder.NEWEST_FIRST:
        planned.reverse()
    return [replace(one, ordinal=ordinal) for ordinal, one in enumerate(planned)]


def _planned(mode: Mode, one: DueTime, has: Found, covered_until: datetime) -> Planned:
    stands = standing(has)
    if one.due_at > covered_until:
        stands = Standing.AHEAD
    elif not one.known and stands is Standing.NO_RUN:
        stands = Standing.NO_TRIGGER
    does = step(mode, stands)
    return Planned(
        ordinal=0,
        due_at=one.due_at,
        names=one.known or one.names,
        window=one.window,
        standing=stands,
        step=does,
        run_id=has.run_id,
        outcome=Outcome.LEFT if does is Step.LEAVE else Outcome.PLANNED,
        told=TOLD[stands],
    )


def chain(question: Question, backfill_id: str, epoch: Epoch, planned: Iterable[Planned]) -> bytes:
    """Return the hash of a plan: of what is asked, what runs, and what is done about each."""
    asked = {
        "backfill_id": backfill_id,
        "definition_id": question.definition_id,
        "definition_version": epoch.definition_version,
        "from": identifiers.instant(question.since),
        "to": identifiers.instant(question.until),
        "mode": question.mode.value,
        "order": question.order.value,
        "concurrency": question.concurrency,
    }
    lines = (
        [
            identifiers.instant(one.due_at),
            list(one.names),
            identifiers.instant(one.window.start),
            one.standing.value,
            one.step.value,
        ]
        for one in planned
    )
    return plans.link(plans.link(b"", [asked]), lines)


def trigger(
    backfill_id: str,
    *,
    names: Sequence[str],
    due_at: datetime,
    window: Window,
    definition_version: int,
    actor: str,
    reason: str,
) -> Trigger:
    """Return the trigger of the run that a due time of a backfill is started with."""
    return Trigger(
        kind=TriggerKind.BACKFILL,
        names=list(names),
        definition_version=definition_version,
        backfill_id=backfill_id,
        scheduled_for=due_at,
        window=window,
        actor=actor,
        reason=reason,
    )
