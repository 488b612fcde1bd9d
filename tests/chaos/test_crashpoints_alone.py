"""The crash points of processes that nobody supervises: commands, and those that users write."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path

import asyncpg
import observing
import pytest
import scenario
import workload
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from crashpoints import of
from history import Sent, digest
from waiting import until

from devstack.infrastructure import create_database, drop_database

PROCESS = Path(__file__).with_name("crashpoints_process.py")
TALLY = Path(__file__).parents[2] / "examples" / "consumer"
GROUP = "examples.tally"
PATIENCE = 60.0  # seconds
REBUILT = {
    "ledger": ("runs", "tasks"),
    "registry": (
        *("revisions", "resources", "resource_versions", "resource_changes", "event_schemas"),
    ),
}
"""The tables that each service can make again from its events."""


@pytest.fixture(scope="module")
def dsn(suite):
    """A database of the users' own, whose consumer has read nothing."""
    forget_group(suite.endpoints.kafka_bootstrap_servers)
    name = f"users_{uuid.uuid4().hex[:8]}"
    yield create_database(suite.endpoints, name).dsn()
    drop_database(suite.endpoints, name)


class Mortal:
    """A process that dies at a point, once."""

    def __init__(self, argv, *, env, point, marker, cwd=None):
        self.argv, self.cwd, self.marker, self.point = argv, cwd, marker, point
        self.env = {**os.environ, **env, "BACKBONE_FAULTPOINT": f"{point.name}:1:{marker}"}

    def start(self):
        return subprocess.Popen([sys.executable, *self.argv], env=self.env, cwd=self.cwd)

    def die(self):
        """Run it to its death."""
        with self.start() as process:
            try:
                code = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                pytest.fail(f"{self.point.name} was never reached")
            finally:
                process.kill()
        assert self.marker.exists(), f"{self.point.name} was never reached"
        assert code == -signal.SIGKILL

    def die_and_do(self):
        """Run it to its death, and then to its end."""
        self.die()
        self.live()

    def live(self):
        """Run it to its end."""
        with self.start() as process:
            assert process.wait(PATIENCE) == 0


def orders(source):
    """The records of some events, each once."""
    records = workload.plan(1, source, events=20, duplicates=0)
    return [record for record in records if record.starts]


@of("producer")
@pytest.mark.timeout(180)
async def test_a_producer_that_dies_and_publishes_again_makes_no_second_run(
    *, crashing, tmp_path, history, source, point
):
    records = orders(source)
    file = tmp_path / "events"
    file.write_bytes(b"\n".join(record.value for record in records))
    producer = Mortal(
        [str(PROCESS), "publish", str(file)],
        env=crashing.client_environment(),
        point=point,
        marker=tmp_path / "died",
    )

    async def alongside(intents):
        await asyncio.to_thread(producer.die_and_do)
        values = await asyncio.to_thread(
            published, crashing.endpoints.kafka_bootstrap_servers, source
        )
        # The SDK's bytes, all copies alike.
        assert sorted(values) == sorted(record.event_id for record in records)
        assert all(len(copies) == 1 for copies in values.values())
        for record in records:
            (value,) = values[record.event_id]
            sent = Sent(source, record.event_id, digest(value), None, None, record.expect_tasks)
            intents.sent.append(sent)

    outcome = await scenario.run(
        crashing,
        source=source,
        records=[],
        seconds=0,
        history=history,
        alongside=alongside,
        settle_s=PATIENCE,
    )
    assert outcome.violations == []
    assert len(outcome.seen.runs) == len(records)


def published(bootstrap, source):
    """Return the different values of each event of a source on the input topic."""
    begin = dict.fromkeys(observing.ends(bootstrap, (observing.INPUT,)), 0)
    found = {}
    for record in observing.read_from(bootstrap, begin):
        # Others' records may be anything.
        if source.encode() in (record.value or b""):
            found.setdefault(record.document()["event_id"], set()).add(record.value)
    return found


