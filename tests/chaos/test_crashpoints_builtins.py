"""The crash points of the built-in handlers' worker: what it does, it does once."""

import asyncio

import asyncpg
import built_in
import pytest
from crashpoints import of
from test_crashpoints_alone import PATIENCE, Mortal
from waiting import until


@of("built_in")
@pytest.mark.timeout(180)
async def test_a_worker_that_dies_calls_under_one_key_and_starts_one_run(
    *, crashing, backbone, tmp_path, point
):
    built_in.apply(backbone)
    ledger = await asyncpg.connect(crashing.endpoints.postgres.dsn())
    with built_in.Rates().served() as rates:
        env = built_in.environment(crashing, rates, tmp_path)
        mortal = Mortal([*built_in.SERVE], env=env, point=point, marker=tmp_path / "died")
        run_id = backbone("trigger", "e2e.chained", "--input", '{"currency": "EUR"}').strip()
        try:
            await asyncio.to_thread(mortal.die)

            async def completed():
                status = await ledger.fetchval(
                    "SELECT status FROM ledger.runs WHERE run_id = $1", run_id
                )
                return status == "completed"

            with built_in.worker(env):
                assert await until(completed, seconds=PATIENCE)
            rows = await ledger.fetch(
                "SELECT rule, task_id FROM ledger.tasks WHERE run_id = $1", run_id
            )
            tasks = {row["rule"]: row["task_id"] for row in rows}
            # Asked once more after the crash, if at all, and then under the same key.
            assert {key for _, key in rates.asked} == {str(tasks["call"])}
            started = await ledger.fetch(
                "SELECT run_id FROM ledger.runs WHERE correlation_id = $1"
                " AND trigger_kind = 'manual' AND definition_id = 'e2e.chained-next'",
                run_id,
            )
            assert [row["run_id"] for row in started] == [
                f"e2e.chained-next:manual:{tasks['start']}"
            ]
        finally:
            await ledger.close()
