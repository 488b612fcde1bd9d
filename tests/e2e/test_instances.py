"""Stateful instances on the whole suite: visits of many people, told twice, while processes die."""

import asyncio
import itertools
import json
import uuid
from collections import Counter

import asyncpg
import observing
import pytest
from confluent_kafka import Producer
from temporalio.client import Client
from waiting import until

VISITS = "e2e.visits"
FILES = ("visit", "visits")


class World:
    """The suite, as visitors meet it, and those who look at their instances."""

    def __init__(self, suite, backbone, *, ledger, temporal):
        self.suite, self.backbone = suite, backbone
        self.ledger, self.temporal = ledger, temporal
        self.bootstrap = suite.endpoints.kafka_bootstrap_servers
        self.source = f"e2e-visits-{uuid.uuid4().hex[:6]}"
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all"})

    def send(self, visitor, *numbers, word="hello", times=1):
        """Send visits, keyed by who visits; the same visit as often as asked."""
        for number in numbers:
            event = {
                "event_id": f"{self.source}-{visitor}-{number}",
                "type": "e2e.visit",
                "source": self.source,
                "occurred_at": "2026-11-01T12:00:00Z",
                "payload": {
                    "visitor": f"{self.source}-{visitor}",
                    "number": number,
                    "word": word,
                },
            }
            for _ in range(times):
                self._producer.produce(observing.INPUT, value=json.dumps(event), key=visitor)
        assert self._producer.flush(30) == 0

    async def decided(self):
        """Wait until the router has decided all that was sent."""

        async def nothing_left():
            return await asyncio.to_thread(observing.uncommitted, self.bootstrap) == 0

        assert await until(nothing_left, seconds=90)

    async def instances(self):
        """Return the state of each generation that this test's visitors have, by its id."""
        found = {}
        mine = await self._runs()
        printed = self.backbone(
            "instances", "list", "--definition", VISITS, "--limit", "500", "-o", "json"
        )
        for line in printed.splitlines():
            one = json.loads(line)
            if one["last_run_id"] in mine:
                shown = self.backbone("instances", "show", one["instance_id"], "-o", "json")
                found[one["instance_id"]] = json.loads(shown)
        return found

    async def _runs(self):
        """Return this test's events by the run that each is."""
        rows = await self.ledger.fetch(
            "SELECT run_id, status, body FROM ledger.runs JOIN ledger.documents"
            " ON documents.namespace = runs.namespace AND sha256 = trigger_sha256"
            " WHERE definition_id = $1",
            VISITS,
        )
        found = {}
        for row in rows:
            event = json.loads(row["body"])["events"][0]
            if event["source"] == self.source:
                found[row["run_id"]] = (event["event_id"], row["status"])
        return found

    async def applied(self, count, *, seconds=120):
        """Wait until so many different visits were applied and all their runs have ended."""

        async def all_there():
            runs = await self._runs()
            return len(runs) >= count and {status for _, status in runs.values()} == {"completed"}

        assert await until(all_there, seconds=seconds), await self._runs()
        events = Counter(event for event, _ in (await self._runs()).values())
        assert max(events.values()) == 1, "an event was applied twice"

    async def outcomes(self):
        rows = await self.ledger.fetch(
            "SELECT DISTINCT outcome FROM ledger.routing_decisions"
            " WHERE definition_id = $1 AND source = $2",
            VISITS,
            self.source,
        )
        return {row["outcome"] for row in rows}

    async def workflow(self, instance_id):
        handle = self.temporal.get_workflow_handle(instance_id.rpartition(":")[0])
        return (await handle.describe()).status.name


@pytest.fixture
async def world(suite, backbone):
    named = [word for name in FILES for word in ("-f", f"tests/e2e/definitions/{name}.yaml")]
    backbone("apply", *named, "--reason", "visits")
    ledger = await asyncpg.connect(suite.endpoints.postgres.dsn())
    temporal = await Client.connect(suite.endpoints.temporal_address, namespace="dev")
    yield World(suite, backbone, ledger=ledger, temporal=temporal)
    await ledger.close()


@pytest.mark.timeout(400)
async def test_each_event_is_applied_once_and_in_order_though_processes_die(world):
    visitors = [f"v{number}" for number in range(5)]
    for first, victim in ((1, "orchestrator-worker"), (9, "router"), (17, "ledger")):
        for number in range(first, first + 8):
            for visitor in visitors:
                world.send(visitor, number, times=2)
        world.suite.kill(victim)
        # What came long ago comes once more.
        for visitor in visitors:
            world.send(visitor, first)
    await world.applied(24 * len(visitors))
    instances = await world.instances()
    assert len(instances) == len(visitors)
    for instance in instances.values():
        assert instance["state"]["seen"] == list(range(1, 25))
        assert (instance["state"]["count"], instance["events"]) == (24, 24)
        assert instance["status"] == "open"
    assert await world.outcomes() <= {"signalled", "duplicate"}
    # Every third visit has one task, which one run of its own has carried out.
    tasks = await world.ledger.fetch(
        "SELECT run_id, status FROM ledger.tasks WHERE run_id = ANY ($1)",
        list(await world._runs()),
    )
    assert Counter(task["status"] for task in tasks) == {"completed": 8 * len(visitors)}
    assert len({task["run_id"] for task in tasks}) == len(tasks)


