"""The built-in handlers on the whole suite: a chain through an API, an event and a start."""

import asyncio
import json

import asyncpg
import built_in
import pytest
from waiting import until


@pytest.fixture
def rates():
    with built_in.Rates().served() as served:
        yield served


@pytest.fixture
def served(suite, backbone, rates, tmp_path):
    """The worker of the built-in handlers, and the definitions that use them."""
    built_in.apply(backbone)
    with built_in.worker(built_in.environment(suite, rates, tmp_path)) as process:
        yield process


@pytest.fixture
async def ledger(suite):
    connection = await asyncpg.connect(suite.endpoints.postgres.dsn())
    yield connection
    await connection.close()


async def outcomes(ledger, run_id):
    """Return status and output or failure of a run's tasks, by rule."""
    rows = await ledger.fetch(
        "SELECT task_id, rule, status, output, failure_message FROM ledger.tasks WHERE run_id = $1",
        run_id,
    )
    return {row["rule"]: row for row in rows}


async def ended(backbone, run_id):
    async def closed():
        shown = await asyncio.to_thread(backbone, "run", "show", run_id, "-o", "json")
        return json.loads(shown)["status"] in ("completed", "failed")

    assert await until(closed, seconds=60), f"{run_id} does not end"


@pytest.mark.timeout(180)
async def test_a_run_calls_publishes_and_starts_once_each(served, backbone, rates, ledger):
    run_id = backbone("trigger", "e2e.chained", "--input", '{"currency": "EUR"}').strip()
    await ended(backbone, run_id)
    tasks = await outcomes(ledger, run_id)
    assert {task["status"] for task in tasks.values()} == {"completed"}
    assert rates.asked == [("/rates/EUR", str(tasks["call"]["task_id"]))]

    started = f"e2e.chained-next:manual:{tasks['start']['task_id']}"

    async def both():
        rows = await ledger.fetch(
            "SELECT run_id, correlation_id, hops FROM ledger.runs"
            " WHERE definition_id = 'e2e.chained-next' AND correlation_id = $1",
            run_id,
        )
        # The run's own events have one hop more than what it goes on with.
        return (
            {row["hops"] for row in rows} == {2}
            and started in {row["run_id"] for row in rows}
            and len(rows) == 2
        )

    assert await until(both, seconds=60), "the event and the task start one run each"


@pytest.mark.timeout(300)
async def test_definitions_that_start_one_another_come_to_an_end(served, backbone, ledger):
    run_id = backbone("trigger", "e2e.looped", "--input", "{}").strip()

    async def last():
        return await ledger.fetchval(
            "SELECT tasks.failure_message FROM ledger.tasks JOIN ledger.runs"
            " USING (namespace, run_id) WHERE runs.definition_id = 'e2e.looped'"
            " AND runs.correlation_id = $1 AND tasks.status = 'failed'",
            run_id,
        )

    assert await until(last, seconds=120), "nobody ended it"
    assert "start one another" in await last()
    runs = await ledger.fetchval(
        "SELECT count(*) FROM ledger.runs WHERE definition_id = 'e2e.looped'"
        " AND correlation_id = $1",
        run_id,
    )
    assert runs == 17
