"""Letters: events of the end-to-end tests that wait in every way, and what became of them."""

import asyncio
import json
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import observing
from confluent_kafka import Producer
from redis import Redis
from temporalio.client import Client
from waiting import until

from devstack.suite import Suite

HELD, GATHERED, LIMITED = "e2e.letters-held", "e2e.letters-gathered", "e2e.letters-limited"
RATED = "e2e.letters-rated"


@dataclass(frozen=True)
class Run:
    """A run of a test's letters: when Temporal started it, and when the ledger closed it."""

    run_id: str
    numbers: list[int]
    started_at: datetime
    closed_at: datetime | None


class Letters:
    """The suite, as those who send letters and look at their runs meet it."""

    def __init__(self, suite: Suite, backbone, *, ledger: asyncpg.Connection, temporal: Client):
        self.suite, self.backbone = suite, backbone
        self.ledger, self.temporal = ledger, temporal
        self.sent_to: dict[int, str] = {}
        self.bootstrap = suite.endpoints.kafka_bootstrap_servers
        self.source = f"e2e-letters-{uuid.uuid4().hex[:6]}"
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all"})
        self._values: dict[int, str] = {}

    def send(self, *to: str) -> list[int]:
        """Send a letter to each, keyed by whom it goes to; return their numbers."""
        numbers = []
        for person in to:
            number = len(self.sent_to) + 1
            numbers.append(number)
            self.sent_to[number] = person
            event = {
                "event_id": f"{self.source}-{number}",
                "type": "e2e.letter.sent",
                "source": self.source,
                "occurred_at": datetime.now(UTC).isoformat(),
                "payload": {"to": person, "number": number},
            }
            self._values[number] = json.dumps(event)
        self.send_again(*numbers)
        return numbers

    def send_again(self, *numbers: int) -> None:
        """Send copies of letters, the same bytes."""
        for number in numbers:
            self._producer.produce(
                observing.INPUT, value=self._values[number], key=self.sent_to[number]
            )
        assert self._producer.flush(30) == 0

    def forget(self) -> None:
        """Empty Redis: what is gathered and limited has no part in it."""
        Redis.from_url(self.suite.endpoints.redis_url).flushall()

    async def decided(self) -> None:
        """Wait until the router has decided all that was sent."""

        async def nothing_left():
            return await asyncio.to_thread(observing.uncommitted, self.bootstrap) == 0

        assert await until(nothing_left, seconds=90)

    async def runs(self, definition_id: str) -> list[list[int]]:
        """Return the numbers of the letters of each run, by the time at which it was decided."""
        return [numbers for _, numbers, _ in await self._recorded(definition_id)]

    async def by_their_starts(self, definition_id: str) -> list[Run]:
        """Return the runs by the time at which Temporal started them."""
        found = []
        for run_id, numbers, closed_at in await self._recorded(definition_id):
            execution = await self.temporal.get_workflow_handle(run_id).describe()
            found.append(Run(run_id, numbers, execution.start_time, closed_at))
        return sorted(found, key=lambda run: run.started_at)

    async def are_in_runs(self, definition_id: str, numbers: list[int]) -> None:
        """Wait until each of these letters is in exactly one run, and none of them waits.

        Each run of the definition is one execution in Temporal by then, and there is no other.
        """

        async def all_there():
            runs = await self.runs(definition_id)
            counts = Counter(number for run in runs for number in run)
            assert not counts or max(counts.values()) == 1, f"in two runs: {counts}"
            return counts.keys() >= set(numbers)

        assert await until(all_there, seconds=90), await self.runs(definition_id)

        async def nothing_waits():
            return not self.pending(definition_id)

        assert await until(nothing_waits, seconds=30), self.pending(definition_id)

        async def each_is_one_execution():
            return await self._executions(definition_id) == Counter(await self._ids(definition_id))

        assert await until(each_is_one_execution, seconds=30)

    async def outcomes(self, definition_id: str) -> Counter[tuple[str, bool]]:
        """Return how many decisions have which outcome, settled or not."""
        rows = await self.ledger.fetch(
            "SELECT outcome, settled_at IS NOT NULL AS settled FROM ledger.routing_decisions"
            " WHERE definition_id = $1 AND source = $2",
            definition_id,
            self.source,
        )
        return Counter((row["outcome"], row["settled"]) for row in rows)

    def pending(self, definition_id: str) -> list[dict]:
        """Return what waits of a definition."""
        printed = self.backbone("pending", "--definition", definition_id, "-o", "json")
        return [json.loads(line) for line in printed.splitlines()]

    async def a_letter_is_held(self) -> bool:
        """Send one until the router has heard that it is disabled."""
        before = await self.outcomes(HELD)
        self.send("held-probe")
        await self.decided()
        return (await self.outcomes(HELD))["held", False] > before["held", False]

    async def _recorded(self, definition_id: str) -> list[tuple[str, list[int], datetime | None]]:
        rows = await self.ledger.fetch(
            "SELECT run_id, closed_at, body FROM ledger.runs JOIN ledger.documents"
            " ON documents.namespace = runs.namespace AND sha256 = trigger_sha256"
            " WHERE definition_id = $1 ORDER BY position",
            definition_id,
        )
        found = []
        for row in rows:
            events = json.loads(row["body"])["events"]
            if events[0]["source"] == self.source:
                numbers = [event["payload"]["number"] for event in events]
                found.append((row["run_id"], numbers, row["closed_at"]))
        return found

    async def _ids(self, definition_id: str) -> list[str]:
        rows = await self.ledger.fetch(
            "SELECT run_id FROM ledger.runs WHERE definition_id = $1", definition_id
        )
        return [row["run_id"] for row in rows]

    async def _executions(self, definition_id: str) -> Counter[str]:
        query = f'WorkflowType = "RunActivity" AND WorkflowId STARTS_WITH "{definition_id}:"'
        return Counter([one.id async for one in self.temporal.list_workflows(query)])
