"""What people do to runs, by the command line and behind its back in Temporal's own interface."""

import json
from functools import partial
from pathlib import Path

import asyncpg
import grpc
import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from waiting import until

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from runtime import grpcclient

DEFINITIONS = Path("tests/e2e/definitions")
MEETINGS = 4
PATIENCE = 60.0  # seconds


@pytest.fixture(scope="module")
def sweeping(suite, backbone):
    """The suite, whose sweep looks every second."""
    files = [str(DEFINITIONS / f"{name}.yaml") for name in ("returns", "meetings")]
    backbone("apply", *(word for file in files for word in ("-f", file)), "--reason", "control")
    quickly = {"BACKBONE_SWEEP_INTERVAL": "PT1S", "BACKBONE_SWEEP_MIN_AGE": "PT0S"}
    suite.restart("orchestrator-worker", env=quickly)
    suite.wait_ready("orchestrator-worker")
    yield suite
    usually = {"BACKBONE_SWEEP_INTERVAL": "PT1M", "BACKBONE_SWEEP_MIN_AGE": "PT1M"}
    suite.restart("orchestrator-worker", env=usually)
    suite.wait_ready("orchestrator-worker")


class Runs:
    """Runs by hand, as the command line shows them, and the ledger where one waits for them."""

    def __init__(self, backbone, *, ledger, temporal):
        self.backbone, self.ledger, self.temporal = backbone, ledger, temporal

    def start(self, definition_id="e2e.returns", **given):
        """Start a run and return its id."""
        words = ("--input", json.dumps(given)) if given else ()
        answer = self.backbone(
            "trigger", definition_id, *words, "--reason", "control", "-o", "json"
        )
        return json.loads(answer)["run_id"]

    def show(self, run_id):
        return json.loads(self.backbone("run", "show", run_id, "-o", "json"))

    def tasks(self, run_id):
        return {one["rule"] + one["key"]: one for one in self.show(run_id)["task_list"]}

    def do(self, noun, verb, subject):
        return json.loads(
            self.backbone(noun, verb, subject, "--reason", f"to {verb} it", "-o", "json")
        )

    async def found(self, run_id):
        request = ledger_pb2.GetRunRequest(namespace="dev", run_id=run_id)
        try:
            return await self.ledger.GetRun(request)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    async def recorded(self, run_id):
        """Wait until the run has decided."""

        async def there():
            return await self.found(run_id) is not None

        assert await until(there, seconds=PATIENCE), f"{run_id} is not recorded"

    def listed(self, *words):
        return [json.loads(line) for line in self.backbone(*words, "-o", "json").splitlines()]

    async def becomes(self, run_id, status, *, told):
        """Wait until the run has a status, and so many were told of its failures."""
        wanted = (f"RUN_STATUS_{status.upper()}", told)

        async def so():
            found = await self.found(run_id)
            return found is not None and wanted == (
                *(ledger_pb2.RunStatus.Name(found.run.status), len(found.failure_calls)),
            )

        assert await until(so, seconds=PATIENCE), self.backbone("run", "show", run_id)
        return self.show(run_id)

    async def execution_is(self, workflow_id, status):
        """Say whether a workflow is there and has a status."""
        try:
            described = await self.temporal.get_workflow_handle(workflow_id).describe()
        except RPCError as exc:
            if exc.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return described.status is status


@pytest.fixture
async def runs(sweeping, backbone):
    channel = grpcclient.channel(sweeping.addresses["ledger"].grpc, actor="e2e", timeout_s=10)
    yield Runs(
        backbone,
        ledger=ledger_pb2_grpc.LedgerServiceStub(channel),
        temporal=await Client.connect(sweeping.endpoints.temporal_address, namespace="dev"),
    )
    await channel.close()


