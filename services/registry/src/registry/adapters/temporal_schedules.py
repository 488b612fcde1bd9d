"""Wake-ups as Temporal Schedules: one for each definition that has schedules.

Temporal only wakes; which due times there are and what becomes of them is the ledger's to say. So
every wake-up is let through (overlap ALLOW_ALL, a catch-up window of a year, no jitter), and the
times are given as calendars in UTC, never as cron text, which Temporal reads differently.

The server's messages are used as they are: the SDK's own classes hide the token of a Schedule,
without which a process that hung could overwrite what was written since.
"""

import re
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payloads, WorkflowType
from temporalio.api.enums.v1 import ScheduleOverlapPolicy
from temporalio.api.schedule.v1 import (
    IntervalSpec,
    Range,
    Schedule,
    ScheduleAction,
    ScheduleListEntry,
    SchedulePatch,
    SchedulePolicies,
    ScheduleSpec,
    ScheduleState,
    StructuredCalendarSpec,
    TriggerImmediatelyRequest,
)
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    DeleteScheduleRequest,
    DescribeScheduleRequest,
    ListSchedulesRequest,
    PatchScheduleRequest,
    UpdateScheduleRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from contracts import identifiers, names
from contracts.runs import TickInput
from registry.adapters import schedule_facts
from registry.adapters.pacing import Pace
from registry.domain.materialisation import LAYOUT, Tampered, Wakeup
from registry.domain.mending import Expected, Standing
from registry.errors import MaterialisationError, NeighbourUnavailableError, WakeupMovedError
from rules.wakeups import Span, WakeCalendar
from runtime import payloadcodec, temporal
from runtime.datakeys import NotOpenedError
from runtime.faultpoints import faultpoint

_CATCHUP_WINDOW = timedelta(days=365)
_TICK_EXECUTION_TIMEOUT = timedelta(hours=24)
_TICK_TASK_TIMEOUT = timedelta(seconds=5)
_RPC_TIMEOUT = timedelta(seconds=10)
_PAGE = 1000
_REFUSALS = frozenset({RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION})
_NOTE = re.compile(r"^backbone(?:/(\d+))? ([a-z2-7]{26}) ([a-z2-7]{26})$")


