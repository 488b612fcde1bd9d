"""The workload through every service, undisturbed and with each service killed on the way."""

import asyncio
import contextlib
import os
import signal
import uuid

import pytest
import scenario
import workload
from history import HistoryFile

from devstack.suite import SERVICES

SECONDS = 60.0
KILL_AFTER = 70  # records of 240: before half of what any service carries is through


@pytest.fixture(scope="module", autouse=True)
def definition(backbone):
    files = [f"tests/chaos/definitions/{name}.yaml" for name in ("orders", "order-placed")]
    backbone("apply", "-f", files[0], "-f", files[1], "--reason", "end-to-end test")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("victim", [None, *SERVICES])
async def test_every_event_has_its_run_and_every_run_its_tasks(suite, tmp_path, victim):
    source = f"e2e-{victim or 'calm'}-{uuid.uuid4().hex[:6]}"
    crashes_before = len(suite.crashes(victim)) if victim else 0
    with contextlib.closing(HistoryFile(tmp_path / "history.jsonl")) as history:

        async def kill(number):
            if number == KILL_AFTER and victim:
                (pid,) = [one.pid for one in suite.status() if one.name == victim]
                history.write({"nemesis": "kill -9", "victim": victim, "pid": pid})
                os.kill(pid, signal.SIGKILL)

        outcome = await scenario.run(
            suite,
            source=source,
            records=workload.plan(seed=20261123, source=source),
            seconds=SECONDS,
            history=history,
            during=kill,
        )

    assert outcome.violations == []
    assert outcome.settled
    assert len(outcome.sent) == 240
    assert len(outcome.seen.runs) == workload.EVENTS
    assert len(outcome.seen.dead_letters) >= workload.MALFORMED
    assert {run.status for run in outcome.seen.runs} == {"waiting", "completed"}
    if victim:
        # The nemesis did something, and the service came back by itself.
        assert len(suite.crashes(victim)) > crashes_before
        await asyncio.to_thread(suite.wait_ready, victim)
