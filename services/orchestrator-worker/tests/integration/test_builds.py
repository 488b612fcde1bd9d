"""A new build beside an old one on a real Temporal: who gets what, and when the old one may go."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.worker import Worker

from contracts.catalogue import Catalogue
from contracts.identifiers import instance_workflow_id, key_hash
from contracts.names import Signal, Workflow
from contracts.runs import InstanceInput, RunInput
from orchestrator_worker import app
from orchestrator_worker.adapters.temporal_builds import BuildError, TemporalBuild
from orchestrator_worker.settings import Settings
from runtime.errors import ConfigurationError

_DEFINITION = "billing.overdue"
_WAIT_S = 60


class Builds:
    """Builds of one deployment that serve one task queue, composed as in production."""

    def __init__(self, settings: Settings, queue: str, deployment: str) -> None:
        self.queue = queue
        self._settings = settings.model_copy(
            update={
                "task_queues": (queue,),
                "serve_ticks": False,
                "serve_task_timers": False,
                "serve_system": False,
                "worker_versioning": True,
                "deployment_name": deployment,
            }
        )
        self._stack = contextlib.AsyncExitStack()

    async def start(self, build_id: str) -> None:
        for component in app.composed(self._of(build_id), Catalogue()):
            await component.start()
            self._stack.push_async_callback(component.stop)

    async def promote(self, build_id: str) -> str:
        (said,) = await app.promoted(self._of(build_id))
        return said

    async def removable(self, build_id: str) -> str:
        """Return what is said of a build that may be removed, or why it may not."""
        try:
            (said,) = await app.removable(self._of(build_id))
        except BuildError as exc:
            return f"no: {exc}"
        return f"yes: {said}"

    async def command(self, word: str, build_id: str) -> tuple[int, str]:
        """Give a command as in a pod of this build; return its exit code and what it says."""
        told = {
            "environment": "local",
            "namespaces": '["dev"]',
            "worker_versioning": "true",
            "build_id": build_id,
            **{
                name: str(getattr(self._settings, name))
                for name in (
                    *("temporal_address", "ledger_address", "registry_address"),
                    "deployment_name",
                )
            },
        }
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BACKBONE_")}
        environment |= {f"BACKBONE_{name.upper()}": value for name, value in told.items()}
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "orchestrator_worker", word],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stderr.strip()

    def _of(self, build_id: str) -> Settings:
        return self._settings.model_copy(update={"build_id": build_id})

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def builds(serving: Settings, unique_name: str) -> AsyncIterator[Builds]:
    made = Builds(serving, f"{unique_name}-routed-tq", unique_name)
    yield made
    await made.close()


class Handler:
    """Carries out tasks when it is let."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.calls = 0

    @activity.defn(name="opens")
    async def opens(self, _call: Any) -> dict[str, Any]:
        self.calls += 1
        await self.opened.wait()
        return {"recorded": False, "output": None}


@pytest.fixture
async def handler(
    client: Client, handlers_queue: str, definitions: Any, make_definition: Callable[..., Any]
) -> AsyncIterator[Handler]:
    """A handler that waits for the test, and a definition whose runs wait for it."""
    task = {"type": "automated", "handler": "opens", "taskQueue": handlers_queue}
    definitions.known["dev", _DEFINITION, 1] = make_definition(
        rules=[{"name": "opens", "when": "true", "task": task}]
    )
    made = Handler()
    async with Worker(client, task_queue=handlers_queue, activities=[made.opens]):
        yield made
        made.opened.set()


