"""The consumer on a real Kafka and a real PostgreSQL, killed where it hurts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from psycopg import connect
from pydantic import BaseModel

from contracts import names
from contracts.events import TaskCompleted, TaskCreated
from contracts.names import Topic
from devstack.infrastructure import ensure_topics
from eventstore import events
from eventstore.events import Cause, Fact, Rendered

RUNS = 4
TASKS = 3
GROUP = "examples.tally"
PARTITIONS = 2

# One hit of a fault point kills the process with SIGKILL, at once.
KILLED_AT = [
    "sdk.after_effect.before_inbox_commit:4",
    "sdk.after_inbox_commit:3",
    "sdk.before_offset_commit:1",
]


@pytest.fixture
def published(unique_name: str) -> list[Rendered]:
    """The task events of some runs, as the relay publishes them; version 1 is on another topic."""
    records = []
    for run in range(RUNS):
        run_id = f"billing.example-{run % 2}:manual:{run}"
        task = {
            "run_id": run_id,
            "definition_id": f"billing.example-{run % 2}",
            "rule": "remind",
            "type": "automated",
        }
        payloads: list[BaseModel] = []
        for number in range(TASKS):
            identity = {
                "task_id": f"00000000-0000-5000-8000-{run:06}{number:06}",
                "key": str(number),
            }
            created = {**task, **identity, "definition_version": 1, "input": {}}
            payloads.append(TaskCreated.model_validate(created))
            payloads.append(TaskCompleted.model_validate({**task, **identity}))
        for version, payload in enumerate(payloads, 2):
            records.append(
                events.render(
                    Fact(payload, key=run_id),
                    source=names.source("ledger"),
                    namespace=unique_name,
                    stream=f"run:{run_id}",
                    version=version,
                    previous_hash=events.GENESIS,
                    occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
                    cause=Cause(correlation_id="order-1"),
                )
            )
    return records


def publish(bootstrap_servers: str, records: list[Rendered]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "partitioner": "murmur2_random"})
    for record in records:
        producer.produce(record.topic, record.body, key=record.key, headers=[*record.headers])
    assert producer.flush(30) == 0


@contextmanager
def consumer(
    examples: Path, environment: dict[str, str], *, killed_at: str | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    fault = {} if killed_at is None else {"BACKBONE_FAULTPOINT": killed_at}
    with subprocess.Popen(
        [sys.executable, "-m", "tally"],
        cwd=examples / "consumer",
        env=os.environ | environment | fault,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], bool], *, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.1)


def all_committed(bootstrap_servers: str, topic: str) -> bool:
    client = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": GROUP})
    try:
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        ends = [client.get_watermark_offsets(place, timeout=10)[1] for place in places]
        return [max(p.offset, 0) for p in client.committed(places, timeout=10)] == ends
    except KafkaException as exc:
        if exc.args[0].code() != KafkaError.NOT_COORDINATOR:
            raise
        return False
    finally:
        client.close()


def tallied(dsn: str) -> dict[tuple[str, str], int]:
    with connect(dsn) as connection:
        rows = connection.execute("SELECT definition_id, event_type, events FROM task_tally")
        return {(definition_id, event_type): events for definition_id, event_type, events in rows}


def test_every_event_counts_once_though_the_consumer_is_killed_and_events_come_again(
    examples: Path,
    kafka_bootstrap_servers: str,
    postgres_dsn: str,
    unique_name: str,
    published: list[Rendered],
) -> None:
    topic = names.topic(unique_name, Topic.TASK_EVENTS)
    ensure_topics(kafka_bootstrap_servers, {topic: PARTITIONS})
    environment = {
        "BACKBONE_KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "BACKBONE_NAMESPACE": unique_name,
        "TALLY_DSN": postgres_dsn,
    }
    # Copies, as a relay leaves them that died between the broker's acknowledgement and its own.
    publish(kafka_bootstrap_servers, [r for record in published for r in (record, record)])

    for killed_at in KILLED_AT:
        # There is always more to do, so that each consumer comes to where it is killed.
        publish(kafka_bootstrap_servers, published)
        with consumer(examples, environment, killed_at=killed_at) as process:
            assert process.wait(timeout=60) == -signal.SIGKILL, killed_at

    # A relay that was stopped and wakes up publishes what is long past.
    publish(kafka_bootstrap_servers, published)
    with consumer(examples, environment) as process:
        until(lambda: process.poll() is not None or all_committed(kafka_bootstrap_servers, topic))
        process.terminate()
        assert process.wait(timeout=30) == 0

    of_each = RUNS // 2 * TASKS
    assert tallied(postgres_dsn) == {
        (f"billing.example-{n}", event_type): of_each
        for n in range(2)
        for event_type in ("backbone.TaskCreated", "backbone.TaskCompleted")
    }
    with connect(postgres_dsn) as connection:
        (refused,) = connection.execute(
            "SELECT count(*) FROM tally_inbox.inbox_refusals"
        ).fetchone() or (None,)
    assert refused == 0
