"""Due times that meet open runs, and past ones that run after all, on every service."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import yaml
from temporalio.client import Client, WorkflowExecutionStatus
from waiting import until

DEFINITIONS = Path("tests/e2e/definitions")
PATIENCE = 90.0  # seconds
ROUNDS, ARCHIVE = "e2e.rounds", "e2e.archive"


class Watch:
    """What the command says of definitions, as documents, and who reads the ledger beside it."""

    def __init__(self, backbone, *, ledger, temporal):
        self.backbone = backbone
        self.ledger, self.temporal = ledger, temporal

    async def document(self, *words):
        return json.loads(await asyncio.to_thread(self.backbone, *words, "-o", "json"))

    async def listed(self, *words):
        lines = await asyncio.to_thread(self.backbone, *words, "-o", "json", "--limit", "1000")
        return [json.loads(line) for line in lines.splitlines()]

    async def ticks(self, definition_id):
        """Return the due times, the oldest first, by instant."""
        found = await self.listed("ticks", definition_id)
        return {one["due_at"]: one for one in reversed(found)}

    async def refused(self, *words):
        """Return what is said by a command that fails."""
        words = (*words, "--reason", "it will not do")
        answer = await asyncio.to_thread(self.backbone.ask, *words)
        assert answer.code == 1, answer
        return answer.said

    async def open_runs(self, definition_id):
        return await self.ledger.fetchval(
            "SELECT count(*) FROM ledger.due_times WHERE definition_id = $1"
            " AND outcome = 'run' AND run_closed_at IS NULL",
            definition_id,
        )

    async def executions(self, definition_id):
        """Return the status of every execution there was of a definition's runs."""
        found = [
            (one.id, one.status)
            async for one in self.temporal.list_workflows("WorkflowType = 'RunActivity'")
            if one.id.startswith(f"{definition_id}:")
        ]
        return sorted(found)


@pytest.fixture
async def watch(suite, backbone):
    ledger = await asyncpg.connect(suite.endpoints.postgres.dsn())
    temporal = await Client.connect(suite.endpoints.temporal_address, namespace="dev")
    yield Watch(backbone, ledger=ledger, temporal=temporal)
    await ledger.close()


async def walk_to(watch, run_id):
    """Wait until a run has its task, and return that."""

    async def there():
        return bool(await watch.listed("tasks", "list", "--run", run_id))

    assert await until(there, seconds=PATIENCE), f"{run_id} has no task"
    (task,) = await watch.listed("tasks", "list", "--run", run_id)
    return task["task_id"]


@pytest.mark.timeout(300)
async def test_due_times_wait_for_the_open_run_or_cancel_it(watch, backbone, tmp_path):
    rounds = DEFINITIONS / "rounds.yaml"
    backbone("apply", "-f", str(rounds), "--reason", "rounds that wait")

    async def come_to(*outcomes):
        found = await watch.ticks(ROUNDS)
        assert await watch.open_runs(ROUNDS) <= 1
        return [one["outcome"] for one in found.values()][: len(outcomes)] == list(outcomes)

    async def met():
        return await come_to("run", "waiting", "overlapped")

    assert await until(met, seconds=PATIENCE), await watch.ticks(ROUNDS)
    first, second = list((await watch.ticks(ROUNDS)).values())[:2]

    # The end of the run wakes what waits for it, which is the oldest, and the newer ones stay.
    backbone("tasks", "complete", await walk_to(watch, first["run_id"]), "--answer", "{}")

    async def followed():
        return await come_to("run", "run", "overlapped")

    assert await until(followed, seconds=PATIENCE), await watch.ticks(ROUNDS)
    second = (await watch.ticks(ROUNDS))[second["due_at"]]
    walk = await walk_to(watch, second["run_id"])
    shown = await watch.document("run", "show", first["run_id"])
    assert shown["status"] == "completed"

    # An edit: from now on a round cancels the one before it.
    definition = yaml.safe_load(rounds.read_text())
    definition["spec"]["triggers"][0]["schedule"] |= {
        "missedRuns": {"policy": "skip", "tolerance": "5m"},
        "overlap": "cancelOther",
    }
    hurried = tmp_path / "hurried.yaml"
    hurried.write_text(yaml.safe_dump(definition))
    backbone("apply", "-f", str(hurried), "--reason", "rounds that do not wait")

    async def cancelled():
        assert await watch.open_runs(ROUNDS) <= 1
        return (await watch.document("run", "show", second["run_id"]))["status"] == "cancelled"

    assert await until(cancelled, seconds=PATIENCE), await watch.ticks(ROUNDS)
    backbone("disable", ROUNDS, "--reason", "the night is over")
    assert (await watch.document("tasks", "show", walk))["status"] == "cancelled"
    ran = [one for one in (await watch.ticks(ROUNDS)).values() if one["outcome"] == "run"]
    assert len(ran) >= 3
    explained = await watch.document("explain", "tick", ROUNDS, ran[2]["due_at"])
    assert explained["due_time"]["run_id"] == ran[2]["run_id"]
    assert "cancelled for it" in explained["due_time"]["reason"]


@pytest.mark.timeout(300)
async def test_a_backfill_runs_what_has_not_run_and_nothing_twice(watch, backbone):
    backbone("apply", "-f", str(DEFINITIONS / "archive.yaml"), "--reason", "an archive")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

    def question(named, *, days):
        return (
            *("backfill", "plan", ARCHIVE, "--id", named, "--concurrency", "2"),
            *("--from", (today - timedelta(days=days)).isoformat(), "--to", today.isoformat()),
        )

    async def carried_out(named):
        async def finished():
            return (await watch.document("backfill", "show", named))["state"] == "finished"

        assert await until(finished, seconds=PATIENCE), backbone("backfill", "show", named)
        return await watch.document("backfill", "show", named)

    narrow, wide = [
        await watch.document(*question(named, days=days), "--reason", "before its time")
        for named, days in (("narrow", 2), ("wide", 4))
    ]
    assert (narrow["starts"], wide["starts"]) == (2, 4)
    assert await watch.executions(ARCHIVE) == []

    # What is carried out is what was looked at: neither another plan nor another question.
    _, _, looked_at = wide["plan"].partition("@")
    assert "has another hash" in await watch.refused("backfill", "apply", f"narrow@{looked_at}")
    assert "was planned with another" in await watch.refused(*question("narrow", days=3))
    assert (await watch.document("backfill", "show", "narrow"))["state"] == "planned"

    backbone("backfill", "apply", narrow["plan"], "--reason", "looked at it")
    assert (await carried_out("narrow"))["outcomes"] == {"completed": 2}
    # The other plan is older than these runs, and leaves them alone all the same.
    backbone("backfill", "apply", wide["plan"], "--reason", "looked at it")
    done = await carried_out("wide")
    assert done["outcomes"] == {"completed": 2, "left": 2}

    expected = [one["run_id"] for one in done["times"]]
    runs = await watch.listed("runs", "--definition", ARCHIVE)
    assert sorted(one["run_id"] for one in runs) == sorted(set(expected))
    assert {one["status"] for one in runs} == {"completed"}
    everything = sorted((run_id, WorkflowExecutionStatus.COMPLETED) for run_id in expected)

    async def all_ended():
        return await watch.executions(ARCHIVE) == everything

    assert await until(all_ended, seconds=PATIENCE), await watch.executions(ARCHIVE)
    oldest = done["times"][0]
    explained = await watch.document("explain", "tick", ARCHIVE, oldest["due_at"])
    assert f"the backfill wide has run it: {oldest['run_id']}" in explained["explanation"]
