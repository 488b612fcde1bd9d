"""Settings of a worker of tasks."""

from datetime import timedelta

from pydantic import Field

from runtime.settings import LedgerClientSettings, ServiceSettings, TemporalSettings


class WorkerSettings(LedgerClientSettings, TemporalSettings, ServiceSettings):
    """Read from `BACKBONE_*`, or given by name."""

    max_activities: int = Field(
        100, ge=1, le=10_000, description="How many tasks of one namespace are done at once."
    )
    activity_pollers: int = Field(5, ge=1, le=100)
    graceful_shutdown: timedelta = Field(
        timedelta(seconds=10), description="How long a task may go on after SIGTERM."
    )
