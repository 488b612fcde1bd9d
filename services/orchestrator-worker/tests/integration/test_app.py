import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.service import RPCError

from contracts import identifiers, names
from contracts.catalogue import Catalogue
from contracts.names import Workflow
from contracts.runs import RunInput, TaskTimersInput
from orchestrator_worker import app
from orchestrator_worker.settings import Settings
from runtime import catalogue


def _command(word: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("BACKBONE_")
    }
    environment["BACKBONE_ENVIRONMENT"] = "local"
    environment |= {f"BACKBONE_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator_worker", word],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def test_check_says_what_answers_and_what_does_not(
    temporal_address: str, ledger_server: Any
) -> None:
    done = await asyncio.to_thread(
        _command,
        "check",
        temporal_address=temporal_address,
        ledger_address=ledger_server.address,
        registry_address="127.0.0.1:1",
    )
    assert f"ok   temporal dev: {temporal_address}" in done.stderr
    assert f"ok   ledger at {ledger_server.address}: answers" in done.stderr
    assert "FAIL registry at 127.0.0.1:1: no answer within 10 s" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("settings", "says", "code"),
    [
        ({"task_queues": '["billing"]'}, "setting BACKBONE_TASK_QUEUES", 2),
        (
            {"serve_ticks": "false", "serve_task_timers": "false", "serve_system": "false"},
            "nothing to serve",
            1,
        ),
        ({"catalogue": "/nowhere.yaml"}, "catalogue /nowhere.yaml cannot be read", 1),
    ],
)
def test_wrong_setting_is_one_sentence_and_an_exit_code(
    settings: dict[str, str], says: str, code: int
) -> None:
    neighbours = {
        "temporal_address": "127.0.0.1:1",
        "ledger_address": "127.0.0.1:1",
        "registry_address": "127.0.0.1:1",
    }
    done = _command("serve", **neighbours, **settings)
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert done.returncode == code


async def test_runs_are_pinned_to_their_build_where_temporal_routes_by_build(
    client: Client,
    serving: Settings,
    unique_name: str,
    definitions: Any,
    *,
    make_definition: Callable[..., Any],
    make_run: Callable[..., RunInput],
) -> None:
    definitions.known["dev", "billing.overdue", 1] = make_definition(
        rules=[{"name": "never", "when": "false", "task": _UNUSED_TASK}]
    )
    queue = f"{unique_name}-versioned-tq"
    settings = serving.model_copy(
        update={
            "task_queues": (queue,),
            "serve_ticks": False,
            "serve_task_timers": False,
            "serve_system": False,
            "worker_versioning": True,
            "deployment_name": unique_name,
            "build_id": "build-7",
        }
    )
    components = app.composed(settings, Catalogue())
    for component in components:
        await component.start()
    try:
        await _make_current(client, unique_name, "build-7")
        run = make_run()
        handle = await client.start_workflow(
            Workflow.RUN_ACTIVITY.value, run, id=run.run_id, task_queue=queue
        )
        await handle.result()
        described = await handle.describe()
    finally:
        for component in reversed(components):
            await component.stop()
    versioning = described.raw_description.workflow_execution_info.versioning_info
    assert versioning.deployment_version.build_id == "build-7"
    assert versioning.behavior == 1, "pinned"


async def test_what_watches_over_a_task_moves_to_new_builds(
    client: Client, serving: Settings, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A queue of this test: a current version is for all who serve a queue.
    queue = f"{unique_name}-timers-tq"
    monkeypatch.setattr(names, "TASK_TIMERS_TASK_QUEUE", queue)
    settings = serving.model_copy(
        update={
            "task_queues": (),
            "serve_ticks": False,
            "serve_system": False,
            "worker_versioning": True,
            "deployment_name": unique_name,
            "build_id": "build-7",
        }
    )
    components = app.composed(settings, Catalogue())
    for component in components:
        await component.start()
    try:
        await _make_current(client, unique_name, "build-7")
        task_id = uuid4()
        handle = await client.start_workflow(
            Workflow.TASK_TIMERS.value,
            TaskTimersInput(namespace="dev", task_id=task_id),
            id=identifiers.task_timers_workflow_id(task_id),
            task_queue=queue,
        )
        await handle.result()
        described = await handle.describe()
    finally:
        for component in reversed(components):
            await component.stop()
    versioning = described.raw_description.workflow_execution_info.versioning_info
    assert versioning.deployment_version.build_id == "build-7"
    assert versioning.behavior == 2, "auto-upgrade"


_UNUSED_TASK = {"type": "automated", "handler": "unused", "taskQueue": "unused-tq"}


async def _make_current(client: Client, deployment: str, build_id: str) -> None:
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace="dev",
        deployment_name=deployment,
        build_id=build_id,
        ignore_missing_task_queues=True,
    )
    async with asyncio.timeout(30):
        while True:
            try:
                await client.workflow_service.set_worker_deployment_current_version(request)
            except RPCError:
                # The server learns of a deployment by its worker's first poll.
                await asyncio.sleep(0.2)
            else:
                return


def test_catalogue_of_the_readme_is_one(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    file = tmp_path / "catalogue.yaml"
    file.write_text(readme.split("```yaml\n", 1)[1].split("```", 1)[0], encoding="utf-8")
    assert "billing-db" in catalogue.load(file).connectors