class TemporalWakeupClock:
    """The Schedules of one Temporal namespace whose ids are ours; no others are touched.

    What a Schedule was made from is a fingerprint in its note, beside a seal over what a list tells
    of it: one that somebody has paused, which changes the note, or edited, which breaks the seal,
    is known at a glance. Everything else is seen by `inspect`.
    """

    def __init__(self, client: Client, pace: Pace | None = None) -> None:
        """Use `client`, calling no more often than `pace` lets through."""
        self._client = client
        self._service = client.workflow_service
        self._pace = pace

    async def pages(self) -> AsyncIterator[dict[str, str]]:
        """Yield what is listed, a page at a time: the mark of each definition that is woken.

        Temporal lists with some delay.

        Raises:
            NeighbourUnavailableError: Temporal does not answer.
        """
        request = ListSchedulesRequest(namespace=self._client.namespace, maximum_page_size=_PAGE)
        while True:
            with _errors():
                await self._turn()
                faultpoint("registry.before_list_wakeups")
                page = await self._service.list_schedules(request, retry=True, timeout=_RPC_TIMEOUT)
                faultpoint("registry.after_list_wakeups")
            yield dict(_listed(page.schedules))
            if not page.next_page_token:
                return
            request.next_page_token = page.next_page_token

    async def expected(self, wakeup: Wakeup) -> Expected:
        """Return what a Schedule made from `wakeup` is."""
        schedule = await self._schedule(wakeup)
        codec = temporal.codec_of(self._client)
        facts = schedule_facts.of_schedule(self._opened(schedule))
        return Expected(wakeup.fingerprint, facts | _key(None if codec is None else codec.key_id))

    async def inspect(self, definition_id: str) -> Standing | None:
        """Return the Schedule of a definition as it stands now, None when there is none.

        Raises:
            NeighbourUnavailableError: Temporal does not answer.
        """
        request = DescribeScheduleRequest(
            namespace=self._client.namespace, schedule_id=identifiers.schedule_id(definition_id)
        )
        try:
            with _errors():
                await self._turn()
                faultpoint("registry.before_describe_wakeup")
                found = await self._service.describe_schedule(
                    request, retry=True, timeout=_RPC_TIMEOUT
                )
                faultpoint("registry.after_describe_wakeup")
        except _NotThereError:
            return None
        schedule = found.schedule
        mark = _mark(
            schedule.state.notes,
            schedule.action.start_workflow.workflow_type.name,
            schedule.spec,
            paused=schedule.state.paused,
        )
        opened = self._opened(schedule)
        payloads = schedule.action.start_workflow.input.payloads
        key_id = payloadcodec.key_of(payloads[0]) if payloads else None
        codec = temporal.codec_of(self._client)
        if codec is not None and key_id != codec.key_id and self._is_ours(opened, definition_id):
            # As it was written, with another key or none: to be written anew, and nobody's fault.
            mark = mark if mark in set(Tampered) else _UNDER_ANOTHER_KEY
        facts = schedule_facts.of_schedule(opened) | _key(key_id)
        return Standing(mark, facts, found.conflict_token)

    async def create(self, wakeup: Wakeup, *, at_once: bool) -> None:
        """Make a Schedule where there is none; with `at_once` the definition is woken now, too.

        Raises:
            WakeupMovedError: there is one by now.
            NeighbourUnavailableError: Temporal does not answer.
            MaterialisationError: it refuses the Schedule.
        """
        request = CreateScheduleRequest(
            namespace=self._client.namespace,
            schedule_id=identifiers.schedule_id(wakeup.definition_id),
            schedule=await self._schedule(wakeup),
            initial_patch=_TRIGGER if at_once else None,
            identity=self._client.identity,
            request_id=str(uuid.uuid4()),
        )
        with _errors():
            await self._turn()
            faultpoint("registry.before_create_wakeup")
            await self._service.create_schedule(request, retry=True, timeout=_RPC_TIMEOUT)
            faultpoint("registry.after_create_wakeup")

    async def update(self, wakeup: Wakeup, standing: Standing, *, at_once: bool) -> None:
        """Write over a Schedule that is still as it stood; one that has changed since stays so.

        Servers say the latter (WakeupMovedError) or keep quiet about it, so that who has to know
        inspects again. With `at_once` the definition is woken now, too.

        Raises:
            WakeupMovedError: it has changed, or is gone.
            NeighbourUnavailableError: Temporal does not answer.
            MaterialisationError: it refuses the Schedule.
        """
        request = UpdateScheduleRequest(
            namespace=self._client.namespace,
            schedule_id=identifiers.schedule_id(wakeup.definition_id),
            schedule=await self._schedule(wakeup),
            conflict_token=standing.token,
            identity=self._client.identity,
            request_id=str(uuid.uuid4()),
        )
        try:
            with _errors():
                await self._turn()
                faultpoint("registry.before_update_wakeup")
                await self._service.update_schedule(request, retry=True, timeout=_RPC_TIMEOUT)
                faultpoint("registry.after_update_wakeup")
            if at_once:
                await self._trigger(wakeup.definition_id)
        except _NotThereError as exc:
            raise WakeupMovedError(wakeup.definition_id) from exc

    async def _trigger(self, definition_id: str) -> None:
        request = PatchScheduleRequest(
            namespace=self._client.namespace,
            schedule_id=identifiers.schedule_id(definition_id),
            patch=_TRIGGER,
            identity=self._client.identity,
            request_id=str(uuid.uuid4()),
        )
        with _errors():
            await self._turn()
            faultpoint("registry.before_trigger_wakeup")
            await self._service.patch_schedule(request, retry=True, timeout=_RPC_TIMEOUT)
            faultpoint("registry.after_trigger_wakeup")

    async def remove(self, definition_id: str) -> None:
        """Delete a definition's Schedule, if there is one.

        Raises:
            NeighbourUnavailableError: Temporal does not answer.
        """
        request = DeleteScheduleRequest(
            namespace=self._client.namespace,
            schedule_id=identifiers.schedule_id(definition_id),
            identity=self._client.identity,
        )
        try:
            with _errors():
                await self._turn()
                faultpoint("registry.before_delete_wakeup")
                await self._service.delete_schedule(request, retry=True, timeout=_RPC_TIMEOUT)
                faultpoint("registry.after_delete_wakeup")
        except _NotThereError:
            return

    def _opened(self, schedule: Schedule) -> Schedule:
        """Return a Schedule with its input in the clear, as far as it can be opened.

        What is encrypted is never twice the same, so that only what is in it can be compared.
        """
        codec = temporal.codec_of(self._client)
        if codec is None:
            return schedule
        opened = Schedule()
        opened.CopyFrom(schedule)
        for payload in opened.action.start_workflow.input.payloads:
            with suppress(NotOpenedError):
                payload.CopyFrom(codec.open(payload))
        return opened

    def _is_ours(self, opened: Schedule, definition_id: str) -> bool:
        argument = TickInput(namespace=self._client.namespace, definition_id=definition_id)
        wanted = self._client.data_converter.payload_converter.to_payloads([argument])
        return list(opened.action.start_workflow.input.payloads) == list(wanted)

    async def _turn(self) -> None:
        if self._pace is not None:
            await self._pace.turn()

    async def _schedule(self, wakeup: Wakeup) -> Schedule:
        argument = TickInput(namespace=wakeup.namespace, definition_id=wakeup.definition_id)
        payloads = await self._client.data_converter.encode([argument])
        workflow = names.Workflow.SCHEDULED_TICK.value
        spec = ScheduleSpec(
            structured_calendar=[_calendar(part) for part in wakeup.spec.calendars],
            interval=[
                IntervalSpec(interval=_duration(part.every)) for part in wakeup.spec.intervals
            ],
            exclude_structured_calendar=[_calendar(part) for part in wakeup.spec.skip],
            start_time=_timestamp(wakeup.spec.start),
            end_time=_timestamp(wakeup.spec.end),
        )
        paused = not wakeup.enabled
        seal = schedule_facts.seal(wakeup.fingerprint, workflow, spec, paused=paused)
        return Schedule(
            spec=spec,
            action=ScheduleAction(
                start_workflow=NewWorkflowExecutionInfo(
                    workflow_id=identifiers.tick_workflow_id(wakeup.definition_id),
                    workflow_type=WorkflowType(name=workflow),
                    task_queue=TaskQueue(name=names.TICK_TASK_QUEUE),
                    input=Payloads(payloads=payloads),
                    workflow_execution_timeout=_duration(_TICK_EXECUTION_TIMEOUT),
                    workflow_task_timeout=_duration(_TICK_TASK_TIMEOUT),
                )
            ),
            policies=SchedulePolicies(
                overlap_policy=ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL,
                catchup_window=_duration(_CATCHUP_WINDOW),
            ),
            state=ScheduleState(
                notes=f"backbone/{LAYOUT} {wakeup.fingerprint} {seal}", paused=paused
            ),
        )


