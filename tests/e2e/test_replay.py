"""Past events routed once more, on the whole suite: planned, applied while services die, told."""

import asyncio
import json
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg
import observing
import pytest
import yaml
from confluent_kafka import Producer
from temporalio.client import Client
from waiting import until

CRATE = "e2e.crate.sent"
EVENT_TYPE = {
    "apiVersion": "backbone/v1",
    "kind": "EventType",
    "metadata": {"id": CRATE, "namespace": "dev", "owner": "e2e"},
    "spec": {
        "schemas": [
            {
                "version": 1,
                "schema": {
                    "type": "object",
                    "properties": {"number": {"type": "integer"}},
                    "required": ["number"],
                },
            }
        ]
    },
}


FAILED = 20
"""Of so many events a replay by one a second goes on while commands come to it."""


def definition(name, *, handler="pack"):
    """Return a definition with a run for each crate; `handler` is its tasks'."""
    task = {
        "type": "automated",
        "handler": handler,
        "taskQueue": "e2e-handlers-tq",
        "input": {"line": "'crate'", "order": "event.event_id"},
        "timeout": "20s",
    }
    return {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": {"id": name, "namespace": "dev", "owner": "e2e"},
        "spec": {
            "taskQueue": "e2e-tq",
            "triggers": [{"name": "sent", "event": {"type": CRATE}}],
            "rules": [{"name": "pack", "task": task}],
        },
    }


