"""How the schedules of definitions stand: all of them in brief, one in full, what was put back.

It asks database and clock itself, so that every replica can tell it, whoever leads.
"""

import asyncio
import bisect
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from contracts import identifiers
from contracts.resources import ResourceKind, ResourceState
from registry.domain import materialisation, mending
from registry.domain.materialisation import Desired
from registry.domain.mending import Difference
from registry.domain.resources import Key, Resource
from registry.errors import (
    InvalidRequestError,
    MaterialisationError,
    NamespaceNotServedError,
    ResourceNotFoundError,
)
from registry.ports import (
    DriftLog,
    FoundDrift,
    Lease,
    Leases,
    Materialisation,
    Materialisations,
    ResourceStore,
    WakeupClock,
)
from registry.service import pages
from registry.service.demands import Demand, Demands, demand_of
from rules import schedules as evaluation
from rules.errors import RulesError

_CHUNK = 1000
_NEXT_DUE = 5
_DRIFTS_SHOWN = 10
_DRIFTS_PAGE = 50  # each may hold 20 differences


class ScheduleState(StrEnum):
    """How far a definition's schedules are in force."""

    ACTIVE = "active"
    PAUSED = "paused"
    PENDING = "pending"
    REFUSED = "refused"
    DRIFTED = "drifted"


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """One definition's schedules in brief; `detail` says why they are not as they should be."""

    definition_id: str
    state: ScheduleState
    version: int
    revision: int
    attempted_at: datetime | None
    detail: str


@dataclass(frozen=True, slots=True)
class SchedulePage:
    """Some of them by id; no token follows the last."""

    schedules: Sequence[ScheduleView]
    next_token: str


@dataclass(frozen=True, slots=True)
class ScheduleInFull:
    """One definition's schedules, with what stands in Temporal at the moment."""

    brief: ScheduleView
    wanted: Mapping[str, str]
    found: Mapping[str, str]
    differences: Sequence[Difference]
    next_due: Sequence[datetime]
    lease: Lease | None
    drifts: Sequence[FoundDrift]


@dataclass(frozen=True, slots=True)
class DriftPage:
    """Some drifts, newest first; no token follows the last."""

    drifts: Sequence[FoundDrift]
    next_token: str
    lease: Lease | None


