"""The use case of the sweep: what open runs wait on is looked at, and closed if nobody works on it.

A workflow may end without our code having a say: terminated by a person, timed out, failed.
"""

import asyncio
from datetime import timedelta

from contracts.runs import RunFailure, RunInput, SweepInput, SweptPage
from contracts.telemetry import Attribute, Metric
from orchestrator_worker.domain.executions import Ended, OpenExecution
from orchestrator_worker.errors import RefusedError
from orchestrator_worker.ports import Control, Executions, Ledger
from runtime import logs, telemetry

PAGE = 100
"""Runs of one page."""
CONCURRENCY = 20

_log = logs.get_logger(__name__)


class Sweeper:
    """Looks after what the ledger has open."""

    def __init__(
        self,
        *,
        control: Control,
        ledger: Ledger,
        executions: Executions,
        min_age: timedelta,
    ) -> None:
        """Leave alone what was begun less than `min_age` ago."""
        self._control = control
        self._ledger = ledger
        self._executions = executions
        self._min_age = min_age
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.WORKER_SWEPT, description="Executions that the sweep closed, by how they ended."
        )

    async def page(self, sweep: SweepInput) -> SweptPage:
        """Look after one page of open runs.

        Raises:
            TransientError: the ledger or Temporal is away.
        """
        found, token = await self._control.open_executions(
            sweep.namespace, page_token=sweep.page_token, limit=PAGE, min_age=self._min_age
        )
        slots = asyncio.Semaphore(CONCURRENCY)

        async def look_after(execution: OpenExecution) -> bool:
            async with slots:
                return await self._look_after(sweep.namespace, execution)

        closed = await asyncio.gather(*(look_after(one) for one in found))
        return SweptPage(next_page_token=token, looked_at=len(found), closed=sum(closed))

    async def _look_after(self, namespace: str, execution: OpenExecution) -> bool:
        ended = await self._executions.ended(namespace, execution.workflow_id)
        if ended is None:
            return False
        try:
            closed = await self._close(namespace, execution, ended)
        except RefusedError as exc:
            # The next sweep will say the same of it; the others are looked after all the same.
            _log.error(
                "execution_not_closed", namespace=namespace, run_id=execution.run_id,
                workflow_id=execution.workflow_id, error=str(exc),
            )  # fmt: skip
            return False
        if closed:
            _log.warning(
                "execution_closed", namespace=namespace, run_id=execution.run_id,
                workflow_id=execution.workflow_id, failure=ended.failure.type,
                detail=ended.failure.message,
            )  # fmt: skip
            self._counter.add(
                1, {Attribute.NAMESPACE: namespace, Attribute.REASON: ended.failure.type}
            )
        return closed

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
            )
        )
        return True
