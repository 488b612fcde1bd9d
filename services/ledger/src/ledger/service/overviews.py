"""What ran, waits, failed and is late: figures that cost the same however much is kept."""

from datetime import UTC, datetime, timedelta

from ledger.errors import InvalidRequestError
from ledger.ports.overview import Overview, OverviewStore
from ledger.ports.schedules import ScheduleStore
from ledger.service import schedule_watch
from runtime.postgres import Postgres

HOUR = timedelta(hours=1)
LONGEST = timedelta(days=7)


class Overviews:
    """Looks at one namespace."""

    def __init__(
        self, *, database: Postgres, store: OverviewStore, schedules: ScheduleStore
    ) -> None:
        self._database = database
        self._store = store
        self._schedules = schedules

    async def look(self, *, namespace: str, back: timedelta) -> Overview:
        """Return the figures, of what ran and failed those since `back` ago.

        Raises:
            InvalidRequestError: that is no time, or too far back.
        """
        if not timedelta(0) < back <= LONGEST:
            raise InvalidRequestError("since has to be above zero, and 7 days at most")
        now = datetime.now(UTC)
        async with self._database.transaction(namespace) as transaction:
            overdue = await self._schedules.overdue(
                transaction, min_age=schedule_watch.MIN_AGE, limit=schedule_watch.MOST
            )
            return await self._store.look(
                transaction, at=now, since=now - back, overdue_definitions=len(overdue)
            )
