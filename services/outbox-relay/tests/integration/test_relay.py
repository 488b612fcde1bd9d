"""The relay between a real PostgreSQL and a real Kafka."""

import asyncio
import contextlib
import json
import time
from datetime import timedelta

import asyncpg
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from contracts import names
from contracts.producers import ProducerKey
from devstack.infrastructure import ensure_topics
from outbox_relay.adapters.kafka_publisher import KafkaPublisher
from outbox_relay.adapters.postgres_outbox import PostgresOutboxSession
from outbox_relay.domain.waits import Policy
from outbox_relay.service import OutboxRelay
from runtime.errors import DatabaseUnavailableError
from signing import signature as signatures
from signing import verification
from signing.keys import Keyring

DEADLINE_S = 60.0


async def until(condition):
    """Wait for a condition, asked again and again."""
    deadline = time.monotonic() + DEADLINE_S
    while not (
        held := condition() if not asyncio.iscoroutinefunction(condition) else await condition()
    ):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)
    return held


@pytest.fixture
def namespace(unique_name, kafka_bootstrap_servers):
    """A namespace, so that the topics are this test's own."""
    ensure_topics(kafka_bootstrap_servers, {topic_of(unique_name): 2})
    return unique_name


def topic_of(namespace):
    return names.topic(namespace, names.Topic.RUN_EVENTS)


class Running:
    """A relay at work."""

    def __init__(self, relay, task):
        self.relay = relay
        self.task = task

    @property
    def shards(self):
        return self.relay.shards


@pytest.fixture
async def start(request, kafka_bootstrap_servers):
    """Start relays of the ledger's outbox; they end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        def make(
            *,
            bootstrap=kafka_bootstrap_servers,
            refused=None,
            delivery_s=20.0,
            hung_s=10.0,
            dsn=None,
        ):
            stirred = asyncio.Event()
            relay = OutboxRelay(
                name="ledger",
                session=PostgresOutboxSession(
                    dsn=dsn or request.getfixturevalue("database").dsn("relay"),
                    schema="ledger",
                    hung_after=timedelta(seconds=hung_s),
                ),
                publisher=KafkaPublisher(
                    bootstrap, delivery_timeout=timedelta(seconds=delivery_s), stirred=stirred.set
                ),
                stirred=stirred,
                refused=refused or {},
                batch_rows=100,
                window_bytes=1024 * 1024,
                poll_s=0.1,
            )
            task = asyncio.create_task(relay.run())

            async def end():
                relay.end()
                await asyncio.wait({task}, timeout=10)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            stack.push_async_callback(end)
            return Running(relay, task)

        yield make


def read_all(bootstrap, topic, count):
    """Return the first `count` records of a topic; fewer or more are an error."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test"})
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in (0, 1)])
        records = []
        while len(records) < count:
            record = consumer.poll(30)
            assert record is not None, f"only {len(records)} of {count} records came"
            assert record.error() is None
            records.append(record)
        assert consumer.poll(0.2) is None
        return records
    finally:
        consumer.close()


def versions(records, run_id):
    """Return the stream versions of a run's records, in their order."""
    return [
        int(dict(record.headers())[names.Header.STREAM_VERSION])
        for record in records
        if record.key() == run_id.encode()
    ]


def limit_size(bootstrap, topic, size):
    """Have the broker refuse batches of more than `size` bytes."""
    resource = ConfigResource(
        ResourceType.TOPIC,
        topic,
        incremental_configs=[
            ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        ],
    )
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(10)


async def emptied(ledger):
    async def empty():
        return await ledger.pending() == 0

    await until(empty)


async def test_the_exact_bytes_arrive_in_the_order_of_the_stream(
    ledger, start, namespace, kafka_bootstrap_servers
):
    events = await ledger.record(namespace, "d:manual:1", 350)
    start()
    await emptied(ledger)
    records = await asyncio.to_thread(read_all, kafka_bootstrap_servers, topic_of(namespace), 350)
    assert [record.value() for record in records] == [event.body for event in events]
    assert {record.key() for record in records} == {b"d:manual:1"}
    headers = dict(records[2].headers())
    assert headers[names.Header.STREAM_VERSION] == b"3"
    assert headers[names.Header.EVENT_ID].decode() == json.loads(records[2].value())["event_id"]
    assert names.Header.REPUBLISHED not in headers


async def test_an_open_transaction_stalls_nobody_and_its_event_is_not_passed_over(
    ledger, start, namespace, kafka_bootstrap_servers
):
    start()
    async with ledger.transaction(namespace) as late:
        await ledger.append(late, "d:manual:late")
        for number in range(30):
            await ledger.record(namespace, f"d:manual:{number}")
        await emptied(ledger)
    await emptied(ledger)
    records = await asyncio.to_thread(read_all, kafka_bootstrap_servers, topic_of(namespace), 31)
    assert records[-1].key() == b"d:manual:late" or len({r.partition() for r in records}) == 2
    assert b"d:manual:late" in {record.key() for record in records}


