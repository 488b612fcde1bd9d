"""`TellFailure`: the call of `onFailure` for a failure whose own workflow has ended before it.

It makes the call that the run would have made, under the same key.
"""

import asyncio

from temporalio import workflow

from orchestrator_worker.workflows.carrying import Carrier

with workflow.unsafe.imports_passed_through():
    from contracts.names import Workflow
    from contracts.runs import TellFailureInput


@workflow.defn(name=Workflow.TELL_FAILURE.value)
class TellFailure:
    """Call the handler of a definition's `onFailure`, and have that recorded."""

    def __init__(self) -> None:
        self._carrier = Carrier()

    @workflow.run
    async def run(self, telling: TellFailureInput) -> None:
        """Return when the handler has worked, or failed for good."""
        work = asyncio.create_task(
            self._carrier.tell_of(
                telling.question, traceparent=telling.traceparent, chain=telling.chain
            )
        )
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self._carrier.cancel()
            await work
            raise
