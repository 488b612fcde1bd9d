"""What the registry is told by its environment."""

from datetime import timedelta

from pydantic import Field

from runtime.settings import (
    CatalogueSettings,
    GrpcServerSettings,
    LedgerClientSettings,
    PostgresSettings,
    ServiceSettings,
    TemporalSettings,
)


class Settings(
    GrpcServerSettings,
    PostgresSettings,
    TemporalSettings,
    LedgerClientSettings,
    CatalogueSettings,
    ServiceSettings,
):
    """Settings of the registry, from `BACKBONE_*`."""

    reconcile_interval: timedelta = Field(
        timedelta(seconds=60),
        gt=timedelta(0),
        description="How often all schedules are compared with what is there.",
    )
