"""What the relay is told: which outboxes to empty, into which brokers."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from runtime.settings import KafkaSettings, ServiceSettings


class OutboxSettings(BaseModel):
    """One outbox: a schema that holds `outbox_pending` and `events`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="What logs and metrics call it.")
    dsn: SecretStr
    db_schema: str = Field(alias="schema", pattern="^[a-z_][a-z0-9_]*$")


class Settings(KafkaSettings, ServiceSettings):
    """`BACKBONE_OUTBOXES` is a JSON list of `{"name", "dsn", "schema"}`."""

    outboxes: tuple[OutboxSettings, ...] = Field(min_length=1)
    batch_size: int = Field(1000, ge=1, le=10_000)
    idle: timedelta = Field(
        timedelta(milliseconds=20), description="How long an empty outbox is left alone."
    )
