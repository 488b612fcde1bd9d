"""The relay between a real PostgreSQL and a real Kafka."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime

import asyncpg
import pytest
from confluent_kafka import Consumer, TopicPartition

from contracts import names
from contracts.events import RunCompleted
from devstack.infrastructure import ensure_topics
from eventstore import store
from eventstore.events import Cause, Fact
from eventstore.store import ANY, EventStore
from outbox_relay.adapters.kafka_publisher import KafkaRecordPublisher
from outbox_relay.adapters.postgres_outbox import PostgresOutboxStore
from outbox_relay.errors import OutboxUnavailableError, PublisherUnavailableError
from outbox_relay.service import OutboxRelay
from runtime import migrations
from runtime.postgres import Postgres


@pytest.fixture
async def ledger(database):
    dsn = database.dsn("ledger")
    await asyncio.to_thread(migrations.apply, dsn, schema="ledger", sources=[store.migrations()])
    pool = await Postgres.connect(dsn, application="test", schema="ledger")
    yield pool
    await pool.close()


@pytest.fixture
def namespace(unique_name, kafka_bootstrap_servers):
    """A namespace, so that the topics are this test's own."""
    topic = names.topic(unique_name, names.Topic.RUN_EVENTS)
    ensure_topics(kafka_bootstrap_servers, {topic: 2})
    return unique_name


@pytest.fixture
async def relay(database, ledger, kafka_bootstrap_servers):
    async with contextlib.AsyncExitStack() as stack:

        def make(*, bootstrap=kafka_bootstrap_servers):
            outbox = PostgresOutboxStore(dsn=database.dsn("relay"), schema="ledger")
            publisher = KafkaRecordPublisher(bootstrap)
            stack.push_async_callback(outbox.close)
            stack.push_async_callback(publisher.close)
            subject = OutboxRelay(
                name="ledger", store=outbox, publisher=publisher, batch_size=100, idle_s=0.01
            )
            return subject, outbox

        yield make


def fact(run_id, number=1):
    return Fact(
        payload=RunCompleted(run_id=run_id, definition_id="d", definition_version=number),
        key=run_id,
    )


async def append(transaction, run_id, count=1):
    return await EventStore(service="ledger").append(
        transaction,
        stream=store.run_stream(run_id),
        facts=[fact(run_id, number) for number in range(count)],
        expected=ANY,
        occurred_at=datetime.now(UTC),
        cause=Cause(correlation_id="c"),
    )


def read_all(bootstrap, topic, count):
    """Return the first `count` records of a topic, by partition."""
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


async def pending(ledger):
    async with ledger.transaction("any") as transaction:
        return await transaction.fetchval("SELECT count(*) FROM outbox_pending")


async def test_the_exact_bytes_arrive_in_order_of_the_stream(
    ledger, relay, namespace, kafka_bootstrap_servers
):
    async with ledger.transaction(namespace) as transaction:
        events = await append(transaction, "d:manual:1", 20)
    subject, _ = relay()
    assert await subject.relay_batch() == 20
    topic = names.topic(namespace, names.Topic.RUN_EVENTS)
    records = await asyncio.to_thread(read_all, kafka_bootstrap_servers, topic, 20)
    assert [record.value() for record in records] == [event.body for event in events]
    assert {record.key() for record in records} == {b"d:manual:1"}
    headers = dict(records[2].headers())
    assert headers[names.Header.STREAM_VERSION] == b"3"
    assert headers[names.Header.EVENT_ID].decode() == json.loads(records[2].value())["event_id"]
    assert await pending(ledger) == 0


async def test_an_event_that_commits_late_is_not_passed_over(
    ledger, relay, namespace, kafka_bootstrap_servers
):
    subject, _ = relay()
    async with ledger.transaction(namespace) as late:
        await append(late, "d:manual:late")
        async with ledger.transaction(namespace) as early:
            await append(early, "d:manual:early")
        assert await subject.relay_batch() == 1
    assert await subject.relay_batch() == 1
    topic = names.topic(namespace, names.Topic.RUN_EVENTS)
    records = await asyncio.to_thread(read_all, kafka_bootstrap_servers, topic, 2)
    assert {record.key() for record in records} == {b"d:manual:late", b"d:manual:early"}


async def test_one_of_two_relays_leads_and_the_other_takes_over(ledger, relay, namespace):
    first, first_outbox = relay()
    second, _ = relay()
    assert await first.relay_batch() == 0
    assert await second.relay_batch() is None
    async with ledger.transaction(namespace) as transaction:
        await append(transaction, "d:manual:1")
    await first_outbox.close()
    assert await second.relay_batch() == 1


async def test_a_relay_whose_session_was_cut_leads_again(ledger, relay, namespace, postgres_dsn):
    subject, _ = relay()
    await subject.relay_batch()
    async with ledger.transaction(namespace) as transaction:
        await append(transaction, "d:manual:1")
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'outbox-relay' AND datname = current_database()"
    )
    await connection.close()
    with pytest.raises(OutboxUnavailableError):
        await subject.relay_batch()
    assert await subject.relay_batch() == 1


async def test_a_missing_topic_holds_its_streams_and_no_others(
    ledger, relay, namespace, kafka_bootstrap_servers
):
    async with ledger.transaction(f"{namespace}x") as transaction:
        await append(transaction, "d:manual:1")
    async with ledger.transaction(namespace) as transaction:
        await append(transaction, "d:manual:1")
    subject, _ = relay()
    assert await subject.relay_batch() == 1
    assert await pending(ledger) == 1
    topic = names.topic(namespace, names.Topic.RUN_EVENTS)
    await asyncio.to_thread(read_all, kafka_bootstrap_servers, topic, 1)


async def test_nothing_leaves_the_outbox_while_the_broker_is_away(
    ledger, relay, namespace, monkeypatch
):
    monkeypatch.setattr("outbox_relay.adapters.kafka_publisher.DELIVERY_TIMEOUT_S", 1.0)
    async with ledger.transaction(namespace) as transaction:
        await append(transaction, "d:manual:1")
    subject, outbox = relay(bootstrap="127.0.0.1:1")
    with pytest.raises(PublisherUnavailableError):
        await subject.relay_batch()
    assert await pending(ledger) == 1
    await outbox.close()
    recovered, _ = relay()
    assert await recovered.relay_batch() == 1


async def test_the_relay_can_read_and_clear_the_outbox_and_nothing_else(ledger, database):
    connection = await asyncpg.connect(database.dsn("relay"))
    try:
        await connection.fetch("SELECT * FROM ledger.events")
        for forbidden in (
            "INSERT INTO ledger.outbox_pending SELECT * FROM ledger.outbox_pending",
            "DELETE FROM ledger.events",
            "SELECT * FROM ledger.stream_heads",
            "CREATE TABLE ledger.mine (n int)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
    finally:
        await connection.close()
