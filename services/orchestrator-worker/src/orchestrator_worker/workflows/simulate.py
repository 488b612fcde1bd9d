"""`Simulate`: brings a question to the worker that holds the connectors, and its answer back.

Nobody waits for it but the person who asked, so it is tried once, and has an end.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from contracts.names import TemporalActivity, Workflow
    from contracts.simulations import LOOKUP_TIMEOUT, Simulated, SimulateInput

# Looking has its own end, and then tells more than a timeout does.
_TIMEOUT = LOOKUP_TIMEOUT + timedelta(seconds=5)


@workflow.defn(name=Workflow.SIMULATE.value)
class Simulate:
    """Have one run decided without effect."""

    @workflow.run
    async def run(self, question: SimulateInput) -> Simulated:
        """Return what the run would come to."""
        simulated: Simulated = await workflow.execute_activity(
            TemporalActivity.SIMULATE.value,
            question,
            result_type=Simulated,
            schedule_to_close_timeout=_TIMEOUT,
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        return simulated
