"""Who takes turns: Backbone's workflow and the floor's, started and awaited by the same client."""

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, Self

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy

from benchmarks.runs.processes import Processes
from benchmarks.runs.stack import TASK_QUEUE
from contracts import identifiers
from contracts.envelope import Envelope
from contracts.names import Workflow
from contracts.runs import RecordOutcome, RunInput, RunResult
from contracts.triggers import Trigger, TriggerKind
from runtime import temporal

Handle = WorkflowHandle[Any, Any]

_DEADLINE_S = 300.0
_DEFINITION, _NAMESPACE = "bench.runs", "dev"


def run_of(definition_id: str, *, tasks: int) -> RunInput:
    """Return the run of a definition for an event with so many items."""
    event = Envelope.model_validate(
        {
            "event_id": uuid.uuid4().hex,
            "type": "bench.items",
            "source": "bench",
            "occurred_at": datetime.now(UTC),
            "payload": {"items": list(range(tasks))},
        }
    )
    trigger = Trigger(
        kind=TriggerKind.EVENT, names=["happened"], definition_version=1, events=[event]
    )
    return RunInput(
        namespace=_NAMESPACE,
        run_id=identifiers.run_id(definition_id, trigger.key),
        definition_id=definition_id,
        trigger=trigger,
    )


async def client(address: str) -> Client:
    """Return a client as the services make theirs."""
    return await temporal.connect(address, namespace=_NAMESPACE, identity="bench")


class Contender(Protocol):
    """Starts workflows that do a number of tasks."""

    name: str
    parts: frozenset[str]
    """Whose processor time is its own, of those that work on runs."""

    async def start(self, tasks: int) -> Handle:
        """Start one."""
        ...

    def check(self, result: Any, tasks: int) -> None:
        """Raise when a workflow did not do what it is measured for."""
        ...


class Backbone:
    """Runs of a definition, started as the router starts them."""

    name = "backbone"
    parts = frozenset(
        {"server", "worker", "handlers", "ledger", "postgres", "postgres-temporal"}
        | {"postgres-ledger"}
    )

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    async def connect(cls, address: str) -> Self:
        """Return it for the Temporal server at `address`."""
        return cls(await client(address))

    async def start(self, tasks: int) -> Handle:
        """Start a run for an event with so many items."""
        run = run_of(_DEFINITION, tasks=tasks)
        return await self._client.start_workflow(
            Workflow.RUN_ACTIVITY.value,
            run,
            id=run.run_id,
            task_queue=TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            result_type=RunResult,
        )

    def check(self, result: Any, tasks: int) -> None:
        """Raise unless it was recorded and every task completed."""
        if result != RunResult(outcome=RecordOutcome.RECORDED, completed=tasks, failed=0):
            raise RuntimeError(f"a run with {tasks} tasks ended as {result}")


class Floor:
    """Bare workflows."""

    name = "floor"
    parts = frozenset({"server", "floor", "postgres", "postgres-temporal"})

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    async def connect(cls, address: str) -> Self:
        """Return it for the Temporal server at `address`."""
        return cls(await Client.connect(address, namespace=_NAMESPACE))

    async def start(self, tasks: int) -> Handle:
        """Start one."""
        return await self._client.start_workflow(
            "FloorRun", tasks, id=f"floor-{uuid.uuid4()}", task_queue="floor-tq"
        )

    def check(self, result: Any, tasks: int) -> None:
        """Nothing: it returns nothing."""


@dataclass(frozen=True)
class Turn:
    """What one turn came to: `cpu_s` by part, of `runs` runs; one of them is `sample`."""

    runs: int
    seconds: float
    cpu_s: Mapping[str, float]
    sample: Handle

    @property
    def per_s(self) -> float:
        """Runs from start to result in a second."""
        return self.runs / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Processor time of all parts for a run, in milliseconds."""
        return sum(self.cpu_s.values()) / self.runs * 1000

    def part_ms(self, part: str) -> float:
        """Processor time of one part for a run, in milliseconds."""
        return self.cpu_s.get(part, 0.0) / self.runs * 1000


async def take(
    contender: Contender, processes: Processes, *, tasks: int, runs: int, at_once: int
) -> Turn:
    """Start `runs` workflows, never more than `at_once` under way, and await each result."""
    handles: list[Handle] = []
    left = runs

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            handle = await contender.start(tasks)
            contender.check(await handle.result(), tasks)
            handles.append(handle)

    before, started = processes.cpu_s(), time.monotonic()
    async with asyncio.timeout(_DEADLINE_S), asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_the_other())
    seconds, after = time.monotonic() - started, processes.cpu_s()
    cpu_s = {part: after[part] - before.get(part, 0.0) for part in contender.parts & after.keys()}
    return Turn(runs, seconds, cpu_s, handles[len(handles) // 2])


async def latencies_ms(contender: Contender, *, tasks: int, count: int) -> Sequence[float]:
    """Return the milliseconds from start to result of workflows that run alone."""
    found = []
    for _ in range(count):
        started = time.monotonic()
        contender.check(await (await contender.start(tasks)).result(), tasks)
        found.append((time.monotonic() - started) * 1000)
    return found


async def history_events(handle: Handle) -> int:
    """Return how long a history has become."""
    return (await handle.describe()).history_length
