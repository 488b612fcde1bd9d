"""Looks out for due times that nobody accounts for, whether Temporal and the workers live or not.

The sweep has them ticked; here they are only counted, so that somebody hears of it when it does
not.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from opentelemetry.metrics import Observation

from contracts.telemetry import Attribute, Metric
from ledger.ports.schedules import ScheduleStore
from runtime import logs, telemetry
from runtime.errors import RuntimeLibraryError
from runtime.lifecycle import Background
from runtime.postgres import Postgres

INTERVAL = timedelta(seconds=15)
MIN_AGE = timedelta(minutes=1)
"""What is younger may be on its way."""
MOST = 1000
"""Up to so many definitions are counted."""

_log = logs.get_logger(__name__)


class ScheduleWatch(Background):
    """Counts, again and again, the definitions that a tick is owed."""

    name = "schedule-watch"

    def __init__(
        self, *, database: Postgres, schedules: ScheduleStore, namespaces: Sequence[str]
    ) -> None:
        self._database = database
        self._schedules = schedules
        self._namespaces = namespaces
        self._overdue: dict[str, int] = {}
        telemetry.meter(__name__).create_observable_gauge(
            Metric.LEDGER_OVERDUE_SCHEDULES,
            [lambda _: self.observed()],
            description="Definitions with a due time that nobody accounted for, up to 1,000.",
        )

    async def look(self) -> None:
        """Count once."""
        for namespace in self._namespaces:
            async with self._database.transaction(namespace) as transaction:
                found = await self._schedules.overdue(transaction, min_age=MIN_AGE, limit=MOST)
            if len(found) != self._overdue.get(namespace, 0):
                _log.warning(
                    "schedules_overdue",
                    namespace=namespace,
                    definitions=len(found),
                    longest=[one.definition_id for one in found[:5]],
                )
            self._overdue[namespace] = len(found)

    def observed(self) -> list[Observation]:
        """Return the last counts, by namespace."""
        return [
            Observation(count, {Attribute.NAMESPACE.value: namespace})
            for namespace, count in self._overdue.items()
        ]

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except RuntimeLibraryError as exc:
                # What is not known is not told: a gauge that stands still would be believed.
                self._overdue = {}
                _log.warning("schedules_not_counted", error=str(exc))
            await asyncio.sleep(INTERVAL.total_seconds())
