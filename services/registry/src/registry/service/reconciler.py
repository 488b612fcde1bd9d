"""Makes the ledger and the wake-up clock follow the definitions, however often either is away.

One replica does this for a namespace. The ledger is told first, and the clock after it: a wake-up
for which the ledger knows no schedule would account for nothing. Everything written is idempotent
and follows from the definitions' last changes alone, so that a crash between any two steps is made
good by the next pass.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Never

from contracts.resources import ResourceKind, ResourceState
from registry.domain import materialisation
from registry.domain.materialisation import Release
from registry.domain.resources import Key
from registry.errors import LeadershipLostError, MaterialisationError, NeighbourUnavailableError
from registry.ports import (
    Leadership,
    Materialisations,
    ResourceStore,
    ScheduleLedger,
    Term,
    WakeupClock,
)
from registry.service.changes import Changes
from registry.service.demands import Demand, Demands
from runtime import logs
from runtime.errors import DatabaseUnavailableError
from runtime.lifecycle import Background

_FIRST_RETRY_S = 0.25
_LAST_RETRY_S = 10.0

_log = logs.get_logger(__name__)


@dataclass(slots=True)
class _Entry:
    """A definition as this replica has to hand it on, and how far that has come."""

    demand: Demand
    release: Release | None = None
    ledger_told: bool = False
    materialised: bool = False
    # The error that the database has of it: empty for success, None before the first record.
    recorded: str | None = None

    def stands(self, present: Mapping[str, str]) -> bool:
        """Say whether the clock has exactly what is wanted."""
        wakeup = self.demand.wakeup
        fingerprint = wakeup.fingerprint if wakeup is not None else None
        return present.get(self.demand.definition_id) == fingerprint


class Reconciler(Background):
    """Materialises the schedules of one namespace while this replica leads.

    A changed definition is handed on at once; every `interval` all are compared with what is there.
    """

    def __init__(
        self,
        *,
        namespace: str,
        store: ResourceStore,
        materialisations: Materialisations,
        ledger: ScheduleLedger,
        clock: WakeupClock,
        leadership: Leadership,
        changes: Changes,
        now: Callable[[], datetime],
        interval: timedelta,
    ) -> None:
        self.name = f"reconciler.{namespace}"
        self._namespace = namespace
        self._store = store
        self._materialisations = materialisations
        self._ledger = ledger
        self._clock = clock
        self._leadership = leadership
        self._changes = changes
        self._now = now
        self._interval = interval.total_seconds()
        self._demands = Demands(store, namespace)
        self._entries: dict[str, _Entry] = {}
        self._trouble: str | None = None
        self._log = _log.bind(namespace=namespace)

    async def _run(self) -> Never:
        failures = 0
        while True:
            try:
                async with self._leadership.held() as term:
                    self._log.info("reconciler_leads")
                    failures = 0
                    await self._lead(term)
            except (LeadershipLostError, DatabaseUnavailableError) as exc:
                self._in_trouble(str(exc))
                failures += 1
                await asyncio.sleep(_backoff(failures))

    async def _lead(self, term: Term) -> Never:
        """Follow the changes. A new term trusts nothing that an earlier one has done."""
        self._demands, self._entries = Demands(self._store, self._namespace), {}
        loop = asyncio.get_running_loop()
        failures, full_due = 0, loop.time()
        while True:
            known = self._changes.newest(self._namespace)
            try:
                await term.confirm()
                changed = await self._refresh()
                if loop.time() >= full_due or failures:
                    healthy = await self._reconcile_all(term)
                    full_due = loop.time() + self._interval
                else:
                    healthy = await self._reconcile(term, changed)
            except NeighbourUnavailableError as exc:
                await self._record_away(exc)
                self._in_trouble(str(exc))
                failures += 1
                # News do not cut this short: whatever changed, the neighbour is still away.
                await asyncio.sleep(_backoff(failures))
                continue
            self._out_of_trouble()
            failures = 0 if healthy else failures + 1
            pause = full_due - loop.time()
            await self._changes.wait(
                self._namespace,
                beyond=max(self._demands.seen, known),
                timeout_s=min(pause, _backoff(failures)) if failures else pause,
            )
            if self._changes.closed:
                # The process is ending, and will cancel this.
                await asyncio.sleep(self._interval)

    async def _refresh(self) -> list[str]:
        """Read what has changed since the last time; return whose definitions."""
        changed = await self._demands.refresh()
        released = await self._store.released(self._namespace, changed) if changed else {}
        for definition_id in changed:
            enabled = released.get(definition_id)
            self._entries[definition_id] = _Entry(
                self._demands.by_id[definition_id],
                None if enabled is None else materialisation.release(self._namespace, enabled),
            )
        for definition_id in self._entries.keys() - self._demands.by_id.keys():
            del self._entries[definition_id]
        return changed

    async def _reconcile_all(self, term: Term) -> bool:
        """Compare everything with what is there; return False when a definition was refused."""
        present = await self._clock.fingerprints(self._namespace)
        healthy = await self._reconcile(term, list(self._entries), present)
        for definition_id in sorted(set(present) - set(self._entries)):
            await term.confirm()
            # Another replica may have led, and applied it, since we read.
            key = Key(ResourceKind.ACTIVITY_DEFINITION, definition_id)
            present_now = await self._store.resource(self._namespace, key)
            if present_now is None or present_now.state is ResourceState.RETIRED:
                await self._clock.remove(self._namespace, definition_id)
                self._log.info("schedule_removed", definition_id=definition_id)
        return healthy

    async def _reconcile(
        self,
        term: Term,
        definition_ids: Iterable[str],
        present: Mapping[str, str] | None = None,
    ) -> bool:
        """Hand these definitions on; `present` is what the clock has, None when that is unknown."""
        healthy = True
        for definition_id in dict.fromkeys(definition_ids):
            entry = self._entries[definition_id]
            if entry.demand.nothing_ever and definition_id not in (present or ()):
                continue
            if entry.materialised and present is not None and entry.stands(present):
                continue
            await term.confirm()
            entry.materialised = False
            try:
                await self._hand_on(entry, present)
            except MaterialisationError as exc:
                healthy = False
                await self._record(entry, error=str(exc))
            else:
                entry.materialised = True
                await self._record(entry, error=None)
        return healthy

    async def _hand_on(self, entry: _Entry, present: Mapping[str, str] | None) -> None:
        wanted, wakeup = entry.demand.wanted, entry.demand.wakeup
        if wanted is None:
            raise MaterialisationError(entry.demand.refusal)
        if not entry.ledger_told:
            await self._ledger.put(wanted)
            if entry.release is not None:
                await self._ledger.release(entry.release)
            entry.ledger_told = True
        if present is not None and entry.stands(present):
            return
        if wakeup is None:
            await self._clock.remove(wanted.namespace, wanted.definition_id)
        else:
            late = materialisation.overdue(wanted, now=self._now())
            await self._clock.put(wakeup, at_once=late)

    async def _record_away(self, exc: NeighbourUnavailableError) -> None:
        error = materialisation.waits_for(exc.neighbour)
        for entry in self._entries.values():
            if not entry.materialised and not entry.demand.nothing_ever:
                await self._record(entry, error=error, quietly=True)

    async def _record(self, entry: _Entry, *, error: str | None, quietly: bool = False) -> None:
        if entry.recorded == (error or ""):
            return
        demand = entry.demand
        await self._materialisations.record(
            self._namespace, demand.definition_id, revision=demand.revision, error=error
        )
        entry.recorded = error or ""
        fields = {
            "definition_id": demand.definition_id,
            "version": demand.version,
            "revision": demand.revision,
        }
        if error is None:
            schedules = demand.wanted.schedules if demand.wanted is not None else ()
            self._log.info("schedules_materialised", schedules=len(schedules), **fields)
        elif not quietly:
            self._log.error("schedules_refused", error=error, **fields)

    def _in_trouble(self, error: str) -> None:
        if self._trouble is None:
            self._log.warning("reconciler_waits", error=error)
        self._trouble = error

    def _out_of_trouble(self) -> None:
        if self._trouble is not None:
            self._log.info("reconciler_goes_on")
        self._trouble = None


def _backoff(failures: int) -> float:
    """Return seconds to wait after so many failures in a row, with jitter against stampedes."""
    longest = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
