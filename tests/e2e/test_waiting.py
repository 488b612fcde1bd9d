"""What waits, on the whole suite: held, gathered, limited, while the router is killed."""

import asyncio
import itertools
import json
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import observing
import pytest
from confluent_kafka import Producer
from redis import Redis
from temporalio.client import Client
from waiting import until

DEFINITIONS = Path("tests/e2e/definitions")
HELD, GATHERED, LIMITED = "e2e.letters-held", "e2e.letters-gathered", "e2e.letters-limited"


class World:
    """The suite, as those who send letters and look at their runs meet it."""

    def __init__(self, suite, backbone, *, ledger, temporal):
        self.suite, self.backbone = suite, backbone
        self.ledger, self.temporal = ledger, temporal
        self.sent_to = {}
        self.bootstrap = suite.endpoints.kafka_bootstrap_servers
        self.source = f"e2e-letters-{uuid.uuid4().hex[:6]}"
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all"})
        self._sent = 0

    def send(self, *to):
        """Send a letter to each, keyed by whom it goes to; return their numbers."""
        numbers = []
        for person in to:
            self._sent += 1
            numbers.append(self._sent)
            self.sent_to[self._sent] = person
            event = {
                "event_id": f"{self.source}-{self._sent}",
                "type": "e2e.letter.sent",
                "source": self.source,
                "occurred_at": datetime.now(UTC).isoformat(),
                "payload": {"to": person, "number": self._sent},
            }
            self._producer.produce(observing.INPUT, value=json.dumps(event), key=person)
        assert self._producer.flush(30) == 0
        return numbers

    def forget(self):
        """Empty Redis: what is gathered and limited has no part in it."""
        Redis.from_url(self.suite.endpoints.redis_url).flushall()

    async def decided(self):
        """Wait until the router has decided all that was sent."""

        async def nothing_left():
            return await asyncio.to_thread(observing.uncommitted, self.bootstrap) == 0

        assert await until(nothing_left, seconds=90)

    async def runs(self, definition_id):
        """Return the numbers of the letters of each run, by the time at which it was decided."""
        rows = await self.ledger.fetch(
            "SELECT trigger_kind, body FROM ledger.runs JOIN ledger.documents"
            " ON documents.namespace = runs.namespace AND sha256 = trigger_sha256"
            " WHERE definition_id = $1 ORDER BY position",
            definition_id,
        )
        triggers = [json.loads(row["body"]) for row in rows]
        return [
            [event["payload"]["number"] for event in trigger["events"]]
            for trigger in triggers
            if trigger["events"][0]["source"] == self.source
        ]

    async def in_the_order_of_their_starts(self, definition_id):
        """Return the numbers of the letters by the time at which Temporal started their runs."""
        rows = await self.ledger.fetch(
            "SELECT run_id, body FROM ledger.runs JOIN ledger.documents"
            " ON documents.namespace = runs.namespace AND sha256 = trigger_sha256"
            " WHERE definition_id = $1",
            definition_id,
        )
        found = []
        for row in rows:
            events = json.loads(row["body"])["events"]
            if events[0]["source"] == self.source:
                run = await self.temporal.get_workflow_handle(row["run_id"]).describe()
                found.append((run.start_time, [event["payload"]["number"] for event in events]))
        return [number for _, numbers in sorted(found) for number in numbers]

    async def letters_in_runs(self, definition_id, numbers):
        """Wait until each of these letters is in exactly one run, and none of them waits."""

        async def all_there():
            runs = await self.runs(definition_id)
            counts = Counter(number for run in runs for number in run)
            assert not counts or max(counts.values()) == 1, f"in two runs: {counts}"
            return counts.keys() >= set(numbers)

        assert await until(all_there, seconds=90), await self.runs(definition_id)
        assert await until(lambda: self._nothing_waits(definition_id), seconds=30)

    async def outcomes(self, definition_id):
        """Return how many decisions have which outcome, settled or not."""
        rows = await self.ledger.fetch(
            "SELECT outcome, settled_at IS NOT NULL AS settled FROM ledger.routing_decisions"
            " WHERE definition_id = $1 AND source = $2",
            definition_id,
            self.source,
        )
        return Counter((row["outcome"], row["settled"]) for row in rows)

    def pending(self, definition_id):
        printed = self.backbone("pending", "--definition", definition_id, "-o", "json")
        return [json.loads(line) for line in printed.splitlines()]

    async def _nothing_waits(self, definition_id):
        return not self.pending(definition_id)

    async def a_letter_is_held(self):
        """Send one until the router has heard that it is disabled."""
        before = await self.outcomes(HELD)
        self.send("held-probe")
        await self.decided()
        return (await self.outcomes(HELD))["held", False] > before["held", False]


