"""Handlers on a real Temporal, with a ledger behind real gRPC that can go away."""

import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from pydantic import BaseModel
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

import sdk
from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts.decisions import AutomatedInstance
from contracts.definitions import Retry
from contracts.runs import TaskCall, TaskReport
from runtime import grpcclient, temporal
from sdk.outcomes import GrpcOutcomeRecorder
from sdk.worker import queue_server


class Reminder(BaseModel):
    invoice: str


@workflow.defn(name="OneTask", sandboxed=False)
class OneTask:
    """Stands in for a run: one task, with the result as the handler's worker reports it."""

    @workflow.run
    async def run(self, call: TaskCall) -> TaskReport:
        report: TaskReport = await workflow.execute_activity(
            call.task.handler,
            call,
            task_queue=call.task.task_queue,
            result_type=TaskReport,
            start_to_close_timeout=call.task.timeout,
            retry_policy=RetryPolicy(maximum_attempts=call.task.retry.maximum_attempts),
        )
        return report


class LedgerServicer(ledger_pb2_grpc.LedgerServiceServicer):
    """Takes outcomes; answers UNAVAILABLE as often as a test says."""

    def __init__(self) -> None:
        self.away = 0
        self.outcomes: list[ledger_pb2.RecordTaskOutcomeRequest] = []

    async def RecordTaskOutcome(self, request: Any, context: Any) -> Any:
        if self.away:
            self.away -= 1
            await context.abort(grpc.StatusCode.INTERNAL, "the database is away")
        self.outcomes.append(request)
        return ledger_pb2.RecordTaskOutcomeResponse(recorded=True)


@pytest.fixture
async def ledger() -> LedgerServicer:
    return LedgerServicer()  # type: ignore[abstract]  # the rest is not called


@pytest.fixture
async def ledger_address(ledger: LedgerServicer) -> AsyncIterator[str]:
    server = grpc.aio.server()
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(ledger, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
def runs() -> list[int]:
    return []


@pytest.fixture
async def queue(
    temporal_address: str, ledger_address: str, unique_name: str, runs: list[int]
) -> AsyncIterator[str]:
    """A served task queue with the handler `send_reminder`."""

    @sdk.task_handler("send_reminder")
    async def send_reminder(reminder: Reminder, context: sdk.TaskContext) -> dict[str, Any]:
        runs.append(context.attempt)
        if reminder.invoice == "second-time" and context.attempt == 1:
            raise RuntimeError("not yet")
        if reminder.invoice == "gone":
            raise sdk.PermanentError("no such invoice")
        return {"key": context.idempotency_key}

    task_queue = f"{unique_name}-tq"
    channel = grpcclient.channel(ledger_address, actor="test")
    server = queue_server(
        handlers=[send_reminder],
        task_queue=task_queue,
        namespace="dev",
        settings=sdk.WorkerSettings(
            temporal_address=temporal_address, ledger_address=ledger_address
        ),
        recorder=GrpcOutcomeRecorder(channel),
    )
    await server.start()
    yield task_queue
    await server.stop()
    await channel.close()


@pytest.fixture
async def client(temporal_address: str, unique_name: str) -> AsyncIterator[Client]:
    client = await temporal.connect(temporal_address, namespace="dev", identity="test")
    async with Worker(client, task_queue=f"{unique_name}-runs-tq", workflows=[OneTask]):
        yield client


@pytest.fixture
def carry_out(client: Client, queue: str, unique_name: str) -> Callable[..., Any]:
    async def run(invoice: str) -> tuple[TaskCall, TaskReport]:
        task = AutomatedInstance(
            task_id=uuid.uuid4(),
            rule="remind",
            key="one",
            handler="send_reminder",
            task_queue=queue,
            input={"invoice": invoice},
            timeout=timedelta(seconds=20),
            retry=Retry(maximum_attempts=3),
        )
        call = TaskCall(namespace="dev", run_id=f"{unique_name}:1", definition_id="d", task=task)
        report = await client.execute_workflow(
            OneTask.run, call, id=str(task.task_id), task_queue=f"{unique_name}-runs-tq"
        )
        return call, report

    return run


async def test_task_costs_one_attempt_that_records_its_outcome(
    carry_out: Callable[..., Any], ledger: LedgerServicer, runs: list[int]
) -> None:
    call, report = await carry_out("i1")
    assert report == TaskReport(recorded=True)
    assert runs == [1]
    (outcome,) = ledger.outcomes
    assert outcome.task_id == str(call.task.task_id)
    assert outcome.output == b'{"key":"%s"}' % str(call.task.task_id).encode()


async def test_handler_does_not_run_again_while_the_ledger_is_away(
    carry_out: Callable[..., Any], ledger: LedgerServicer, runs: list[int]
) -> None:
    ledger.away = 3
    _, report = await carry_out("i1")
    assert report == TaskReport(recorded=True)
    assert runs == [1]
    assert len(ledger.outcomes) == 1


async def test_failed_attempt_is_tried_again(
    carry_out: Callable[..., Any], ledger: LedgerServicer, runs: list[int]
) -> None:
    await carry_out("second-time")
    assert runs == [1, 2]
    assert len(ledger.outcomes) == 1


async def test_permanent_error_ends_the_task(
    carry_out: Callable[..., Any], ledger: LedgerServicer, runs: list[int]
) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await carry_out("gone")
    assert isinstance(caught.value.cause, ActivityError)
    failure = caught.value.cause.cause
    assert isinstance(failure, ApplicationError)
    assert (failure.type, failure.message) == ("Permanent", "no such invoice")
    assert runs == [1]
    assert ledger.outcomes == []
