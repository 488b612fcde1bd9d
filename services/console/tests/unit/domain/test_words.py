from datetime import UTC, datetime, timedelta, timezone

import pytest

from console.domain import words

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("distance", "told"),
    [
        (timedelta(seconds=1), "now"),
        (timedelta(seconds=-1), "now"),
        (timedelta(seconds=2), "2 seconds ago"),
        (timedelta(seconds=119), "119 seconds ago"),
        (timedelta(minutes=2), "2 minutes ago"),
        (timedelta(hours=47), "47 hours ago"),
        (timedelta(days=3), "3 days ago"),
        (timedelta(minutes=-90), "in 90 minutes"),
    ],
)
def test_how_far_a_time_lies_from_now(distance: timedelta, told: str) -> None:
    assert words.ago(NOW - distance, now=NOW) == told


def test_a_moment_is_told_in_utc_whatever_its_zone() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=5)))
    assert words.moment(east) == "2026-03-01 12:00:00 UTC"


def test_how_long_something_lasts() -> None:
    assert words.span(timedelta(minutes=3)) == "3 minutes"
    assert words.span(timedelta(seconds=1)) == "1 second"
    assert words.span(timedelta(seconds=-5)) == "0 seconds"


def test_a_number_of_things() -> None:
    assert words.count(1, "task") == "1 task"
    assert words.count(1200, "entry", "entries") == "1,200 entries"