class _NotThereError(NeighbourUnavailableError):
    """There is no such Schedule; or, where none was asked for, no such namespace."""


def _key(key_id: str | None) -> dict[str, str]:
    return {} if key_id is None else {"action.input.key": key_id}


_UNDER_ANOTHER_KEY = "under another data key"
"""The mark of a Schedule of ours that has to be encrypted anew: of no fingerprint."""

_TRIGGER = SchedulePatch(
    trigger_immediately=TriggerImmediatelyRequest(
        overlap_policy=ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL
    )
)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except RPCError as exc:
        if exc.status is RPCStatusCode.NOT_FOUND:
            raise _NotThereError("Temporal", str(exc)) from exc
        if exc.status is RPCStatusCode.ALREADY_EXISTS or "conflict token" in str(exc):
            raise WakeupMovedError(str(exc)) from exc
        if exc.status in _REFUSALS:
            raise MaterialisationError(f"Temporal refuses the schedule: {exc}") from exc
        raise NeighbourUnavailableError("Temporal", f"{exc.status.name}: {exc}") from exc
    except RuntimeError as exc:
        # What a client says that could not connect.
        raise NeighbourUnavailableError("Temporal", str(exc)) from exc


def _listed(entries: Sequence[ScheduleListEntry]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        definition_id = identifiers.definition_of_schedule(entry.schedule_id)
        if definition_id is not None:
            info = entry.info
            yield (
                definition_id,
                _mark(info.notes, info.workflow_type.name, info.spec, paused=info.paused),
            )


def _mark(note: str, workflow: str, spec: ScheduleSpec, *, paused: bool) -> str:
    match = _NOTE.fullmatch(note)
    if match is not None:
        layout, fingerprint, seal = match.groups()
        # One of another release may be sealed otherwise: it is written anew, and nobody's fault.
        if layout != str(LAYOUT) or seal == schedule_facts.seal(
            fingerprint, workflow, spec, paused=paused
        ):
            return fingerprint
    return Tampered.PAUSED if paused else Tampered.EDITED


def _calendar(calendar: WakeCalendar) -> StructuredCalendarSpec:
    return StructuredCalendarSpec(
        second=_ranges(calendar.second),
        minute=_ranges(calendar.minute),
        hour=_ranges(calendar.hour),
        day_of_month=_ranges(calendar.day_of_month),
        month=_ranges(calendar.month),
        day_of_week=_ranges(calendar.day_of_week),
        year=_ranges(calendar.year),
    )


def _ranges(spans: Sequence[Span]) -> list[Range]:
    return [Range(start=s.start, end=s.end, step=s.step) for s in spans]


def _duration(delta: timedelta) -> Duration:
    made = Duration()
    made.FromTimedelta(delta)
    return made


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    made = Timestamp()
    made.FromDatetime(moment.astimezone(UTC))
    return made