@pytest.mark.timeout(300)
async def test_what_failed_is_retried_task_by_task_and_as_a_run_until_it_succeeds(runs, tmp_path):
    mended = tmp_path / "mended"
    given = {"lines": ["torn", "whole"], "mended": str(mended), "away": False}
    run_id = runs.start(**given)
    await runs.becomes(run_id, "failed", told=1)
    torn = runs.tasks(run_id)["packtorn"]["task_id"]

    assert runs.do("tasks", "retry", torn)["status"] == "open"
    await runs.becomes(run_id, "failed", told=2)

    mended.touch()
    assert runs.do("runs", "retry", run_id) == {"run_id": run_id, "task_ids": [torn]}
    run = await runs.becomes(run_id, "completed", told=2)
    assert {one["rule"] + one["key"]: one["status"] for one in run["task_list"]} == {
        "packtorn": "completed",
        "packwhole": "completed",
    }
    assert runs.tasks(run_id)["packtorn"]["generation"] == 3
    calls = run["failure_calls"]
    assert {call["task_id"] for call in calls} == {torn}
    assert len({call["call_id"] for call in calls}) == 2
    assert [call["failure"] for call in calls] == [None, None]


@pytest.mark.timeout(300)
async def test_a_cancelled_run_ends_everywhere_and_is_decided_again_as_another(runs):
    run_id = runs.start(lines=["whole"], mended="", away=True)
    await runs.recorded(run_id)

    for each in (run_id, f"{run_id}:retry:1"):
        await runs.recorded(each)
        assert runs.do("runs", "cancel", each)["status"] == "cancelled"
        tasks = runs.tasks(each)
        assert tasks["wait"]["status"] == tasks["look"]["status"] == "cancelled"
        assert await until(
            partial(runs.execution_is, each, WorkflowExecutionStatus.CANCELED), seconds=PATIENCE
        ), f"the workflow of {each} goes on"
        if each == run_id:
            assert runs.do("runs", "retry", run_id)["run_id"] == f"{run_id}:retry:1"
    assert [one["run_id"] for one in runs.show(run_id)["retries"]] == [f"{run_id}:retry:1"]
    # Who cancels a run knows of it.
    assert runs.show(run_id)["failure_calls"] == []
    assert runs.listed("operations") == []


@pytest.mark.timeout(300)
async def test_a_terminated_run_fails_with_its_reason_is_told_of_and_leaves_people_their_task(runs):
    run_id = runs.start(lines=[], mended="", away=True)
    await runs.recorded(run_id)
    (look,) = [task.task_id for task in (await runs.found(run_id)).tasks if task.rule == "look"]
    clock = f"task-timers:{look}"

    async def clock_begun():
        return await runs.execution_is(clock, WorkflowExecutionStatus.RUNNING)

    assert await until(clock_begun, seconds=PATIENCE)
    for workflow_id in (clock, run_id):
        await runs.temporal.get_workflow_handle(workflow_id).terminate(reason="stuck for a week")

    # What nobody carries out any more fails; what people have to do is still theirs.
    run = await runs.becomes(run_id, "waiting", told=1)
    tasks = runs.tasks(run_id)
    assert (tasks["wait"]["status"], tasks["look"]["status"]) == ("failed", "open")
    assert tasks["wait"]["failure"]["type"] == "WorkflowTerminated"
    assert tasks["wait"]["failure"]["message"].endswith(": stuck for a week")
    (call,) = run["failure_calls"]
    assert (call["task_id"], call["handler"], call["failure"]) == (
        *(tasks["wait"]["task_id"], "tell", None),
    )

    # The clock of that task was terminated before it was due.
    async def overdue():
        changes = runs.listed("tasks", "history", look)
        return "backbone.TaskOverdue" in [change["event_type"] for change in changes]

    assert await until(overdue, seconds=PATIENCE), "nobody looks at the clock"
    runs.backbone("tasks", "complete", look, "--answer", "{}")
    await runs.becomes(run_id, "failed", told=1)


@pytest.mark.timeout(300)
async def test_runs_whose_last_two_tasks_end_at_once_end_once(runs, suite):
    run_ids = [runs.start("e2e.meetings") for _ in range(MEETINGS)]
    ledger = await asyncpg.connect(suite.endpoints.postgres.dsn())
    try:

        async def events(run_id):
            rows = await ledger.fetch(
                "SELECT type FROM ledger.events WHERE stream = $1 ORDER BY version", f"run:{run_id}"
            )
            return [row["type"].removeprefix("backbone.") for row in rows]

        for run_id in run_ids:

            async def ended(run_id=run_id):
                return "RunCompleted" in await events(run_id)

            assert await until(ended, seconds=PATIENCE), f"{run_id} does not end"
            assert (await events(run_id))[-3:] == ["TaskCompleted", "TaskCompleted", "RunCompleted"]
    finally:
        await ledger.close()
