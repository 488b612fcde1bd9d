from datetime import UTC, datetime, timedelta

import pytest

from console.domain import inbox

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("ahead", "told"),
    [
        (-HOUR, "overdue"),
        (0 * HOUR, "overdue"),
        (HOUR, "due soon"),
        (24 * HOUR, "due soon"),
        (25 * HOUR, "due later"),
    ],
)
def test_how_soon_something_is_due(ahead: timedelta, told: str) -> None:
    assert inbox.lateness(NOW + ahead, now=NOW) == told


def test_what_is_due_within_a_time_is_what_is_overdue_as_well() -> None:
    assert inbox.due_before("overdue", now=NOW) == NOW
    assert inbox.due_before("day", now=NOW) == NOW + 24 * HOUR
    assert inbox.due_before("any", now=NOW) is None


@pytest.mark.parametrize(
    ("text", "names"),
    [("", []), (" , ", []), ("ana", ["ana"]), ("ana, bo  ana\ncy", ["ana", "bo", "cy"])],
)
def test_names_have_commas_or_spaces_between_them(text: str, names: list[str]) -> None:
    assert inbox.names(text) == names


def test_what_was_done_is_a_word() -> None:
    assert inbox.change("backbone.TaskClaimed") == "claimed"
