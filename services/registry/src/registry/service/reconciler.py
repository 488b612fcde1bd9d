"""Makes the ledger and the wake-up clock follow the definitions, however often either is away.

One replica does this for a namespace. What was changed is handed on at once. All is compared with
what the clock lists every `interval`, and looked at one by one, the ledger included, once in every
`inspection_interval`: neither keeps a change waiting, and neither writes where nothing differs.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Never

import structlog
from opentelemetry.metrics import Observation

from contracts.telemetry import Attribute, Metric
from registry.errors import LeadershipLostError, NeighbourUnavailableError
from registry.ports import (
    DriftLog,
    Leadership,
    Materialisations,
    ResourceStore,
    ScheduleLedger,
    Term,
    WakeupClock,
)
from registry.service.backlog import Backlog
from registry.service.changes import Changes
from registry.service.demands import Demands
from registry.service.handing_on import HandingOn
from runtime import logs, telemetry
from runtime.errors import DatabaseUnavailableError
from runtime.lifecycle import Background

AT_ONCE = 8
"""So many definitions are handed on side by side."""

_FIRST_RETRY_S = 0.25
_LAST_RETRY_S = 10.0

_log = logs.get_logger(__name__)


class Reconciler(Background):
    """Materialises the schedules of one namespace while this replica leads."""

    def __init__(
        self,
        *,
        namespace: str,
        store: ResourceStore,
        materialisations: Materialisations,
        drifts: DriftLog,
        ledger: ScheduleLedger,
        clock: WakeupClock,
        leadership: Leadership,
        changes: Changes,
        now: Callable[[], datetime],
        interval: timedelta,
        inspection_interval: timedelta,
    ) -> None:
        self.name = f"reconciler.{namespace}"
        self._namespace = namespace
        self._store = store
        self._clock = clock
        self._leadership = leadership
        self._changes = changes
        self._interval = interval.total_seconds()
        self._inspection_interval = inspection_interval.total_seconds()
        self._handing_on = HandingOn(
            namespace=namespace,
            store=store,
            materialisations=materialisations,
            drifts=drifts,
            ledger=ledger,
            clock=clock,
            now=now,
        )
        self._demands = Demands(store, namespace)
        self._backlog: Backlog | None = None
        self._ending = False
        self._log = _log.bind(namespace=namespace)
        self._trouble = _Trouble(self._log)
        self._measure()

    def _measure(self) -> None:
        meter = telemetry.meter(__name__)
        here: dict[str, str] = {Attribute.NAMESPACE: self._namespace}

        def leads(_: object) -> Iterable[Observation]:
            return [Observation(int(self._backlog is not None), here)]

        def pending(_: object) -> Iterable[Observation]:
            return [] if self._backlog is None else [Observation(len(self._backlog), here)]

        def lag(_: object) -> Iterable[Observation]:
            return [] if self._backlog is None else [Observation(self._backlog.age_s(), here)]

        for metric, observe, unit, description in (
            (Metric.REGISTRY_RECONCILER_LEADS, leads, "", "1 where this replica leads."),
            (Metric.REGISTRY_RECONCILER_PENDING, pending, "", "Definitions still to look at."),
            (Metric.REGISTRY_RECONCILER_LAG, lag, "s", "Age of the oldest change among them."),
        ):
            meter.create_observable_gauge(metric, [observe], unit=unit, description=description)
        self._durations = meter.create_histogram(
            Metric.REGISTRY_RECONCILER_DURATION,
            unit="s",
            description="Time that a comparison with all that Temporal lists takes.",
        )

    async def stop(self) -> None:
        """Cancel the work and wait until it has let go, the lead given back."""
        # A group of tasks that fail as they are cancelled tells of their failures alone.
        self._ending = True
        await super().stop()

    async def _run(self) -> None:
        failures = 0
        while not self._ending:
            try:
                async with self._leadership.held() as term:
                    self._log.info("reconciler_leads", term=term.number)
                    failures = 0
                    await self._lead(term)
            except* (LeadershipLostError, DatabaseUnavailableError) as lost:
                self._trouble.told(str(_first(lost)))
            failures += 1
            await asyncio.sleep(0 if self._ending else _backoff(failures))

    async def _lead(self, term: Term) -> None:
        self._demands = Demands(self._store, self._namespace)
        self._backlog = backlog = Backlog(asyncio.get_running_loop().time)
        try:
            async with asyncio.TaskGroup() as tasks:
                # From the first moment on: to read what there is takes its time.
                tasks.create_task(term.keep())
                for definition_id in await self._handing_on.load():
                    backlog.add(definition_id)
                await self._refresh(backlog)
                tasks.create_task(self._follow(backlog))
                tasks.create_task(self._compare(term, backlog))
                tasks.create_task(self._inspect(backlog))
                for _ in range(AT_ONCE):
                    tasks.create_task(self._work(term, backlog))
        finally:
            self._backlog = None

    async def _follow(self, backlog: Backlog) -> Never:
        """Take up changes as they come."""
        while True:
            known = self._changes.newest(self._namespace)
            await self._refresh(backlog)
            await self._changes.wait(
                self._namespace, beyond=max(self._demands.seen, known), timeout_s=self._interval
            )
            if self._changes.closed:
                # The process is ending, and will cancel this.
                await asyncio.sleep(self._interval)

    async def _refresh(self, backlog: Backlog) -> None:
        before, seen = self._demands.by_id, self._demands.seen
        changed = await self._demands.refresh()
        if self._demands.by_id is not before and seen:
            # The database was set back: what was recorded of later revisions is gone with them.
            await self._handing_on.load()
            for definition_id in before.keys() - self._demands.by_id.keys():
                backlog.add(definition_id)
        for definition_id in changed:
            demand = self._demands.by_id[definition_id]
            if demand.nothing_ever or self._handing_on.is_done(definition_id, demand.revision):
                continue
            backlog.add(definition_id, changed=True)

    async def _work(self, term: Term, backlog: Backlog) -> Never:
        """Hand on what waits, one after the other."""
        while True:
            await self._trouble.over()
            job = await backlog.take()
            again = True
            try:
                await self._handing_on.hand_on(term, job)
                again = False
            except NeighbourUnavailableError as exc:
                self._trouble.met(str(exc))
            else:
                self._trouble.passed()
            finally:
                backlog.done(job, again=again)

    async def _compare(self, term: Term, backlog: Backlog) -> Never:
        """Compare everything with what is listed, and have looked at what may differ."""
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await self._compare_once(term, backlog)
            except NeighbourUnavailableError as exc:
                self._trouble.met(str(exc))
                await self._trouble.over()
                continue
            if not backlog:
                # What waits in it may do so for another neighbour.
                self._trouble.passed()
            await term.compared()
            took = loop.time() - started
            self._durations.record(took, {Attribute.NAMESPACE: self._namespace})
            await asyncio.sleep(self._interval)

    async def _compare_once(self, term: Term, backlog: Backlog) -> None:
        listed: set[str] = set()
        async for page in self._clock.pages():
            term.confirm()
            listed |= page.keys()
            for definition_id, mark in page.items():
                demand = self._demands.by_id.get(definition_id)
                if demand is None or demand.fingerprint != mark:
                    backlog.add(definition_id)
        for definition_id, demand in self._demands.by_id.items():
            if demand.fingerprint is not None and definition_id not in listed:
                backlog.add(definition_id)
        for definition_id in self._handing_on.refused():
            backlog.add(definition_id)

    async def _inspect(self, backlog: Backlog) -> Never:
        """Have each definition looked at thoroughly, evenly spread over the interval."""
        while True:
            inspected = sorted(
                demand.definition_id
                for demand in self._demands.by_id.values()
                if not demand.nothing_ever
            )
            if not inspected:
                await asyncio.sleep(min(self._interval, self._inspection_interval))
                continue
            # Anywhere: leaders that change often would else look at the first ones only.
            start = random.randrange(len(inspected))  # noqa: S311 - no secret
            for definition_id in inspected[start:] + inspected[:start]:
                await asyncio.sleep(self._inspection_interval / len(inspected))
                backlog.add(definition_id, thorough=True)


class _Trouble:
    """A neighbour that is away: everybody waits, for longer each time, and it is logged once."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self._failures = 0
        self._until = 0.0
        self._is_told = False

    def met(self, error: str) -> None:
        """Say that a neighbour did not answer."""
        now = asyncio.get_running_loop().time()
        # Those who were under way meet the same trouble.
        if now >= self._until:
            self._failures += 1
            self._until = now + _backoff(self._failures)
        self.told(error)

    def told(self, error: str) -> None:
        """Log an error, unless there was one before."""
        if not self._is_told:
            self._log.warning("reconciler_waits", error=error)
        self._is_told = True

    def passed(self) -> None:
        """Say that all neighbours answered."""
        self._failures = 0
        if self._is_told:
            self._log.info("reconciler_goes_on")
        self._is_told = False

    async def over(self) -> None:
        """Return when it is time to try again."""
        # Once: who met trouble tries again, whatever others have met meanwhile.
        await asyncio.sleep(self._until - asyncio.get_running_loop().time())


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _backoff(failures: int) -> float:
    """Return seconds to wait after so many failures in a row, with jitter against stampedes."""
    longest = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