class World:
    """The suite, as those who send crates and replay them meet it."""

    def __init__(self, suite, backbone, folder, *, ledger, temporal):
        self.suite, self.backbone, self._folder = suite, backbone, folder
        self.ledger, self.temporal = ledger, temporal
        self.bootstrap = suite.endpoints.kafka_bootstrap_servers
        self.source = f"e2e-crates-{uuid.uuid4().hex[:6]}"
        self.begun = datetime.now(UTC) - timedelta(seconds=1)

    def apply(self, document):
        file = self._folder / f"{uuid.uuid4().hex}.yaml"
        file.write_text(yaml.safe_dump(document))
        self.backbone("apply", "-f", str(file), "--reason", "a test of replays")

    async def send(self, count):
        """Send crates for three people and wait until the router has decided them."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all"})
        for number in range(count):
            event = {
                "event_id": f"{self.source}-{number}",
                "type": CRATE,
                "source": self.source,
                "occurred_at": datetime.now(UTC).isoformat(),
                "payload": {"number": number},
            }
            producer.produce(observing.INPUT, value=json.dumps(event), key=f"person-{number % 3}")
        assert await asyncio.to_thread(producer.flush, 30) == 0

        async def nothing_left():
            return await asyncio.to_thread(observing.uncommitted, self.bootstrap) == 0

        assert await until(nothing_left, seconds=90)

    def plan(self, definition_id, *, mode="missing", rate=200):
        printed = self.backbone(
            "replay", "plan", "--topic", observing.INPUT, "--from", self.begun.isoformat(),
            "--to", datetime.now(UTC).isoformat(), "--definition", definition_id, "--mode", mode,
            "--rate", str(rate), "--reason", "it came too early", "-o", "json",
        )  # fmt: skip
        return json.loads(printed)

    def do(self, *words):
        return json.loads(self.backbone("replay", *words, "--reason", "a test", "-o", "json"))

    async def finished(self, replay_id):
        async def over():
            # Asked of nobody who may be dead.
            state = await self.ledger.fetchval(
                "SELECT state FROM ledger.replays WHERE replay_id = $1", replay_id
            )
            return state == "finished"

        assert await until(over, seconds=120)
        return json.loads(self.backbone("replay", "show", replay_id, "-o", "json"))

    async def runs(self, definition_id):
        """Return the runs of a definition by id: (status, kind, number of its crate)."""
        rows = await self.ledger.fetch(
            "SELECT run_id, status, trigger_kind, body FROM ledger.runs JOIN ledger.documents"
            " ON documents.namespace = runs.namespace AND sha256 = trigger_sha256"
            " WHERE definition_id = $1 ORDER BY position",
            definition_id,
        )
        return {
            row["run_id"]: (
                row["status"],
                row["trigger_kind"],
                json.loads(row["body"])["events"][0]["payload"]["number"],
            )
            for row in rows
        }

    async def started_in_order(self, runs):
        """Return the numbers of crates by the time at which Temporal started their runs."""
        found = []
        for run_id, (_, _, number) in runs.items():
            described = await self.temporal.get_workflow_handle(run_id).describe()
            found.append((described.start_time, number))
        return [number for _, number in sorted(found)]


@pytest.fixture
async def world(suite, backbone, tmp_path):
    ledger = await asyncpg.connect(suite.endpoints.postgres.dsn())
    temporal = await Client.connect(suite.endpoints.temporal_address, namespace="dev")
    try:
        made = World(suite, backbone, tmp_path, ledger=ledger, temporal=temporal)
        made.apply(EVENT_TYPE)
        yield made
    finally:
        await ledger.close()


@pytest.mark.timeout(400)
async def test_events_that_came_too_early_are_started_once_though_services_die(world):
    name = f"e2e.late-{uuid.uuid4().hex[:6]}"
    await world.send(40)
    world.apply(definition(name))

    async def is_known():
        try:
            return world.plan(name)["definitions"] != []
        except AssertionError:  # The router has not heard of it yet.
            return False

    assert await until(is_known, seconds=60)
    plan = world.plan(name)
    [planned] = plan["definitions"]
    assert (plan["state"], plan["starts"], planned["planned"]) == ("planned", 40, {"start": 40})
    assert await world.runs(name) == {}, "a plan starts nothing"

    world.do("apply", plan["plan"])
    world.suite.kill("router")
    world.suite.kill("ledger")
    done = await world.finished(plan["replay_id"])
    assert done["definitions"][0]["outcomes"] == {"started": 40}

    async def all_recorded():
        return len(await world.runs(name)) == 40

    assert await until(all_recorded, seconds=60)
    runs = await world.runs(name)
    assert all(run_id.endswith(f":replay:{plan['replay_id']}") for run_id in runs)
    assert {kind for _, kind, _ in runs.values()} == {"replay"}
    assert Counter(number for _, _, number in runs.values()) == Counter(range(40))
    started = await world.started_in_order(runs)
    for person in range(3):
        of_one = [number for number in started if number % 3 == person]
        assert of_one == sorted(of_one), person
    again = world.plan(name)
    assert again["definitions"][0]["planned"] == {"has_run": 40}


@pytest.mark.timeout(400)
async def test_only_what_failed_is_started_again_and_a_pause_holds_it(world):
    name = f"e2e.broken-{uuid.uuid4().hex[:6]}"
    document = definition(name)
    # Runs of odd crates cannot be decided.
    document["spec"]["rules"][0]["when"] = "1 / (event.payload.number % 2 - 1) < 0"
    world.apply(document)

    async def is_known():
        shown = json.loads(world.backbone("get", name, "-o", "json"))
        plan = world.plan(name)
        return shown is not None and plan["state"] == "planned"

    assert await until(is_known, seconds=60)
    await world.send(2 * FAILED)

    async def all_ended():
        runs = await world.runs(name)
        counted = Counter(status for status, _, _ in runs.values())
        return counted == {"completed": FAILED, "failed": FAILED}

    assert await until(all_ended, seconds=90), await world.runs(name)
    document["spec"]["rules"][0]["when"] = "true"
    world.apply(document)

    async def mended():
        plan = world.plan(name, mode="failed")
        return plan["definitions"][0]["definition_version"] == 2

    assert await until(mended, seconds=60)
    plan = world.plan(name, mode="failed", rate=1)
    assert plan["definitions"][0]["planned"] == {"start": FAILED, "not_failed": FAILED}
    world.do("apply", plan["plan"])
    paused = world.do("pause", plan["replay_id"])
    assert paused["begun"] < FAILED
    assert len(world.backbone("replay", "starts", plan["replay_id"]).splitlines()) > 1
    world.do("resume", plan["replay_id"])
    await world.finished(plan["replay_id"])

    async def mended_runs():
        found = (await world.runs(name)).values()
        return sorted((kind, n) for status, kind, n in found if status == "completed")

    async def all_well():
        return await mended_runs() == [
            *(("event", n) for n in range(0, 2 * FAILED, 2)),
            *(("replay", n) for n in range(1, 2 * FAILED, 2)),
        ]

    assert await until(all_well, seconds=60), await mended_runs()
