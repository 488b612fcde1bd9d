"""What the router is told: what to read, where to start, whom to ask."""

from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from contracts import names
from contracts.names import Topic
from runtime import secretfiles
from runtime.errors import ConfigurationError
from runtime.settings import (
    GrpcServerSettings,
    KafkaSettings,
    LedgerClientSettings,
    RegistryClientSettings,
    ServiceSettings,
    TemporalSettings,
)

_SHORTEST_KEY_SECRET = 16
_LOCAL_KEY_SECRET = b"backbone-local-instances"


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
    instance_key_secret: SecretStr | None = Field(
        None,
        min_length=_SHORTEST_KEY_SECRET,
        description="What the correlation keys of stateful definitions are hashed under, at least "
        "16 characters, the same for all routers and never changed: it is part of every instance's "
        "id. Without it no stateful definition is told of events, save where the environment is "
        "local, which has one that is no secret.",
    )
    instance_key_secret_file: Path | None = Field(
        None,
        description="The file of it. Where the environment is not local it has to be in one.",
    )
    redis_password_file: Path | None = Field(
        None,
        description="The file of the password of Redis, read for each connection. With "
        "certificates the URL itself must not hold one.",
    )
    trusted_keys: Path | None = Field(
        None,
        description="The file of the public keys of Backbone's services. Without it what stands on "
        "their topics is believed, which is so only where the environment is local.",
    )
    replay_window: timedelta = Field(
        timedelta(days=1),
        gt=timedelta(0),
        description="How old a signature may be when its event comes.",
    )
    clock_skew: timedelta = Field(
        timedelta(minutes=2),
        ge=timedelta(0),
        description="How far ahead of the clock here a signer's may be.",
    )
    open_namespaces: bool | None = Field(
        None,
        description="Whether anybody may emit in a namespace without a producer: without a word "
        "only where the environment is local.",
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

    @model_validator(mode="after")
    def _one_secret_in_a_file(self) -> Self:
        if self.instance_key_secret is None:
            return self
        if self.instance_key_secret_file is not None:
            raise ValueError(
                "BACKBONE_INSTANCE_KEY_SECRET and BACKBONE_INSTANCE_KEY_SECRET_FILE exclude each "
                "other"
            )
        if self.environment != "local":
            raise ValueError(
                "BACKBONE_INSTANCE_KEY_SECRET is for a machine of one's own: name its file with "
                "BACKBONE_INSTANCE_KEY_SECRET_FILE"
            )
        return self

    @model_validator(mode="after")
    def _own_events_are_verified(self) -> Self:
        own = {names.topic(n, t) for n in self.namespaces for t in Topic} & set(self.topics)
        if own and self.trusted_keys is None and self.environment != "local":
            raise ValueError(
                f"the topics {', '.join(sorted(own))} are Backbone's own: BACKBONE_TRUSTED_KEYS "
                "has to name the file of the keys that sign what stands there (docs/signatures.md)"
            )
        return self

    @property
    def is_open(self) -> bool:
        """Whether anybody may emit in a namespace without a producer."""
        return self.environment == "local" if self.open_namespaces is None else self.open_namespaces

    @property
    def key_secret(self) -> bytes | None:
        """What correlation keys are hashed under; None when there is nothing.

        Raises:
            ConfigurationError: its file cannot be read, or holds too little.
        """
        if self.instance_key_secret is not None:
            return self.instance_key_secret.get_secret_value().encode()
        if self.instance_key_secret_file is not None:
            found = secretfiles.read(self.instance_key_secret_file)
            if len(found) < _SHORTEST_KEY_SECRET:
                raise ConfigurationError(
                    f"{self.instance_key_secret_file} (BACKBONE_INSTANCE_KEY_SECRET_FILE) holds "
                    f"{len(found)} characters, fewer than {_SHORTEST_KEY_SECRET}"
                )
            return found.encode()
        return _LOCAL_KEY_SECRET if self.environment == "local" else None

    @property
    def takes_http_events(self) -> bool:
        """Whether POST /events is there."""
        return self.environment == "local" if self.http_events is None else self.http_events

    def http_topic_of(self, namespace: str) -> str | None:
        """Return where a namespace's events by HTTP go; None when it has no topic."""
        topics = self.topics_of(namespace)
        return self.http_topics.get(namespace, topics[0] if topics else None)
