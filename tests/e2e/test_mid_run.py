"""What happens in the middle of runs: the ledger goes away, their definition is taken away."""

import asyncio
import contextlib
import uuid
from collections import Counter

import asyncpg
import pytest
import yaml
from pydantic import BaseModel
from temporalio.client import Client
from waiting import until

import sdk
from contracts.names import TemporalActivity
from runtime import grpcclient
from sdk.outcomes import GrpcOutcomeRecorder
from sdk.settings import WorkerSettings
from sdk.worker import queue_server

QUEUE = "e2e-mid-run-tq"
TASKS = 3
"""Of each run."""


class Nothing(BaseModel):
    """The input of the handler."""


class World:
    """The stack, a definition of the test's own, and a handler that ends when the test says so."""

    def __init__(self, suite, backbone, folder, *, ledger, temporal):
        self.suite, self.backbone = suite, backbone
        self.ledger, self.temporal = ledger, temporal
        self.name = f"e2e.mid-run-{uuid.uuid4().hex[:6]}"
        self.file = folder / "definition.yaml"
        self.file.write_text(yaml.safe_dump(self._definition()))
        self.may_end = asyncio.Event()
        self.calls = Counter()

    def _definition(self):
        task = {"type": "automated", "handler": "hold", "taskQueue": QUEUE, "key": "string(n)"}
        # No attempt ends by its time, so that each handler has one.
        task["timeout"] = "10m"
        rule = {"name": "hold", "forEach": {"item": "n", "in": "[1, 2, 3]"}, "task": task}
        return {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": self.name, "namespace": "dev", "owner": "e2e"},
            "spec": {"taskQueue": "e2e-tq", "rules": [rule]},
        }

    @contextlib.asynccontextmanager
    async def handler(self):
        """Serve the handler in this process."""

        @sdk.task_handler("hold")
        async def hold(_nothing: Nothing, context: sdk.TaskContext) -> None:
            self.calls[context.idempotency_key] += 1
            await self.may_end.wait()

        settings = WorkerSettings(
            temporal_address=self.suite.endpoints.temporal_address,
            ledger_address=self.suite.addresses["ledger"].grpc,
        )
        channel = grpcclient.channel(settings.ledger_address, actor="handler")
        server = queue_server(
            handlers=[hold],
            task_queue=QUEUE,
            namespace="dev",
            settings=settings,
            recorder=GrpcOutcomeRecorder(channel),
        )
        await server.start()
        yield
        await server.stop()
        await channel.close()

    async def start(self, count=1):
        """Start runs by hand."""
        return [
            (await asyncio.to_thread(self.backbone, "trigger", self.name)).strip()
            for _ in range(count)
        ]

    async def at_work(self, runs):
        """Wait until the handler is at every task of so many runs."""

        async def all_begun():
            return len(self.calls) >= TASKS * runs

        assert await until(all_begun, seconds=60)

    async def attempts(self, run_id):
        """Return how often a run has tried to decide, while it does so; else 0."""
        description = await self.temporal.get_workflow_handle(run_id).describe()
        return sum(
            one.attempt
            for one in description.raw_description.pending_activities
            if one.activity_type.name == TemporalActivity.DECIDE
        )

    async def ended(self, run_ids):
        """Wait until the runs have ended, and return how often the ledger has what of them."""
        for run_id in run_ids:
            async with asyncio.timeout(90):
                await self.temporal.get_workflow_handle(run_id).result()
        statuses = await self.ledger.fetch(
            "SELECT run_id, status FROM ledger.runs WHERE definition_id = $1", self.name
        )
        assert {(row["run_id"], row["status"]) for row in statuses} == {
            (run_id, "completed") for run_id in run_ids
        }
        tasks = await self.ledger.fetch(
            "SELECT key, status FROM ledger.tasks WHERE definition_id = $1",
            self.name,
        )
        events = await self.ledger.fetch(
            "SELECT type FROM ledger.events WHERE stream LIKE $1", f"run:{self.name}:%"
        )
        return (
            Counter((row["key"], row["status"]) for row in tasks),
            Counter(row["type"].removeprefix("backbone.") for row in events),
        )

    def whole(self, runs):
        """What `ended` gives of so many runs, each decided once, each of their tasks ended once."""
        return (
            {(str(n), "completed"): runs for n in range(1, TASKS + 1)},
            {
                "RunDecided": runs,
                "TaskCreated": TASKS * runs,
                "TaskCompleted": TASKS * runs,
                "RunCompleted": runs,
            },
        )


@pytest.fixture
async def world(suite, backbone, tmp_path):
    ledger = await asyncpg.connect(suite.endpoints.postgres.dsn())
    temporal = await Client.connect(suite.endpoints.temporal_address, namespace="dev")
    world = World(suite, backbone, tmp_path, ledger=ledger, temporal=temporal)
    try:
        backbone("apply", "-f", str(world.file), "--reason", "mid-run")
        async with world.handler():
            yield world
    finally:
        await ledger.close()


@pytest.mark.timeout(400)
async def test_runs_outlive_a_ledger_that_is_away_and_none_is_lost_or_doubled(world):
    at_work = await world.start(3)
    await world.at_work(3)
    world.suite.stop("ledger")
    try:
        undecided = await world.start(4)
        # Their handlers are done, and nobody takes down that they are.
        world.may_end.set()

        async def all_have_tried_for_long():
            # The sixth attempt comes after half a minute of pauses, besides 5 s of local ones.
            return min([await world.attempts(run_id) for run_id in undecided]) >= 6

        assert await until(all_have_tried_for_long, seconds=120)
    finally:
        world.suite.start_process("ledger")
        await asyncio.to_thread(world.suite.wait_ready, "ledger")
    tasks, events = await world.ended([*at_work, *undecided])
    assert (tasks, events) == world.whole(7)
    assert set(world.calls.values()) == {1}
    assert len(world.calls) == TASKS * 7


@pytest.mark.timeout(400)
async def test_runs_end_though_their_definition_is_disabled_and_retired_meanwhile(world):
    at_work = await world.start()
    await world.at_work(1)
    world.suite.stop("orchestrator-worker")
    try:
        undecided = await world.start()
        world.backbone("disable", world.name, "--reason", "no more of it")
        world.backbone("retire", world.name, "--reason", "never again")
    finally:
        world.suite.start_process("orchestrator-worker")
    await world.at_work(2)
    world.may_end.set()
    tasks, events = await world.ended([*at_work, *undecided])
    assert (tasks, events) == world.whole(2)
    said = world.backbone("explain", "run", undecided[0])
    assert f"{undecided[0]} is a run of {world.name} version 1" in said
    assert "hold: `true` was true, for each of 3 items of `[1, 2, 3]`: 3 tasks" in said
