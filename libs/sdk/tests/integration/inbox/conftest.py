"""A topic of a test's own: produce to it, and look at what a group has committed."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import kafka_wire
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from contracts.names import Header
from devstack.infrastructure import ensure_topics


async def eventually(condition: Callable[[], Any], *, within_s: float = 60.0) -> Any:
    """Return the first true value of `condition` (which may be async); fail after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within_s} s: {condition}"
        await asyncio.sleep(0.05)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Awaitable[Any]]:
    return eventually


class Events:
    """A topic with two partitions, and the consumer group `group`."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        self.group = f"{topic}-reports"
        self._producer = Producer({"bootstrap.servers": bootstrap})
        ensure_topics(bootstrap, {topic: 2})

    def event(self, event_id: str, **payload: Any) -> bytes:
        return json.dumps(
            {
                "event_id": event_id,
                "type": "billing.payment.received",
                "source": "tests",
                "occurred_at": "2026-01-01T00:00:00Z",
                "payload": payload,
            }
        ).encode()

    def publish(
        self,
        event_id: str,
        *,
        partition: int = 0,
        stream: str | None = None,
        version: int = 0,
        **payload: Any,
    ) -> None:
        headers: Sequence[tuple[str, bytes]] = ()
        if stream is not None:
            headers = [
                (Header.STREAM.value, stream.encode()),
                (Header.STREAM_VERSION.value, str(version).encode()),
            ]
        self.produce(self.event(event_id, **payload), partition=partition, headers=headers)

    def produce(self, value: bytes | None, *, partition: int = 0, headers: Any = ()) -> None:
        self._producer.produce(self.topic, value, partition=partition, headers=list(headers))
        assert self._producer.flush(30) == 0

    def produce_with_header_name(self, name: bytes, value: bytes) -> None:
        """Produce a record whose header's name is any bytes, which no client would send."""
        kafka_wire.produce_with_header_name(self.bootstrap, self.topic, name, value)

    async def committed(self) -> dict[int, int]:
        """What the group has committed, by partition; partitions without a commit have 0."""
        return (await asyncio.to_thread(self._look))[0]

    async def all_committed(self) -> bool:
        committed, ends = await asyncio.to_thread(self._look)
        return committed == ends

    def _look(self) -> tuple[dict[int, int], dict[int, int]]:
        # Not the admin client: NOT_COORDINATOR, a young broker's answer, crashes librdkafka there.
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group})
        try:
            places = [TopicPartition(self.topic, partition) for partition in (0, 1)]
            ends = [consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
            committed = consumer.committed(places, timeout=10)
        except KafkaException as exc:
            if exc.args[0].code() != KafkaError.NOT_COORDINATOR:
                raise
            return {0: 0, 1: 0}, dict(enumerate(ends))
        finally:
            consumer.close()
        return {p.partition: max(p.offset, 0) for p in committed}, dict(enumerate(ends))


@pytest.fixture
def events(kafka_bootstrap_servers: str, unique_name: str) -> Events:
    return Events(kafka_bootstrap_servers, unique_name)
