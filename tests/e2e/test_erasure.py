"""A person's values pass through the whole stack encrypted, and are gone once their key is."""

import asyncio
import contextlib
import json
import re
import uuid
from datetime import UTC, datetime

import in_the_clear
import observing
import psycopg
import pytest
import yaml
from confluent_kafka import Producer
from pydantic import BaseModel
from waiting import until

import sdk
from runtime import grpcclient
from sdk.outcomes import GrpcOutcomeRecorder
from sdk.sensitive_values import GrpcSensitiveValues
from sdk.settings import WorkerSettings
from sdk.worker import queue_server

QUEUE = "e2e-erasure-tq"


class Greeting(BaseModel):
    """The input of the handler."""

    to: str | None
    phones: list[str | None]


class World:
    """The stack, a definition of the test's own, and a handler that is told of people."""

    def __init__(self, suite, backbone, folder):
        self.suite, self.backbone, self._folder = suite, backbone, folder
        word = uuid.uuid4().hex[:8]
        self.name, self.type = f"e2e.greet-{word}", f"e2e.signed-{word}.up"
        self.canary = f"canary-{uuid.uuid4().hex}"
        self.email = f"{self.canary}@example.org"
        self.greeted = []
        self._at = datetime.now(UTC).isoformat()

    def apply(self, *documents):
        words = []
        for document in documents:
            path = self._folder / f"{uuid.uuid4().hex}.yaml"
            path.write_text(yaml.safe_dump(document))
            words += ["-f", str(path)]
        self.backbone("apply", *words, "--reason", "erasure")

    def event_type(self):
        phone = {"type": "object", "properties": {"number": {"type": "string", "sensitive": True}}}
        schema = {
            "type": "object",
            "required": ["customer"],
            "properties": {
                "customer": {"type": "string", "sensitive": True},
                "email": {"type": "string", "sensitive": True},
                "phones": {"type": "array", "items": phone},
                "plan": {"type": "string"},
            },
        }
        return {
            "apiVersion": "backbone/v1",
            "kind": "EventType",
            "metadata": {"id": self.type, "namespace": "dev", "owner": "e2e"},
            "spec": {
                "subject": "payload.customer",
                "schemas": [{"version": 1, "schema": schema}],
            },
        }

    def definition(self, ending="@example.org"):
        greet = {
            "type": "automated",
            "handler": "greet",
            "taskQueue": QUEUE,
            "input": {
                "to": "event.payload.email",
                "phones": "event.payload.phones.map(p, p.number)",
            },
        }
        call = {
            "type": "human",
            "title": "'Welcome a customer of plan ' + event.payload.plan",
            "input": {"email": "event.payload.email"},
            "assignees": {"groups": ["sales"]},
        }
        return {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": self.name, "namespace": "dev", "owner": "e2e"},
            "spec": {
                "taskQueue": "e2e-tq",
                "triggers": [
                    {
                        "name": "signed-up",
                        "event": {"type": self.type, "when": "event.payload.email != ''"},
                    }
                ],
                "rules": [
                    {
                        "name": "greet",
                        "when": f"event.payload.email.endsWith('{ending}')",
                        "task": greet,
                    },
                    {"name": "call", "task": call},
                ],
            },
        }

    def send(self, *event_ids):
        """Publish events of the person; the same id again is a copy."""
        producer = Producer(
            {"bootstrap.servers": self.suite.endpoints.kafka_bootstrap_servers, "acks": "all"}
        )
        for event_id in event_ids:
            event = {
                "event_id": event_id,
                "type": self.type,
                "source": "e2e-erasure",
                "occurred_at": self._at,
                "payload": {
                    "customer": f"{self.canary}-customer",
                    "email": self.email,
                    "phones": [{"number": f"{self.canary}-1"}, {"number": f"{self.canary}-2"}],
                    "plan": "gold",
                },
            }
            producer.produce(observing.INPUT, value=json.dumps(event).encode())
        assert producer.flush(30) == 0

    def runs(self):
        lines = self.backbone("runs", "--definition", self.name, "-o", "json").splitlines()
        return [json.loads(line) for line in lines]

    def call(self, *words):
        """Return the exit code of a command, and what it prints."""
        answer = self.backbone.ask(*words)
        return answer.code, answer.printed + answer.said

    def revealed(self, run_id, reason):
        """Return the payload of a run's event as it is shown to who says why."""
        words = ("run", "show", run_id, "--reveal", "--reason", reason, "-o", "json")
        code, shown = self.call(*words)
        assert code == 0, shown
        return json.loads(shown)["trigger"]["events"][0]["payload"]

    def erased(self, person):
        """Erase a person; say whether there was something to erase."""
        code, told = self.call(
            "subjects", "erase", person, "--reason", "asked for it", "-o", "json"
        )
        assert code == 0, told
        return json.loads(told)["erased"]

    @contextlib.asynccontextmanager
    async def handler(self):
        """Serve the handler in this process."""

        @sdk.task_handler("greet")
        async def greet(greeting: Greeting, _context: sdk.TaskContext) -> None:
            self.greeted.append(greeting)

        settings = WorkerSettings(
            temporal_address=self.suite.endpoints.temporal_address,
            ledger_address=self.suite.addresses["ledger"].grpc,
        )
        channel = grpcclient.channel(settings.ledger_address, actor="handler")
        server = queue_server(
            handlers=[greet],
            task_queue=QUEUE,
            namespace="dev",
            settings=settings,
            recorder=GrpcOutcomeRecorder(channel),
            sensitive_values=GrpcSensitiveValues(channel),
        )
        await server.start()
        yield
        await server.stop()
        await channel.close()

    def columns_with(self, word):
        """Return the columns of the services' database that hold a word in the clear."""
        with psycopg.connect(self.suite.endpoints.postgres.dsn()) as connection:
            return [".".join(one) for one in in_the_clear.columns_with(connection, word)]

    def files_with(self, word):
        """Return files of the stack with a word in the clear, but those of Kafka and PostgreSQL."""
        folder = self.suite.log("router").parents[1]
        known = re.compile(r"(^|/)(postgres|kafka)[^/]*/")
        return in_the_clear.files_with(folder, word, but=known)


