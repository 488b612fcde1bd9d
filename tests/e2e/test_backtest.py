"""Runs of real services explained, and decided again by other versions: the gate of a release."""

import asyncio
import json
import uuid
from datetime import UTC, datetime

import observing
import pytest
import yaml
from confluent_kafka import Producer
from waiting import until

AMOUNTS = [5, 97.5, 250, 1000]
NAME = "e2e.claims"


def definition(limit, **changes):
    """Has a person look at claims from `limit` on, and each item of every claim packed."""
    review = {
        "type": "human",
        "title": "'Review claim ' + event.payload.claim",
        "input": {"amount": "event.payload.amount"},
        "assignees": {"groups": ["claims"]},
    }
    pack = {
        "type": "automated",
        "handler": "pack",
        "taskQueue": "e2e-handlers-tq",
        "key": "item",
        "input": {"line": "item", "order": "event.event_id"},
    }
    return {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": {"id": NAME, "namespace": "dev", "owner": "e2e"},
        "spec": {
            "taskQueue": "e2e-tq",
            "triggers": [{"name": "made", "event": {"type": "e2e.claim.made"}}],
            "rules": [
                {
                    "name": "pack",
                    "forEach": {"item": "item", "in": "event.payload.items"},
                    "task": pack | changes,
                },
                {
                    "name": "review",
                    "when": f"double(event.payload.amount) >= {limit}",
                    "task": review,
                },
            ],
        },
    }


CLAIM = {
    "type": "object",
    "properties": {
        "claim": {"type": "string"},
        "amount": {"type": "number"},
        "items": {"type": "array", "items": {"type": "string"}},
    },
}


class World:
    """The stack, as whoever releases a definition meets it."""

    def __init__(self, suite, backbone, folder):
        self._suite, self.backbone, self._folder = suite, backbone, folder
        self.source = f"e2e-claims-{uuid.uuid4().hex[:6]}"
        self._at = datetime.now(UTC).isoformat()

    def call(self, *words):
        """Return the exit code of a command, and the document that it prints."""
        answer = self.backbone.ask(*words, "-o", "json")
        assert answer.printed, answer.said
        return answer.code, answer.document

    def file(self, document):
        path = self._folder / f"{uuid.uuid4().hex}.yaml"
        path.write_text(yaml.safe_dump(document))
        return str(path)

    def runs(self):
        lines = self.backbone("runs", "--definition", NAME, "-o", "json").splitlines()
        return [json.loads(line) for line in lines]

    def send(self, amounts):
        """Publish a claim of each amount; the same amounts again are copies."""
        bootstrap = self._suite.endpoints.kafka_bootstrap_servers
        producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
        for number, amount in enumerate(amounts):
            event = {
                "event_id": f"{self.source}-{number}",
                "type": "e2e.claim.made",
                "source": self.source,
                "occurred_at": self._at,
                "payload": {"claim": f"C-{number}", "amount": amount, "items": ["\u00e4", "b"]},
            }
            producer.produce(observing.INPUT, value=json.dumps(event).encode())
        assert producer.flush(30) == 0


async def claimed(world):
    """Apply the first version, and have it decide every claim."""
    event_type = {
        "apiVersion": "backbone/v1",
        "kind": "EventType",
        "metadata": {"id": "e2e.claim.made", "namespace": "dev", "owner": "e2e"},
        "spec": {"schemas": [{"version": 1, "schema": CLAIM}]},
    }
    files = ["-f", world.file(event_type), "-f", world.file(definition(1000.0))]
    world.backbone("apply", *files, "--reason", "the first version")

    async def known():
        # What comes before the router knows the definition starts nothing.
        await asyncio.to_thread(world.send, AMOUNTS[:1])
        return bool(await asyncio.to_thread(world.runs))

    async def settled():
        found = await asyncio.to_thread(world.runs)
        return len(found) == len(AMOUNTS) and all(one["status"] != "running" for one in found)

    assert await until(known, seconds=60)
    await asyncio.to_thread(world.send, AMOUNTS)
    assert await until(settled, seconds=60)