@pytest.mark.timeout(400)
async def test_an_instance_ends_and_the_next_event_begins_another_generation(world):
    world.send("anna", 1, 2)
    world.send("anna", 3, word="goodbye")
    await world.applied(3)
    [(first, shown)] = (await world.instances()).items()
    assert (shown["status"], shown["state"]["seen"]) == ("ended", [1, 2, 3])

    async def workflow_ended():
        return await world.workflow(first) == "COMPLETED"

    assert await until(workflow_ended, seconds=60)
    world.send("anna", 2)
    world.send("anna", 4)
    await world.applied(4)
    instances = await world.instances()
    assert first.endswith(":1")
    second = instances.pop(first[:-1] + "2")
    assert (second["status"], second["state"]["seen"]) == ("open", [4])
    assert instances[first]["state"]["seen"] == [1, 2, 3]
    # Who visits is in no id that Temporal keeps.
    assert "anna" not in first
    assert world.source not in first


@pytest.mark.timeout(400)
async def test_what_waits_is_applied_though_its_workflow_is_terminated(world):
    world.send("carl", 1)
    await world.applied(1)
    [instance] = await world.instances()
    # Whoever is there applies what comes; who is not there has it waiting.
    world.suite.stop("orchestrator-worker")
    world.send("carl", *range(2, 52))
    await world.decided()
    waiting = world.backbone("instances", "waiting", "--definition", VISITS, "-o", "json")
    assert json.loads(waiting)["events"] == 50
    handle = world.temporal.get_workflow_handle(instance.rpartition(":")[0])
    await handle.terminate(reason="by mistake")
    world.suite.start_process("orchestrator-worker")
    # By then the sweep has found that nobody is there.
    await world.applied(51, seconds=240)
    [shown] = (await world.instances()).values()
    assert shown["state"]["seen"] == list(range(1, 52))
    assert world.backbone("instances", "waiting", "--definition", VISITS, "-o", "json") == ""


@pytest.mark.timeout(400)
async def test_events_held_while_it_is_disabled_are_applied_in_order(world, backbone):
    world.send("bert", 1)
    await world.applied(1)
    backbone("disable", VISITS, "--reason", "broken")

    probes = itertools.count(1)

    async def one_is_held():
        world.send("probe", next(probes))
        await world.decided()
        return "held" in await world.outcomes()

    assert await until(one_is_held, seconds=60)
    world.send("bert", 2, 3, 4)
    with pytest.raises(AssertionError, match="takes its events one by one"):
        backbone("enable", VISITS, "--held", "compress", "--reason", "mended")
    backbone("enable", VISITS, "--held", "start", "--reason", "mended")
    world.send("bert", 5)

    async def all_there():
        states = [one["state"]["seen"] for one in (await world.instances()).values()]
        return [1, 2, 3, 4, 5] in states

    assert await until(all_there, seconds=120), await world.instances()


@pytest.mark.timeout(400)
async def test_a_timer_fires_when_no_event_has_come_for_a_while(world, backbone):
    backbone("apply", "-f", "tests/e2e/definitions/silences.yaml", "--reason", "silences")
    runs = (
        "SELECT trigger_kind, trigger_names, status FROM ledger.runs"
        " WHERE definition_id = 'e2e.silences' AND run_id LIKE 'e2e.silences:timer:%'"
        " AND status = 'completed'"
    )

    async def silences(count):
        async def fired():
            return len(await world.ledger.fetch(runs)) == count

        assert await until(fired, seconds=60), await world.ledger.fetch(runs)

    async def routed():
        world.send("dora", 1)
        await world.decided()
        return await world.ledger.fetchval(
            "SELECT count(*) FROM ledger.instances WHERE definition_id = 'e2e.silences'"
        )

    assert await until(routed, seconds=60)
    await silences(1)
    world.send("dora", 2)
    world.suite.kill("orchestrator-worker")
    await silences(2)
    [listed] = backbone(
        "instances", "list", "--definition", "e2e.silences", "-o", "json"
    ).splitlines()
    shown = json.loads(
        backbone("instances", "show", json.loads(listed)["instance_id"], "-o", "json")
    )
    assert shown["state"] == {"visits": 2, "silences": 2}
    assert [timer["name"] for timer in shown["timers"]] == ["forgotten"]
    assert {row["trigger_kind"] for row in await world.ledger.fetch(runs)} == {"timer"}
    [first, *_] = backbone("runs", "--definition", "e2e.silences", "-o", "json").splitlines()
    explained = backbone("explain", "run", json.loads(first)["run_id"])
    assert "The timer quiet of its instance fired" in explained
    backbone("retire", "e2e.silences", "--reason", "done")


def test_a_stateful_definition_is_not_started_by_hand(world, suite, backbone):
    with pytest.raises(AssertionError, match="it takes events only"):
        backbone("trigger", VISITS, "--reason", "to see")
