"""`RetryTask`: an automated task that failed for good, carried out once more by request.

A workflow of its own, since that of the run may have ended long ago.
"""

import asyncio

from temporalio import workflow

from orchestrator_worker.workflows.carrying import Carrier

with workflow.unsafe.imports_passed_through():
    from contracts.names import Workflow
    from contracts.runs import RetryTaskInput, TaskCall


@workflow.defn(name=Workflow.RETRY_TASK.value)
class RetryTask:
    """Carry out one task under its old id, and have its outcome recorded."""

    def __init__(self) -> None:
        self._carrier = Carrier()

    @workflow.run
    async def run(self, retry: RetryTaskInput) -> bool:
        """Return whether it succeeded."""
        call = TaskCall(
            namespace=retry.namespace,
            run_id=retry.run_id,
            definition_id=retry.definition_id,
            task=retry.task,
            traceparent=retry.traceparent,
            generation=retry.generation,
            chain=retry.chain,
        )
        work = asyncio.create_task(
            self._carrier.carry_out(call, definition_version=retry.definition_version)
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._carrier.cancel()
            await work
            raise