@pytest.fixture
async def world(suite, backbone):
    files = ["letter-sent", "letters-held", "letters-gathered", "letters-limited"]
    named = [word for name in files for word in ("-f", str(DEFINITIONS / f"{name}.yaml"))]
    backbone("apply", *named, "--reason", "letters")
    ledger = await asyncpg.connect(suite.endpoints.postgres.dsn())
    temporal = await Client.connect(suite.endpoints.temporal_address, namespace="dev")
    yield World(suite, backbone, ledger=ledger, temporal=temporal)
    await ledger.close()


@pytest.mark.timeout(400)
async def test_held_events_are_started_in_order_and_new_ones_behind_them(world, backbone):
    backbone("disable", HELD, "--reason", "broken")
    assert await until(world.a_letter_is_held, seconds=30)
    held = world.send(*(f"held-{n % 3}" for n in range(12)))
    await world.decided()
    assert {one["reason"] for one in world.pending(HELD)} == {"held"}
    backbone("enable", HELD, "--held", "start", "--reason", "mended")
    # While they are started, under the eyes of a router that dies of it.
    new = world.send(*(f"held-{n % 3}" for n in range(12)))
    world.suite.kill("router")
    new += world.send(*(f"held-{n % 3}" for n in range(12)))
    await world.letters_in_runs(HELD, [*held, *new])
    assert {len(run) for run in await world.runs(HELD)} == {1}
    assert (await world.outcomes(HELD)).keys() <= {("started", True), ("started", False)}
    started = await world.in_the_order_of_their_starts(HELD)
    for person in ("held-0", "held-1", "held-2"):
        of_one = [number for number in started if world.sent_to[number] == person]
        assert of_one == sorted(of_one), person


@pytest.mark.timeout(400)
async def test_held_events_are_compressed_or_discarded(world, backbone):
    backbone("disable", HELD, "--reason", "broken")
    assert await until(world.a_letter_is_held, seconds=30)
    held = world.send(*(f"held-{n}" for n in range(5)))
    await world.decided()
    backbone("enable", HELD, "--held", "compress", "--reason", "mended")
    await world.letters_in_runs(HELD, held)
    [compressed] = [run for run in await world.runs(HELD) if len(run) > 1]
    assert set(compressed) >= set(held)

    backbone("disable", HELD, "--reason", "broken again")
    assert await until(world.a_letter_is_held, seconds=30)
    world.send("held-1", "held-2")
    await world.decided()
    backbone("enable", HELD, "--held", "discard", "--reason", "of no use by now")

    async def all_discarded():
        outcomes = await world.outcomes(HELD)
        return outcomes["discarded", True] >= 3 and not outcomes["held", False]

    assert await until(all_discarded, seconds=60)
    assert world.pending(HELD) == []


@pytest.mark.timeout(400)
async def test_each_gathered_event_is_in_one_run_though_the_router_is_killed(world):
    numbers = []
    for turn in range(4):
        numbers += world.send(*(f"gathered-{n % 3}" for n in range(25)))
        if turn % 2:
            world.suite.kill("router")
        else:
            world.forget()
    await world.letters_in_runs(GATHERED, numbers)
    runs = await world.runs(GATHERED)
    assert max(map(len, runs)) <= 7
    assert len(runs) < len(numbers) / 2
    for run in runs:
        assert len({world.sent_to[number] for number in run}) == 1, "of one key each"
        assert run == sorted(run)


@pytest.mark.timeout(400)
async def test_limited_events_are_started_one_after_the_other(world):
    numbers = world.send(*("limited-a" for _ in range(8)))
    await world.letters_in_runs(LIMITED, numbers)
    runs = await world.ledger.fetch(
        "SELECT recorded_at, closed_at FROM ledger.runs WHERE definition_id = $1"
        " AND recorded_at > now() - interval '10 minutes' ORDER BY position",
        LIMITED,
    )
    assert [run for [run] in await world.runs(LIMITED)] == numbers
    for earlier, later in itertools.pairwise(runs):
        assert earlier["closed_at"] <= later["recorded_at"], "two runs were open at a time"
