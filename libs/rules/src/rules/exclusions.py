"""Times that are not due, by the clocks on the wall at the due time, minute by minute.

Whole excluded hours and days are passed over at once, so that a schedule of seconds that is
excluded for a year costs some hundred steps and not thirty million.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo

from rules import clocks
from rules.cron import Cron

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_WHOLE_HOUR = (1 << 60) - 1
_NOTHING = (0,) * 24
_REMEMBERED = 64


class Exclusions:
    """What several calendars hold together, in one zone."""

    def __init__(self, calendars: Sequence[Cron], place: tzinfo) -> None:
        self._place = place
        self._calendars = [(calendar, _hours(calendar)) for calendar in calendars]
        self._days: dict[date, tuple[int, ...]] = {}

    def first_open(self, moment: datetime, until: datetime) -> datetime:
        """Return the first instant from `moment` on that is not excluded.

        Where that lies after `until`, any instant after `until` is returned.
        """
        while moment <= until and (step := self._step(moment)) is not None:
            moment += step
        return moment

    def _step(self, moment: datetime) -> timedelta | None:
        """Return how long it is excluded for certain from an instant on; None when it is not."""
        wall = clocks.wall(moment, self._place)
        hours = self._on(wall.date())
        if not hours[wall.hour] >> wall.minute & 1:
            return None
        end = wall.replace(second=0, microsecond=0) + _MINUTE
        if hours[wall.hour] >> wall.minute == _WHOLE_HOUR >> wall.minute:
            end = wall.replace(minute=0, second=0, microsecond=0) + _HOUR
            while end.date() == wall.date() and hours[end.hour] == _WHOLE_HOUR:
                end += _HOUR
        step = end - wall
        # Across a change of the clocks, a stretch on the wall is not one of time: minute by minute.
        if clocks.offset(moment + step, self._place) != clocks.offset(moment, self._place):
            return _MINUTE - timedelta(seconds=wall.second, microseconds=wall.microsecond)
        return step

    def _on(self, day: date) -> tuple[int, ...]:
        """Return the excluded minutes of each hour of a day, as bits."""
        found = self._days.get(day)
        if found is None:
            found = _NOTHING
            for calendar, hours in self._calendars:
                if calendar.includes(day):
                    found = tuple(one | other for one, other in zip(found, hours, strict=True))
            if len(self._days) >= _REMEMBERED:
                self._days.clear()
            self._days[day] = found
        return found


def _hours(calendar: Cron) -> tuple[int, ...]:
    minutes = sum(1 << minute for minute in calendar.minutes)
    return tuple(minutes if hour in calendar.hours else 0 for hour in range(24))
