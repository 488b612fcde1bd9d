"""Workers as processes: each serves the pairs it is told to, and drains when it is stopped."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowHandle

from contracts.catalogue import Catalogue
from contracts.names import Workflow
from contracts.runs import RecordOutcome, RunInput, RunResult
from devstack.infrastructure.servers import temporal_answers
from devstack.suite import answers_ok
from orchestrator_worker import app
from orchestrator_worker.settings import Settings
from runtime import temporal

_UNUSED_TASK = {"type": "automated", "handler": "unused", "taskQueue": "unused-tq"}
_WAIT_S = 120


class WorkerProcess:
    """`python -m orchestrator_worker serve` as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, http: str) -> None:
        self.process = process
        self._http = http

    async def is_ready(self) -> bool:
        return await asyncio.to_thread(answers_ok, f"http://{self._http}/readyz")

    async def is_not_ready(self) -> bool:
        return not await self.is_ready()

    async def drained(self) -> int:
        async with asyncio.timeout(60):
            return await self.process.wait()

    @property
    def lives(self) -> bool:
        return self.process.returncode is None


StartWorker = Callable[..., Awaitable[WorkerProcess]]


@pytest.fixture
async def start_worker(
    temporal_address: str, ledger_server: Any, registry_server: Any, tmp_path: Path
) -> AsyncIterator[StartWorker]:
    """Start a worker process for the given settings; it is ready when this returns."""
    started: list[WorkerProcess] = []

    async def start(build_id: str, **settings: str) -> WorkerProcess:
        http = f"127.0.0.1:{_free_port()}"
        log = tmp_path / f"{build_id}.log"
        neighbours = {
            "environment": "local",
            "temporal_address": temporal_address,
            "ledger_address": ledger_server.address,
            "registry_address": registry_server.address,
            "http_listen": http,
            "build_id": build_id,
            "serve_ticks": "false",
            "serve_task_timers": "false",
            "serve_system": "false",
        }
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BACKBONE_")}
        environment |= {
            f"BACKBONE_{name.upper()}": value for name, value in (neighbours | settings).items()
        }
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "orchestrator_worker", "serve"),
                env=environment,
                stdout=output,
                stderr=output,
            )
        worker = WorkerProcess(process, http)
        started.append(worker)

        async def ready() -> bool:
            assert worker.lives, log.read_text()
            return await worker.is_ready()

        await _eventually(ready)
        return worker

    yield start
    for worker in started:
        if worker.lives:
            worker.process.kill()
        await worker.process.wait()


@pytest.fixture
async def other_namespace(client: Client, temporal_address: str, unique_name: str) -> str:
    """A second namespace, which the server serves."""
    retention = Duration()
    retention.FromTimedelta(timedelta(days=1))
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=unique_name, workflow_execution_retention_period=retention
        )
    )

    async def is_served() -> bool:
        return await asyncio.to_thread(temporal_answers, temporal_address, [unique_name])

    await _eventually(is_served)
    return unique_name


@pytest.fixture
def decides_nothing(definitions: Any, make_definition: Callable[..., Any]) -> Callable[[str], None]:
    """Let version 1 decide no task in a namespace."""

    def define(namespace: str) -> None:
        definitions.known[namespace, "billing.overdue", 1] = make_definition(
            rules=[{"name": "never", "when": "false", "task": _UNUSED_TASK}]
        )

    return define


