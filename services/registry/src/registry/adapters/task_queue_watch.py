"""Asks Temporal how much waits on each task queue, since when, and whether anybody serves it.

The workers of a queue cannot tell that there are none of them. The registry can: it knows every
definition, and so every queue that there is work on.
"""

import asyncio
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from opentelemetry.metrics import CallbackOptions, Observation
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from contracts import names
from contracts.resources import ResourceKind
from contracts.telemetry import Attribute, Metric
from registry.adapters.pacing import Pace
from registry.domain import task_queues
from registry.domain.task_queues import QueueState, QueueStates, TaskKind
from registry.service.mirror import Mirrors
from runtime import logs, telemetry
from runtime.lifecycle import Background

INTERVAL = timedelta(seconds=30)
MOST = 200
"""Of so many task queues of a namespace Temporal is asked; the gauge `unwatched` counts others."""
TOLD = 20
"""Of so many definitions that have work on a queue the ids are told."""
_CALLS_PER_S = 20.0
_RPC_TIMEOUT = timedelta(seconds=5)
_AWAY = frozenset({RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED})
_KINDS = {
    TaskKind.WORKFLOW: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    TaskKind.ACTIVITY: TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}

_log = logs.get_logger(__name__)


class TaskQueueWatch(Background):
    """A component that offers what Temporal last said of the task queues of a namespace."""

    def __init__(self, namespace: str, *, mirrors: Mirrors, client: Client) -> None:
        self.name = f"task-queues.{namespace}"
        self._namespace = namespace
        self._mirrors = mirrors
        self._client = client
        self._pace = Pace(_CALLS_PER_S)
        self._named: dict[str, tuple[int, frozenset[str]]] = {}
        self._found = QueueStates()

    @property
    def namespace(self) -> str:
        """Of which it asks."""
        return self._namespace

    def found(self) -> QueueStates:
        """What Temporal said when it was last asked."""
        return self._found

    async def look(self) -> None:
        """Ask once of every queue; while Temporal is away nothing is known of any."""
        queues = await self._queues()
        own = names.OWN_TASK_QUEUES
        asked = [*sorted(own), *sorted(queues.keys() - own)]
        unwatched = max(0, len(asked) - MOST)
        asked_at = datetime.now(UTC)
        states = []
        for queue, kind in itertools.product(asked[:MOST], _KINDS):
            try:
                states.append(await self._ask(queue, kind, queues.get(queue, ())))
            # The second is what a client says that could not connect.
            except (RPCError, RuntimeError) as exc:
                _log.warning("task_queue_unknown", task_queue=queue, error=str(exc))
                if not isinstance(exc, RPCError) or exc.status in _AWAY:
                    self._found = QueueStates(unwatched=unwatched)
                    return
        self._found = QueueStates(tuple(states), unwatched, asked_at)

    def observed(self, what: Callable[[QueueState], float]) -> Iterable[Observation]:
        """Return something of each queue and kind of tasks."""
        return [
            Observation(
                what(one),
                {
                    Attribute.NAMESPACE: self._namespace,
                    Attribute.TASK_QUEUE: one.name,
                    Attribute.TASK_KIND: one.kind.value,
                },
            )
            for one in self._found.states
        ]

    def unwatched(self) -> Observation:
        """Return how many queues were left out."""
        return Observation(self._found.unwatched, {Attribute.NAMESPACE: self._namespace})

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL.total_seconds())

    async def _queues(self) -> dict[str, list[str]]:
        """Return who names which queue, in order; only definitions that changed are read again."""
        named = {}
        in_use = (
            self._mirrors.known(self._namespace).view().in_use(ResourceKind.ACTIVITY_DEFINITION)
        )
        for number, resource in enumerate(in_use):
            resource_id, revision = resource.key.resource_id, resource.revision
            before = self._named.get(resource_id)
            if before is not None and before[0] == revision:
                named[resource_id] = before
            else:
                named[resource_id] = revision, task_queues.named(resource.content)
            if number % 100 == 0:
                await asyncio.sleep(0)  # thousands must not stop everything else
        self._named = named
        users: dict[str, list[str]] = {}
        for resource_id, (_, queues) in sorted(named.items()):
            for queue in queues:
                users.setdefault(queue, []).append(resource_id)
        return users

    async def _ask(self, queue: str, kind: TaskKind, users: Sequence[str]) -> QueueState:
        await self._pace.turn()
        told = await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._namespace,
                task_queue=TaskQueue(name=queue),
                task_queue_type=_KINDS[kind],
                report_stats=True,
            ),
            timeout=_RPC_TIMEOUT,
        )
        stats = told.stats
        return QueueState(
            queue,
            kind,
            backlog=stats.approximate_backlog_count,
            age=stats.approximate_backlog_age.ToTimedelta(),
            pollers=len(told.pollers),
            definition_ids=tuple(users[:TOLD]),
            definitions=len(users),
        )


def observe(watches: Iterable[TaskQueueWatch]) -> None:
    """Offer what all of them found to whoever scrapes."""
    watched = list(watches)
    meter = telemetry.meter(__name__)

    def each(what: Callable[[QueueState], float], _: CallbackOptions) -> Iterable[Observation]:
        return [one for watch in watched for one in watch.observed(what)]

    for metric, what, unit, description in (
        (
            Metric.TASK_QUEUE_BACKLOG,
            lambda one: one.backlog,
            "",
            "Tasks that wait on a queue, about.",
        ),
        (
            Metric.TASK_QUEUE_AGE,
            lambda one: one.age.total_seconds(),
            "s",
            "Age of the oldest task that waits, about.",
        ),
        (
            Metric.TASK_QUEUE_POLLERS,
            lambda one: one.pollers,
            "",
            "Workers that polled within five minutes.",
        ),
    ):
        meter.create_observable_gauge(
            metric,
            [functools.partial(each, what)],
            unit=unit,
            description=description,
        )
    meter.create_observable_gauge(
        Metric.TASK_QUEUES_UNWATCHED,
        [lambda _: [watch.unwatched() for watch in watched]],
        description="Task queues beyond the 200 of a namespace that Temporal is asked of.",
    )
