"""What the ledger is told by its environment."""

from datetime import timedelta

from pydantic import Field

from eventstore.partitions import MIN_RETENTION
from ledger.domain.instances import DEFAULT_MAX_WAITING
from runtime.settings import (
    EncryptionSettings,
    GrpcServerSettings,
    PostgresSettings,
    ServiceSettings,
    SigningSettings,
)

PENDING_MAX_AGE = timedelta(days=7)
DECISION_RETENTION = timedelta(days=400)


class Settings(
    GrpcServerSettings, PostgresSettings, SigningSettings, EncryptionSettings, ServiceSettings
):
    """Settings of the ledger, from `BACKBONE_*`."""

    event_retention: timedelta | None = Field(
        None,
        ge=MIN_RETENTION,
        description="How long events are kept after their month is over; none keeps them for ever.",
    )
    pending_max_age: timedelta = Field(
        PENDING_MAX_AGE,
        ge=timedelta(minutes=1),
        description="How long an event waits to be started, or to be applied to its stateful "
        "instance, at most; older ones are given up.",
    )
    instance_max_waiting: int = Field(
        DEFAULT_MAX_WAITING,
        ge=1,
        le=1_000_000,
        description="Events of one correlation key that wait to be applied at most; beyond it the "
        "oldest are given up.",
    )
    decision_retention: timedelta = Field(
        DECISION_RETENTION,
        ge=MIN_RETENTION,
        description="How long routing decisions are kept after their month is over.",
    )