@of("rebuild")
@pytest.mark.timeout(180)
async def test_a_rebuild_that_dies_leaves_the_tables_as_they_were(
    *, crashing, tmp_path, history, source, point
):
    service = point.process
    if service == "ledger":
        outcome = await scenario.run(
            crashing,
            source=source,
            records=orders(source),
            seconds=1,
            history=history,
            settle_s=PATIENCE,
        )
        assert outcome.violations == []
    connection = await asyncpg.connect(crashing.endpoints.postgres.dsn())
    try:

        async def tables():
            return {
                name: sorted(map(repr, await connection.fetch(f"TABLE {service}.{name}")))
                for name in REBUILT[service]
            }

        before = await tables()
        assert all(before[name] for name in REBUILT[service][:2])
        rebuild = Mortal(
            ["-m", service, "rebuild"],
            env=crashing.environment(service),
            point=point,
            marker=tmp_path / "died",
        )
        await asyncio.to_thread(rebuild.die)
        assert await tables() == before
        await asyncio.to_thread(rebuild.live)
        assert await tables() == before
    finally:
        await connection.close()


@of("skip")
@pytest.mark.timeout(180)
async def test_a_gap_is_given_up_once(tmp_path, point, dsn):
    skipping = Mortal(
        [str(PROCESS), "skip"], env={"SKIPPING_DSN": dsn}, point=point, marker=tmp_path / "died"
    )
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("DROP TABLE IF EXISTS handled")
        await connection.execute("DROP SCHEMA IF EXISTS skipping_inbox CASCADE")
        await asyncio.to_thread(skipping.die_and_do)
        rows = await connection.fetch("SELECT event_id FROM handled")
        assert [row["event_id"] for row in rows] == ["thing-1", "thing-3"]
    finally:
        await connection.close()


@of("consumer")
@pytest.mark.timeout(180)
async def test_a_consumer_that_dies_counts_every_event_once(
    *, crashing, tmp_path, history, source, point, dsn
):
    outcome = await scenario.run(
        crashing,
        source=source,
        records=orders(source),
        seconds=1,
        history=history,
        settle_s=PATIENCE,
    )
    assert outcome.violations == []
    consumer = Mortal(
        ["-m", "tally"],
        env={**crashing.client_environment(), "TALLY_DSN": dsn},
        point=point,
        marker=tmp_path / "died",
        cwd=TALLY,
    )
    await asyncio.to_thread(consumer.die)
    bootstrap = crashing.endpoints.kafka_bootstrap_servers

    async def all_read():
        return await asyncio.to_thread(read, bootstrap)

    with consumer.start() as process:
        try:
            assert await until(all_read, seconds=PATIENCE)
        finally:
            # With nothing left to read, it may not even have begun to listen for this.
            process.terminate()
            process.wait(30)
    expected = await asyncio.to_thread(task_events, bootstrap)
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT definition_id, event_type, events FROM task_tally")
    finally:
        await connection.close()
    assert {(row[0], row[1]): row[2] for row in rows} == expected


def forget_group(bootstrap):
    """Have the consumer begin at the beginning, whoever ran it on this broker before."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (deleted,) = admin.delete_consumer_groups([GROUP]).values()
    try:
        deleted.result(PATIENCE)
    except KafkaException as exc:
        if exc.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
            raise


def read(bootstrap):
    """Say whether the consumer has committed all task events."""
    end = observing.ends(bootstrap, (observing.TASK_EVENTS,))
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP})
    try:
        places = [TopicPartition(*place) for place in end]
        committed = client.committed(places, timeout=10)
        return {(c.topic, c.partition): max(c.offset, 0) for c in committed} == end
    finally:
        client.close()


def task_events(bootstrap):
    """Count the task events there are, each once, by definition and type."""
    begin = dict.fromkeys(observing.ends(bootstrap, (observing.TASK_EVENTS,)), 0)
    events = {}
    for record in observing.read_from(bootstrap, begin):
        document = record.document()
        events[document["event_id"]] = (document["payload"]["definition_id"], document["type"])
    return dict(Counter(events.values()))
