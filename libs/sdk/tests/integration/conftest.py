"""A Temporal on which handlers are served, with a ledger behind real gRPC that can go away."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import grpc
import pytest
from confluent_kafka import Consumer, Message
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

import sdk
from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts.decisions import AutomatedInstance
from contracts.definitions import Retry
from contracts.runs import TaskCall, TaskReport
from runtime import grpcclient, temporal
from sdk.outcomes import GrpcOutcomeRecorder
from sdk.worker import queue_server


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


Serve = Callable[..., Awaitable[None]]
CarryOut = Callable[..., Awaitable[tuple[TaskCall, TaskReport]]]


@pytest.fixture
async def serve(temporal_address: str, ledger_address: str) -> AsyncIterator[Serve]:
    """Serve handlers on task queues, as a worker does."""
    async with AsyncExitStack() as stack:
        channel = grpcclient.channel(ledger_address, actor="test")
        stack.push_async_callback(channel.close)

        async def begin(queues: Mapping[str, Sequence[sdk.Handler[Any]]], **settings: Any) -> None:
            given = sdk.WorkerSettings(
                temporal_address=temporal_address,
                ledger_address=ledger_address,
                graceful_shutdown=timedelta(seconds=1),
                **settings,
            )
            for task_queue, handlers in queues.items():
                server = queue_server(
                    handlers=handlers,
                    task_queue=task_queue,
                    namespace="dev",
                    settings=given,
                    recorder=GrpcOutcomeRecorder(channel),
                )
                await server.start()
                stack.push_async_callback(server.stop)

        yield begin


@pytest.fixture
async def client(temporal_address: str, unique_name: str) -> AsyncIterator[Client]:
    client = await temporal.connect(temporal_address, namespace="dev", identity="test")
    async with Worker(client, task_queue=f"{unique_name}-runs-tq", workflows=[OneTask]):
        yield client


@pytest.fixture
def carry_out(client: Client, unique_name: str) -> CarryOut:
    """Have a task carried out by a handler, by its name and queue."""

    async def run(
        handler: str,
        task_queue: str,
        task_input: Mapping[str, Any],
        *,
        within: timedelta = timedelta(seconds=20),
        attempts: int = 3,
    ) -> tuple[TaskCall, TaskReport]:
        task = AutomatedInstance(
            task_id=uuid.uuid4(),
            rule="remind",
            key="one",
            handler=handler,
            task_queue=task_queue,
            input=dict(task_input),
            timeout=within,
            retry=Retry(maximum_attempts=attempts),
        )
        call = TaskCall(namespace="dev", run_id=f"{unique_name}:1", definition_id="d", task=task)
        async with asyncio.timeout(60):
            report = await client.execute_workflow(
                OneTask.run, call, id=str(task.task_id), task_queue=f"{unique_name}-runs-tq"
            )
        return call, report

    return run


@pytest.fixture
def consume(kafka_bootstrap_servers: str) -> Callable[[str, int], Awaitable[list[Message]]]:
    """Read so many records from the beginning of a topic."""

    async def records(topic: str, count: int) -> list[Message]:
        return await asyncio.to_thread(_consumed, kafka_bootstrap_servers, topic, count)

    return records


def _consumed(bootstrap_servers: str, topic: str, count: int) -> list[Message]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    try:
        records: list[Message] = []
        while len(records) < count:
            found = consumer.consume(count - len(records), timeout=30)
            assert found, f"only {len(records)} of {count} records within 30 s"
            records += found
        return records
    finally:
        consumer.close()