async def test_each_process_serves_its_own_pairs_of_namespace_and_queue(
    temporal_address: str,
    start_worker: StartWorker,
    other_namespace: str,
    unique_name: str,
    *,
    decides_nothing: Callable[[str], None],
    make_run: Callable[..., RunInput],
) -> None:
    first, second = f"{unique_name}-first-tq", f"{unique_name}-second-tq"
    namespaces = f'["dev", "{other_namespace}"]'
    served_by = {
        ("dev", first): "build-a",
        (other_namespace, second): "build-a",
        ("dev", second): "build-b",
        (other_namespace, first): "build-b",
    }
    await asyncio.gather(
        *(
            start_worker(
                build,
                namespaces=namespaces,
                task_queues=_json(f"{n}/{q}" for (n, q), by in served_by.items() if by == build),
            )
            for build in ("build-a", "build-b")
        )
    )

    async def seen_by(namespace: str, queue: str) -> set[str]:
        client = await temporal.connect(temporal_address, namespace=namespace, identity="test")
        decides_nothing(namespace)
        # More than one: a worker that polled where it should not would get some of them.
        found = set()
        for _ in range(5):
            handle = await _started(
                client, make_run().model_copy(update={"namespace": namespace}), queue
            )
            result: RunResult = await handle.result()
            assert result.outcome is RecordOutcome.RECORDED
            found |= await _served_by(handle)
        return found

    seen = await asyncio.gather(*(seen_by(*pair) for pair in served_by))

    assert dict(zip(served_by, seen, strict=True)) == {
        pair: {f"orchestrator-worker/{build}"} for pair, build in served_by.items()
    }


async def test_stopped_worker_ends_what_it_holds_and_loses_nothing(
    client: Client,
    ledger: Any,
    start_worker: StartWorker,
    serving: Settings,
    task_queue: str,
    *,
    monkeypatch: pytest.MonkeyPatch,
    decides_nothing: Callable[[str], None],
    make_run: Callable[..., RunInput],
) -> None:
    decides_nothing("dev")
    gate, at_the_ledger = asyncio.Event(), 0
    record_run = ledger.record_run

    async def held(*arguments: Any, **named: Any) -> Any:
        nonlocal at_the_ledger
        at_the_ledger += 1
        await gate.wait()
        return await record_run(*arguments, **named)

    monkeypatch.setattr(ledger, "record_run", held)
    queue = f"drained-{task_queue}"
    stopped = await start_worker("stopped", task_queues=_json([queue]))
    holds = [await _started(client, make_run(), queue) for _ in range(8)]

    async def all_at_the_ledger() -> bool:
        return at_the_ledger == len(holds)

    await _eventually(all_at_the_ledger)

    stopped.process.send_signal(signal.SIGTERM)
    await _eventually(stopped.is_not_ready)
    assert stopped.lives, "not ready any more, and still at work"
    # Meanwhile the next worker is there, and more is asked for.
    following = app.composed(
        serving.model_copy(
            update={
                "task_queues": (queue,),
                "build_id": "following",
                "serve_ticks": False,
                "serve_task_timers": False,
                "serve_system": False,
            }
        ),
        Catalogue(),
    )
    for component in following:
        await component.start()
    try:
        more = [await _started(client, make_run(), queue) for _ in range(8)]
        gate.set()
        results = await asyncio.gather(*(handle.result() for handle in [*holds, *more]))
        assert await stopped.drained() == 0
    finally:
        for component in reversed(following):
            await component.stop()

    assert {result.outcome for result in results} == {RecordOutcome.RECORDED}
    assert at_the_ledger == len(ledger.runs) == len(results), "each was decided once"
    for handle in holds:
        assert await _served_by(handle) == {"orchestrator-worker/stopped"}
    for handle in more:
        assert await _served_by(handle) == {"orchestrator-worker/following"}


async def _started(client: Client, run: RunInput, queue: str) -> WorkflowHandle[Any, RunResult]:
    return await client.start_workflow(
        Workflow.RUN_ACTIVITY.value,
        run,
        id=run.run_id,
        task_queue=queue,
        result_type=RunResult,
    )


async def _served_by(handle: WorkflowHandle[Any, Any]) -> set[str]:
    """Return who took the workflow tasks; more than one would have taken over from another."""
    return {
        event.workflow_task_started_event_attributes.identity
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
    }


async def _eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while not await condition():  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.05)


def _json(entries: Any) -> str:
    return "[" + ", ".join(f'"{entry}"' for entry in entries) + "]"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
