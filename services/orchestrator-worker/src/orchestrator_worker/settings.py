"""Settings of the orchestrator-worker."""

import importlib.metadata
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from contracts import identifiers, names
from runtime.settings import (
    CatalogueSettings,
    LedgerClientSettings,
    RegistryClientSettings,
    TemporalWorkerSettings,
)

_QUEUE = identifiers.TASK_QUEUE_PATTERN.removeprefix("^")
_NAMESPACE = identifiers.NAMESPACE_PATTERN.removeprefix("^").removesuffix("$")
_Served = Annotated[str, Field(pattern=f"^({_NAMESPACE}/)?{_QUEUE}", max_length=127)]


class Settings(
    CatalogueSettings,
    LedgerClientSettings,
    RegistryClientSettings,
    TemporalWorkerSettings,
):
    """Read from `BACKBONE_*`."""

    task_queues: tuple[_Served, ...] = Field(
        (),
        description="JSON list of the task queues served: in each namespace, or in the one that "
        "is named before it (prod/billing-tq).",
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
        served = {queue.rpartition("/")[2] for queue in queues}
        for own, setting in _OWN_QUEUES.items():
            if own in served:
                raise ValueError(f"{own} is served by {setting}")
        return queues

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        named = {queue.partition("/")[0] for queue in self.task_queues if "/" in queue}
        if unknown := sorted(named - set(self.namespaces)):
            raise ValueError(
                f"BACKBONE_TASK_QUEUES names {', '.join(unknown)}, which BACKBONE_NAMESPACES "
                "does not list"
            )
        pairs = self.served
        if twice := sorted({pair for pair in pairs if pairs.count(pair) > 1}):
            listed = ", ".join("/".join(pair) for pair in twice)
            raise ValueError(f"BACKBONE_TASK_QUEUES lists {listed} twice")
        return self

    @property
    def served(self) -> list[tuple[str, str]]:
        """The pairs of namespace and task queue on which runs are served."""
        pairs = []
        for entry in self.task_queues:
            namespace, _, queue = entry.rpartition("/")
            pairs += [(one, queue) for one in ([namespace] if namespace else self.namespaces)]
        return pairs


_OWN_QUEUES = {
    names.SYSTEM_TASK_QUEUE: "BACKBONE_SERVE_SYSTEM",
    names.TICK_TASK_QUEUE: "BACKBONE_SERVE_TICKS",
    names.TASK_TIMERS_TASK_QUEUE: "BACKBONE_SERVE_TASK_TIMERS",
}
