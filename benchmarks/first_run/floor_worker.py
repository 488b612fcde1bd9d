"""The floor's worker: a bare workflow with one empty Temporal activity, the SDK's defaults."""

import asyncio
import os
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker


@activity.defn
async def empty() -> None:
    """Do nothing."""


@workflow.defn
class FloorRun:
    """Calls one empty Temporal activity."""

    @workflow.run
    async def run(self, _event: str) -> None:
        """Run."""
        await workflow.execute_activity(empty, start_to_close_timeout=timedelta(seconds=30))


async def main() -> None:
    """Serve until killed."""
    client = await Client.connect(os.environ["BACKBONE_TEMPORAL_ADDRESS"], namespace="dev")
    await Worker(client, task_queue="floor-tq", workflows=[FloorRun], activities=[empty]).run()


if __name__ == "__main__":
    asyncio.run(main())
