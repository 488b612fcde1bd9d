"""Due changes: the next due times of each schedule that a change moves."""

from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.definitions import ActivityDefinition
from registry.domain.differences import DifferenceKind
from registry.domain.due_changes import DueChange, due_changes

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
COMPRESS = {"policy": "compress", "window": "1h"}


def definition(**schedules: dict[str, Any]) -> ActivityDefinition:
    triggers: list[dict[str, Any]] = [
        {"name": name, "schedule": {"missedRuns": COMPRESS, **schedule}}
        for name, schedule in schedules.items()
    ]
    triggers.append({"name": "event", "event": {"type": "a.b"}})
    task = {"type": "human", "title": "'x'", "assignees": {"users": ["u"]}}
    return ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "a", "namespace": "dev", "owner": "o"},
            "spec": {
                "taskQueue": "a-tq",
                "triggers": triggers,
                "rules": [{"name": "r", "task": task}],
            },
        }
    )


def hours(*numbers: int) -> tuple[datetime, ...]:
    return tuple(datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=number) for number in numbers)


def test_a_changed_schedule_shows_the_next_five_of_both() -> None:
    before, after = definition(s={"cron": "0 * * * *"}), definition(s={"every": "2h"})
    assert due_changes(before, after, now=NOW) == [
        DueChange(DifferenceKind.CHANGED, "s", hours(13, 14, 15, 16, 17), hours(14, 16, 18, 20, 22))
    ]


def test_schedules_come_and_go_with_their_definition() -> None:
    present = definition(s={"every": "6h"})
    times = hours(18, 24, 30, 36, 42)
    assert due_changes(None, present, now=NOW) == [DueChange(DifferenceKind.ADDED, "s", (), times)]
    assert due_changes(present, None, now=NOW) == [
        DueChange(DifferenceKind.REMOVED, "s", times, ())
    ]
    assert due_changes(None, None, now=NOW) == []


def test_only_schedules_that_are_due_at_other_times_are_shown() -> None:
    before = definition(a={"cron": "0 9 * * 1"}, b={"every": "60m"}, c={"every": "1h"})
    after = definition(
        a={"cron": "0  9 * * mon", "overlap": "allowAll"},
        b={"every": "1h", "missedRuns": {"policy": "skip", "tolerance": "1m"}},
        c={"every": "12h"},
    )
    assert [change.trigger for change in due_changes(before, after, now=NOW)] == ["c"]


def test_what_cannot_be_evaluated_is_never_due() -> None:
    before = definition(s={"cron": "not cron at all"})
    after = definition(s={"cron": "0 0 * * *", "timezone": "Nowhere/Land"})
    assert due_changes(before, after, now=NOW) == [DueChange(DifferenceKind.CHANGED, "s", (), ())]


def test_schedules_that_are_rarely_due_are_looked_at_far_ahead() -> None:
    leap = definition(s={"cron": "0 0 29 2 *"})
    (change,) = due_changes(None, leap, now=NOW)
    assert [due.year for due in change.after] == [2028, 2032, 2036, 2040, 2044]
