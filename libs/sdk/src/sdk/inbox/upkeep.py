"""What a consumer inbox does beside the records: release, look for gaps, forget.

Every instance of a consumer does it; the store lets those that meet take turns.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from contracts.telemetry import Attribute, Metric
from runtime import logs, telemetry
from runtime.errors import DatabaseUnavailableError
from sdk.inbox.arrivals import Gap
from sdk.inbox.store import InboxStore

FORGET_EVERY = timedelta(hours=1)
GAPS_SHOWN = 100

Release = Callable[[], Awaitable[None]]

_log = logs.get_logger(__name__)


class Upkeep:
    """The upkeep of one consumer group's inbox, for as long as its broker runs."""

    def __init__(
        self,
        store: InboxStore[Any],
        *,
        namespace: str,
        group: str,
        every: timedelta,
        remember: timedelta | None,
    ) -> None:
        """Make a round `every` so often; forget ids after `remember`, never when it is None."""
        self._store = store
        self._namespace = namespace
        self._group = group
        self._every_s = every.total_seconds()
        self._remember = remember
        self._releases: list[Release] = []
        self._forgotten_at: float | None = None
        self._known: set[tuple[str, str, int]] = set()
        self._told: set[tuple[str, str, int]] = set()
        meter = telemetry.meter(__name__)
        self._attributes: dict[str, str] = {
            Attribute.NAMESPACE: namespace,
            Attribute.CONSUMER_GROUP: group,
        }
        self._gaps = meter.create_gauge(
            Metric.INBOX_GAPS, description="Streams that wait for missing versions."
        )
        self._forgotten = meter.create_counter(
            Metric.INBOX_FORGOTTEN, description="Event ids that were forgotten for their age."
        )

    def add(self, release: Release) -> None:
        """Have `release` called in each round, and gaps looked for."""
        self._releases.append(release)

    async def run(self) -> None:
        """Make rounds until cancelled; one for which the database is away is told in a line."""
        while True:
            try:
                await self.round()
            except DatabaseUnavailableError as exc:
                _log.warning("upkeep_waits", group=self._group, error=str(exc))
            await asyncio.sleep(self._every_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def round(self) -> None:
        """Forget when it is time; release what waits in vain, then tell of gaps.

        Raises:
            DatabaseUnavailableError: the store does not answer.
        """
        await self._forget()
        if not self._releases:
            return
        self._tell_of(await self._store.gaps(self._namespace, self._group, limit=GAPS_SHOWN))
        for release in self._releases:
            await release()

    async def _forget(self) -> None:
        now = asyncio.get_running_loop().time()
        due = self._forgotten_at is None or (
            now - self._forgotten_at > FORGET_EVERY.total_seconds()
        )
        if self._remember is None or not due:
            return
        forgotten = await self._store.forget(
            self._namespace, self._group, older_than=self._remember
        )
        self._forgotten_at = now
        self._forgotten.add(forgotten, self._attributes)
        if forgotten:
            _log.info("event_ids_forgotten", group=self._group, forgotten=forgotten)

    def _tell_of(self, gaps: Sequence[Gap]) -> None:
        """Tell once of each gap that was there in the round before: others close by themselves."""
        self._gaps.set(len(gaps), self._attributes)
        found = {(gap.source, gap.stream, gap.after): gap for gap in gaps}
        for place in found.keys() & self._known - self._told:
            gap = found[place]
            _log.error(
                "stream_gap",
                namespace=self._namespace,
                group=self._group,
                source=gap.source,
                stream=gap.stream,
                first_missing=gap.after + 1,
                last_missing=gap.before - 1,
                waiting=gap.waiting,
                since=gap.since.isoformat(),
            )
        self._told &= found.keys()
        self._told |= found.keys() & self._known
        self._known = set(found)
