"""Wake-ups as Temporal Schedules: one for each definition that has schedules.

Temporal only wakes; which due times there are and what becomes of them is the ledger's to say. So
every wake-up is let through (overlap ALLOW_ALL, a catch-up window of a year, no jitter), and the
times are given as calendars in UTC, never as cron text, which Temporal reads differently.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleListSchedule,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from contracts import identifiers, names
from contracts.runs import TickInput
from registry.domain.materialisation import Tampered, Wakeup
from registry.errors import MaterialisationError, NeighbourUnavailableError
from rules.schedules import Span, WakeCalendar
from runtime.faultpoints import faultpoint

_CATCHUP_WINDOW = timedelta(days=365)
_TICK_EXECUTION_TIMEOUT = timedelta(hours=24)
_TICK_TASK_TIMEOUT = timedelta(seconds=5)
_RPC_TIMEOUT = timedelta(seconds=10)
_REFUSALS = frozenset({RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION})
_NOTE = re.compile(r"^backbone ([a-z2-7]{26}) ([a-z2-7]{26})$")

# A list holds no more of a spec's calendars and intervals than that.
_LISTED = 10


class TemporalWakeupClock:
    """The Schedules of one Temporal namespace whose ids are ours.

    What a Schedule was made from is a fingerprint in its note, beside a seal over what was written:
    equal ones are left alone, and one that somebody has paused, which changes the note, or edited,
    which breaks the seal, is made right again.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def fingerprints(self, namespace: str) -> dict[str, str]:
        """Return the fingerprint of each definition that is woken, or how it was `Tampered` with.

        Temporal lists with some delay.

        Raises:
            NeighbourUnavailableError: Temporal does not answer.
        """
        del namespace
        found: dict[str, str] = {}
        with _errors():
            faultpoint("registry.before_list_wakeups")
            async for listed in await self._client.list_schedules(
                page_size=1000, rpc_timeout=_RPC_TIMEOUT
            ):
                definition_id = identifiers.definition_of_schedule(listed.id)
                if definition_id is None:
                    continue
                found[definition_id] = _fingerprint_of(listed.schedule)
            faultpoint("registry.after_list_wakeups")
        return found

    async def put(self, wakeup: Wakeup, *, at_once: bool) -> None:
        """Create or update a definition's Schedule unless it has the fingerprint already.

        Raises:
            NeighbourUnavailableError: Temporal does not answer.
            MaterialisationError: it refuses the Schedule.
        """
        schedule = _schedule(wakeup)
        with _errors():
            try:
                await self._update(wakeup, schedule, at_once=at_once)
            except RPCError as exc:
                if exc.status is not RPCStatusCode.NOT_FOUND:
                    raise
                faultpoint("registry.before_create_wakeup")
                await self._client.create_schedule(
                    identifiers.schedule_id(wakeup.definition_id),
                    schedule,
                    trigger_immediately=at_once,
                    rpc_timeout=_RPC_TIMEOUT,
                )
                faultpoint("registry.after_create_wakeup")

    async def _update(self, wakeup: Wakeup, schedule: Schedule, *, at_once: bool) -> None:
        changed = False

        def replace(present: ScheduleUpdateInput) -> ScheduleUpdate | None:
            nonlocal changed
            changed = _fingerprint_of(present.description.schedule) != wakeup.fingerprint
            return ScheduleUpdate(schedule) if changed else None

        handle = self._client.get_schedule_handle(identifiers.schedule_id(wakeup.definition_id))
        faultpoint("registry.before_update_wakeup")
        await handle.update(replace, rpc_timeout=_RPC_TIMEOUT)
        faultpoint("registry.after_update_wakeup")
        if changed and at_once:
            faultpoint("registry.before_trigger_wakeup")
            await handle.trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL, rpc_timeout=_RPC_TIMEOUT)
            faultpoint("registry.after_trigger_wakeup")

    async def remove(self, namespace: str, definition_id: str) -> None:
        """Delete a definition's Schedule, if there is one.

        Raises:
            NeighbourUnavailableError: Temporal does not answer.
        """
        del namespace
        handle = self._client.get_schedule_handle(identifiers.schedule_id(definition_id))
        with _errors():
            try:
                faultpoint("registry.before_delete_wakeup")
                await handle.delete(rpc_timeout=_RPC_TIMEOUT)
                faultpoint("registry.after_delete_wakeup")
            except RPCError as exc:
                if exc.status is not RPCStatusCode.NOT_FOUND:
                    raise


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ScheduleAlreadyRunningError as exc:
        # It was created between our look and our attempt: the next pass sees it.
        raise NeighbourUnavailableError("Temporal", "the schedule was just created") from exc
    except RPCError as exc:
        if exc.status in _REFUSALS:
            raise MaterialisationError(f"Temporal refuses the schedule: {exc}") from exc
        raise NeighbourUnavailableError("Temporal", f"{exc.status.name}: {exc}") from exc
    except RuntimeError as exc:
        # What a client says that could not connect.
        raise NeighbourUnavailableError("Temporal", str(exc)) from exc


