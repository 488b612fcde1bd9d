"""What the definitions of a namespace ask of the ledger and the clock, read where it has changed.

Reconciler and drift report look at the same thing: each keeps one of these.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.resources import ResourceKind, ResourceState
from registry.domain import materialisation
from registry.domain.materialisation import Desired
from registry.domain.resources import Resource
from registry.errors import MaterialisationError
from registry.ports import ResourceStore
from rules.errors import RulesError

_READ_PAGE = 200
_READ_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Demand:
    """What one definition asks for, in brief: `fingerprint` is None where nothing wakes it.

    `refusal` says why it cannot be told, and is empty if it can. Of a definition that asks for
    `nothing_ever`, neither ledger nor clock has ever heard. There is one of these for every
    definition in memory: what is handed on is read when it is.
    """

    definition_id: str
    version: int
    revision: int
    fingerprint: str | None
    enabled: bool
    refusal: str = ""
    nothing_ever: bool = False


class Demands:
    """The demands of one namespace's definitions by id, as of revision `seen`."""

    def __init__(self, store: ResourceStore, namespace: str) -> None:
        self._store = store
        self._namespace = namespace
        self.by_id: dict[str, Demand] = {}
        self.seen = 0

    async def refresh(self) -> list[str]:
        """Read what has changed since the last time; return whose demands.

        From its beginning, if the database no longer knows what was seen: it was set back.
        """
        if await self._store.revision(self._namespace) < self.seen:
            self.by_id, self.seen = {}, 0
        changed: list[str] = []
        while page := await self._store.changed(
            self._namespace, after_revision=self.seen, limit=_READ_PAGE, max_bytes=_READ_BYTES
        ):
            # Reading definitions and compiling their calendars is work for more than a moment.
            for demand in await asyncio.to_thread(_demands, page):
                self.by_id[demand.definition_id] = demand
                changed.append(demand.definition_id)
            self.seen = page[-1].revision
        return changed


def _demands(resources: Sequence[Resource]) -> list[Demand]:
    return [
        demand_of(resource)
        for resource in resources
        if resource.key.kind is ResourceKind.ACTIVITY_DEFINITION
    ]


def demand_of(resource: Resource) -> Demand:
    """Return what a definition asks for, in brief."""
    fingerprint, quiet, refusal = None, False, ""
    try:
        wanted = materialisation.desired(resource)
        wakeup = materialisation.wakeup(wanted)
    except (MaterialisationError, RulesError) as exc:
        refusal = str(exc)
    else:
        fingerprint = None if wakeup is None else wakeup.fingerprint
        quiet = nothing_ever(resource, wanted)
    return Demand(
        definition_id=resource.key.resource_id,
        version=resource.version,
        revision=resource.revision,
        fingerprint=fingerprint,
        enabled=resource.state is ResourceState.ACTIVE,
        refusal=refusal,
        nothing_ever=quiet,
    )


def nothing_ever(resource: Resource, wanted: Desired) -> bool:
    """Say whether its first version has no schedules, and nothing has happened to it since."""
    return not wanted.schedules and resource.version == 1 and resource.latest == resource.applied
