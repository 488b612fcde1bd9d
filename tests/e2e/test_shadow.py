"""A shadow decides on real services beside the version that counts, and creates nothing."""

import asyncio
import json
import uuid

import asyncpg
import observing
import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition
from waiting import until

NAME = "e2e.watched"


def definition(handler="pack", title="Look at it"):
    pack = {
        "type": "automated",
        "handler": handler,
        "taskQueue": "e2e-handlers-tq",
        "input": {"line": "'line'", "order": "trigger.kind"},
    }
    look = {"type": "human", "title": f"'{title}'", "assignees": {"groups": ["watchers"]}}
    return {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": {"id": NAME, "namespace": "dev", "owner": "e2e"},
        "spec": {
            "taskQueue": "e2e-tq",
            "rules": [{"name": "pack", "task": pack}, {"name": "look", "task": look}],
        },
    }


class World:
    """The stack, as whoever tries a version beside the one that counts meets it."""

    def __init__(self, suite, backbone, folder):
        self._suite, self.backbone, self._folder = suite, backbone, folder

    def file(self, document):
        path = self._folder / f"{uuid.uuid4().hex}.yaml"
        path.write_text(yaml.safe_dump(document))
        return str(path)

    def report(self, *words):
        answer = self.backbone.ask("shadow", "report", NAME, *words, "-o", "json")
        assert answer.printed, answer.said
        return answer.code, answer.document

    async def run(self):
        """Start a run by hand, and wait until only its human task is open."""
        run_id = self.backbone("trigger", NAME).strip()

        async def waits():
            listed = await asyncio.to_thread(
                self.backbone, "runs", "--definition", NAME, "-o", "json"
            )
            return any(
                one["run_id"] == run_id and one["status"] == "waiting"
                for one in map(json.loads, listed.splitlines())
            )

        assert await until(waits, seconds=60)
        return run_id

    async def decided(self, count):
        async def enough():
            _, told = await asyncio.to_thread(self.report)
            return told["shadow"]["decided"] >= count

        assert await until(enough, seconds=60)

    async def settled(self, expected):
        async def there():
            return await self.effects() == expected

        assert await until(there, seconds=30), await self.effects()

    async def effects(self):
        """Return what is there of the definition, in the ledger and in Kafka."""
        connection = await asyncpg.connect(self._suite.endpoints.postgres.dsn())
        try:
            counted = {
                table: await connection.fetchval(
                    f"SELECT count(*) FROM ledger.{table} WHERE definition_id = $1",  # noqa: S608
                    NAME,
                )
                for table in ("runs", "tasks", "trigger_keys")
            }
            counted["events"] = await connection.fetchval(
                "SELECT count(*) FROM ledger.events WHERE stream LIKE $1", f"run:{NAME}:%"
            )
        finally:
            await connection.close()
        return counted | {"published": await asyncio.to_thread(self._published)}

    def _published(self):
        """Count the records of all that Backbone publishes of this definition."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._suite.endpoints.kafka_bootstrap_servers,
                "group.id": "e2e-watched",
                "enable.auto.commit": False,
            }
        )
        found = 0
        try:
            topics = (observing.TASK_EVENTS, observing.RUN_EVENTS)
            partitions = [
                TopicPartition(topic, partition)
                for topic in topics
                for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions
            ]
            ends = {
                (one.topic, one.partition): consumer.get_watermark_offsets(one, timeout=10)
                for one in partitions
            }
            consumer.assign(
                [TopicPartition(topic, number, low) for (topic, number), (low, _) in ends.items()]
            )
            left = sum(high - low for low, high in ends.values())
            while left:
                record = consumer.poll(10)
                assert record is not None
                assert record.error() is None
                left -= record.offset() < ends[record.topic(), record.partition()][1]
                found += NAME.encode() in (record.value() or b"")
        finally:
            consumer.close()
        return found


@pytest.mark.timeout(400)
async def test_a_shadow_decides_beside_every_run_and_creates_nothing(suite, backbone, tmp_path):
    world = World(suite, backbone, tmp_path)
    backbone("apply", "-f", world.file(definition()), "--reason", "the version that counts")
    await world.run()
    # What a run leaves behind is known from one without a shadow.
    alone = {"runs": 1, "tasks": 2, "trigger_keys": 1, "events": 4, "published": 4}
    await world.settled(alone)

    other = world.file(definition(handler="shadows_only", title="Look twice"))
    backbone("shadow", "start", NAME, "-f", other, "--reason", "is it better?")
    runs = [await world.run() for _ in range(3)]
    await world.decided(3)
    code, told = world.report()
    assert (code, told["runs"]["looked_at"], told["runs"]["different"]) == (1, 3, 3)
    assert {one["run_id"] for one in told["different"]} == set(runs)
    assert told["shadow"]["definition_version"] == 2
    changed = {
        (task["rule"], field["path"]): field["after"]
        for task in told["different"][0]["tasks"]
        for field in task["fields"]
    }
    assert changed == {("pack", "handler"): "shadows_only", ("look", "title"): "Look twice"}

    # Four runs have left what four runs leave: no task, no event and no run is the shadow's.
    await world.settled({name: 4 * count for name, count in alone.items()})
    listed = backbone("tasks", "--status", "open", "-o", "json", "--limit", "10000")
    assert "Look twice" not in listed
    assert "shadows_only" not in listed

    # One that means the same differs in nothing, and one that is stopped decides nothing more.
    backbone("shadow", "stop", NAME, "--reason", "seen enough")
    backbone("shadow", "start", NAME, "--version", "v1", "--reason", "does it say nothing?")
    await world.run()
    await world.decided(1)
    assert world.report()[0] == 0
    backbone("shadow", "stop", NAME, "--reason", "seen enough")
    await world.run()
    assert world.report()[1]["runs"]["looked_at"] == 1