async def test_a_transaction_in_another_database_stalls_nobody(
    ledger, start, namespace, postgres_dsn
):
    elsewhere = await asyncpg.connect(postgres_dsn.rpartition("/")[0] + "/postgres")
    try:
        async with elsewhere.transaction():
            await elsewhere.fetchval("SELECT pg_current_xact_id()::text")
            start()
            for number in range(5):
                await ledger.record(namespace, f"d:manual:{number}")
            await emptied(ledger)
    finally:
        await elsewhere.close()


async def test_two_relays_share_the_shards_and_the_survivor_takes_all(
    ledger, start, namespace, kafka_bootstrap_servers
):
    first, second = start(), start()
    await until(lambda: len(first.shards) == len(second.shards) == 8)
    assert not first.shards & second.shards
    for number in range(40):
        await ledger.record(namespace, f"d:manual:{number}", 3)
    await emptied(ledger)
    first.task.cancel()
    await until(lambda: len(second.shards) == 16)
    for number in range(40):
        await ledger.record(namespace, f"d:manual:{number}", 2)
    await emptied(ledger)
    records = await asyncio.to_thread(read_all, kafka_bootstrap_servers, topic_of(namespace), 200)
    for number in range(40):
        assert versions(records, f"d:manual:{number}") == [1, 2, 3, 4, 5]


async def test_a_relay_that_hangs_loses_its_lead(ledger, start, namespace, postgres_dsn):
    hung = start(hung_s=2.0)
    await until(lambda: len(hung.shards) == 16)
    # What a stopped process looks like to the server: a session that asks nothing.
    hanging = asyncio.Event()

    async def hang():
        await hanging.wait()

    hung.relay._look = hang
    successor = start()
    await until(lambda: len(successor.shards) == 16)
    await ledger.record(namespace, "d:manual:1")
    await emptied(ledger)
    hanging.set()


async def test_a_relay_whose_session_was_cut_leads_again(ledger, start, namespace, postgres_dsn):
    running = start()
    await until(lambda: len(running.shards) == 16)
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'outbox-relay' AND datname = current_database()"
        )
    finally:
        await connection.close()
    await ledger.record(namespace, "d:manual:1")
    await emptied(ledger)
    assert running.relay.problem is None


async def test_a_missing_topic_holds_its_streams_and_no_others(
    ledger, start, namespace, kafka_bootstrap_servers
):
    await ledger.record(f"{namespace}x", "d:manual:1", 2)
    await ledger.record(namespace, "d:manual:1")
    running = start()
    await until(lambda: running.relay.problem)
    await until(lambda: f"{namespace}x" in str(running.relay.problem))

    async def one_left():
        return await ledger.pending() == 2

    await until(one_left)
    ensure_topics(kafka_bootstrap_servers, {topic_of(f"{namespace}x"): 2})
    await emptied(ledger)
    records = await asyncio.to_thread(
        read_all, kafka_bootstrap_servers, topic_of(f"{namespace}x"), 2
    )
    assert versions(records, "d:manual:1") == [1, 2]
    await until(lambda: running.relay.problem is None)


@pytest.mark.parametrize("policy", [Policy.WAIT, Policy.CONTINUE])
async def test_a_refused_event_is_parked_and_its_stream_waits_or_goes_on(
    ledger, start, namespace, kafka_bootstrap_servers, policy
):
    limit_size(kafka_bootstrap_servers, topic_of(namespace), 120_000)
    for number in range(60):
        await ledger.record(namespace, f"d:manual:{number}", 2)
    await ledger.record(namespace, "d:manual:big", 2)
    await ledger.record(namespace, "d:manual:big", text="x" * 150_000)
    await ledger.record(namespace, "d:manual:big", 2)
    for number in range(60):
        await ledger.record(namespace, f"d:manual:{number}", 2)
    start(refused={"run": policy})
    left = 2 if policy is Policy.WAIT else 0

    async def settled():
        parked = await ledger.value("SELECT count(*) FROM outbox_parked")
        return parked == 1 and await ledger.pending() == left

    await until(settled)
    assert "too large" in await ledger.value("SELECT reason FROM outbox_parked")
    assert await ledger.value("SELECT version FROM outbox_parked") == 3
    consumer_sees = await asyncio.to_thread(
        first_occurrences, kafka_bootstrap_servers, topic_of(namespace)
    )
    assert consumer_sees["d:manual:big"] == ([1, 2] if policy is Policy.WAIT else [1, 2, 4, 5])
    assert all(consumer_sees[f"d:manual:{number}"] == [1, 2, 3, 4] for number in range(60))


