"""What is told of a due time on the days on which clocks are set."""

import pytest
from schedule_cases import BERLIN, NEW_YORK, calendars, cron, every, utc

from contracts.definitions import Schedule
from rules import clock_notes, schedules

LORD_HOWE = "Australia/Lord_Howe"


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        (cron("30 2 * * *", BERLIN), "2026-03-28T12:00",
         "the clocks skip 02:30 on this day: due when they land"),
        (cron("*/20 2-2 * * *", BERLIN), "2026-03-28T12:00", None),
        (cron("0,15,30,45 2 * * *", NEW_YORK), "2026-03-08T06:00",
         "the clocks skip 02:00, 02:15, 02:30, … on this day: due when they land"),
        (cron("15 2 * * *", LORD_HOWE), "2026-10-03T12:00",
         "the clocks skip 02:15 on this day: due when they land"),
        (calendars({"hour": "9"}, timezone="Pacific/Apia"), "2011-12-30T00:00",
         "the clocks skip 09:00 on this day: due when they land"),
        (cron("30 2 * * *", BERLIN), "2026-10-24T12:00",
         "the clocks show 02:30 twice on this day: due the first time only"),
        (cron("*/30 * * * *", BERLIN), "2026-10-25T00:01",
         "the clocks show 02:30 twice on this day: this is the first time"),
        (cron("*/30 * * * *", BERLIN), "2026-10-25T01:01",
         "the clocks show 02:30 twice on this day: this is the second time"),
        (cron("30 2 * * *", BERLIN), "2026-06-01T00:00", None),
        (cron("0 3 * * *", BERLIN), "2026-03-28T12:00", None),
        (every("1h"), "2026-10-25T00:01", None),
    ],
)  # fmt: skip
def test_a_due_time_says_what_the_clocks_have_to_do_with_it(
    schedule: Schedule, after: str, expected: str | None
) -> None:
    due = schedules.next_due(schedule, utc(after))
    assert due is not None
    assert clock_notes.note(schedule, due) == expected
