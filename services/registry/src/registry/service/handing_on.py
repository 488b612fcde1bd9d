"""Hands one definition on: the ledger is told first, and the clock after it.

A wake-up for which the ledger knows no schedule would account for nothing. Everything written is
idempotent and follows from the definition's last change alone, so that a crash between any two
steps is made good by whoever looks next.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from contracts.resources import ResourceKind
from contracts.telemetry import Attribute, Metric
from registry.domain import materialisation, mending
from registry.domain.materialisation import Desired, Wakeup
from registry.domain.mending import Plan, Standing, Step
from registry.domain.resources import Key, Resource
from registry.errors import MaterialisationError, NeighbourUnavailableError, WakeupMovedError
from registry.ports import (
    DriftLog,
    Materialisations,
    ResourceStore,
    ScheduleLedger,
    Term,
    WakeupClock,
)
from registry.service import demands
from registry.service.backlog import Job
from rules.errors import RulesError
from runtime import logs, telemetry

_LOOKS = 4

_log = logs.get_logger(__name__)


class HandingOn:
    """Hands definitions of one namespace on, and remembers how far that has come.

    The order of a look makes a process harmless that hangs and writes late: what stands is read
    first, what is wanted after it, and what is written replaces only what was read. A write of
    somebody else in between voids ours; without one, nothing newer was wanted.
    """

    def __init__(
        self,
        *,
        namespace: str,
        store: ResourceStore,
        materialisations: Materialisations,
        drifts: DriftLog,
        ledger: ScheduleLedger,
        clock: WakeupClock,
        now: Callable[[], datetime],
    ) -> None:
        self._namespace = namespace
        self._store = store
        self._materialisations = materialisations
        self._drifts = drifts
        self._ledger = ledger
        self._clock = clock
        self._now = now
        # What the database has: the revision, and the error if there was one.
        self._recorded: dict[str, tuple[int, str | None]] = {}
        self._drifting: set[str] = set()
        # Of what is not recorded yet: as of which revision the ledger knows it.
        self._told: dict[str, int] = {}
        self._log = _log.bind(namespace=namespace)
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.REGISTRY_SCHEDULE_DRIFTS,
            description="Schedules that were found changed by hand, and put back.",
        )

    async def load(self) -> set[str]:
        """Read how far others have come; return whose drift is not known to be repaired."""
        self._told.clear()
        self._recorded = {
            row.definition_id: (row.revision, row.error)
            for row in await self._materialisations.all(self._namespace)
        }
        self._drifting = await self._drifts.open(self._namespace)
        return set(self._drifting)

    def is_done(self, definition_id: str, revision: int) -> bool:
        """Say whether a definition was handed on as of this revision."""
        return self._recorded.get(definition_id) == (revision, None)

    def refused(self) -> list[str]:
        """Return which definitions were refused, or wait for a neighbour."""
        return [one for one, (_, error) in self._recorded.items() if error is not None]

    async def hand_on(self, term: Term, job: Job) -> None:
        """Make ledger and clock agree with a definition's last change; record what came of it.

        Raises:
            NeighbourUnavailableError: ledger or Temporal does not answer.
            LeadershipLostError: this process leads no longer.
        """
        definition_id = job.definition_id
        # Of what nobody has handed on there is nothing to look at, mostly.
        look = job.look or definition_id in self._recorded
        for _ in range(_LOOKS):
            term.confirm()
            resource = None
            standing = await self._clock.inspect(definition_id) if look else None
            key = Key(ResourceKind.ACTIVITY_DEFINITION, definition_id)
            resource = await self._store.resource(self._namespace, key)
            try:
                if resource is None:
                    settled = await self._hand_on_nothing(term, definition_id, standing)
                else:
                    settled = await self._hand_on_as(term, resource, standing, job, looked=look)
            except WakeupMovedError:
                settled = False
            except MaterialisationError as exc:
                if resource is None:
                    raise NeighbourUnavailableError("Temporal", str(exc)) from exc
                await self._record(resource, error=str(exc))
                return
            except NeighbourUnavailableError as exc:
                if resource is not None and not self.is_done(definition_id, resource.revision):
                    waits = materialisation.waits_for(exc.neighbour)
                    await self._record(resource, error=waits, quietly=True)
                raise
            if settled:
                return
            look, job = True, replace(job, thorough=False)
        raise NeighbourUnavailableError("Temporal", f"others keep changing {definition_id}")

    async def _hand_on_nothing(
        self, term: Term, definition_id: str, standing: Standing | None
    ) -> bool:
        """Remove what no definition asks for; return whether there is nothing left of it."""
        plan = mending.plan(None, standing, handed_on=True)
        if plan.step is Step.LEAVE:
            await self._repaired(definition_id)
            return True
        await self._found(definition_id, plan, revision=0)
        term.confirm()
        await self._clock.remove(definition_id)
        return False

    async def _hand_on_as(
        self,
        term: Term,
        resource: Resource,
        standing: Standing | None,
        job: Job,
        *,
        looked: bool,
    ) -> bool:
        """Hand a definition on as it was read; return whether it stands, as far as we know."""
        wanted, wakeup = _wanted(resource)
        if wakeup is None and not looked:
            return False
        if standing is None and demands.nothing_ever(resource, wanted):
            await self._repaired(job.definition_id)
            return True
        done = self.is_done(job.definition_id, resource.revision)
        told = self._told.get(job.definition_id) == resource.revision
        if not (done or told) or job.thorough:
            await self._tell_ledger(resource, wanted)
            self._told[job.definition_id] = resource.revision
        expected = None if wakeup is None else await self._clock.expected(wakeup)
        plan = mending.plan(expected, standing, handed_on=done)
        if plan.drift is not None:
            await self._found(job.definition_id, plan, revision=resource.revision)
        term.confirm()
        await self._carry_out(plan, wanted, wakeup, standing)
        if plan.drift is not None:
            # It is put back when it is seen to stand.
            return False
        await self._record(resource, error=None, schedules=len(wanted.schedules))
        if plan.step is Step.LEAVE:
            await self._repaired(job.definition_id)
        return plan.step is Step.LEAVE or job.definition_id not in self._drifting

    async def _tell_ledger(self, resource: Resource, wanted: Desired) -> None:
        await self._ledger.put(wanted)
        if resource.version == 1 and resource.latest == resource.applied:
            # Nothing has happened to it that could say what becomes of held events.
            return
        released = await self._store.released(self._namespace, [wanted.definition_id])
        enabled = released.get(wanted.definition_id)
        if enabled is None:
            return
        release = materialisation.release(self._namespace, enabled)
        if release is not None:
            await self._ledger.release(release)

    async def _carry_out(
        self, plan: Plan, wanted: Desired, wakeup: Wakeup | None, standing: Standing | None
    ) -> None:
        late = materialisation.overdue(wanted, now=self._now())
        if plan.step is Step.REMOVE:
            await self._clock.remove(wanted.definition_id)
        elif plan.step is Step.CREATE and wakeup is not None:
            await self._clock.create(wakeup, at_once=late)
        elif plan.step is Step.UPDATE and wakeup is not None and standing is not None:
            await self._clock.update(wakeup, standing, at_once=late)

    async def _found(self, definition_id: str, plan: Plan, *, revision: int) -> None:
        assert plan.drift is not None  # noqa: S101 - for the type checker
        self._drifting.add(definition_id)
        if not await self._drifts.found(self._namespace, definition_id, plan, revision=revision):
            return
        self._count("found")
        self._log.warning(
            "schedule_drift_found",
            definition_id=definition_id,
            drift=plan.drift.value,
            paths=[one.path for one in plan.differences],
        )

    async def _repaired(self, definition_id: str) -> None:
        if definition_id not in self._drifting:
            return
        if await self._drifts.repaired(self._namespace, definition_id):
            self._count("repaired")
            self._log.info("schedule_drift_repaired", definition_id=definition_id)
        self._drifting.discard(definition_id)

    def _count(self, outcome: str) -> None:
        self._counter.add(1, {Attribute.NAMESPACE: self._namespace, Attribute.OUTCOME: outcome})

    async def _record(
        self, resource: Resource, *, error: str | None, schedules: int = 0, quietly: bool = False
    ) -> None:
        definition_id = resource.key.resource_id
        if error is None:
            self._told.pop(definition_id, None)
        if self._recorded.get(definition_id) == (resource.revision, error):
            return
        await self._materialisations.record(
            self._namespace, definition_id, revision=resource.revision, error=error
        )
        self._recorded[definition_id] = (resource.revision, error)
        fields = {
            "definition_id": definition_id,
            "version": resource.version,
            "revision": resource.revision,
        }
        if error is None:
            self._log.info("schedules_materialised", schedules=schedules, **fields)
        elif not quietly:
            self._log.error("schedules_refused", error=error, **fields)


def _wanted(resource: Resource) -> tuple[Desired, Wakeup | None]:
    try:
        wanted = materialisation.desired(resource)
        return wanted, materialisation.wakeup(wanted)
    except RulesError as exc:
        raise MaterialisationError(str(exc)) from exc
