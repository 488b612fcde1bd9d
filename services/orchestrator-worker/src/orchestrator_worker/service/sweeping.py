"""The use case of the sweep: what open runs wait on is looked at, and closed if nobody works on it.

A workflow may end without our code having a say: terminated by a person, timed out, failed. A clock
of a human task that has stopped is started again. An instance for which something waits is woken,
which starts it where it is gone. At last come runs that were cut short before the ledger heard of
them: Temporal alone knows of these.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from contracts import identifiers, names
from contracts.runs import (
    RecordOutcome,
    RunFailure,
    RunInput,
    SweepInput,
    SweptPage,
    TaskFailure,
    TaskTimersInput,
    TickInput,
)
from contracts.telemetry import Attribute, Metric
from orchestrator_worker.domain.cache import LeastRecentlyUsed
from orchestrator_worker.domain.executions import (
    CutShort,
    Ended,
    OpenExecution,
    OverdueSchedule,
    WaitingInstance,
)
from orchestrator_worker.errors import DefinitionNotFoundError, RefusedError
from orchestrator_worker.ports import Control, DefinitionSource, Executions, Instances, Ledger
from runtime import logs, telemetry

PAGE = 100
"""Runs of one page."""
CONCURRENCY = 20
MAX_TICKS = 500
"""Ticks that one sweep starts: what is left stays overdue for the next."""
OVERDUE = "ScheduleOverdue"
"""The reason that is counted for a definition that was ticked."""
LOOKBACK = timedelta(days=1)
"""Runs that were cut short longer ago are not looked for."""
MAX_KNOWN = 10_000
"""Executions of which this process remembers that the ledger knows of them."""
_INSTANCES = "instances:"
"""Begins the page tokens of instances, which come after the runs."""
_CUT_SHORT = "cut-short:"
"""Begins the page tokens of runs that were cut short, which come at last."""

T = TypeVar("T")
R = TypeVar("R")

_log = logs.get_logger(__name__)


class Sweeper:
    """Looks after what the ledger has open."""

    def __init__(
        self,
        *,
        control: Control,
        ledger: Ledger,
        definitions: DefinitionSource,
        executions: Executions,
        instances: Instances,
        min_age: timedelta,
    ) -> None:
        """Leave alone what was begun less than `min_age` ago."""
        self._control = control
        self._ledger = ledger
        self._definitions = definitions
        self._executions = executions
        self._instances = instances
        self._min_age = min_age
        self._known: LeastRecentlyUsed[CutShort, bool] = LeastRecentlyUsed(MAX_KNOWN)
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.WORKER_SWEPT, description="Executions that the sweep closed, by how they ended."
        )

    async def page(self, sweep: SweepInput) -> SweptPage:
        """Look after one page of open runs, and after them of instances.

        Raises:
            TransientError: the ledger, the registry or Temporal is away.
        """
        if sweep.page_token.startswith(_INSTANCES):
            return await self._instances_page(sweep)
        if sweep.page_token.startswith(_CUT_SHORT):
            return await self._cut_short_page(sweep)
        found, token = await self._control.open_executions(
            sweep.namespace, page_token=sweep.page_token, limit=PAGE, min_age=self._min_age
        )
        closed = await _each(found, lambda one: self._look_after(sweep.namespace, one))
        if not sweep.page_token:
            await self._tick(sweep.namespace)
        return SweptPage(
            next_page_token=token or _INSTANCES, looked_at=len(found), closed=sum(closed)
        )

    async def _instances_page(self, sweep: SweepInput) -> SweptPage:
        """Wake instances for which something has waited for long: their workflow may be gone."""
        found, token = await self._instances.waiting(
            sweep.namespace,
            page_token=sweep.page_token.removeprefix(_INSTANCES),
            limit=PAGE,
            min_age=self._min_age,
        )
        await _each(found, lambda one: self._wake(sweep.namespace, one))
        return SweptPage(
            next_page_token=f"{_INSTANCES}{token}" if token else _CUT_SHORT, looked_at=len(found)
        )

    async def _cut_short_page(self, sweep: SweepInput) -> SweptPage:
        """Have runs recorded as failed whose workflow ended before it could say anything."""
        found, token = await self._executions.cut_short(
            sweep.namespace,
            since=datetime.now(UTC) - LOOKBACK,
            page_token=sweep.page_token.removeprefix(_CUT_SHORT),
            limit=PAGE,
        )
        new = [one for one in found if self._known.get(one) is None]
        recorded = await _each(new, lambda one: self._record(sweep.namespace, one))
        return SweptPage(
            next_page_token=f"{_CUT_SHORT}{token}" if token else "",
            looked_at=len(new),
            closed=sum(recorded),
        )

    async def _record(self, namespace: str, one: CutShort) -> bool:
        run = await self._executions.began_with(namespace, one)
        ended = await self._executions.ended(namespace, one.workflow_id)
        if run is None or ended is None or ended.workflow_run_id != one.workflow_run_id:
            # Gone, or it goes on as another execution.
            return False
        outcome = RecordOutcome.DUPLICATE
        try:
            outcome = await self._ledger.record_run_failure(
                RunFailure(
                    run=run,
                    workflow_run_id=one.workflow_run_id,
                    failure=ended.failure,
                    unattended=True,
                )
            )
        except RefusedError as exc:
            _log.error(
                "run_not_closed", namespace=namespace, run_id=run.run_id, error=str(exc),
            )  # fmt: skip
        self._known.put(one, True)  # noqa: FBT003 - a set that forgets
        if outcome is not RecordOutcome.RECORDED:
            return False
        self._closed(namespace, run.run_id, one.workflow_id, ended.failure)
        return True

    async def _wake(self, namespace: str, one: WaitingInstance) -> None:
        try:
            definition = await self._definitions.get(
                namespace, one.definition_id, one.definition_version
            )
            await self._executions.wake(
                namespace, one.definition_id, one.key_hash, task_queue=definition.spec.task_queue
            )
        except (RefusedError, DefinitionNotFoundError) as exc:
            # As above.
            _log.error(
                "instance_not_woken", namespace=namespace, definition_id=one.definition_id,
                error=str(exc),
            )  # fmt: skip

    async def _tick(self, namespace: str) -> None:
        """Start a tick for each definition whose schedules nobody looks after."""
        overdue = await self._control.overdue_schedules(
            namespace, limit=MAX_TICKS, min_age=self._min_age
        )
        ticked = await _each(overdue, lambda one: self._start_tick(namespace, one))
        if any(ticked):
            self._counter.add(
                sum(ticked), {Attribute.NAMESPACE: namespace, Attribute.REASON: OVERDUE}
            )

    async def _start_tick(self, namespace: str, one: OverdueSchedule) -> bool:
        try:
            # No two are the same: the next sweep starts another where this one was in vain.
            await self._executions.start(
                namespace,
                TickInput(namespace=namespace, definition_id=one.definition_id),
                workflow_id=identifiers.asked_tick_workflow_id(
                    one.definition_id, "sweep", secrets.token_hex(8)
                ),
                task_queue=names.TICK_TASK_QUEUE,
            )
        except RefusedError as exc:
            _log.error(
                "schedule_not_ticked", namespace=namespace, definition_id=one.definition_id,
                error=str(exc),
            )  # fmt: skip
            return False
        _log.warning(
            "schedule_overdue", namespace=namespace, definition_id=one.definition_id,
            since=identifiers.instant(one.since),
        )  # fmt: skip
        return True

    async def _look_after(self, namespace: str, execution: OpenExecution) -> bool:
        if execution.timers:
            return await self._wind_up(namespace, execution)
        ended = await self._executions.ended(namespace, execution.workflow_id)
        if ended is None:
            return False
        try:
            closed = await self._close(namespace, execution, ended)
        except (RefusedError, DefinitionNotFoundError) as exc:
            # The next sweep will say the same of it; the others are looked after all the same.
            _log.error(
                "execution_not_closed", namespace=namespace, run_id=execution.run_id,
                workflow_id=execution.workflow_id, error=str(exc),
            )  # fmt: skip
            return False
        if closed:
            self._closed(namespace, execution.run_id, execution.workflow_id, ended.failure)
        return closed

    def _closed(self, namespace: str, run_id: str, workflow_id: str, failure: TaskFailure) -> None:
        _log.warning(
            "execution_closed", namespace=namespace, run_id=run_id, workflow_id=workflow_id,
            failure=failure.type, quoted=failure.message,
        )  # fmt: skip
        self._counter.add(1, {Attribute.NAMESPACE: namespace, Attribute.REASON: failure.type})

    async def _wind_up(self, namespace: str, execution: OpenExecution) -> bool:
        """Have a human task watched over again; where it is, that changes nothing."""
        started = await self._executions.start(
            namespace,
            TaskTimersInput(namespace=namespace, task_id=UUID(execution.task_id)),
            workflow_id=execution.workflow_id,
            task_queue=names.TASK_TIMERS_TASK_QUEUE,
        )
        if started:
            _log.warning(
                "task_timers_wound_up", namespace=namespace, run_id=execution.run_id,
                task_id=execution.task_id,
            )  # fmt: skip
        return False

    async def _close(self, namespace: str, execution: OpenExecution, ended: Ended) -> bool:
        if execution.unrecorded is None:
            return await self._control.close_execution(namespace, execution, ended.failure)
        await self._ledger.record_run_failure(
            RunFailure(
                run=RunInput(
                    namespace=namespace,
                    run_id=execution.run_id,
                    definition_id=execution.definition_id,
                    trigger=execution.unrecorded,
                ),
                workflow_run_id=ended.workflow_run_id,
                failure=ended.failure,
                unattended=True,
            )
        )
        return True


async def _each(found: Sequence[T], look_after: Callable[[T], Awaitable[R]]) -> list[R]:
    """Look after each of these, so many at a time; return what came of them."""
    slots = asyncio.Semaphore(CONCURRENCY)

    async def one_of_them(one: T) -> R:
        async with slots:
            return await look_after(one)

    return await asyncio.gather(*map(one_of_them, found))
