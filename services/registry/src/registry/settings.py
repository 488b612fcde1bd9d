"""What the registry is told by its environment."""

from datetime import timedelta

from pydantic import Field

from runtime.settings import (
    CatalogueSettings,
    GrpcServerSettings,
    LedgerClientSettings,
    PostgresSettings,
    ServiceSettings,
    SigningSettings,
    TemporalSettings,
)


class Settings(
    GrpcServerSettings,
    PostgresSettings,
    TemporalSettings,
    LedgerClientSettings,
    CatalogueSettings,
    SigningSettings,
    ServiceSettings,
):
    """Settings of the registry, from `BACKBONE_*`."""

    reconcile_interval: timedelta = Field(
        timedelta(seconds=60),
        gt=timedelta(0),
        description="How often all schedules are compared with what Temporal lists.",
    )
    inspection_interval: timedelta = Field(
        timedelta(hours=1),
        gt=timedelta(0),
        description="In what time each schedule is looked at thoroughly, one after the other.",
    )
    reconciler_lease: timedelta = Field(
        timedelta(seconds=15),
        ge=timedelta(seconds=2),
        description="After this time without a sign of life another replica reconciles.",
    )
    schedule_calls_per_s: float = Field(
        100.0,
        ge=1.0,
        le=10_000.0,
        description="Calls a second for Temporal's schedules, of one namespace, at the most.",
    )