def _fingerprint_of(schedule: Schedule | ScheduleListSchedule | None) -> str:
    if schedule is None:
        return Tampered.EDITED
    action = schedule.action
    workflow = str(getattr(action, "workflow", ""))
    match = _NOTE.match(schedule.state.note or "")
    if match is not None:
        fingerprint, seal = match.groups()
        if seal == _seal(fingerprint, workflow, schedule.spec, paused=schedule.state.paused):
            return fingerprint
    return Tampered.PAUSED if schedule.state.paused else Tampered.EDITED


def _seal(fingerprint: str, workflow: str, spec: ScheduleSpec, *, paused: bool) -> str:
    """Return a hash over what a list tells of a Schedule."""
    others = (spec.start_at, spec.end_at, spec.jitter or timedelta(0), spec.time_zone_name or "UTC")
    return identifiers.short_hash(
        fingerprint,
        workflow,
        str(paused),
        repr([str(other) for other in others]),
        *(_told(calendar) for calendar in spec.calendars[:_LISTED]),
        *(f"{part.every} {part.offset or timedelta(0)}" for part in spec.intervals[:_LISTED]),
        *(f"not {_told(calendar)}" for calendar in spec.skip[:_LISTED]),
    )


def _told(calendar: ScheduleCalendarSpec) -> str:
    fields: Iterable[Sequence[ScheduleRange]] = (
        calendar.second,
        calendar.minute,
        calendar.hour,
        calendar.day_of_month,
        calendar.month,
        calendar.year,
        calendar.day_of_week,
    )
    return repr([[(part.start, part.end, part.step) for part in ranges] for ranges in fields])


def _schedule(wakeup: Wakeup) -> Schedule:
    workflow = names.Workflow.SCHEDULED_TICK.value
    spec = ScheduleSpec(
        calendars=[_calendar(part) for spec in wakeup.specs for part in spec.calendars],
        intervals=[
            ScheduleIntervalSpec(every=part.every)
            for spec in wakeup.specs
            for part in spec.intervals
        ],
    )
    paused = not wakeup.enabled
    seal = _seal(wakeup.fingerprint, workflow, spec, paused=paused)
    return Schedule(
        action=ScheduleActionStartWorkflow(
            workflow,
            TickInput(namespace=wakeup.namespace, definition_id=wakeup.definition_id),
            id=identifiers.tick_workflow_id(wakeup.definition_id),
            task_queue=names.TICK_TASK_QUEUE,
            execution_timeout=_TICK_EXECUTION_TIMEOUT,
            task_timeout=_TICK_TASK_TIMEOUT,
        ),
        spec=spec,
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=_CATCHUP_WINDOW
        ),
        state=ScheduleState(note=f"backbone {wakeup.fingerprint} {seal}", paused=paused),
    )


def _calendar(calendar: WakeCalendar) -> ScheduleCalendarSpec:
    return ScheduleCalendarSpec(
        minute=_ranges(calendar.minute),
        hour=_ranges(calendar.hour),
        day_of_month=_ranges(calendar.day_of_month),
        month=_ranges(calendar.month),
        day_of_week=_ranges(calendar.day_of_week),
    )


def _ranges(spans: Sequence[Span]) -> list[ScheduleRange]:
    return [ScheduleRange(start=s.start, end=s.end, step=s.step) for s in spans]
