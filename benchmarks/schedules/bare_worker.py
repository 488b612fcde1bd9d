"""The peer's worker: a bare workflow with one empty activity, which notes when it ran.

All is as the SDK has it by default. A line of the file that `BENCH_NOTES` names is an instant at
which a schedule was due, and the time that the activity ended, both in seconds since 1970.
"""

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.worker import Worker

TASK_QUEUE = "bare-tq"
_DUE = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


@activity.defn
async def note(due_at: float) -> None:
    """Note when a due time came to its end."""
    with Path(os.environ["BENCH_NOTES"]).open("a") as file:  # noqa: ASYNC230 - a line
        file.write(f"{due_at} {time.time()}\n")


@workflow.defn
class BareScheduled:
    """Calls one activity."""

    @workflow.run
    async def run(self) -> None:
        """Run."""
        due_at = workflow.info().typed_search_attributes[_DUE]
        await workflow.execute_activity(
            note, due_at.timestamp(), start_to_close_timeout=timedelta(seconds=30)
        )


async def main() -> None:
    """Serve until killed."""
    client = await Client.connect(os.environ["BACKBONE_TEMPORAL_ADDRESS"], namespace="dev")
    await Worker(client, task_queue=TASK_QUEUE, workflows=[BareScheduled], activities=[note]).run()


if __name__ == "__main__":
    asyncio.run(main())
