"""Adds due times to the golden set: `python libs/rules/tests/golden/record_due_times.py`.

It never changes what is there. A due time that moves under an unchanged schedule is a bug of ours
or of a library, or a zone has new rules: record 036 says what to do then.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from contracts import identifiers
from contracts.definitions import Schedule
from rules import clocks, schedules

HERE = Path(__file__).parent
FILES = HERE / "due_times"

_MISSED = {"policy": "skip", "tolerance": "1h"}

SITUATIONS: dict[str, tuple[dict[str, Any], str, str]] = {
    "berlin-spring-times-of-day": (
        {"cron": "0,30 1-3 * * *", "timezone": "Europe/Berlin"}, "2026-03-28", "2026-03-31"),
    "berlin-spring-passing": (
        {"cron": "*/30 1-3 * * *", "timezone": "Europe/Berlin"}, "2026-03-28", "2026-03-31"),
    "berlin-autumn-times-of-day": (
        {"cron": "0,30 1-3 * * *", "timezone": "Europe/Berlin"}, "2026-10-24", "2026-10-27"),
    "berlin-autumn-passing": (
        {"cron": "*/30 1-3 * * *", "timezone": "Europe/Berlin"}, "2026-10-24", "2026-10-27"),
    "new-york-spring": (
        {"cron": "30 2 * * *", "timezone": "America/New_York"}, "2026-03-06", "2026-03-11"),
    "new-york-autumn": (
        {"cron": "*/20 1 * * *", "timezone": "America/New_York"}, "2026-10-31", "2026-11-03"),
    "lord-howe-half-an-hour": (
        {"cron": "15,45 1,2 * * *", "timezone": "Australia/Lord_Howe"}, "2026-10-02", "2026-10-05"),
    "lord-howe-half-an-hour-back": (
        {"cron": "*/15 1,2 * * *", "timezone": "Australia/Lord_Howe"}, "2026-04-03", "2026-04-06"),
    "casablanca-ramadan-2026": (
        {"cron": "30 2 * * *", "timezone": "Africa/Casablanca"}, "2026-02-12", "2026-03-25"),
    "casablanca-ramadan-2027": (
        {"cron": "30 2 * * sun", "timezone": "Africa/Casablanca"}, "2027-01-25", "2027-03-25"),
    "apia-no-30-december-2011": (
        {"cron": "0 9 * * *", "timezone": "Pacific/Apia"}, "2011-12-28", "2012-01-03"),
    "kwajalein-over-the-date-line-1993": (
        {"cron": "0 */6 * * *", "timezone": "Pacific/Kwajalein"}, "1993-08-19", "1993-08-24"),
    "sao-paulo-midnight-2018": (
        {"cron": "0 0 * * *", "timezone": "America/Sao_Paulo"}, "2018-11-02", "2018-11-07"),
    "tehran-last-change-2022": (
        {"cron": "30 0 * * *", "timezone": "Asia/Tehran"}, "2022-09-19", "2022-09-24"),
    "cairo-again-2026": (
        {"cron": "30 0 * * *", "timezone": "Africa/Cairo"}, "2026-04-22", "2026-04-27"),
    "mexico-without-changes-2026": (
        {"cron": "30 2 * * *", "timezone": "America/Mexico_City"}, "2026-04-03", "2026-04-07"),
    "troll-two-hours": (
        {"cron": "30 1,2 * * *", "timezone": "Antarctica/Troll"}, "2026-03-28", "2026-03-31"),
    "kathmandu-quarters": (
        {"cron": "0 9 * * mon-fri", "timezone": "Asia/Kathmandu"}, "2026-01-01", "2026-01-08"),
    "leap-days": ({"cron": "0 0 29 2 *"}, "2090-01-01", "2113-01-01"),
    "last-days": (
        {"cron": "0 6 L,LW * *", "timezone": "Europe/Berlin"}, "2027-12-01", "2028-06-01"),
    "nearest-weekdays": ({"cron": "0 6 1W,15W,31W * *"}, "2026-01-01", "2026-07-01"),
    "nth-and-last-weekdays": ({"cron": "0 6 * * tue#2,friL,mon#5"}, "2026-01-01", "2026-05-01"),
    "either-day": ({"cron": "0 0 13 * fri"}, "2026-02-01", "2026-04-01"),
    "seconds": ({"cron": "*/20 59 23 31 12 *"}, "2026-01-01", "2027-01-02"),
    "every-from-the-epoch": ({"every": "7h"}, "2026-03-01", "2026-03-05"),
    "calendars": (
        {"calendars": [{"hour": "9", "dayOfMonth": "1-7", "dayOfWeek": "mon"},
                       {"hour": "12", "minute": "30", "month": "dec", "dayOfMonth": "24",
                        "year": "2027"}],
         "timezone": "Europe/Berlin"}, "2027-09-01", "2028-02-01"),
    "exclusions-around-a-fold": (
        {"every": "20m", "timezone": "Europe/Berlin",
         "exclusions": [{"hour": "0-1"}, {"hour": "3-23"}, {"hour": "2", "minute": "40-59"}]},
        "2026-10-24", "2026-10-27"),
    "from-start-to-end": (
        {"cron": "0 */2 * * *", "timezone": "Europe/Berlin", "start": "2026-03-29T00:00:00Z",
         "end": "2026-03-29T06:00:00+02:00"}, "2026-03-01", "2026-04-01"),
}  # fmt: skip
"""A schedule and the days in UTC between which it is looked at."""


def found(recorded: dict[str, Any]) -> list[str]:
    """Return the due times of what is recorded: in UTC, and by the clocks of the zone."""
    return list(_found(recorded))


def _found(recorded: dict[str, Any]) -> Iterator[str]:
    schedule = Schedule.model_validate({**recorded["schedule"], "missedRuns": _MISSED})
    place = clocks.zone(schedule.timezone)
    after, until = (
        datetime.fromisoformat(f"{recorded[side]}T00:00Z") for side in ("after", "until")
    )
    for due in schedules.due_times(schedule, after=after, until=until):
        yield f"{identifiers.instant(due)} {due.astimezone(place):%a %H:%M:%S%z}"


def document(name: str) -> dict[str, Any]:
    """Return a situation with its due times of today."""
    schedule, after, until = SITUATIONS[name]
    recorded = {"schedule": schedule, "after": after, "until": until}
    return {**recorded, "due": found(recorded)}


def add(name: str, directory: Path = FILES) -> bool:
    """Record a situation unless there is one of its name; say whether it did."""
    directory.mkdir(exist_ok=True)
    try:
        with (directory / f"{name}.json").open("x", encoding="utf-8") as file:
            file.write(json.dumps(document(name), indent=2) + "\n")
    except FileExistsError:
        return False
    return True


if __name__ == "__main__":
    for name in SITUATIONS:
        print(f"{'added' if add(name) else 'kept '} {name}")  # noqa: T201 - its output
