"""Reads what came of a workload: Kafka from where it stood, the tables, Temporal.

Names of topics, tables and groups are spelled out: this must not share a mistake with the product.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import visits
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from history import (
    Decision,
    DueTime,
    FoundInstance,
    FoundRun,
    FoundTask,
    Observation,
    Record,
    Resolution,
    Row,
    Unrouted,
)
from temporalio.client import Client
from visits import VISITS

from devstack.infrastructure import Endpoints, temporal_client
from router.adapters.dead_letter_seal import DeadLetterSeal
from router.domain import records
from runtime import kafka
from runtime.datakeys import DataKeyFile
from runtime.kafka import Brokers

INPUT = "dev.orders"
TASK_EVENTS = "dev.backbone.task-events"
RUN_EVENTS = "dev.backbone.run-events"
DEFINITIONS = "dev.backbone.definition-events"
OUT = (TASK_EVENTS, RUN_EVENTS, DEFINITIONS)
DEAD = "dev.backbone.dead-letters"
GROUP = "dev.backbone.router"
SERVICES = ("ledger", "registry")

OF_RUNS = ("RunActivity", "RetryTask", "TellFailure")
Offsets = dict[tuple[str, int], int]


@dataclass(frozen=True)
class Mark:
    """Where everything stood when a scenario began. An empty one is the beginning of all."""

    offsets: Offsets = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)  # of events, by service
    since: datetime | None = None


@dataclass(frozen=True)
class Scope:
    """Which runs belong to a scenario; the empty one holds all of them."""

    source: str | None = None
    prefixes: tuple[str, ...] = ()  # of the ids of runs that no event started

    def holds(self, run_id: str, source: str = "") -> bool:
        """Say whether a run belongs to it."""
        return self.source is None or source == self.source or run_id.startswith(self.prefixes)


def _client(bootstrap: Brokers) -> dict[str, object]:
    return {
        **kafka.client_settings(bootstrap),
        "group.id": "observer",
        "enable.auto.commit": False,
        "enable.partition.eof": False,
        # That a broker is away is what the nemesis is for, and no news.
        "log_level": 0,
        "reconnect.backoff.max.ms": 500,
    }


def _partitions(consumer: Consumer, topic: str) -> Iterator[tuple[int, int]]:
    """Yield each partition with the offset after its last record."""
    for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        yield partition, end


def ends(bootstrap: Brokers, topics: tuple[str, ...] = (INPUT, *OUT, DEAD)) -> Offsets:
    """Return where the topics end now, by default those of a scenario."""
    consumer = Consumer(_client(bootstrap))
    try:
        return {(t, p): end for t in topics for p, end in _partitions(consumer, t)}
    finally:
        consumer.close()


def read_from(
    bootstrap: Brokers, start: Offsets, seal: DeadLetterSeal | None = None
) -> list[Record]:
    """Return every record from `start` to where the topics of `start` end now, opened by `seal`."""
    seal = seal or DeadLetterSeal()
    consumer = Consumer(_client(bootstrap))
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
                found.append(_record(message, seal))
                if message.offset() + 1 >= stop[at]:
                    open_.discard(at)
        return found
    finally:
        consumer.close()


def _record(message: Any, seal: DeadLetterSeal) -> Record:
    kept = records.Record(
        message.topic(), message.partition(), message.offset(), None,
        message.key(), message.value(), tuple(message.headers() or ()),
    )  # fmt: skip
    found, problem = seal.opened(kept, namespace="dev") if kept.topic == DEAD else (kept, "")
    assert not problem, problem
    headers = {
        name: (value or b"").decode("utf-8", "replace") for name, value in found.headers or ()
    }
    return Record(
        topic=message.topic(),
        key=found.key,
        headers=headers,
        value=found.value,
        partition=message.partition(),
        offset=message.offset(),
    )


def uncommitted(bootstrap: Brokers) -> int:
    """Return how many records of the input the router has not committed."""
    consumer = Consumer(_client(bootstrap))
    try:
        end = dict(_partitions(consumer, INPUT))
    finally:
        consumer.close()
    admin = AdminClient({**kafka.client_settings(bootstrap), "log_level": 0})
    asked = ConsumerGroupTopicPartitions(GROUP, [TopicPartition(INPUT, p) for p in end])
    answer = admin.list_consumer_group_offsets([asked])[GROUP].result(10)
    committed = {one.partition: max(one.offset, 0) for one in answer.topic_partitions}
    return sum(end[partition] - committed.get(partition, 0) for partition in end)


async def runs_of(
    connection: "asyncpg.Connection[asyncpg.Record]", scope: Scope, mark: Mark = Mark()
) -> list[FoundRun]:
    """Return the runs of a scenario with their tasks."""
    after = mark.positions.get("ledger", 0)
    rows = await connection.fetch(
        "SELECT r.run_id, r.definition_id, r.status, r.trigger_kind, r.definition_version, d.body"
        " FROM ledger.runs r"
        " JOIN ledger.documents d ON d.namespace = r.namespace AND d.sha256 = r.trigger_sha256"
        " WHERE r.position > $1",
        after,
    )
    tasks: dict[str, list[FoundTask]] = {}
    for task in await connection.fetch(
        "SELECT run_id, task_id, rule, key, type, status FROM ledger.tasks WHERE position > $1",
        after,
    ):
        tasks.setdefault(task["run_id"], []).append(
            FoundTask(
                task_id=str(task["task_id"]),
                name=f"{task['rule']}/{task['key']}",
                type=task["type"],
                status=task["status"],
            )
        )
    found = []
    for row in rows:
        events = json.loads(row["body"]).get("events") or []
        event = events[0] if events else {}
        run = FoundRun(
            run_id=row["run_id"],
            definition_id=row["definition_id"],
            status=row["status"],
            kind=row["trigger_kind"],
            tasks=tuple(tasks.get(row["run_id"], ())),
            source=event.get("source", ""),
            event_id=event.get("event_id", ""),
            version=row["definition_version"],
            members=tuple((one["source"], one["event_id"]) for one in events),
        )
        if scope.holds(run.run_id, run.source):
            found.append(run)
    return found


def _signed(signature: bytes | None) -> dict[str, str]:
    """Return the header that the copies of a row carry beside its own."""
    return {} if signature is None else {"backbone-signature": signature.decode()}


async def events_of(connection: "asyncpg.Connection[asyncpg.Record]", mark: Mark) -> list[Row]:
    """Return the rows of `events` of both databases."""
    found = []
    for service in SERVICES:
        rows = await connection.fetch(
            "SELECT position, namespace, stream, version, event_id, type, topic, key, headers,"  # noqa: S608 - one of two names
            " body, signature"
            f" FROM {service}.events ORDER BY position"
        )
        found += [
            Row(
                service=service,
                namespace=row["namespace"],
                stream=row["stream"],
                version=row["version"],
                event_id=str(row["event_id"]),
                type=row["type"],
                topic=row["topic"],
                key=row["key"],
                headers=dict(json.loads(row["headers"])) | _signed(row["signature"]),
                body=row["body"],
                earlier=row["position"] <= mark.positions.get(service, 0),
            )
            for row in rows
        ]
    return found


async def pending_outbox(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Return how many events wait in both outboxes."""
    return await connection.fetchval(
        "SELECT (SELECT count(*) FROM ledger.outbox_pending)"
        " + (SELECT count(*) FROM registry.outbox_pending)"
    )