class ScheduleViews:
    """Tells of the namespaces that have a clock here."""

    def __init__(
        self,
        store: ResourceStore,
        materialisations: Materialisations,
        drifts: DriftLog,
        leases: Leases,
        clocks: Mapping[str, WakeupClock],
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._materialisations = materialisations
        self._drifts = drifts
        self._leases = leases
        self._clocks = clocks
        self._now = now
        self._demands = {namespace: Demands(store, namespace) for namespace in clocks}
        self._reading: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def list(
        self, namespace: str, *, state: ScheduleState | None, page_size: int, page_token: str
    ) -> SchedulePage:
        """Return a page of the definitions that a clock wakes, or is to wake no longer.

        Raises:
            NamespaceNotServedError: the namespace is not one of ours.
            InvalidRequestError: there is no such page.
        """
        self._clock(namespace)
        limit = pages.limit(page_size)
        after = pages.read_token(page_token, pages.ID)
        demands = self._demands[namespace]
        async with self._reading[namespace]:
            await demands.refresh()
            known = dict(demands.by_id)
        drifting = await self._drifts.open(namespace)
        ids = sorted(known)
        found: list[ScheduleView] = []
        # As a page is filled from some of the ids only, they are read some at a time.
        for start in range(bisect.bisect_right(ids, after), len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            rows = await self._materialisations.of(namespace, chunk)
            attempts = {row.definition_id: row for row in rows}
            for definition_id in chunk:
                view = _brief(
                    known[definition_id],
                    attempts.get(definition_id),
                    drifting=definition_id in drifting,
                )
                if view is not None and state in {None, view.state}:
                    found.append(view)
            if len(found) > limit:
                break
        more = len(found) > limit
        found = found[:limit]
        return SchedulePage(found, pages.token(found[-1].definition_id) if more else "")

    async def get(self, namespace: str, definition_id: str) -> ScheduleInFull:
        """Return one definition's schedules, and look at what stands in Temporal.

        Raises:
            NamespaceNotServedError: the namespace is not one of ours.
            ResourceNotFoundError: there is no such definition, and nothing wakes it.
            NeighbourUnavailableError: Temporal does not answer.
        """
        clock = self._clock(namespace)
        if not pages.ID.fullmatch(definition_id):
            raise ResourceNotFoundError(namespace, definition_id)
        standing = await clock.inspect(definition_id)
        key = Key(ResourceKind.ACTIVITY_DEFINITION, definition_id)
        resource = await self._store.resource(namespace, key)
        if resource is None and standing is None:
            raise ResourceNotFoundError(namespace, definition_id)
        wanted = None if resource is None else _wanted(resource)
        wakeup = None if wanted is None else materialisation.wakeup(wanted)
        expected = None if wakeup is None else await clock.expected(wakeup)
        drifts = await self._drifts.page(
            namespace, definition_id=definition_id, before=None, limit=_DRIFTS_SHOWN
        )
        rows = await self._materialisations.of(namespace, [definition_id])
        differences = mending.plan(expected, standing, handed_on=True).differences
        missing = expected is not None and standing is None
        brief = None
        if resource is not None:
            brief = _brief(
                demand_of(resource),
                next(iter(rows), None),
                drifting=bool(differences) or missing,
            )
        return ScheduleInFull(
            brief=brief or _unasked(definition_id, resource, there=standing is not None),
            wanted={} if expected is None else expected.facts,
            found={} if standing is None else standing.facts,
            differences=differences,
            next_due=await asyncio.to_thread(self._next_due, wanted),
            lease=await self._leases.lease(namespace),
            drifts=drifts,
        )

    async def drifts(
        self, namespace: str, *, definition_id: str, page_size: int, page_token: str
    ) -> DriftPage:
        """Return a page of what was changed by hand: of one definition, or for no id of all.

        Raises:
            NamespaceNotServedError: the namespace is not one of ours.
            InvalidRequestError: there is no such page.
        """
        self._clock(namespace)
        if definition_id and not re.fullmatch(identifiers.DEFINITION_ID_PATTERN, definition_id):
            raise InvalidRequestError("definition_id", "it is not the id of a definition")
        limit = min(pages.limit(page_size), _DRIFTS_PAGE)
        before = pages.read_token(page_token, pages.NUMBER)
        found = await self._drifts.page(
            namespace,
            definition_id=definition_id,
            before=int(before) if before else None,
            limit=limit + 1,
        )
        more = len(found) > limit
        found = found[:limit]
        token = pages.token(str(found[-1].drift_id)) if more else ""
        return DriftPage(found, token, await self._leases.lease(namespace))

    def _clock(self, namespace: str) -> WakeupClock:
        clock = self._clocks.get(namespace)
        if clock is None:
            raise NamespaceNotServedError(namespace, list(self._clocks))
        return clock

    def _next_due(self, wanted: Desired | None) -> Sequence[datetime]:
        if wanted is None or not wanted.enabled:
            return []
        return list(itertools.islice(_due_times(wanted, self._now()), _NEXT_DUE))


def _wanted(resource: Resource) -> Desired | None:
    """Return what a definition asks for, None when that cannot be told."""
    try:
        wanted = materialisation.desired(resource)
        materialisation.wakeup(wanted)
    except (MaterialisationError, RulesError):
        return None
    return wanted


def _due_times(wanted: Desired, after: datetime) -> Iterator[datetime]:
    """Yield the next due times of any of its schedules."""
    while (due := evaluation.next_due_of(wanted.schedules.values(), after)) is not None:
        yield due
        after = due


def _brief(
    demand: Demand, attempt: Materialisation | None, *, drifting: bool
) -> ScheduleView | None:
    """Return how a definition's schedules stand; None when it has none, and nothing is left."""
    state, detail = _state(demand, attempt, drifting=drifting)
    if demand.fingerprint is None and state in {ScheduleState.ACTIVE, ScheduleState.PAUSED}:
        return None
    return ScheduleView(
        definition_id=demand.definition_id,
        state=state,
        version=demand.version,
        revision=demand.revision,
        attempted_at=None if attempt is None else attempt.attempted_at,
        detail=detail,
    )


def _state(
    demand: Demand, attempt: Materialisation | None, *, drifting: bool
) -> tuple[ScheduleState, str]:
    if attempt is None or attempt.revision < demand.revision:
        if not demand.nothing_ever:
            return ScheduleState.PENDING, "its last change has not been handed on yet"
    elif attempt.error is not None:
        waits = materialisation.is_waiting(attempt.error)
        return ScheduleState.PENDING if waits else ScheduleState.REFUSED, attempt.error
    if drifting:
        return ScheduleState.DRIFTED, "changed by hand, and not put back yet"
    return ScheduleState.ACTIVE if demand.enabled else ScheduleState.PAUSED, ""


def _unasked(definition_id: str, resource: Resource | None, *, there: bool) -> ScheduleView:
    """Return the view of a definition without schedules, or of a Schedule without a definition."""
    enabled = resource is not None and resource.state is ResourceState.ACTIVE
    state = ScheduleState.ACTIVE if enabled else ScheduleState.PAUSED
    return ScheduleView(
        definition_id=definition_id,
        state=ScheduleState.DRIFTED if there else state,
        version=0 if resource is None else resource.version,
        revision=0 if resource is None else resource.revision,
        attempted_at=None,
        detail="no definition asks for it" if resource is None else "it has no schedules",
    )
