"""What the router is told: what to read, where to start, whom to ask."""

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from runtime.settings import (
    GrpcServerSettings,
    KafkaSettings,
    LedgerClientSettings,
    RegistryClientSettings,
    ServiceSettings,
    TemporalSettings,
)


class Settings(
    GrpcServerSettings,
    KafkaSettings,
    TemporalSettings,
    RegistryClientSettings,
    LedgerClientSettings,
    ServiceSettings,
):
    """`BACKBONE_TOPICS` is a JSON list; each topic begins with one of the namespaces and a dot."""

    topics: tuple[str, ...] = Field(("dev.events",), min_length=1)
    redis_url: str = "redis://127.0.0.1:6379/0"
    seen_for: timedelta = Field(
        timedelta(days=1), description="How long Redis remembers an event; it only saves work."
    )
    concurrency: int = Field(64, ge=1, le=1000, description="Records routed at a time.")
    batch_records: int = Field(1000, ge=1, le=5000, description="Records read at a time.")
    start_timeout: timedelta = Field(
        timedelta(seconds=5), description="How long one workflow start may take."
    )
    record_timeout: timedelta = Field(
        timedelta(seconds=10), description="How long recording the decisions of a batch may take."
    )
    dead_letter_timeout: timedelta = Field(
        timedelta(seconds=10), description="How long one dead letter may take."
    )
    http_events: bool | None = Field(
        None,
        description="Whether POST /events takes events. It does not know who sends them: without a "
        "word it does so only where the environment is local.",
    )
    http_topics: dict[str, str] = Field(
        {},
        description="The topic of each namespace that takes them; else the namespace's first one.",
    )
    http_in_flight: int = Field(
        64, ge=1, le=1000, description="Requests with events that are answered at a time."
    )
    http_body_timeout: timedelta = Field(
        timedelta(seconds=10), description="How long the body of such a request may take."
    )
    http_ack_timeout: timedelta = Field(
        timedelta(seconds=5), description="How long the brokers may take to acknowledge its events."
    )

    @model_validator(mode="after")
    def _events_go_where_they_are_read(self) -> Self:
        for namespace, topic in self.http_topics.items():
            if topic not in self.topics_of(namespace):
                raise ValueError(
                    f"topic {topic!r} is none of the topics of {namespace!r} that are read here "
                    "(BACKBONE_HTTP_TOPICS, BACKBONE_TOPICS)"
                )
        return self

    dispatch_poll: timedelta = Field(
        timedelta(seconds=1), description="How often what waits is looked for, at least."
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

    @property
    def takes_http_events(self) -> bool:
        """Whether POST /events is there."""
        return self.environment == "local" if self.http_events is None else self.http_events

    def http_topic_of(self, namespace: str) -> str | None:
        """Return where a namespace's events by HTTP go; None when it has no topic."""
        topics = self.topics_of(namespace)
        return self.http_topics.get(namespace, topics[0] if topics else None)
