"""Settings of the orchestrator-worker."""

import importlib.metadata
from datetime import timedelta
from pathlib import Path

from pydantic import Field, field_validator

from contracts import names
from contracts.catalogue import TaskQueue
from runtime.settings import (
    CatalogueSettings,
    LedgerClientSettings,
    RegistryClientSettings,
    ServiceSettings,
    TemporalSettings,
)


class Settings(
    CatalogueSettings,
    LedgerClientSettings,
    RegistryClientSettings,
    TemporalSettings,
    ServiceSettings,
):
    """Read from `BACKBONE_*`."""

    task_queues: tuple[TaskQueue, ...] = Field(
        (), description="JSON list of the task queues served in each namespace."
    )
    serve_ticks: bool = Field(
        default=True, description="Whether the ticks' own queue is served too."
    )
    serve_task_timers: bool = Field(
        default=True, description="Whether the own queue of human tasks' timers is served too."
    )
    serve_system: bool = Field(
        default=True,
        description="Whether the sweep is served, and what the ledger wants done in Temporal is.",
    )
    sweep_interval: timedelta = Field(
        timedelta(minutes=1),
        ge=timedelta(seconds=1),
        le=timedelta(days=1),
        description="How often open runs are looked after.",
    )
    sweep_min_age: timedelta = Field(
        timedelta(minutes=1),
        ge=timedelta(0),
        le=timedelta(days=1),
        description="What was begun since then is not looked after yet.",
    )
    operations_poll: timedelta = Field(
        timedelta(seconds=1),
        ge=timedelta(milliseconds=50),
        le=timedelta(minutes=1),
        description="How often the ledger is asked what is to be done in Temporal.",
    )
    build_id: str = Field(
        importlib.metadata.version("orchestrator-worker"),
        min_length=1,
        max_length=255,
        description="Tells one build of the worker from another; runs are pinned to it.",
    )
    deployment_name: str = Field("backbone-orchestrator-worker", min_length=1, max_length=255)
    worker_versioning: bool = Field(
        default=False,
        description="Whether Temporal routes by build; needs a current version to be set.",
    )
    graceful_shutdown: timedelta = Field(
        timedelta(seconds=10), description="How long a Temporal activity may go on after SIGTERM."
    )
    max_cached_workflows: int = Field(500, ge=0, le=100_000)
    max_workflow_tasks: int = Field(100, ge=2, le=10_000)
    max_activities: int = Field(100, ge=1, le=10_000)
    max_local_activities: int = Field(100, ge=1, le=10_000)
    workflow_pollers: int = Field(5, ge=2, le=100)
    activity_pollers: int = Field(2, ge=1, le=100)
    definition_cache: int = Field(
        500, ge=1, le=100_000, description="How many definition versions are kept compiled."
    )

    redaction_key_file: Path | None = Field(
        None,
        description="Key of the hashes that snapshots hold in place of redacted values; without "
        "one they hold no hash.",
    )

    @field_validator("task_queues")
    @classmethod
    def _not_our_own_queues(cls, queues: tuple[str, ...]) -> tuple[str, ...]:
        if names.SYSTEM_TASK_QUEUE in queues:
            raise ValueError(f"{names.SYSTEM_TASK_QUEUE} is served by BACKBONE_SERVE_SYSTEM")
        if names.TICK_TASK_QUEUE in queues:
            raise ValueError(f"{names.TICK_TASK_QUEUE} is served by BACKBONE_SERVE_TICKS")
        if names.TASK_TIMERS_TASK_QUEUE in queues:
            raise ValueError(
                f"{names.TASK_TIMERS_TASK_QUEUE} is served by BACKBONE_SERVE_TASK_TIMERS"
            )
        if len(set(queues)) != len(queues):
            raise ValueError("a task queue is listed twice")
        return queues
