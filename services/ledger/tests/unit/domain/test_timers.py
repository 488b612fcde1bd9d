"""When what happens to a human task by the clock."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from contracts.decisions import HumanInstance
from contracts.definitions import Assignees, Escalation, Reminder
from ledger.domain import timers
from ledger.domain.timers import Timer, Timers

CREATED = datetime(2026, 3, 2, 12, tzinfo=UTC)
MANAGERS = Assignees(groups=["managers"])


def after(hours: float) -> datetime:
    return CREATED + timedelta(hours=hours)


WHOLE = Timers(
    due_at=after(48),
    remind_at=[after(24), after(47), after(52)],
    escalates_at=after(72),
    escalates_to=MANAGERS,
    expires_at=after(100),
)


def test_times_follow_from_the_creation_and_the_due_time() -> None:
    task = HumanInstance(
        task_id=UUID(int=1),
        rule="call",
        key="",
        title="Call",
        input={},
        assignees=Assignees(users=["ana"]),
        due=timedelta(hours=48),
        reminders=[
            Reminder(after_due=timedelta(hours=4)),
            Reminder(before_due=timedelta(hours=24)),
            Reminder(before_due=timedelta(hours=1)),
        ],
        escalation=Escalation(after=timedelta(hours=72), assignees=MANAGERS),
        expiry=timedelta(hours=100),
    )
    assert timers.of(task, created_at=CREATED) == WHOLE


@pytest.mark.parametrize(
    ("until", "now", "expected", "next_at"),
    [
        (None, 1, [], 24),
        (None, 24, [(Timer.REMINDER, 24)], 47),
        (24, 24.5, [], 47),
        (24, 47, [(Timer.REMINDER, 47)], 48),
        (47, 48, [(Timer.DUE, 48)], 52),
        # What was missed together is carried out together, with one reminder for all.
        (None, 73, [(Timer.DUE, 48), (Timer.REMINDER, 52), (Timer.ESCALATION, 72)], 100),
        (47, 51, [(Timer.DUE, 48)], 52),
        # What has expired is neither told of nor escalated.
        (None, 100, [(Timer.EXPIRY, 100)], None),
        (72, 200, [(Timer.EXPIRY, 100)], None),
    ],
)
def test_what_the_clock_asks_is_carried_out_once_in_the_order_of_its_times(
    until: float | None, now: float, expected: list[tuple[Timer, float]], next_at: float | None
) -> None:
    clock = Timers(
        due_at=WHOLE.due_at,
        remind_at=WHOLE.remind_at,
        escalates_at=WHOLE.escalates_at,
        escalates_to=WHOLE.escalates_to,
        expires_at=WHOLE.expires_at,
        advanced_until=None if until is None else after(until),
    )
    assert clock.elapsed(after(now)) == [(timer, after(hours)) for timer, hours in expected]
    assert clock.next_at(after(now)) == (None if next_at is None else after(next_at))


def test_a_task_without_times_is_never_looked_at() -> None:
    assert Timers().elapsed(after(1000)) == []
    assert Timers().next_at(CREATED) is None
