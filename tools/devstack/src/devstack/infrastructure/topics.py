"""Topics of a running Kafka."""

import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from devstack.errors import DevstackError

_TIMEOUT = 30.0  # seconds


def ensure_topics(bootstrap_servers: str, topics: Mapping[str, int]) -> None:
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


def answers(bootstrap_servers: str) -> bool:
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


def _client(bootstrap_servers: str) -> AdminClient:
    return AdminClient(
        {
            "bootstrap.servers": bootstrap_servers,
            # A broker that is starting refuses connections: that is no news.
            "log_level": 0,
            "reconnect.backoff.max.ms": 500,
        }
    )