@pytest.fixture(scope="module")
def world(suite, backbone, tmp_path_factory):
    world = World(suite, backbone, tmp_path_factory.mktemp("claims"))
    asyncio.run(claimed(world))
    return world


@pytest.mark.timeout(400)
def test_a_release_is_held_against_what_has_happened(world, backbone):
    backbone("apply", "-f", world.file(definition(200.0)), "--reason", "look at more of them")
    before = world.runs()
    tasks = backbone("tasks", "-o", "json", "--limit", "10000")

    # The planted difference: one claim lies between the limits.
    code, told = world.call("backtest", NAME, "--from", "v1", "--to", "v2", "--since", "1h")
    assert code == 1
    assert told["runs"] == {
        "looked_at": 4,
        "same": 3,
        "different": 1,
        "not_comparable": 0,
        "of_other_versions": 0,
        "more": False,
    }
    assert told["decided_again"] == {"same_hash": 4, "same_tasks": 0, "otherwise": 0}
    (run,) = told["different"]
    (task,) = run["tasks"]
    assert (task["change"], task["what"]) == ("added", "Review claim C-2")
    assert world.call("backtest", NAME, "--to", "v2", "--allow", "1")[0] == 0
    assert world.call("backtest", NAME, "--to", "v1")[0] == 0

    # Files that are not applied: the same in other words, another timeout, and more to look at.
    same = definition(1000.0)
    same["spec"]["rules"][0]["when"] = "size(event.payload.items) > 0"
    assert world.call("backtest", NAME, "-f", world.file(same))[0] == 0
    slower = world.file(definition(1000.0, timeout="2m"))
    code, told = world.call("backtest", NAME, "-f", slower)
    assert (code, told["tasks"]) == (1, {"added": 0, "removed": 0, "changed": 8})
    looking = definition(1000.0)
    looking["spec"]["context"] = [
        {"name": "more", "query": {"connector": "billing-db", "statement": "overdue"}}
    ]
    code, told = world.call("backtest", NAME, "-f", world.file(looking))
    assert (code, told["runs"]["not_comparable"]) == (2, 4)

    # Nothing has come of it: no run, no task.
    assert world.runs() == before
    assert backbone("tasks", "-o", "json", "--limit", "10000") == tasks


@pytest.mark.timeout(400)
def test_runs_and_tasks_are_explained_and_simulated_as_they_were(world, backbone, tmp_path):
    large = next(one for one in world.runs() if one["tasks"] == 3)
    said = backbone("explain", "run", large["run_id"])
    assert "An event started it (trigger made):" in said
    assert f", the record {observing.INPUT} " in said
    assert "review: `double(event.payload.amount) >= 1000.0` was true: 1 task" in said
    assert "pack: `true` was true, for each of 2 items of `event.payload.items`: 2 tasks" in said
    assert "The run waits: only people's tasks are open." in said
    told = world.call("explain", "run", large["run_id"])[1]
    assert told["started_by"][0]["run_id"] == large["run_id"]
    human = next(one for one in told["task_list"] if one["type"] == "human")
    said = backbone("explain", "task", human["task_id"])
    assert "The rule review: `double(event.payload.amount) >= 1000.0` was true: 1 task." in said

    # The recorded event, simulated under the same version, gives the same ids.
    (event,) = told["trigger"]["events"]
    file = tmp_path / "event.json"
    file.write_text(json.dumps({name: value for name, value in event.items() if value is not None}))
    words = ("simulate", "-f", world.file(definition(1000.0)), "--event", str(file))
    (one,) = world.call(*words)[1]["simulations"]
    assert one["run_id"] == large["run_id"]
    assert {task["task_id"] for task in one["decision"]["tasks"]} == {
        task["task_id"] for task in told["task_list"]
    }
