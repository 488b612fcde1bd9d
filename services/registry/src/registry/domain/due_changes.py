"""How a change of a definition moves the due times of its schedule triggers."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from contracts.definitions import ActivityDefinition, Schedule
from registry.domain.differences import DifferenceKind
from registry.domain.sameness import same_due_times
from rules import schedules
from rules.errors import ScheduleError

SHOWN = 5
"""Due times told of each side."""


@dataclass(frozen=True, slots=True)
class DueChange:
    """One schedule trigger whose due times change: the next ones before and after."""

    kind: DifferenceKind
    trigger: str
    before: tuple[datetime, ...]
    after: tuple[datetime, ...]


def due_changes(
    before: ActivityDefinition | None, after: ActivityDefinition | None, *, now: datetime
) -> list[DueChange]:
    """Return the schedule triggers that are due at other times, or by other rules, than before.

    A schedule that cannot be evaluated has no due times.
    """
    return list(_changes(_schedules(before), _schedules(after), now))


def _changes(
    before: dict[str, Schedule], after: dict[str, Schedule], now: datetime
) -> Iterator[DueChange]:
    for trigger in dict.fromkeys((*before, *after)):
        was, becomes = before.get(trigger), after.get(trigger)
        if was is None:
            kind = DifferenceKind.ADDED
        elif becomes is None:
            kind = DifferenceKind.REMOVED
        elif same_due_times(was, becomes):
            continue
        else:
            kind = DifferenceKind.CHANGED
        yield DueChange(kind, trigger, _next(was, now), _next(becomes, now))


def _schedules(definition: ActivityDefinition | None) -> dict[str, Schedule]:
    return {} if definition is None else definition.schedules


def _next(schedule: Schedule | None, now: datetime) -> tuple[datetime, ...]:
    due: list[datetime] = []
    at: datetime | None = now
    try:
        while schedule is not None and at is not None and len(due) < SHOWN:
            at = schedules.next_due(schedule, at)
            due += [at] if at is not None else []
    except ScheduleError:
        return ()
    return tuple(due)
