"""A handler's worker that is stopped while a task is under way, on a real Temporal."""

import asyncio
import uuid
from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow
from temporalio.worker import Worker

import sdk
from contracts.decisions import AutomatedInstance
from contracts.definitions import Retry
from contracts.runs import TaskCall, TaskOutcome, TaskReport
from runtime import temporal
from runtime.temporalworker import QueueServers
from sdk.worker import queue_server


class Nothing(BaseModel):
    """The input of a task that has none."""


class Recorder:
    """Stands in for the ledger: takes every outcome."""

    def __init__(self) -> None:
        self.outcomes: list[TaskOutcome] = []

    async def record(self, outcome: TaskOutcome) -> None:
        self.outcomes.append(outcome)


@workflow.defn(name="DrainedTask", sandboxed=False)
class DrainedTask:
    """Stands in for a run with one task."""

    @workflow.run
    async def run(self, call: TaskCall) -> TaskReport:
        report: TaskReport = await workflow.execute_activity(
            call.task.handler,
            call,
            task_queue=call.task.task_queue,
            result_type=TaskReport,
            start_to_close_timeout=call.task.timeout,
        )
        return report


async def test_task_under_way_ends_before_its_worker(
    temporal_address: str, unique_name: str
) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()
    attempts: list[int] = []

    @sdk.task_handler("takes_a_while")
    async def takes_a_while(_nothing: Nothing, context: sdk.TaskContext) -> dict[str, str]:
        attempts.append(context.attempt)
        begun.set()
        await goes_on.wait()
        return {"said": "done"}

    queue, runs_queue = f"{unique_name}-tq", f"{unique_name}-runs-tq"
    recorder = Recorder()
    settings = sdk.WorkerSettings(temporal_address=temporal_address, ledger_address="none:1")
    servers = QueueServers(
        [
            queue_server(
                handlers=[takes_a_while],
                task_queue=queue,
                namespace="dev",
                settings=settings,
                recorder=recorder,
            )
        ]
    )
    await servers.start()
    task = AutomatedInstance(
        task_id=uuid.uuid4(),
        rule="wait",
        key="one",
        handler="takes_a_while",
        task_queue=queue,
        input={},
        timeout=timedelta(seconds=60),
        retry=Retry(maximum_attempts=3),
    )
    call = TaskCall(namespace="dev", run_id=f"{unique_name}:1", definition_id="d", task=task)
    client = await temporal.connect(temporal_address, namespace="dev", identity="test")
    async with Worker(client, task_queue=runs_queue, workflows=[DrainedTask]):
        handle = await client.start_workflow(
            DrainedTask.run, call, id=str(task.task_id), task_queue=runs_queue
        )
        await begun.wait()
        stopping = asyncio.create_task(servers.stop())
        # It has begun to stop, and waits for the handler.
        done, _ = await asyncio.wait([stopping], timeout=1)
        assert not done
        goes_on.set()
        await stopping
        assert await handle.result() == TaskReport(recorded=True)

    assert attempts == [1]
    assert [outcome.output for outcome in recorder.outcomes] == [{"said": "done"}]
