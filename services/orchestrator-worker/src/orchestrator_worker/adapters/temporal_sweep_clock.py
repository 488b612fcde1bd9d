"""The Temporal Schedule that wakes the sweep: one for each namespace, put there by any worker.

Creating and updating it are idempotent, so that many workers may do it at once. It is put again
from time to time, so that a deleted one comes back. One that a person has paused stays paused.
"""

import asyncio
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from contracts import identifiers, names
from contracts.runs import SweepInput
from orchestrator_worker.adapters.temporal_executions import Connect
from runtime import logs, temporal
from runtime.lifecycle import Background
from runtime.temporal import TemporalUnavailableError

_TIMEOUT = timedelta(seconds=10)
_CATCHUP_WINDOW = timedelta(minutes=1)
_EXECUTION_TIMEOUT = timedelta(hours=1)
_AGAIN_S = 600.0
_RETRY_S = 5.0

_log = logs.get_logger(__name__)


class SweepClock(Background):
    """Has the sweep of a namespace woken every `interval`."""

    def __init__(self, namespace: str, *, connect: Connect, interval: timedelta) -> None:
        self.name = f"sweep-clock:{namespace}"
        self._namespace = namespace
        self._connect = connect
        self._interval = interval

    async def _run(self) -> None:
        while True:
            try:
                await put(await self._connect(), self._namespace, interval=self._interval)
                pause = _AGAIN_S
            except (RPCError, RuntimeError, TemporalUnavailableError) as exc:
                _log.warning("sweep_clock_waits", namespace=self._namespace, error=str(exc))
                pause = _RETRY_S
            await asyncio.sleep(pause)


async def put(client: Client, namespace: str, *, interval: timedelta) -> None:
    """Create the Schedule of the sweep, or make it what it should be.

    Raises:
        RPCError: Temporal does not answer, or refuses.
    """
    # Written anew with each key: else no key that ever encrypted it could be given up.
    codec = temporal.codec_of(client)
    key = None if codec is None else codec.key_id
    wanted = _schedule(namespace, interval, key=key)

    def replace(present: ScheduleUpdateInput) -> ScheduleUpdate | None:
        state = present.description.schedule.state
        if state.note == wanted.state.note:
            return None
        return ScheduleUpdate(_schedule(namespace, interval, key=key, paused=state.paused))

    handle = client.get_schedule_handle(identifiers.SWEEP_ID)
    try:
        await handle.update(replace, rpc_timeout=_TIMEOUT)
    except RPCError as exc:
        if exc.status is not RPCStatusCode.NOT_FOUND:
            raise
    else:
        return
    try:
        await client.create_schedule(identifiers.SWEEP_ID, wanted, rpc_timeout=_TIMEOUT)
    except ScheduleAlreadyRunningError:
        # Another worker was faster.
        return


def _schedule(
    namespace: str, interval: timedelta, *, key: str | None, paused: bool = False
) -> Schedule:
    note = f"backbone sweep every {interval.total_seconds():g} s"
    return Schedule(
        action=ScheduleActionStartWorkflow(
            names.Workflow.SWEEP.value,
            SweepInput(namespace=namespace),
            id=identifiers.SWEEP_ID,
            task_queue=names.SYSTEM_TASK_QUEUE,
            execution_timeout=_EXECUTION_TIMEOUT,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=interval)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCHUP_WINDOW),
        state=ScheduleState(note=note if key is None else f"{note}, data key {key}", paused=paused),
    )
