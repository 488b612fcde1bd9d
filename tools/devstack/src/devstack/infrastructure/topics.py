"""Topics of a running Kafka."""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from devstack.errors import DevstackError
from devstack.infrastructure.access import Grant
from runtime import kafka
from runtime.kafka import Brokers

_TIMEOUT = 30.0  # seconds


def ensure_topics(bootstrap_servers: Brokers, topics: Mapping[str, int]) -> None:
    """Create the topics that are absent, with that many partitions, and wait until all are known.

    Raises:
        DevstackError: One of them cannot be created.
    """
    client = _client(bootstrap_servers)
    present = set(client.list_topics(timeout=_TIMEOUT).topics)
    missing = {name: count for name, count in topics.items() if name not in present}
    if not missing:
        return
    created = client.create_topics(
        [
            NewTopic(name, num_partitions=count, replication_factor=1)
            for name, count in missing.items()
        ]
    )
    for name, future in created.items():
        try:
            future.result(timeout=_TIMEOUT)
        except KafkaException as exc:
            if exc.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                message = f"cannot create the topic {name}: {exc.args[0].str()}"
                raise DevstackError(message) from exc
    _await_leaders(client, set(topics))


def ensure_grants(bootstrap_servers: Brokers, grants: Sequence[Grant]) -> None:
    """Let principals do what they are granted; what is granted already stays.

    Raises:
        DevstackError: One of them cannot be granted.
    """
    bindings = [
        AclBinding(
            ResourceType[grant.kind.upper()],
            str(name),
            ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL,
            f"User:{grant.principal}",
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )
        for grant in grants
        for name in grant.names
        for operation in grant.operations
    ]
    client = _client(bootstrap_servers)  # kept: what it is asked ends with it
    for future in client.create_acls(bindings).values():
        try:
            future.result(timeout=_TIMEOUT)
        except KafkaException as exc:
            message = f"cannot grant what services need of Kafka: {exc.args[0].str()}"
            raise DevstackError(message) from exc


def answers(bootstrap_servers: Brokers) -> bool:
    """Return whether the broker serves its metadata."""
    try:
        return bool(_client(bootstrap_servers).list_topics(timeout=2.0).brokers)
    except KafkaException:
        return False


def _await_leaders(client: AdminClient, names: set[str]) -> None:
    """Return once producers and consumers will find every partition's leader."""
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        found = client.list_topics(timeout=_TIMEOUT).topics
        if all(
            name in found
            and found[name].partitions
            and all(partition.leader >= 0 for partition in found[name].partitions.values())
            for name in names
        ):
            return
        time.sleep(0.05)
    message = f"the topics {', '.join(sorted(names))} got no leaders in {_TIMEOUT:.0f} s"
    raise DevstackError(message)


def _client(bootstrap_servers: Brokers) -> AdminClient:
    return AdminClient(
        {
            **kafka.client_settings(bootstrap_servers),
            # A broker that is starting refuses connections: that is no news.
            "log_level": 0,
            "reconnect.backoff.max.ms": 500,
        }
    )
