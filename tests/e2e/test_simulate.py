"""`simulate --online` on real services: what is there is looked up, and nothing comes of it."""

import asyncio
import json
import uuid

import asyncpg
import pytest
import yaml
from temporalio.client import Client
from waiting import until

NAME = "e2e.simulated"


def definition(wanted):
    look = {"type": "human", "title": "'Look at it'", "assignees": {"groups": ["watchers"]}}
    event = {"type": "e2e.parcel.sent", "match": {"payload": {"weight": [{"numeric": [">", 5]}]}}}
    return {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": {"id": NAME, "namespace": "dev", "owner": "e2e"},
        "spec": {
            "taskQueue": "e2e-tq",
            "triggers": [{"name": "heavy", "event": event}],
            "context": [{"name": "last", "lastRun": {}}],
            "rules": [{"name": "look", "when": f"context.last.status == '{wanted}'", "task": look}],
        },
    }


@pytest.mark.timeout(400)
async def test_a_run_is_simulated_over_what_is_there_and_leaves_nothing(suite, backbone, tmp_path):
    ledger = await asyncpg.connect(suite.endpoints.postgres.dsn())
    temporal = await Client.connect(suite.endpoints.temporal_address, namespace="dev")

    async def recorded():
        return [
            await ledger.fetchval(f"SELECT count(*) FROM ledger.{table}")  # noqa: S608
            for table in ("events", "runs", "tasks", "trigger_keys", "documents")
        ]

    def simulated(*words):
        told = backbone("simulate", *words, "--event", str(event), "--online", "-o", "json")
        (one,) = json.loads(told)["simulations"]
        return one

    event, file = tmp_path / "event.json", tmp_path / "simulated.yaml"
    event.write_text(
        json.dumps(
            {
                "event_id": uuid.uuid4().hex,
                "type": "e2e.parcel.sent",
                "source": "e2e-simulated",
                "occurred_at": "2026-03-02T12:00:00Z",
                "payload": {"weight": 9},
            }
        )
    )
    try:
        backbone("apply", "-f", "tests/e2e/definitions/parcel-sent.yaml", "--reason", "simulate")
        file.write_text(yaml.safe_dump(definition("running")))
        backbone("apply", "-f", str(file), "--reason", "simulate")
        # The first run has none before it, and fails by that.
        run_id = (await asyncio.to_thread(backbone, "trigger", NAME)).strip()
        await temporal.get_workflow_handle(run_id).result()

        before = await recorded()
        one = await asyncio.to_thread(simulated, NAME)
        assert (one["looked_at"][0]["name"], one["decision"]["tasks"]) == ("last", [])
        file.write_text(yaml.safe_dump(definition("failed")))
        one = await asyncio.to_thread(simulated, "-f", str(file))
        (task,) = one["decision"]["tasks"]
        assert task["title"] == "Look at it"
        assert one["decision"]["rules"][0]["when"] is True
        assert await recorded() == before

        async def forgotten():
            found = temporal.list_workflows("WorkflowType = 'Simulate'")
            return [one async for one in found] == []

        # Temporal deletes by tasks of its own, one behind the other: in a minute, or in more.
        assert await until(forgotten, seconds=240)
    finally:
        await ledger.close()
