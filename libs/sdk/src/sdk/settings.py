"""Settings of a worker of tasks."""

from pydantic import Field

from runtime.settings import CatalogueSettings, LedgerClientSettings, TemporalWorkerSettings


class WorkerSettings(CatalogueSettings, LedgerClientSettings, TemporalWorkerSettings):
    """Read from `BACKBONE_*`, or given by name."""

    max_activities: int = Field(
        100,
        ge=1,
        le=10_000,
        description="How many tasks of one namespace and task queue are done at once.",
    )
    activity_pollers: int = Field(5, ge=1, le=100)
