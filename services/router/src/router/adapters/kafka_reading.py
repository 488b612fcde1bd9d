"""Looks at records of topics beside the consumer: by a client without a group, within a time."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from router.adapters import kafka_consumer
from router.domain.records import Record
from router.errors import TransientError
from runtime import kafka, logs
from runtime.kafka import Brokers

T = TypeVar("T")
Place = tuple[str, int]
"""Topic and partition."""

# The library's public names of codes that come from the client begin with an underscore.
NOWHERE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
"""There is no such topic or partition."""
_END = KafkaError._PARTITION_EOF  # noqa: SLF001
_NEVER_BETTER = NOWHERE | {KafkaError.TOPIC_AUTHORIZATION_FAILED}
_MOVING = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
"""A partition is finding its leader: it has one soon."""
_LOOK_AGAIN_S = 0.1
_log = logs.get_logger(__name__)


class Reading:
    """One look at topics, until `deadline` (of the monotonic clock); `told` says at what."""

    def __init__(self, consumer: Consumer, deadline: float, told: str) -> None:
        self._consumer = consumer
        self._deadline = deadline
        self._told = told

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._deadline

    def left_s(self) -> float:
        """Return how many seconds are left. Raises TransientError when there are none."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TransientError(f"{self._told} could not be read in time")
        return left

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic. Raises KafkaException."""
        found = self._consumer.list_topics(topic, timeout=self.left_s()).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return sorted(found.partitions)

    def ends(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset of a partition, and the one behind its last."""
        place = TopicPartition(topic, partition)
        ends = self._consumer.get_watermark_offsets(place, timeout=self.left_s())
        if ends is None:
            raise TransientError(f"{topic} did not say in time where it ends")
        return ends

    def from_time(self, topic: str, partitions: Sequence[int], time_ms: int) -> dict[int, int]:
        """Return the first offset of each partition that is not older; it lacks where all are."""
        asked = [TopicPartition(topic, partition, time_ms) for partition in partitions]
        found = self._consumer.offsets_for_times(asked, timeout=self.left_s()) if asked else []
        for one in found:
            if one.error is not None:
                raise KafkaException(one.error)
        return {one.partition: one.offset for one in found if one.offset >= 0}

    def begin(self, offsets: Mapping[Place, int]) -> None:
        """Go to these offsets, and read no other partitions."""
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])

    def pause(self, place: Place) -> None:
        """Read no further in a partition."""
        self._consumer.pause([TopicPartition(*place)])

    def poll(self, most: int = 500) -> Iterator[tuple[Place, Record | None]]:
        """Yield what comes within a moment, None for the end of a partition.

        Raises:
            KafkaException: what is asked for will not come, however long it is waited for.
        """
        for message in self._consumer.consume(most, 0.2):
            error = message.error()
            if error is None:
                record = kafka_consumer.read(message)
                yield (record.topic, record.partition), record
            elif error.code() == _END:
                yield (message.topic() or "", message.partition() or 0), None
            elif error.fatal() or error.code() in _NEVER_BETTER:
                raise KafkaException(error)

    def at(self, topic: str, partition: int, offset: int) -> Record | None:
        """Return one record, None for what is not there (any more).

        Raises:
            KafkaException: there is no such topic or partition.
        """
        # A partition that does not exist would be waited for.
        first, behind = self.ends(topic, partition)
        if not first <= offset < behind:
            return None
        self.begin({(topic, partition): offset})
        while True:
            self.left_s()
            for place, record in self.poll(most=1):
                if place == (topic, partition):
                    # Of an offset that is not there the client makes another one.
                    return record if record is not None and record.offset == offset else None


def look(
    bootstrap_servers: Brokers,
    work: Callable[[Reading], T],
    *,
    client_id: str,
    told: str,
    timeout_s: float,
) -> T:
    """Do `work` with a client of its own, again while partitions find their leaders. It blocks.

    Raises:
        KafkaException: the brokers do not answer, or say why not.
        TransientError: it took too long.
    """
    deadline = time.monotonic() + timeout_s
    with _consumer(bootstrap_servers, client_id) as consumer:
        while True:
            try:
                return work(Reading(consumer, deadline, told))
            except KafkaException as exc:
                late = time.monotonic() + _LOOK_AGAIN_S > deadline
                if late or exc.args[0].code() not in _MOVING:
                    raise
            time.sleep(_LOOK_AGAIN_S)


@contextmanager
def _consumer(bootstrap_servers: Brokers, client_id: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            **kafka.client_settings(bootstrap_servers),
            "client.id": client_id,
            # Required by the client and joined by nobody: partitions are assigned by hand.
            "group.id": client_id,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # Retention may have taken what a look would begin with.
            "auto.offset.reset": "earliest",
            # Nobody waits for more than there is.
            "fetch.wait.max.ms": 20,
            "queued.max.messages.kbytes": 16 * 1024,
            "log_level": 0,
            "error_cb": _note_error,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _note_error(error: KafkaError) -> None:
    _log.info("kafka_client_error", error=error.str(), fatal=error.fatal())
