"""Counts how long the human tasks have been open that nobody has completed yet."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta

from opentelemetry.metrics import Observation

from contracts.telemetry import Attribute, Metric
from ledger.ports.tasks import TaskStore
from runtime import logs, telemetry
from runtime.errors import RuntimeLibraryError
from runtime.lifecycle import Background
from runtime.postgres import Postgres

INTERVAL = timedelta(seconds=30)
MOST = 10_000
"""Up to so many tasks of a namespace are looked at."""
AGES = {
    "under_1h": timedelta(hours=1),
    "under_1d": timedelta(days=1),
    "under_7d": timedelta(days=7),
    "older": timedelta.max,
}
"""The ages that are told apart; each ends where the next one begins."""

_log = logs.get_logger(__name__)


class InboxWatch(Background):
    """A component that offers how many human tasks are open, by namespace and age."""

    name = "inbox-watch"

    def __init__(self, *, database: Postgres, tasks: TaskStore, namespaces: Sequence[str]) -> None:
        self._database = database
        self._tasks = tasks
        self._namespaces = namespaces
        self._open: dict[str, Counter[str]] = {}
        telemetry.meter(__name__).create_observable_gauge(
            Metric.LEDGER_OPEN_HUMAN_TASKS,
            [lambda _: self._observed()],
            description="Human tasks that are open, by age; the 10,000 oldest of a namespace.",
        )

    async def look(self) -> None:
        """Count once.

        Raises:
            DatabaseUnavailableError: the database is away.
        """
        for namespace in self._namespaces:
            async with self._database.transaction(namespace) as transaction:
                ages = await self._tasks.open_human_ages(transaction, limit=MOST)
            self._open[namespace] = Counter(map(_class, ages))

    def _observed(self) -> Iterable[Observation]:
        return [
            Observation(counted[age], {Attribute.NAMESPACE: namespace, Attribute.AGE: age})
            for namespace, counted in self._open.items()
            for age in AGES
        ]

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except RuntimeLibraryError as exc:
                # What is not known is not told: a gauge that stands still would be believed.
                self._open = {}
                _log.warning("inbox_not_counted", error=str(exc))
            await asyncio.sleep(INTERVAL.total_seconds())


def _class(age: timedelta) -> str:
    return next(name for name, below in AGES.items() if age < below)
