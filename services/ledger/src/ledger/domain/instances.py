"""Which generation of an instance an event belongs to, which of its events it is, what waits."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from contracts import identifiers
from contracts.events import PendingTimer
from contracts.triggers import TimerOf, Trigger, TriggerKind
from ledger.domain.pending import Origin

DEFAULT_MAX_WAITING = 10_000
"""Events of one correlation key that wait at most, where nobody says otherwise."""


class Status(StrEnum):
    """Where a generation stands."""

    OPEN = "open"
    ENDED = "ended"


class Turn(NamedTuple):
    """The place of an event: the `sequence`th of a generation, both counted from 1."""

    generation: int
    sequence: int

    @property
    def begins(self) -> bool:
        """Whether the generation begins with it."""
        return self.sequence == 1


FIRST = Turn(1, 1)


def next_turn(newest: Turn, status: Status) -> Turn:
    """Return the place of the event after `newest`; what has ended begins anew."""
    if status is Status.ENDED:
        return Turn(newest.generation + 1, 1)
    return Turn(newest.generation, newest.sequence + 1)


@dataclass(frozen=True, slots=True)
class InstanceEvent:
    """An event that is to be applied to the instance of a correlation key.

    It has no `origin` where it is no record's, but a timer that fired.
    """

    definition_id: str
    key_hash: str
    trigger: Trigger
    trigger_body: bytes
    origin: Origin | None

    @property
    def run_id(self) -> str:
        """The run that it will be."""
        return identifiers.run_id(self.definition_id, self.trigger.key)


@dataclass(frozen=True, slots=True)
class SetTimer:
    """A timer whose condition holds after an application: it fires so long after the last event."""

    name: str
    after: timedelta


def timers_after_event(
    wanted: Iterable[SetTimer], *, sequence: int, at: datetime
) -> list[PendingTimer]:
    """Return the timers that an event sets which was applied at that time, in place of others."""
    return [
        PendingTimer(name=timer.name, due_at=at + timer.after, sequence=sequence)
        for timer in wanted
    ]


def timers_after_timer(
    wanted: Iterable[SetTimer], pending: Iterable[PendingTimer], *, fired: str
) -> list[PendingTimer]:
    """Return the timers that stay set when one has fired: it sets none, and goes itself."""
    names = {timer.name for timer in wanted} - {fired}
    return [timer for timer in pending if timer.name in names]


def due(pending: Iterable[PendingTimer], now: datetime) -> list[PendingTimer]:
    """Return the timers that are due, in their order."""
    return sorted(
        (timer for timer in pending if timer.due_at <= now),
        key=lambda timer: (timer.due_at, timer.name),
    )


def timer_trigger(
    timer: PendingTimer, *, key_hash: str, generation: int, definition_version: int
) -> Trigger:
    """Return why a timer is applied."""
    return Trigger(
        kind=TriggerKind.TIMER,
        names=[timer.name],
        definition_version=definition_version,
        timer=TimerOf(key_hash=key_hash, generation=generation, sequence=timer.sequence),
        scheduled_for=timer.due_at,
    )
