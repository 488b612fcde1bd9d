"""The records of the benchmark, published to one stack, and what comes of them there."""

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from contracts.names import Header
from runtime import kafka
from runtime.kafka import Brokers
from signing.keys import SigningKey

DOCUMENTS = Path(__file__).parent
"""The folder of the definition and the event type that wait for the records."""

SOURCE, EVENT_TYPE = "bench", "bench.happened"
INPUT, TASKS = "dev.bench", "dev.backbone.task-events"
DEADLINE_S = 300.0
PACE = 5.0  # records a second, where each is to be alone


class TaskEvents:
    """Reads the task events from where the topic ended when this was made."""

    def __init__(self, brokers: Brokers) -> None:
        self._consumer = Consumer(
            {**kafka.client_settings(brokers), "group.id": "bench", "fetch.wait.max.ms": 5}
        )
        partitions = self._consumer.list_topics(TASKS, timeout=10).topics[TASKS].partitions
        ends = [
            TopicPartition(
                TASKS, p, self._consumer.get_watermark_offsets(TopicPartition(TASKS, p))[1]
            )
            for p in partitions
        ]
        self._consumer.assign(ends)

    def wait(self, event_type: str, count: int) -> dict[str, float]:
        """Return when (monotonic seconds) the first `count` events of a type came, by cause."""
        seen: dict[str, float] = {}
        deadline = time.monotonic() + DEADLINE_S
        while len(seen) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(seen)} of {count} {event_type} within {DEADLINE_S} s")
            record = self._consumer.poll(0.5)
            if record is None or record.error() is not None:
                continue
            event = json.loads(record.value() or b"{}")
            if event["type"] == event_type:
                seen.setdefault(event["causation_id"], time.monotonic())
        return seen

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


def records(count: int) -> dict[str, bytes]:
    """Return new events by their ids."""

    def one(event_id: str) -> bytes:
        return json.dumps(
            {
                "event_id": event_id,
                "type": EVENT_TYPE,
                "source": SOURCE,
                "occurred_at": "2026-01-01T00:00:00Z",
                "payload": {"amount": 1},
            }
        ).encode()

    ids = [uuid.uuid4().hex for _ in range(count)]
    return {event_id: one(event_id) for event_id in ids}


class Load:
    """Publishes to the brokers of one stack, each record signed when there is a key.

    When `traced`, each record has a trace of its own, which is to be recorded.
    """

    def __init__(
        self, brokers: Brokers, *, signing_key: SigningKey | None = None, traced: bool = False
    ) -> None:
        self._brokers = brokers
        self._key = signing_key
        self._traced = traced
        self._producer = Producer(
            {
                **kafka.client_settings(brokers),
                "acks": "all",
                "linger.ms": 1,
                "log_level": 0,  # it lives for longer than the stack, and would say so
            }
        )

    def publish(self, topic: str, events: Mapping[str, bytes]) -> None:
        """Publish events and return when the broker has them."""
        for event_id, value in events.items():
            key = event_id.encode()
            self._producer.produce(
                topic, key=key, value=value, headers=self._headers(topic, key, value)
            )
        self._producer.flush(30)

    def events_per_s(self, count: int) -> float:
        """Return events per second from the first publish to the last TaskCompleted on Kafka."""
        events = TaskEvents(self._brokers)
        try:
            started = time.monotonic()
            self.publish(INPUT, records(count))
            done = events.wait("backbone.TaskCompleted", count)
            return count / (max(done.values()) - started)
        finally:
            events.close()

    def latencies_ms(self, count: int, *, per_second: float) -> list[float]:
        """Return the milliseconds from publish to TaskCreated of events at an even pace."""
        events = TaskEvents(self._brokers)
        try:
            published: dict[str, float] = {}
            began = time.monotonic()
            seen: dict[str, float] = {}
            for number, (event_id, value) in enumerate(records(count).items()):
                due = began + number / per_second
                time.sleep(max(0.0, due - time.monotonic()))
                published[event_id] = time.monotonic()
                self.publish(INPUT, {event_id: value})
                seen |= events.wait("backbone.TaskCreated", 1)
            return [(seen[event_id] - published[event_id]) * 1000 for event_id in published]
        finally:
            events.close()

    def _headers(self, topic: str, key: bytes, value: bytes) -> dict[str, str | bytes | None]:
        headers: dict[str, str | bytes | None] = {}
        if self._traced:
            headers[Header.TRACEPARENT.value] = f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[16:]}-01"
        if self._key is None:
            return headers
        signature = self._key.sign_record(
            topic=topic,
            issued_at_ms=time.time_ns() // 1_000_000,
            key=key,
            headers=(),
            value=value,
        )
        return dict([*headers.items(), signature.header()])
