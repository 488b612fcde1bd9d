"""From an event on Kafka to its task, beside a bare workflow started by a plain consumer loop.

Both sides get the same records and do one empty Temporal activity each; they share the servers and
take turns. What Backbone does beside (matching, decision, ledger, outbox, relay) is the difference.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from temporalio.client import Client

from benchmarks import report
from devstack.infrastructure import ensure_topics
from devstack.suite import Extra, Suite

NAME = "first-run"
HERE = Path(__file__).parent
INPUT, FLOOR, TASKS = "dev.bench", "dev.floor", "dev.backbone.task-events"
_DEADLINE_S = 300.0


class TaskEvents:
    """Reads the task events from where the topic ended when this was made."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "bench", "fetch.wait.max.ms": 5}
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
        deadline = time.monotonic() + _DEADLINE_S
        while len(seen) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(seen)} of {count} {event_type} within {_DEADLINE_S} s")
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


def _records(count: int) -> dict[str, bytes]:
    def one(event_id: str) -> bytes:
        return json.dumps(
            {
                "event_id": event_id,
                "type": "bench.happened",
                "source": "bench",
                "occurred_at": "2026-01-01T00:00:00Z",
                "payload": {"amount": 1},
            }
        ).encode()

    ids = [uuid.uuid4().hex for _ in range(count)]
    return {event_id: one(event_id) for event_id in ids}


def _publish(producer: Producer, topic: str, records: dict[str, bytes]) -> None:
    for event_id, value in records.items():
        producer.produce(topic, key=event_id.encode(), value=value)
    producer.flush(30)


def _backbone_round(bootstrap: str, producer: Producer, count: int) -> float:
    """Return events per second from the first publish to the last TaskCompleted on Kafka."""
    events = TaskEvents(bootstrap)
    try:
        started = time.monotonic()
        _publish(producer, INPUT, _records(count))
        done = events.wait("backbone.TaskCompleted", count)
        return count / (max(done.values()) - started)
    finally:
        events.close()


async def _floor_round(client: Client, producer: Producer, count: int, before: int) -> float:
    """Return events per second from the first publish to the last workflow's completion."""
    started = time.monotonic()
    _publish(producer, FLOOR, _records(count))
    while await _floor_done(client) < before + count:
        if time.monotonic() > started + _DEADLINE_S:
            raise TimeoutError(f"the floor did not do {count} events within {_DEADLINE_S} s")
        await asyncio.sleep(0.1)
    return count / (time.monotonic() - started)


async def _floor_done(client: Client) -> int:
    found = await client.count_workflows(
        "WorkflowType = 'FloorRun' AND ExecutionStatus = 'Completed'"
    )
    return found.count


def _latencies(bootstrap: str, producer: Producer, count: int, per_second: float) -> list[float]:
    """Return the milliseconds from publish to TaskCreated of events at an even pace."""
    events = TaskEvents(bootstrap)
    try:
        published: dict[str, float] = {}
        began = time.monotonic()
        seen: dict[str, float] = {}
        for number, (event_id, value) in enumerate(_records(count).items()):
            due = began + number / per_second
            time.sleep(max(0.0, due - time.monotonic()))
            published[event_id] = time.monotonic()
            producer.produce(INPUT, key=event_id.encode(), value=value)
            producer.flush(10)
            seen |= events.wait("backbone.TaskCreated", 1)
        return [(seen[event_id] - published[event_id]) * 1000 for event_id in published]
    finally:
        events.close()


async def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its lines."""
    options = argparse.ArgumentParser(prog="make bench NAME=first-run ARGS=")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--events", type=int, default=400)
    options.add_argument("--paced", type=int, default=200)
    chosen = options.parse_args(arguments)
    script = {
        name: (sys.executable, str(HERE / f"{name}.py"))
        for name in ("handler_worker", "floor_worker", "floor_consumer")
    }
    with tempfile.TemporaryDirectory(prefix="backbone-bench-") as folder:
        report.note("starting servers and services")
        suite = Suite(
            Path(folder),
            topics=(INPUT,),
            task_queues=("bench-tq",),
            extra=[
                Extra(name="handlers", argv=script["handler_worker"]),
                Extra(name="floor-worker", argv=script["floor_worker"]),
            ],
        )
        try:
            suite.start()
            await _measure(suite, script["floor_consumer"], chosen)
        finally:
            suite.stop()


async def _measure(suite: Suite, floor_consumer: Sequence[str], chosen: argparse.Namespace) -> None:
    bootstrap = suite.endpoints.kafka_bootstrap_servers
    ensure_topics(bootstrap, {FLOOR: 4})
    await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "cli", "apply", "-f", str(HERE)],
        env=suite.client_environment(),
        check=True,
        stdout=sys.stderr,
    )
    client = await Client.connect(suite.endpoints.temporal_address, namespace="dev")
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 1})
    consumer = subprocess.Popen(  # noqa: S603 ASYNC220 - our own command
        floor_consumer, env=suite.client_environment()
    )
    try:
        report.note("warming up")
        await asyncio.to_thread(_backbone_round, bootstrap, producer, 50)
        await _floor_round(client, producer, 50, await _floor_done(client))
        ours: list[float] = []
        floor: list[float] = []
        for number in range(chosen.rounds):
            ours.append(
                await asyncio.to_thread(_backbone_round, bootstrap, producer, chosen.events)
            )
            floor.append(
                await _floor_round(client, producer, chosen.events, await _floor_done(client))
            )
            report.note(f"round {number + 1}: backbone {ours[-1]:.1f}/s, floor {floor[-1]:.1f}/s")
        latencies = await asyncio.to_thread(_latencies, bootstrap, producer, chosen.paced, 5.0)
    finally:
        consumer.terminate()
        consumer.wait(10)
    quantiles = statistics.quantiles(latencies, n=100, method="inclusive")
    report.line(NAME, "events_per_s", ours, "events/s", peer="floor", peer_values=floor)
    report.line(NAME, "latency_p50_ms", [quantiles[49]], "ms")
    report.line(NAME, "latency_p99_ms", [quantiles[98]], "ms")