@pytest.fixture
def world(suite, backbone, tmp_path):
    return World(suite, backbone, tmp_path)


async def greeted(world, ids):
    """Have the person's events greeted by the handler, whichever way they come."""

    async def routed():
        # What comes before the router knows the definition starts nothing.
        await asyncio.to_thread(world.send, ids[0])
        return bool(await asyncio.to_thread(world.runs))

    async def settled():
        runs = await asyncio.to_thread(world.runs)
        return [run["status"] for run in runs] == ["waiting"] * len(ids)

    world.apply(world.event_type(), world.definition())
    async with world.handler():
        assert await until(routed, seconds=60)
        await asyncio.to_thread(world.send, *ids, *ids)
        assert await until(settled, seconds=60)


def backtested(world, to, *words):
    """Return the exit code of a backtest, and what it counts."""
    code, told = world.call("backtest", world.name, "--to", to, "-o", "json", *words)
    return code, json.loads(told)


@pytest.mark.timeout(400)
async def test_a_person_is_kept_encrypted_and_erased_while_evidence_and_backtests_stay(world):
    ids = [uuid.uuid4().hex for _ in range(2)]
    await greeted(world, ids)
    # The handler was given values; each event had its effect once, however often it came.
    phones = [f"{world.canary}-1", f"{world.canary}-2"]
    assert world.greeted == [Greeting(to=world.email, phones=phones)] * 2
    # Nothing that is kept has any of it: no table, no file of Temporal's, no log.
    assert world.columns_with(world.canary) == []
    assert world.files_with(world.canary) == []
    assert world.columns_with("$sensitive") != []

    # Who looks at a run sees references, and values when they say why, which is recorded.
    run_id = world.runs()[0]["run_id"]
    code, shown = world.call("run", "show", run_id, "-o", "json")
    assert code == 0
    assert world.canary not in shown
    assert "$sensitive" in shown
    assert world.call("run", "show", run_id, "--reveal")[0] == 2
    assert world.revealed(run_id, "a complaint")["email"] == world.email
    assert "a complaint" in world.call("subjects", "reveals", "-o", "json")[1]

    # Deciding again takes the values; without them nothing is guessed.
    reveal = ("--reveal", "--reason", "a release")
    world.apply(world.definition(ending="@example.com"))
    code, told = backtested(world, "v1")
    assert (code, told["runs"]["not_comparable"]) == (2, 2)
    code, told = backtested(world, "v1", *reveal)
    assert (code, told["decided_again"]["same_hash"]) == (0, 2)
    code, told = backtested(world, "v2", *reveal)
    assert (code, told["runs"]["different"]) == (1, 2)
    assert world.call("audit", "verify")[0] == 0

    # Erased: recorded, once, for good, whatever comes again.
    person = f"{world.canary}-customer"
    assert [world.erased(person), world.erased(person)] == [True, False]
    world.send(*ids)
    assert world.revealed(run_id, "still?")["email"].keys() == {"$sensitive", "hash"}
    (key,) = json.loads(world.call("subjects", "show", person, "-o", "json")[1])["keys"]
    assert (key["values"], key["reason"], key["data_key"]) == (8, "asked for it", None)
    # The evidence stands, and what cannot be decided again is told as that.
    assert world.call("audit", "verify")[0] == 0
    code, told = backtested(world, "v1", *reveal)
    assert (code, told["runs"]["not_comparable"], told["runs"]["different"]) == (2, 2, 0)
    assert "sensitive values that are erased" in json.dumps(told)
    assert len(world.runs()) == 2
    assert world.columns_with(world.canary) == []
