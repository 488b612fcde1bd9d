"""What the relay is told: which outboxes to empty, into which brokers."""

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from outbox_relay.domain.waits import Policy
from runtime.settings import KafkaSettings, ServiceSettings


class OutboxSettings(BaseModel):
    """One outbox: a schema that holds `outbox_pending`, `outbox_parked` and `events`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(min_length=1, description="What logs and metrics call it.")
    dsn: SecretStr
    password_file: Path | None = Field(
        None, description="File of the password, read for each connection."
    )
    db_schema: str = Field(alias="schema", pattern="^[a-z_][a-z0-9_]*$")
    refused: dict[str, Policy] = Field(
        {}, description="By kind of stream (`run`, `definition`, …): whether it waits or goes on."
    )


class Settings(KafkaSettings, ServiceSettings):
    """`BACKBONE_OUTBOXES` is a JSON list of what `OutboxSettings` holds."""

    outboxes: tuple[OutboxSettings, ...] = Field(min_length=1)
    batch_rows: int = Field(500, ge=1, le=10_000, description="Rows that are read at once.")
    window_bytes: int = Field(
        2 * 1024 * 1024, ge=64 * 1024, description="What may be in flight, bodies only."
    )
    poll: timedelta = Field(
        timedelta(milliseconds=500),
        gt=timedelta(0),
        description="When an outbox is looked into that nobody has told of.",
    )
    hung_after: timedelta = Field(
        timedelta(seconds=10),
        ge=timedelta(seconds=2),
        description="After which a relay that does nothing loses its shards.",
    )
    delivery_timeout: timedelta = Field(
        timedelta(seconds=30),
        ge=timedelta(seconds=1),
        description="How long without any acknowledgement until the producer is replaced.",
    )
