"""Why a due time is where it is when the clocks are set: a sentence for people."""

from datetime import datetime, timedelta

from contracts.definitions import Schedule
from rules import clocks, schedules
from rules.cron import Cron

_MICROSECOND = timedelta(microseconds=1)
_MINUTE = timedelta(minutes=1)


def note(schedule: Schedule, due: datetime) -> str | None:
    """Return what the clocks have to do with a due time, None when that is nothing.

    Raises:
        ScheduleError: cron, a calendar or the time zone cannot be read.
    """
    crons = schedules.of_schedule(schedule)
    if not crons:
        return None
    place = clocks.zone(schedule.timezone)
    shown = clocks.wall(due, place)
    before, after = clocks.offset(due - _MICROSECOND, place), clocks.offset(due, place)
    if after > before and (skipped := _skipped(crons, shown - (after - before), shown)):
        return f"the clocks skip {', '.join(skipped)} on this day: due when they land"
    times = clocks.instants(shown, place, once=False)
    if len(times) < 2:
        return None
    text = shown.strftime("%H:%M")
    if due == times[1]:
        return f"the clocks show {text} twice on this day: this is the second time"
    if any(cron.by_the_clock and _names(cron, shown) for cron in crons):
        return f"the clocks show {text} twice on this day: due the first time only"
    return f"the clocks show {text} twice on this day: this is the first time"


def _skipped(crons: list[Cron], first: datetime, landing: datetime) -> list[str]:
    """Return the named times of the day that a gap skips, as people write them; at most three."""
    found: list[str] = []
    shown = first
    while shown < landing:
        if any(cron.by_the_clock and _names(cron, shown) for cron in crons):
            if len(found) == 3:
                return [*found, "…"]
            found.append(shown.strftime("%H:%M"))
        shown += _MINUTE
    return found


def _names(cron: Cron, shown: datetime) -> bool:
    return shown.minute in cron.minutes and shown.hour in cron.hours and cron.includes(shown.date())
