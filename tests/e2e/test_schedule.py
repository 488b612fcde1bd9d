"""A schedule through every service: each due time is accounted for and runs once."""

import itertools
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml
from temporalio.client import Client
from waiting import until

HEARTBEAT = Path("tests/e2e/definitions/heartbeat.yaml")


def due_times(backbone):
    lines = backbone("ticks", "e2e.heartbeat", "--output", "json", "--limit", "1000").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.timeout(180)
async def test_each_due_time_has_one_run(suite, backbone, tmp_path):
    backbone("apply", "-f", str(HEARTBEAT), "--reason", "end-to-end test")

    async def ten_have_run():
        done = [one for one in due_times(backbone) if one["acknowledged_at"]]
        return len(done) >= 10

    assert await until(ten_have_run, seconds=90), due_times(backbone)

    # A version without the schedule ends it: no due time comes after.
    definition = yaml.safe_load(HEARTBEAT.read_text())  # noqa: ASYNC240 - a small file
    definition["spec"]["triggers"] = [{"name": "by-hand", "manual": {}}]
    stopped = tmp_path / "stopped.yaml"
    stopped.write_text(yaml.safe_dump(definition))
    backbone("apply", "-f", str(stopped), "--reason", "end of the test")
    temporal = await Client.connect(suite.endpoints.temporal_address, namespace="dev")

    async def schedule_is_gone():
        return not [
            one async for one in await temporal.list_schedules() if "e2e.heartbeat" in one.id
        ]

    assert await until(schedule_is_gone, seconds=30)

    async def all_started_and_done():
        runs = [
            json.loads(line)
            for line in backbone(
                "runs", "--definition", "e2e.heartbeat", "--output", "json", "--limit", "1000"
            ).splitlines()
        ]
        return len(runs) == len(due_times(backbone)) and all(
            run["status"] == "completed" for run in runs
        )

    assert await until(all_started_and_done, seconds=60)
    found = due_times(backbone)
    assert {one["outcome"] for one in found} == {"run"}
    instants = sorted(datetime.fromisoformat(one["due_at"]) for one in found)
    gaps = {later - earlier for earlier, later in itertools.pairwise(instants)}
    assert gaps == {timedelta(seconds=2)}
    executions = [
        one.id
        async for one in temporal.list_workflows("WorkflowType = 'RunActivity'")
        if one.id.startswith("e2e.heartbeat:")
    ]
    assert sorted(executions) == sorted(one["run_id"] for one in found)
