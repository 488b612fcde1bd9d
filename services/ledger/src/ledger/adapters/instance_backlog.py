"""How much waits for stateful instances, looked at now and then for whoever scrapes."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta

import asyncpg
from opentelemetry.metrics import Observation

from contracts.telemetry import Attribute, Metric
from ledger.ports.instances import InstanceEventStore
from runtime import logs, telemetry
from runtime.errors import DatabaseUnavailableError
from runtime.lifecycle import Background
from runtime.postgres import Postgres

_log = logs.get_logger(__name__)


class InstanceBacklog(Background):
    """A component that offers how many events wait, and how long the oldest has done so."""

    name = "instance-backlog"

    def __init__(
        self,
        database: Postgres,
        store: InstanceEventStore,
        *,
        namespaces: Sequence[str],
        interval: timedelta = timedelta(seconds=15),
    ) -> None:
        """Look every `interval`."""
        self._database = database
        self._store = store
        self._namespaces = namespaces
        self._interval_s = interval.total_seconds()
        self._seen: dict[str, tuple[int, float]] = {}
        meter = telemetry.meter(__name__)
        meter.create_observable_gauge(
            Metric.LEDGER_INSTANCE_EVENTS_WAITING,
            [lambda _: self._observed(0)],
            description="Events that wait for their turn in a stateful instance.",
        )
        meter.create_observable_gauge(
            Metric.LEDGER_INSTANCE_EVENTS_AGE,
            [lambda _: self._observed(1)],
            unit="s",
            description="Age of the oldest of them.",
        )

    async def look(self) -> None:
        """Look once.

        Raises:
            DatabaseUnavailableError: the database is away.
        """
        for namespace in self._namespaces:
            async with self._database.transaction(namespace) as transaction:
                self._seen[namespace] = await self._store.backlog(transaction)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except (DatabaseUnavailableError, asyncpg.PostgresError) as exc:
                _log.warning("instance_backlog_unknown", reason=str(exc))
            await asyncio.sleep(self._interval_s)

    def _observed(self, what: int) -> Iterable[Observation]:
        return [
            Observation(seen[what], {Attribute.NAMESPACE: namespace})
            for namespace, seen in self._seen.items()
        ]
