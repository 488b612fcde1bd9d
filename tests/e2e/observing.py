"""Reads what came of a workload: Kafka from where it stood, the tables, Temporal.

Names of topics, tables and groups are spelled out: this must not share a mistake with the product.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import asyncpg
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from history import FoundRun, Observation, Record
from temporalio.client import Client

INPUT = "dev.orders"
OUT = ("dev.backbone.task-events", "dev.backbone.run-events")
DEAD = "dev.backbone.dead-letters"
DEFINITIONS = "dev.backbone.definition-events"
GROUP = "dev.backbone.router"

Offsets = dict[tuple[str, int], int]


def _partitions(consumer: Consumer, topic: str) -> Iterator[tuple[int, int]]:
    """Yield each partition with the offset after its last record."""
    for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        yield partition, end


def ends(bootstrap: str, topics: tuple[str, ...] = (*OUT, DEAD)) -> Offsets:
    """Return where the topics end now, by default those of a run."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "e2e-observer"})
    try:
        return {(t, p): end for t in topics for p, end in _partitions(consumer, t)}
    finally:
        consumer.close()


def read_from(bootstrap: str, start: Offsets) -> list[Record]:
    """Return every record from `start` to where the topics of `start` end now."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "e2e-observer",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
        }
    )
    try:
        topics = {topic for topic, _ in start}
        stop = {(t, p): end for t in topics for p, end in _partitions(consumer, t)}
        open_ = {at for at, end in stop.items() if end > start[at]}
        consumer.assign([TopicPartition(t, p, start[t, p]) for t, p in open_])
        found = []
        while open_:
            message = consumer.poll(30)
            assert message is not None, f"nothing comes from {open_}"
            assert message.error() is None, message.error()
            at = (message.topic(), message.partition())
            if at in open_:
                found.append(_record(message))
                if message.offset() + 1 >= stop[at]:
                    open_.discard(at)
        return found
    finally:
        consumer.close()


def _record(message: Any) -> Record:
    headers = {
        name: (value or b"").decode("utf-8", "replace") for name, value in message.headers() or ()
    }
    return Record(message.topic(), message.key(), headers, message.value())


def uncommitted(bootstrap: str) -> int:
    """Return how many records of the input the router has not committed."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "e2e-observer"})
    try:
        end = dict(_partitions(consumer, INPUT))
    finally:
        consumer.close()
    admin = AdminClient({"bootstrap.servers": bootstrap})
    asked = ConsumerGroupTopicPartitions(GROUP, [TopicPartition(INPUT, p) for p in end])
    answer = admin.list_consumer_group_offsets([asked])[GROUP].result(10)
    committed = {one.partition: max(one.offset, 0) for one in answer.topic_partitions}
    return sum(end[partition] - committed.get(partition, 0) for partition in end)


async def runs_of(connection: "asyncpg.Connection[asyncpg.Record]", source: str) -> list[FoundRun]:
    """Return the runs whose trigger is an event of `source`."""
    rows = await connection.fetch(
        "SELECT r.run_id, r.status, r.definition_version, d.body FROM ledger.runs r"
        " JOIN ledger.documents d ON d.namespace = r.namespace AND d.sha256 = r.trigger_sha256"
        " WHERE r.trigger_kind = 'event'"
    )
    tasks: dict[str, list[asyncpg.Record]] = {}
    for task in await connection.fetch("SELECT run_id, task_id, rule, key FROM ledger.tasks"):
        tasks.setdefault(task["run_id"], []).append(task)
    found = []
    for row in rows:
        event = json.loads(row["body"])["events"][0]
        if event["source"] == source:
            own = tasks.get(row["run_id"], [])
            found.append(
                FoundRun(
                    run_id=row["run_id"],
                    status=row["status"],
                    source=event["source"],
                    event_id=event["event_id"],
                    tasks=tuple(f"{task['rule']}/{task['key']}" for task in own),
                    task_ids=tuple(str(task["task_id"]) for task in own),
                    version=row["definition_version"],
                )
            )
    return found


async def pending_outbox(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Return how many events wait in both outboxes."""
    return await connection.fetchval(
        "SELECT (SELECT count(*) FROM ledger.outbox_pending)"
        " + (SELECT count(*) FROM registry.outbox_pending)"
    )


async def executions(temporal: Client, prefix: str, since: datetime) -> dict[str, int]:
    """Return how many executions each workflow id with `prefix` has that started since then."""
    found: dict[str, int] = {}
    query = f'WorkflowType = "RunActivity" AND StartTime >= "{since.isoformat()}"'
    async for execution in temporal.list_workflows(query):
        if execution.id.startswith(prefix):
            found[execution.id] = found.get(execution.id, 0) + 1
    return found


async def observe(
    *,
    connection: "asyncpg.Connection[asyncpg.Record]",
    temporal: Client,
    bootstrap: str,
    start: Offsets,
    since: datetime,
    source: str,
) -> Observation:
    """Return everything that came of the events of `source`."""
    runs = await runs_of(connection, source)
    own = {run.run_id for run in runs}
    records = read_from(bootstrap, start)
    return Observation(
        runs=runs,
        events=[
            record
            for record in records
            if record.topic in OUT and record.document()["payload"]["run_id"] in own
        ],
        dead_letters=[record for record in records if record.topic == DEAD],
        executions=await executions(temporal, "e2e.orders:event:", since),
        pending_outbox=await pending_outbox(connection),
        uncommitted=uncommitted(bootstrap),
    )
