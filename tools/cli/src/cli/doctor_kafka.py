"""What `doctor` sees of Kafka: the namespace's topics, and how far the router has read."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka import admin as untyped
from confluent_kafka.admin import AdminClient

from cli.doctor_checks import SeenGroup
from cli.errors import CliError, NotReachableError
from contracts import names
from contracts.names import Topic
from runtime import kafka
from runtime.authorisation import Denial
from runtime.kafka import Brokers, KafkaDeliveryError

# The package does not say that it exports this.
_LATEST: Any = vars(untyped)["OffsetSpec"].latest()

_DENIALS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_PASSING = frozenset(
    {
        # What brokers say of a group until they agree who keeps it; of the first one, for seconds.
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)
_AGAIN_S = 0.2


async def missing_topics(servers: Brokers, namespace: str, *, timeout_s: float) -> Sequence[str]:
    """Return which of the namespace's own topics are not there.

    Raises:
        NotReachableError: no broker answers.
    """
    wanted = [names.topic(namespace, topic) for topic in Topic]
    try:
        return await kafka.missing_topics(servers, wanted, timeout_s=timeout_s)
    except KafkaDeliveryError as exc:
        raise _unreachable(servers, exc.reason) from exc


async def router_group(servers: Brokers, namespace: str, *, timeout_s: float) -> SeenGroup:
    """Return who reads for the router, and how many records are not read, by topic.

    A topic is known by what was committed for it: one that nobody has ever read is not told.

    Raises:
        CliError: no broker answers, or it does not tell us.
    """
    name = names.router_group(namespace)

    def look() -> SeenGroup:
        quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _error: None}
        admin = AdminClient({**kafka.client_settings(servers), **quiet})
        # Three questions, one after the other: the command ends only once this thread has.
        wait: dict[str, Any] = {"request_timeout": timeout_s / 3}
        members = _members(admin.describe_consumer_groups([name], **wait)[name])
        asked = ConsumerGroupTopicPartitions(name)
        answer = admin.list_consumer_group_offsets([asked], **wait)[name].result()
        committed = {
            (one.topic, one.partition): one.offset
            for one in answer.topic_partitions
            if one.offset >= 0
        }
        asked_ends = {TopicPartition(*place): _LATEST for place in committed}
        ends = admin.list_offsets(asked_ends, **wait) if asked_ends else {}
        lag: dict[str, int] = defaultdict(int)
        for place, end in ends.items():
            offset = committed[place.topic, place.partition]
            lag[place.topic] += max(0, end.result().offset - offset)
        return SeenGroup(name, members, lag)

    def look_until_told() -> SeenGroup:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return look()
            except KafkaException as exc:
                if exc.args[0].code() not in _PASSING or time.monotonic() > deadline:
                    raise
            time.sleep(_AGAIN_S)

    try:
        return await asyncio.to_thread(look_until_told)
    except KafkaException as exc:
        raise _told(servers, exc.args[0]) from exc


def _members(described: "Future[Any]") -> int:
    try:
        return len(described.result().members)
    except KafkaException as exc:
        if exc.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return 0
        raise


def _told(servers: Brokers, error: KafkaError) -> CliError:
    if error.code() in _DENIALS:
        return CliError(f"Kafka does not let you look: {error.str()}", reason=Denial.ROLE)
    if error.code() > 0:
        return CliError(f"Kafka failed: {error.str()}")
    # The client's own codes are below zero: nobody has answered.
    return _unreachable(servers, error.str())


def _unreachable(servers: Brokers, reason: str) -> NotReachableError:
    return NotReachableError(
        f"Kafka is not reachable at {servers} ({reason}): start it with `make up`, or set "
        "BACKBONE_KAFKA_BOOTSTRAP_SERVERS to where it is"
    )
