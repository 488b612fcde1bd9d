"""The drift report: how what is applied differs from what was handed on and what the clock has.

It asks database and clock itself, so that every replica can tell it, whoever leads.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from registry.domain import materialisation
from registry.domain.materialisation import Tampered
from registry.domain.mending import DriftKind
from registry.errors import NamespaceNotServedError
from registry.ports import Materialisation, Materialisations, ResourceStore, WakeupClock
from registry.service.demands import Demand, Demands

SETTLING = timedelta(seconds=10)
"""How long what was just handed on may be missing from the clock's list, which follows late."""


_OF_THE_CLOCK = {DriftKind.MISSING, DriftKind.DIFFERENT, DriftKind.UNEXPECTED}


@dataclass(frozen=True, slots=True)
class Drift:
    """One definition that drifts; `detail` is a sentence, `revision` 0 without a definition."""

    definition_id: str
    kind: DriftKind
    detail: str
    revision: int
    attempted_at: datetime | None


@dataclass(frozen=True, slots=True)
class DriftReport:
    """All drifts by definition id, and how many definitions are woken by a clock."""

    drifts: Sequence[Drift]
    scheduled_definitions: int


class DriftService:
    """Reports on the namespaces that have a clock here."""

    def __init__(
        self,
        store: ResourceStore,
        materialisations: Materialisations,
        clocks: Mapping[str, WakeupClock],
        *,
        now: Callable[[], datetime],
        settling: timedelta = SETTLING,
    ) -> None:
        self._materialisations = materialisations
        self._clocks = clocks
        self._now = now
        self._settling = settling
        self._demands = {namespace: Demands(store, namespace) for namespace in clocks}
        self._reading: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def report(self, namespace: str) -> DriftReport:
        """Compare the definitions of a namespace with what is there now.

        Raises:
            NamespaceNotServedError: the namespace is not one of ours.
            NeighbourUnavailableError: Temporal does not answer.
        """
        clock = self._clocks.get(namespace)
        if clock is None:
            raise NamespaceNotServedError(namespace, list(self._clocks))
        demands = self._demands[namespace]
        async with self._reading[namespace]:
            await demands.refresh()
            known = dict(demands.by_id)
        present: dict[str, str] = {}
        async for page in clock.pages():
            present |= page
        attempts = {row.definition_id: row for row in await self._materialisations.all(namespace)}
        settled_before = self._now() - self._settling
        drifts = []
        for definition_id in sorted(known.keys() | present.keys()):
            drift = _drift(
                definition_id,
                known.get(definition_id),
                present.get(definition_id),
                attempts.get(definition_id),
                settled_before=settled_before,
            )
            if drift is not None:
                drifts.append(drift)
        return DriftReport(
            drifts, sum(1 for demand in known.values() if demand.fingerprint is not None)
        )


def _drift(
    definition_id: str,
    demand: Demand | None,
    present: str | None,
    attempt: Materialisation | None,
    *,
    settled_before: datetime,
) -> Drift | None:
    found: tuple[DriftKind, str] | None
    if demand is None:
        found = (
            DriftKind.UNEXPECTED,
            "there is a Temporal Schedule, and there is no such definition",
        )
    else:
        found = _not_handed_on(demand, attempt) or _unlike(demand, present)
        settled = demand.nothing_ever or (
            attempt is not None and attempt.attempted_at <= settled_before
        )
        if found is not None and found[0] in _OF_THE_CLOCK and not settled:
            found = (
                DriftKind.PENDING,
                f"revision {demand.revision} was just handed on; Temporal does not show it yet",
            )
    if found is None:
        return None
    return Drift(
        definition_id=definition_id,
        kind=found[0],
        detail=found[1],
        revision=demand.revision if demand is not None else 0,
        attempted_at=attempt.attempted_at if attempt is not None else None,
    )


def _not_handed_on(demand: Demand, attempt: Materialisation | None) -> tuple[DriftKind, str] | None:
    if demand.nothing_ever:
        return None
    pending = f"revision {demand.revision} has not been handed on yet"
    if attempt is None or attempt.revision < demand.revision:
        return DriftKind.PENDING, pending
    if attempt.error is None:
        return None
    if materialisation.is_waiting(attempt.error):
        return DriftKind.PENDING, f"{pending}: {attempt.error}"
    return DriftKind.REFUSED, attempt.error


def _unlike(demand: Demand, present: str | None) -> tuple[DriftKind, str] | None:
    if present == demand.fingerprint:
        return None
    if demand.fingerprint is None:
        return (
            DriftKind.UNEXPECTED,
            "there is a Temporal Schedule, and the definition asks for none",
        )
    if present is None:
        return (
            DriftKind.MISSING,
            "there is no Temporal Schedule: nothing wakes the definition until there is one again",
        )
    if present == Tampered.PAUSED and demand.enabled:
        detail = "the Temporal Schedule was paused by hand: nothing wakes the definition"
    elif present in set(Tampered):
        detail = "the Temporal Schedule was changed by hand"
    else:
        detail = f"the Temporal Schedule was not made from version {demand.version} as it is now"
    return DriftKind.DIFFERENT, detail
