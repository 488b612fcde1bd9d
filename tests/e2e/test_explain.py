"""Why an event did, and did not, start something: told by the command, on every service."""

import asyncio
import json
import uuid
from datetime import UTC, datetime

import observing
import pytest
import yaml
from confluent_kafka import Producer
from waiting import until

LIT, DIMMED = "e2e.lamp.lit", "e2e.lamp.dimmed"
LAMP = {
    "type": "object",
    "properties": {"watts": {"type": "integer"}, "room": {"type": "string"}},
}


def metadata(name):
    return {"id": name, "namespace": "dev", "owner": "e2e"}


def event_type(name):
    return {
        "apiVersion": "backbone/v1",
        "kind": "EventType",
        "metadata": metadata(name),
        "spec": {"schemas": [{"version": 1, "schema": LAMP}]},
    }


def definition(name, **event):
    task = {
        "type": "automated",
        "handler": "pack",
        "taskQueue": "e2e-handlers-tq",
        "input": {"line": "'lamp'", "order": "trigger.kind"},
    }
    return {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": metadata(name),
        "spec": {
            "taskQueue": "e2e-tq",
            "triggers": [{"name": "lamp", "event": event}],
            "rules": [{"name": "pack", "task": task}],
        },
    }


class World:
    """The stack, as those meet it who send events and ask what became of them."""

    def __init__(self, suite, backbone, folder):
        self.backbone, self._folder = backbone, folder
        self.bootstrap = suite.endpoints.kafka_bootstrap_servers
        self.source = f"e2e-lamps-{uuid.uuid4().hex[:6]}"

    def apply(self, *documents):
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir()
        for document in documents:
            file = folder / f"{document['metadata']['id']}.yaml"
            file.write_text(yaml.safe_dump(document))
        self.backbone("apply", "-f", str(folder), "--reason", "a test of explanations")

    async def send(self, event_type, **changes):
        """Publish an event, wait until the router has decided it, and return its id."""
        event = {
            "event_id": uuid.uuid4().hex,
            "type": event_type,
            "source": self.source,
            "occurred_at": datetime.now(UTC).isoformat(),
            "payload": {"watts": 20},
        }
        producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all"})
        producer.produce(observing.INPUT, value=json.dumps(event | changes).encode())
        assert await asyncio.to_thread(producer.flush, 30) == 0

        async def decided():
            return await asyncio.to_thread(observing.uncommitted, self.bootstrap) == 0

        assert await until(decided, seconds=60)
        return event["event_id"]

    def explained(self, event_id, *words):
        return json.loads(self.backbone("explain", "event", event_id, *words, "-o", "json"))

    def evaluated(self, event_id, definition_id):
        """Return what one definition makes of an event, and the record that says so."""
        answer = self.explained(event_id, "--definition", definition_id)
        assert answer["decisions"] == []
        (record,) = answer["records"]
        (evaluation,) = record["evaluations"]
        assert evaluation["definition_id"] == definition_id
        return evaluation, record


@pytest.fixture
def world(suite, backbone, tmp_path):
    return World(suite, backbone, tmp_path)


@pytest.mark.timeout(400)
async def test_every_definition_says_why_it_did_or_did_not_run_as_it_was_then(world, backbone):
    world.apply(
        event_type(LIT),
        event_type(DIMMED),
        definition(
            "e2e.lamp.runs", type=LIT, match={"payload": {"watts": [{"numeric": [">", 9]}]}}
        ),
        definition("e2e.lamp.condition", type=LIT, when="event.payload.watts > 100"),
        definition("e2e.lamp.pattern", type=LIT, match={"payload": {"room": ["hall"]}}),
        definition("e2e.lamp.off", type=LIT, match={"payload": {"watts": [20]}}),
        definition("e2e.lamp.dims", type=DIMMED, match={"payload": {"watts": [5]}}),
    )
    backbone("disable", "e2e.lamp.off", "--reason", "it is dark")

    async def all_is_known():
        known = await world.send(LIT)
        told = world.explained(known)["decisions"]
        return {"e2e.lamp.off": "disabled", "e2e.lamp.runs": "started"}.items() <= {
            one["definition_id"]: one["outcome"] for one in told
        }.items()

    assert await until(all_is_known, seconds=60)
    lit, dimmed = await world.send(LIT), await world.send(DIMMED)
    # From here on everybody would want both.
    world.apply(
        definition("e2e.lamp.pattern", type=LIT),
        definition("e2e.lamp.dims", type=DIMMED),
        definition("e2e.lamp.late", type=DIMMED),
    )

    decided = {one["definition_id"]: one for one in world.explained(lit)["decisions"]}
    assert {name: one["outcome"] for name, one in decided.items()} == {
        "e2e.lamp.runs": "started",
        "e2e.lamp.condition": "filtered",
        "e2e.lamp.off": "disabled",
    }
    assert decided["e2e.lamp.runs"]["run_id"]
    assert decided["e2e.lamp.condition"]["seen"] == "event.payload.watts = 20"
    said = backbone("explain", "event", lit, "--definition", "e2e.lamp.condition")
    assert "wanted event.payload.watts > 100" in said

    # No candidate: the definition is evaluated as it was when the others were decided.
    evaluation, record = world.evaluated(lit, "e2e.lamp.pattern")
    assert (evaluation["outcome"], evaluation["definition_version"]) == ("filtered", 1)
    (trigger,) = evaluation["triggers"]
    assert (trigger["clause"], trigger["seen"]) == ('payload.room: ["hall"]', "absent")
    assert record["unrouted"] is None
    assert world.evaluated(lit, "e2e.lamp.dims")[0]["outcome"] == "not_listening"

    # Only the compact row is left: the event is found in Kafka, and evaluated again.
    evaluation, record = world.evaluated(dimmed, "e2e.lamp.dims")
    assert (evaluation["outcome"], evaluation["definition_version"]) == ("filtered", 1)
    assert evaluation["triggers"][0]["clause"] == "payload.watts: [5]"
    assert record["unrouted"]["first_offset"] <= record["offset"]
    assert record["offset"] <= record["unrouted"]["last_offset"]
    said = backbone("explain", "event", dimmed, "--source", world.source)
    assert "accepted, no definition wanted it" in said
    assert "e2e.lamp.dims@1 did not run: no trigger of it matches." in said
    assert "wanted payload.watts: [5], saw 20" in said
    assert "e2e.lamp.late" not in said
    said = backbone("explain", "event", dimmed, "--definition", "e2e.lamp.late")
    assert "e2e.lamp.late did not run: definition 'e2e.lamp.late' did not exist at" in said

    with pytest.raises(AssertionError, match=r"did you mean 'e2e\.lamp\.dims'"):
        backbone("explain", "event", dimmed, "--definition", "e2e.lamp.dim")
    with pytest.raises(AssertionError, match="is nowhere"):
        backbone("explain", "event", uuid.uuid4().hex)


@pytest.mark.timeout(400)
async def test_an_event_that_was_refused_is_told_with_its_reason(world, backbone):
    refused = await world.send(LIT, payload="no object", schema_version=1, occurred_at="yesterday")
    said = backbone("explain", "event", refused)
    assert "dead letter" in said
    assert "invalid_envelope" in said