def first_occurrences(bootstrap, topic):
    """Return for each key the versions of a topic's records, copies left out."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "test", "enable.partition.eof": True}
    )
    found, ends = {}, 0
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in (0, 1)])
        while ends < 2:
            record = consumer.poll(30)
            assert record is not None
            if record.error():
                ends += 1
                continue
            seen = found.setdefault(record.key().decode(), [])
            version = int(dict(record.headers())[names.Header.STREAM_VERSION])
            if version not in seen:
                seen.append(version)
        return found
    finally:
        consumer.close()


async def test_a_parked_event_that_is_put_back_goes_first(
    ledger, start, namespace, kafka_bootstrap_servers
):
    limit_size(kafka_bootstrap_servers, topic_of(namespace), 20_000)
    await ledger.record(namespace, "d:manual:big", text="x" * 30_000)
    await ledger.record(namespace, "d:manual:big", 2)
    start()

    async def parked():
        return await ledger.value("SELECT count(*) FROM outbox_parked") == 1

    await until(parked)
    limit_size(kafka_bootstrap_servers, topic_of(namespace), 1_000_000)
    await ledger.value(
        "WITH back AS (DELETE FROM outbox_parked RETURNING *)"
        " INSERT INTO outbox_pending (position, recorded_at, namespace, stream, version)"
        " SELECT position, recorded_at, namespace, stream, version FROM back"
    )
    await emptied(ledger)
    seen = await asyncio.to_thread(first_occurrences, kafka_bootstrap_servers, topic_of(namespace))
    assert seen["d:manual:big"] == [1, 2, 3]


async def test_a_row_put_back_is_published_again_with_its_mark(
    ledger, start, namespace, kafka_bootstrap_servers
):
    (event,) = await ledger.record(namespace, "d:manual:1")
    start()
    await emptied(ledger)
    await ledger.value(
        "INSERT INTO outbox_pending"
        " (position, recorded_at, namespace, stream, version, republish_id)"
        " SELECT position, recorded_at, namespace, stream, version, 'again-1' FROM events"
    )
    await ledger.value("NOTIFY backbone_outbox_ledger, 'again'")
    await emptied(ledger)
    first, second = await asyncio.to_thread(
        read_all, kafka_bootstrap_servers, topic_of(namespace), 2
    )
    assert first.value() == second.value() == event.body
    assert dict(second.headers())[names.Header.REPUBLISHED] == b"again-1"
    # The relay has no key: what the ledger signed in its append is what both copies carry.
    keyring = Keyring.of({"ledger": [ProducerKey(id="1", public_key=ledger.key.public_key)]})
    signature = signatures.find(first.headers())
    assert signature == signatures.find(second.headers())
    for copy in (first, second):
        verification.verify(
            signature,
            keyring,
            topic=topic_of(namespace),
            key=copy.key(),
            headers=copy.headers(),
            value=copy.value(),
            now_ms=signature.issued_at_ms,
            window=None,
        )


async def test_nothing_leaves_the_outbox_while_the_broker_is_away(ledger, start, namespace):
    await ledger.record(namespace, "d:manual:1")
    away = start(bootstrap="127.0.0.1:1", delivery_s=1.0)
    await until(lambda: "Kafka" in str(away.relay.problem))
    assert await ledger.pending() == 1
    away.task.cancel()
    start()
    await emptied(ledger)


async def test_a_relay_that_is_told_to_end_lands_what_is_in_flight(
    ledger, start, namespace, kafka_bootstrap_servers
):
    await ledger.record(namespace, "d:manual:1", 500)
    running = start()
    await until(lambda: running.shards)
    running.relay.end()
    await asyncio.wait_for(running.task, 30)
    start()
    await emptied(ledger)
    seen = await asyncio.to_thread(read_all, kafka_bootstrap_servers, topic_of(namespace), 500)
    assert versions(seen, "d:manual:1") == list(range(1, 501))


async def test_a_failover_of_postgresql_loses_nothing_that_was_committed(
    pair, open_ledger, start, namespace, kafka_bootstrap_servers
):
    ledger = await open_ledger(
        pair.dsn("ledger_owner"), migrate_at=pair.primary_dsn("ledger_owner")
    )
    try:
        running = start(dsn=pair.dsn("relay"))
        await until(lambda: len(running.shards) == 16)
        for number in range(20):
            await ledger.record(namespace, f"d:manual:{number}", 5)
        await pair.fail_over()
        for number in range(20):
            await recorded(ledger, namespace, f"d:manual:{number}")
        await emptied(ledger)
    finally:
        await ledger.pool.close()
    seen = await asyncio.to_thread(first_occurrences, kafka_bootstrap_servers, topic_of(namespace))
    for number in range(20):
        assert seen[f"d:manual:{number}"] == [1, 2, 3, 4, 5, 6]


async def recorded(ledger, namespace, run_id):
    """Record an event once the database takes writes again."""

    async def record():
        try:
            await ledger.record(namespace, run_id)
        except DatabaseUnavailableError:
            return False
        return True

    await until(record)


async def test_the_relay_can_read_and_clear_the_outbox_and_nothing_else(ledger, database):
    connection = await asyncpg.connect(database.dsn("relay"))
    try:
        await connection.fetch("SELECT * FROM ledger.events")
        for forbidden in (
            "INSERT INTO ledger.outbox_pending DEFAULT VALUES",
            "DELETE FROM ledger.events",
            "DELETE FROM ledger.outbox_parked",
            "SELECT * FROM ledger.stream_heads",
            "CREATE TABLE ledger.mine (n int)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
    finally:
        await connection.close()
