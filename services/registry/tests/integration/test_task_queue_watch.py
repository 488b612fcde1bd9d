"""What Temporal tells of task queues: on a real server, of the queues that definitions name."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from measured import Measured
from temporalio.client import Client

from contracts import names
from contracts.telemetry import Attribute, Metric
from registry.adapters import task_queue_watch
from registry.adapters.task_queue_watch import TaskQueueWatch
from registry.domain import task_queues
from runtime import temporal

WORKFLOW = {Attribute.NAMESPACE: "dev", Attribute.TASK_KIND: "workflow"}


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