async def parked(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Return how many events the broker refused for good."""
    return await connection.fetchval(
        "SELECT (SELECT count(*) FROM ledger.outbox_parked)"
        " + (SELECT count(*) FROM registry.outbox_parked)"
    )


async def waiting(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Return how many starts and operations wait in the ledger."""
    return await connection.fetchval(
        "SELECT (SELECT count(*) FROM ledger.pending_starts)"
        " + (SELECT count(*) FROM ledger.pending_operations)"
    )


async def due_times(
    connection: "asyncpg.Connection[asyncpg.Record]", definition_id: str
) -> list[DueTime]:
    """Return the due times of a definition's schedules, oldest first."""
    rows = await connection.fetch(
        "SELECT due_at, outcome, run_id, decided_at, acknowledged_at IS NOT NULL AS acknowledged"
        " FROM ledger.due_times WHERE definition_id = $1"
        " ORDER BY due_at",
        definition_id,
    )
    return [DueTime(**row) for row in rows]


async def decisions_of(
    connection: "asyncpg.Connection[asyncpg.Record]", scope: Scope, mark: Mark
) -> list[Decision]:
    """Return what the ledger says of the events of a scenario."""
    rows = await connection.fetch(
        'SELECT "partition", record_offset AS "offset", event_id, definition_id, outcome, run_id,'
        " clause, seen, cause, settled_at IS NOT NULL AS waited FROM ledger.routing_decisions"
        " WHERE topic = $1 AND ($2::text IS NULL OR source = $2)",
        INPUT,
        scope.source,
    )
    found = [Decision(**row) for row in rows]
    return [one for one in found if one.offset >= mark.offsets.get((INPUT, one.partition), 0)]


async def unrouted_of(
    connection: "asyncpg.Connection[asyncpg.Record]", mark: Mark
) -> list[Unrouted]:
    """Return the ranges of records that nobody wanted, according to the ledger."""
    rows = await connection.fetch(
        'SELECT "partition", first_offset AS first, last_offset AS last, records'
        " FROM ledger.unrouted_ranges WHERE topic = $1",
        INPUT,
    )
    found = [Unrouted(**row) for row in rows]
    return [one for one in found if one.last >= mark.offsets.get((INPUT, one.partition), 0)]


async def instances_of(
    connection: "asyncpg.Connection[asyncpg.Record]", mark: Mark
) -> list[FoundInstance]:
    """Return how the generations of the visitors' instances stand."""
    rows = await connection.fetch(
        "SELECT key_hash, generation, sequence, status, state_sha256, last_run_id,"
        " jsonb_array_length(timers) AS timers"
        " FROM ledger.instances WHERE definition_id = $1 AND position > $2",
        VISITS,
        mark.positions.get("ledger", 0),
    )
    return [FoundInstance(**row) for row in rows]


async def states_of(
    connection: "asyncpg.Connection[asyncpg.Record]", rows: list[Row]
) -> dict[str, Any]:
    """Return the states that events tell of, by their hashes."""
    hashes = [one.state_sha256 for one in visits.steps(rows)]
    found = await connection.fetch(
        "SELECT sha256, body FROM ledger.documents WHERE sha256 = ANY ($1)", hashes
    )
    return {row["sha256"]: json.loads(row["body"]) for row in found}


async def queued(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Return how many visits wait for their turn in an instance."""
    return await connection.fetchval(
        "SELECT count(*) FROM ledger.instance_events WHERE definition_id = $1", VISITS
    )


async def timers_set(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Return how many instances of visitors have a timer that is to fire yet."""
    return await connection.fetchval(
        "SELECT count(*) FROM ledger.instances"
        " WHERE definition_id = $1 AND next_timer_at IS NOT NULL",
        VISITS,
    )


async def waking(connection: "asyncpg.Connection[asyncpg.Record]") -> str | None:
    """Return the key of the visitor whose timer is to fire last, not before a second has passed."""
    return await connection.fetchval(
        "SELECT key_hash FROM ledger.instances"
        " WHERE definition_id = $1 AND next_timer_at > clock_timestamp() + interval '1 second'"
        " ORDER BY next_timer_at DESC LIMIT 1",
        VISITS,
    )


async def resolutions_of(
    connection: "asyncpg.Connection[asyncpg.Record]", mark: Mark
) -> list[Resolution]:
    """Return what was decided of dead letters."""
    rows = await connection.fetch(
        'SELECT "partition", record_offset AS "offset", state FROM ledger.dead_letter_resolutions'
        " WHERE topic = $1",
        DEAD,
    )
    found = [Resolution(**row) for row in rows]
    return [one for one in found if one.offset >= mark.offsets.get((DEAD, one.partition), 0)]


def started_by_events(scope: Scope) -> tuple[str, ...]:
    """Return how the workflow ids of a scenario begin."""
    return ("e2e.orders:event:", f"{VISITS}:event:", *scope.prefixes)


async def executions(temporal: Client, prefixes: tuple[str, ...], mark: Mark) -> dict[str, int]:
    """Return how many executions each workflow id of the scenario has."""
    found: dict[str, int] = {}
    query = 'WorkflowType = "RunActivity"'
    if mark.since is not None:
        query += f' AND StartTime >= "{mark.since.isoformat()}"'
    async for execution in temporal.list_workflows(query):
        if execution.id.startswith(prefixes):
            found[execution.id] = found.get(execution.id, 0) + 1
    return found


async def instance_executions(temporal: Client, mark: Mark) -> dict[str, list[str]]:
    """Return how the executions of each instance's workflow stand, in the order of their starts."""
    query = 'WorkflowType = "Instance"'
    if mark.since is not None:
        query += f' AND StartTime >= "{mark.since.isoformat()}"'
    found = [one async for one in temporal.list_workflows(query)]
    of_instance: dict[str, list[str]] = {}
    for one in sorted(found, key=lambda one: one.start_time):
        status = one.status.name if one.status is not None else "UNKNOWN"
        of_instance.setdefault(one.id, []).append(status)
    return of_instance


async def open_executions(temporal: Client) -> int:
    """Return how many workflows Temporal is carrying out that are a run's, clocks apart."""
    kinds = " OR ".join(f'WorkflowType = "{kind}"' for kind in OF_RUNS)
    query = f'ExecutionStatus = "Running" AND ({kinds})'
    return (await temporal.count_workflows(query)).count


async def mark(connection: "asyncpg.Connection[asyncpg.Record]", bootstrap: Brokers) -> Mark:
    """Return where everything stands now."""
    positions = {
        service: await connection.fetchval(
            f"SELECT coalesce(max(position), 0) FROM {service}.events"  # noqa: S608 - likewise
        )
        for service in SERVICES
    }
    return Mark(
        offsets=await asyncio.to_thread(ends, bootstrap),
        positions=positions,
        since=await connection.fetchval("SELECT clock_timestamp()"),
    )


async def observe(
    endpoints: Endpoints,
    *,
    mark: Mark,
    scope: Scope,
    scheduled: str | None = None,
    data_keys: Path | None = None,
) -> Observation:
    """Return everything that came of a scenario; `scheduled` is its definition with a schedule.

    `data_keys` is the ring that dead letters are encrypted with, where they are.
    """
    bootstrap = endpoints.brokers
    temporal = await temporal_client(endpoints, namespace="dev")
    connection = await asyncpg.connect(endpoints.postgres.dsn())
    try:
        end = await asyncio.to_thread(ends, bootstrap)
        start = {place: mark.offsets.get(place, 0) for place in end}
        ring = None if data_keys is None else DataKeyFile(data_keys)
        found = await asyncio.to_thread(read_from, bootstrap, start, DeadLetterSeal(ring))
        rows = await events_of(connection, mark)
        return Observation(
            runs=await runs_of(connection, scope, mark),
            rows=rows,
            events=[record for record in found if record.topic in OUT],
            inputs=[record for record in found if record.topic == INPUT],
            dead_letters=[record for record in found if record.topic == DEAD],
            executions=await executions(temporal, started_by_events(scope), mark),
            due_times=await due_times(connection, scheduled) if scheduled else [],
            decisions=await decisions_of(connection, scope, mark),
            unrouted=await unrouted_of(connection, mark),
            resolutions=await resolutions_of(connection, mark),
            instances=await instances_of(connection, mark),
            instance_executions=await instance_executions(temporal, mark),
            states=await states_of(connection, [row for row in rows if not row.earlier]),
            pending_outbox=await pending_outbox(connection),
            parked=await parked(connection),
            waiting=await waiting(connection),
            queued=await queued(connection),
            uncommitted=await asyncio.to_thread(uncommitted, bootstrap),
        )
    finally:
        await connection.close()
