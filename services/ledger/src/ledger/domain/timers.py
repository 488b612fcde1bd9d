"""What the clock does to a human task: reminders, due time, escalation, expiry.

All times are fixed when the task is created. `advanced_until` says which of them are behind: what
lies after it and not after now is carried out, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from contracts.decisions import HumanInstance
from contracts.definitions import Assignees


class Timer(StrEnum):
    """What a time is for."""

    REMINDER = "reminder"
    DUE = "due"
    ESCALATION = "escalation"
    EXPIRY = "expiry"


@dataclass(frozen=True)
class Timers:
    """When what happens to a task while it is open."""

    due_at: datetime | None = None
    remind_at: Sequence[datetime] = ()
    escalates_at: datetime | None = None
    escalates_to: Assignees | None = None
    expires_at: datetime | None = None
    advanced_until: datetime | None = None

    def elapsed(self, now: datetime) -> list[tuple[Timer, datetime]]:
        """Return what is to be carried out by `now`, in the order of its times.

        Of several reminders that were missed, the last one speaks for all. An expiry leaves
        nothing else to do.
        """
        behind = [one for one in self._ahead() if one[1] <= now]
        for one in behind:
            if one[0] is Timer.EXPIRY:
                return [one]
        last = max((at for timer, at in behind if timer is Timer.REMINDER), default=None)
        return [one for one in behind if one[0] is not Timer.REMINDER or one[1] == last]

    def next_at(self, now: datetime) -> datetime | None:
        """Return when there is something to do after `now`."""
        return next((at for _, at in self._ahead() if at > now), None)

    def _ahead(self) -> list[tuple[Timer, datetime]]:
        every = [
            *((Timer.REMINDER, at) for at in self.remind_at),
            (Timer.DUE, self.due_at),
            (Timer.ESCALATION, self.escalates_at),
            (Timer.EXPIRY, self.expires_at),
        ]
        ahead = [
            (timer, at)
            for timer, at in every
            if at is not None and (self.advanced_until is None or at > self.advanced_until)
        ]
        return sorted(ahead, key=lambda one: one[1])


def of(task: HumanInstance, *, created_at: datetime) -> Timers:
    """Return the timers of a task that is created at a time."""
    due_at = None if task.due is None else created_at + task.due
    return Timers(
        due_at=due_at,
        remind_at=sorted(due_at + one.from_due for one in task.reminders or ()) if due_at else (),
        escalates_at=None if task.escalation is None else created_at + task.escalation.after,
        escalates_to=None if task.escalation is None else task.escalation.assignees,
        expires_at=None if task.expiry is None else created_at + task.expiry,
    )
