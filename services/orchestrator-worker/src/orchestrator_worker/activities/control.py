"""What runs call when something failed, and what `Sweep` calls."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from temporalio import activity

from contracts.names import TemporalActivity
from contracts.runs import (
    EffectsQuestion,
    FailureHandler,
    FailureHandling,
    FailureQuestion,
    SweepInput,
    SweptPage,
)
from orchestrator_worker.activities.outcomes import told_to_temporal
from orchestrator_worker.service.failures import FailureTeller
from orchestrator_worker.service.sweeping import Sweeper


class FailureActivities:
    """The Temporal activities by which runs tell of failures; on the queues of runs."""

    def __init__(self, *, teller: FailureTeller) -> None:
        self._teller = teller

    @activity.defn(name=TemporalActivity.FIND_FAILURE_HANDLER.value)
    async def find_failure_handler(self, question: FailureQuestion) -> FailureHandler:
        """Return who is to be told."""
        with told_to_temporal(run_id=question.run_id):
            return await self._teller.find(question)

    @activity.defn(name=TemporalActivity.AWAIT_EFFECTS.value)
    async def await_effects(self, question: EffectsQuestion) -> bool:
        """Return when effects may be had; an attempt fails while a kill switch stops them."""
        with told_to_temporal(definition_id=question.definition_id):
            await self._teller.effects(question)
        return True

    @activity.defn(name=TemporalActivity.RECORD_FAILURE_HANDLED.value)
    async def record_failure_handled(self, handling: FailureHandling) -> bool:
        """Record that they were told; False when it was recorded before."""
        with told_to_temporal(run_id=handling.run_id):
            return await self._teller.told(handling)


class SweepActivities:
    """The Temporal activities of the system task queue."""

    def __init__(self, *, sweeper: Sweeper) -> None:
        self._sweeper = sweeper

    @activity.defn(name=TemporalActivity.SWEEP_PAGE.value)
    async def sweep_page(self, sweep: SweepInput) -> SweptPage:
        """Look after one page of open runs."""
        with told_to_temporal(namespace=sweep.namespace):
            async with _alive():
                return await self._sweeper.page(sweep)


@contextlib.asynccontextmanager
async def _alive() -> AsyncIterator[None]:
    """Heartbeat while the body runs, several times within the timeout that the workflow gives."""
    timeout = activity.info().heartbeat_timeout
    if timeout is None:
        yield
        return

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(timeout.total_seconds() / 4)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
