"""What Temporal tells of task queues: on a real server, of the queues that definitions name."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from measured import Measured
from temporalio.client import Client

from backbone.registry.v1 import task_queues_pb2 as pb
from backbone.registry.v1 import task_queues_pb2_grpc
from contracts import names
from contracts.telemetry import Attribute, Metric
from registry.adapters import grpc_task_queues, task_queue_watch
from registry.adapters.task_queue_watch import TaskQueueWatch
from registry.domain import task_queues
from runtime import grpcclient, temporal
from runtime.grpcserver import GrpcServer
from runtime.identity import LocalAuthenticator

WORKFLOW = {Attribute.NAMESPACE: "dev", Attribute.TASK_KIND: "workflow"}


@pytest.fixture
async def calling() -> AsyncIterator[Any]:
    """Serves what a watch found, and returns a channel to it."""
    async with contextlib.AsyncExitStack() as stack:

        async def call(watch: TaskQueueWatch) -> grpc.aio.Channel:
            server = GrpcServer(
                listen="127.0.0.1:0",
                services=[grpc_task_queues.grpc_service({"dev": watch.found})],
                authenticator=LocalAuthenticator(),
                grace=timedelta(seconds=1),
            )
            await server.start()
            stack.push_async_callback(server.stop)
            return await stack.enter_async_context(
                grpcclient.channel(f"127.0.0.1:{server.port}", actor="ada")
            )

        yield call


def test_the_queues_of_a_definition_are_those_of_runs_of_tasks_and_of_failures() -> None:
    tasks = [{"type": "automated", "taskQueue": "mails-tq"}, {"type": "human"}]
    spec = {
        "taskQueue": "billing-tq",
        "onFailure": {"handler": "tell", "taskQueue": "ops-tq"},
        "rules": [{"task": task} for task in tasks],
    }
    named = task_queues.named(json.dumps({"spec": spec}).encode())
    assert named == {"billing-tq", "mails-tq", "ops-tq"}


async def test_a_queue_that_nobody_serves_is_seen_with_what_waits_on_it(  # noqa: PLR0917 - fixtures
    registry: Any,
    client: Client,
    document: Callable[..., bytes],
    until: Callable[..., Awaitable[None]],
    unique_name: str,
    calling: Callable[[TaskQueueWatch], Awaitable[grpc.aio.Channel]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = Measured(monkeypatch)
    body = json.loads(document("billing.overdue"))
    queue = body["spec"]["taskQueue"] = f"{unique_name}-tq"
    await registry.apply(json.dumps(body).encode())
    await registry.mirrors.refresh("dev")
    watch = TaskQueueWatch("dev", mirrors=registry.mirrors, client=client)
    task_queue_watch.observe([watch])
    waiting = await client.start_workflow("Nobodys", id=unique_name, task_queue=queue)

    def told(metric: Metric) -> dict[str, float]:
        return {
            of[Attribute.TASK_QUEUE]: point.value
            for of, point in measured.points(metric)
            if WORKFLOW.items() <= of.items()
        }

    async def one_waits() -> bool:
        await watch.look()
        return told(Metric.TASK_QUEUE_BACKLOG).get(queue) == 1

    await until(one_waits, "the task in the backlog")
    assert told(Metric.TASK_QUEUE_POLLERS)[queue] == 0
    assert told(Metric.TASK_QUEUE_AGE)[queue] >= 0
    stub = task_queues_pb2_grpc.TaskQueueServiceStub(await calling(watch))
    answer = await stub.ListTaskQueues(pb.ListTaskQueuesRequest(namespace="dev"))
    (said,) = (
        one for one in answer.task_queues if (one.name, one.kind) == (queue, pb.TASK_KIND_WORKFLOW)
    )
    assert (said.backlog, said.pollers) == (1, 0)
    assert (list(said.definition_ids), said.definitions) == (["billing.overdue"], 1)
    assert answer.HasField("asked_at")
    ours = [one for one in answer.task_queues if one.name in names.OWN_TASK_QUEUES]
    assert ours
    assert not any(one.definitions for one in ours)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListTaskQueues(pb.ListTaskQueuesRequest(namespace="prod"))
    assert "'prod' is not served here" in str(refused.value.details())
    assert set(names.OWN_TASK_QUEUES) < set(told(Metric.TASK_QUEUE_BACKLOG))

    monkeypatch.setattr(task_queue_watch, "MOST", len(names.OWN_TASK_QUEUES))
    await watch.look()
    assert queue not in told(Metric.TASK_QUEUE_BACKLOG)
    ((_, unwatched),) = measured.points(Metric.TASK_QUEUES_UNWATCHED)
    assert unwatched.value >= 1
    await waiting.terminate()


async def test_while_temporal_is_away_nothing_is_told_and_the_watch_goes_on(
    registry: Any, unused_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Measured(monkeypatch)
    away = await temporal.connect(
        f"127.0.0.1:{unused_port()}", namespace="dev", identity="test", lazy=True
    )
    watch = TaskQueueWatch("dev", mirrors=registry.mirrors, client=away)
    task_queue_watch.observe([watch])
    await watch.look()
    assert measured.points(Metric.TASK_QUEUE_BACKLOG) == []
    assert watch.found().asked_at is None
