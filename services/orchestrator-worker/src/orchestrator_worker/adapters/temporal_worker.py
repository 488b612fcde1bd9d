"""A Temporal worker as a component of the process: one for each namespace and task queue."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    PollerBehaviorSimpleMaximum,
    Worker,
    WorkerDeploymentConfig,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from runtime import logs
from runtime.temporal import TemporalUnavailableError

_RECONNECT_S = 2.0

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Capacity:
    """How much one Temporal worker does at once, and which build it is."""

    max_cached_workflows: int
    max_workflow_tasks: int
    max_activities: int
    max_local_activities: int
    workflow_pollers: int
    activity_pollers: int
    graceful_shutdown: timedelta
    deployment_name: str
    build_id: str
    worker_versioning: bool


def _deployment(capacity: Capacity) -> WorkerDeploymentConfig:
    # Not on the workflows themselves: the server refuses a behaviour from a worker whose builds it
    # does not route by, and such a run would never get on.
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(
            deployment_name=capacity.deployment_name, build_id=capacity.build_id
        ),
        use_worker_versioning=capacity.worker_versioning,
        default_versioning_behavior=(
            VersioningBehavior.PINNED
            if capacity.worker_versioning
            else VersioningBehavior.UNSPECIFIED
        ),
    )


def sandbox() -> SandboxedWorkflowRunner:
    """Return the runner of workflows, the same for workers and replayers.

    What the workflows import is passed through: imported once, not again for every run.
    """
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules("contracts")
    )


class TemporalWorker:
    """Serves one task queue of one namespace with workflows and Temporal activities."""

    def __init__(
        self,
        *,
        task_queue: str,
        connect: Callable[[], Awaitable[Client]],
        workflows: Sequence[type],
        activities: Sequence[Callable[..., Any]],
        capacity: Capacity,
    ) -> None:
        """Serve `task_queue` of the namespace that `connect` connects to."""
        self.name = f"temporal-worker:{task_queue}"
        self._task_queue = task_queue
        self._connect = connect
        self._workflows = workflows
        self._activities = activities
        self._capacity = capacity
        self._worker: Worker | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, however long the server is away, and begin to poll."""
        client = await self._connected()
        capacity = self._capacity
        self._worker = Worker(
            client,
            task_queue=self._task_queue,
            workflows=self._workflows,
            activities=self._activities,
            workflow_runner=sandbox(),
            max_cached_workflows=capacity.max_cached_workflows,
            max_concurrent_workflow_tasks=capacity.max_workflow_tasks,
            max_concurrent_activities=capacity.max_activities,
            max_concurrent_local_activities=capacity.max_local_activities,
            workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(capacity.workflow_pollers),
            activity_task_poller_behavior=PollerBehaviorSimpleMaximum(capacity.activity_pollers),
            graceful_shutdown_timeout=capacity.graceful_shutdown,
            # A killed worker's runs move to another one after this long, not after 10 s.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=3),
            deployment_config=_deployment(capacity),
        )
        self._running = asyncio.create_task(self._worker.run(), name=self.name)
        _log.info("serving_task_queue", namespace=client.namespace, task_queue=self._task_queue)

    async def _connected(self) -> Client:
        while True:
            try:
                return await self._connect()
            except TemporalUnavailableError as exc:
                _log.warning("temporal_unavailable", worker=self.name, detail=str(exc))
                await asyncio.sleep(_RECONNECT_S)

    async def wait(self) -> None:
        """Return or raise when the worker has ended by itself."""
        if self._running is not None:
            await asyncio.shield(self._running)

    async def stop(self) -> None:
        """Stop polling, let Temporal activities in flight end, and end."""
        if self._worker is None or self._running is None:
            return
        if not self._running.done():
            await self._worker.shutdown()
        # A failure was told by `wait`; here the rest of the process still has to stop.
        with contextlib.suppress(Exception):
            await self._running
