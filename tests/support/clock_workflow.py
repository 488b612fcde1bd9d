"""A planted workflow that is not deterministic: it asks the machine for the time."""

import time

from temporalio import workflow

from contracts.names import Workflow


@workflow.defn(name=Workflow.RUN_ACTIVITY.value)
class AsksTheMachine:
    """Would decide by the time at which it happens to run."""

    @workflow.run
    async def run(self, _run: dict[str, object]) -> float:
        """Return the time."""
        return time.time()