async def test_a_build_keeps_the_runs_that_it_began_and_may_go_when_they_have_ended(
    client: Client, builds: Builds, handler: Handler, make_run: Callable[..., RunInput]
) -> None:
    await builds.start("0.1.0")
    assert "0.1.0 in dev is the current build" in await builds.promote("0.1.0")
    older = await _started(client, make_run(), builds.queue)
    await _eventually(lambda: _is(handler.calls, 1))
    assert re.match(r"no: .* 0\.1\.0 in dev is current: ", await builds.removable("0.1.0"))

    await builds.start("0.2.0")
    await _eventually(lambda: _is_said(builds, "0.2.0", r"yes: .* 0\.2\.0 in dev is unused: "))
    assert "is the current build, after 0.1.0" in await builds.promote("0.2.0")
    newer = await _started(client, make_run(), builds.queue)
    await _eventually(lambda: _is(handler.calls, 2))
    assert re.match(r"no: .* 0\.1\.0 in dev is draining: ", await builds.removable("0.1.0"))

    handler.opened.set()
    await asyncio.gather(older.result(), newer.result())
    assert await _build_of(older) == "0.1.0"
    assert await _build_of(newer) == "0.2.0"
    await _eventually(lambda: _is_said(builds, "0.1.0", r"yes: .* 0\.1\.0 in dev is drained: "))
    assert re.match(r"no: .* 0\.2\.0 in dev is current: ", await builds.removable("0.2.0"))


@pytest.mark.usefixtures("handler")
async def test_an_open_instance_moves_to_the_new_build_and_holds_the_old_one_back_no_longer(
    client: Client, builds: Builds, instances: Any
) -> None:
    """Open for as long as its definition says, it would hold every build back for ever."""
    hashed = key_hash(b"a secret of these tests", _DEFINITION, uuid.uuid4().hex)
    workflow_id = instance_workflow_id(_DEFINITION, hashed)
    await builds.start("0.1.0")
    await builds.promote("0.1.0")
    # Nothing waits, and a generation is open: it waits to be woken.
    instances.states[hashed] = [b"{}"]

    async def wake() -> None:
        await client.start_workflow(
            Workflow.INSTANCE.value,
            InstanceInput(namespace="dev", definition_id=_DEFINITION, key_hash=hashed),
            id=workflow_id,
            task_queue=builds.queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=Signal.WAKE.value,
        )

    await wake()
    handle = client.get_workflow_handle(workflow_id)
    await _eventually(lambda: _is_of(handle, "0.1.0"))

    await builds.start("0.2.0")
    await builds.promote("0.2.0")
    await _eventually(lambda: _is_said(builds, "0.1.0", r"yes: .* 0\.1\.0 in dev is drained: "))
    await handle.signal(Signal.WAKE.value)
    await _eventually(lambda: _is_of(handle, "0.2.0"))
    await handle.terminate()


async def test_a_build_that_temporal_does_not_know_is_neither_chosen_nor_given_up(
    client: Client, builds: Builds, unique_name: str
) -> None:
    async def connect() -> Client:
        return client

    await builds.start("0.1.0")
    await builds.promote("0.1.0")
    unknown = TemporalBuild("dev", connect=connect, deployment_name=unique_name, build_id="0.3.0")
    with pytest.raises(BuildError, match=r"0\.3\.0 in dev cannot be made the current build"):
        await unknown.promote(patience=0)
    with pytest.raises(BuildError, match="see BACKBONE_DEPLOYMENT_NAME and BACKBONE_BUILD_ID"):
        await unknown.status()
    code, said = await builds.command("drained", "0.3.0")
    assert code == 1
    assert said.startswith("orchestrator-worker: Temporal does not know")
    assert said.count("\n") == 0


async def test_where_any_build_serves_any_run_none_is_chosen(serving: Settings) -> None:
    for asked in (app.promoted, app.removable):
        with pytest.raises(ConfigurationError, match="BACKBONE_WORKER_VERSIONING is not true"):
            await asked(serving)


async def _started(client: Client, run: RunInput, queue: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        Workflow.RUN_ACTIVITY.value, run, id=run.run_id, task_queue=queue
    )


async def _build_of(handle: WorkflowHandle[Any, Any]) -> str:
    info = (await handle.describe()).raw_description.workflow_execution_info
    build: str = info.versioning_info.deployment_version.build_id
    return build


async def _is_of(handle: WorkflowHandle[Any, Any], build_id: str) -> bool:
    return await _build_of(handle) == build_id


async def _is_said(builds: Builds, build_id: str, pattern: str) -> bool:
    return re.match(pattern, await builds.removable(build_id)) is not None


async def _is(value: int, expected: int) -> bool:
    return value == expected


async def _eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while not await condition():  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.05)
