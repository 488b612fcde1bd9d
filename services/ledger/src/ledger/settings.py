"""What the ledger is told by its environment."""

from datetime import timedelta

from pydantic import Field

from eventstore.partitions import MIN_RETENTION
from runtime.settings import GrpcServerSettings, PostgresSettings, ServiceSettings


class Settings(GrpcServerSettings, PostgresSettings, ServiceSettings):
    """Settings of the ledger, from `BACKBONE_*`."""

    event_retention: timedelta | None = Field(
        None,
        ge=MIN_RETENTION,
        description="How long events are kept after their month is over; none keeps them for ever.",
    )
