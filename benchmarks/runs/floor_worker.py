"""The floor's worker: bare workflows with empty Temporal activities, all of the SDK's defaults."""

import asyncio
import os
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

_TIMEOUT = timedelta(seconds=30)


@activity.defn
async def decide() -> None:
    """Do nothing, where a decision would be made."""


@activity.defn
async def do() -> None:
    """Do nothing, where a task would be done."""


@workflow.defn
class FloorRun:
    """Calls one empty Temporal activity, then as many at once as it has tasks."""

    @workflow.run
    async def run(self, tasks: int) -> None:
        """Run."""
        await workflow.execute_activity(decide, start_to_close_timeout=_TIMEOUT)
        await asyncio.gather(
            *(workflow.execute_activity(do, start_to_close_timeout=_TIMEOUT) for _ in range(tasks))
        )


async def main() -> None:
    """Serve until killed."""
    client = await Client.connect(os.environ["BACKBONE_TEMPORAL_ADDRESS"], namespace="dev")
    await Worker(client, task_queue="floor-tq", workflows=[FloorRun], activities=[decide, do]).run()


if __name__ == "__main__":
    asyncio.run(main())
