"""The Temporal workers of this service: what they run, how much at once, which build they are."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    PollerBehaviorSimpleMaximum,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
)

from runtime.temporalworker import FatalError, QueueServer


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


def _deployment(capacity: Capacity, *, outlives_builds: bool) -> WorkerDeploymentConfig:
    routed = VersioningBehavior.AUTO_UPGRADE if outlives_builds else VersioningBehavior.PINNED
    # Not on the workflows themselves: the server refuses a behaviour from a worker whose builds it
    # does not route by, and such a run would never get on.
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(
            deployment_name=capacity.deployment_name, build_id=capacity.build_id
        ),
        use_worker_versioning=capacity.worker_versioning,
        default_versioning_behavior=(
            routed if capacity.worker_versioning else VersioningBehavior.UNSPECIFIED
        ),
    )


def queue_server(
    *,
    task_queue: str,
    connect: Callable[[], Awaitable[Client]],
    workflows: Sequence[type],
    activities: Sequence[Callable[..., Any]],
    capacity: Capacity,
    outlives_builds: bool = False,
) -> QueueServer:
    """Return the component that serves workflows and Temporal activities on a task queue.

    Workflows are pinned to the build that began them, where builds are routed. Those that go on
    for longer than builds are kept (`outlives_builds`) move to each new one, so their code is
    changed by patches.
    """

    def worker(client: Client, failed: FatalError) -> Worker:
        return Worker(
            client,
            task_queue=task_queue,
            workflows=workflows,
            activities=activities,
            # The sandbox would import the workflow modules again for every run, which costs more
            # than all else a worker does for one. What it finds, tests/replay finds (ADR 032).
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=capacity.max_cached_workflows,
            max_concurrent_workflow_tasks=capacity.max_workflow_tasks,
            max_concurrent_activities=capacity.max_activities,
            max_concurrent_local_activities=capacity.max_local_activities,
            workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(capacity.workflow_pollers),
            activity_task_poller_behavior=PollerBehaviorSimpleMaximum(capacity.activity_pollers),
            graceful_shutdown_timeout=capacity.graceful_shutdown,
            on_fatal_error=failed,
            # A killed worker's runs move to another one after this long, not after 10 s.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=3),
            deployment_config=_deployment(capacity, outlives_builds=outlives_builds),
        )

    return QueueServer(task_queue=task_queue, connect=connect, worker=worker)
