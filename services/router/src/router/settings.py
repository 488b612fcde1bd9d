"""What the router is told: what to read, where to start, whom to ask."""

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from runtime.settings import (
    GrpcServerSettings,
    KafkaSettings,
    RegistryClientSettings,
    ServiceSettings,
    TemporalSettings,
)


class Settings(
    GrpcServerSettings, KafkaSettings, TemporalSettings, RegistryClientSettings, ServiceSettings
):
    """`BACKBONE_TOPICS` is a JSON list; each topic begins with one of the namespaces and a dot."""

    topics: tuple[str, ...] = Field(("dev.events",), min_length=1)
    redis_url: str = "redis://127.0.0.1:6379/0"
    seen_for: timedelta = Field(
        timedelta(days=1), description="How long Redis remembers an event; it only saves work."
    )
    concurrency: int = Field(64, ge=1, le=1000, description="Records routed at a time.")
    batch_records: int = Field(500, ge=1, le=5000, description="Records read at a time.")
    start_timeout: timedelta = Field(
        timedelta(seconds=5), description="How long one workflow start may take."
    )
    dead_letter_timeout: timedelta = Field(
        timedelta(seconds=10), description="How long one dead letter may take."
    )

    @model_validator(mode="after")
    def _topics_have_namespaces(self) -> Self:
        for topic in self.topics:
            if topic.partition(".")[0] not in self.namespaces or not topic.partition(".")[2]:
                raise ValueError(
                    f"topic {topic!r} begins with none of the namespaces: "
                    f"{', '.join(self.namespaces)} (BACKBONE_TOPICS, BACKBONE_NAMESPACES)"
                )
        return self

    def topics_of(self, namespace: str) -> tuple[str, ...]:
        """Return the input topics of a namespace."""
        return tuple(topic for topic in self.topics if topic.partition(".")[0] == namespace)
