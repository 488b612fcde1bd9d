"""The workload through every service: undisturbed, each one killed, and in a rolling restart."""

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

# The console has no part in what becomes of an event.
CARRYING = tuple(service for service in SERVICES if service != "console")
SECONDS = 60.0
RESTART_AFTER = 20
KILL_AFTER = 70  # records of 240: before half of what any service carries is through


@pytest.fixture(scope="module", autouse=True)
def definition(backbone):
    files = [f"tests/chaos/definitions/{name}.yaml" for name in ("orders", "order-placed")]
    backbone("apply", "-f", files[0], "-f", files[1], "--reason", "end-to-end test")


@pytest.fixture
def carry(suite, tmp_path):
    """Send the workload for a minute, and hold what came of it to what is promised.

    `during(number, history)` is awaited after each record.
    """

    async def through(name, during):
        source = f"e2e-{name}-{uuid.uuid4().hex[:6]}"
        with contextlib.closing(HistoryFile(tmp_path / "history.jsonl")) as history:
            outcome = await scenario.run(
                suite,
                source=source,
                records=workload.plan(seed=20261123, source=source),
                seconds=SECONDS,
                history=history,
                during=lambda number: during(number, history),
            )
        assert outcome.violations == []
        assert outcome.settled
        assert len(outcome.sent) == 240
        assert len(outcome.seen.runs) == workload.EVENTS
        assert len(outcome.seen.dead_letters) >= workload.MALFORMED
        assert {run.status for run in outcome.seen.runs} == {"waiting", "completed"}

    return through


@pytest.mark.timeout(400)
@pytest.mark.parametrize("victim", [None, *CARRYING])
async def test_every_event_has_its_run_and_every_run_its_tasks(suite, carry, victim):
    crashes_before = len(suite.crashes(victim)) if victim else 0

    async def kill(number, history):
        if number == KILL_AFTER and victim:
            (pid,) = [one.pid for one in suite.status() if one.name == victim]
            history.write({"nemesis": "kill -9", "victim": victim, "pid": pid})
            os.kill(pid, signal.SIGKILL)

    await carry(victim or "calm", kill)
    if victim:
        # The nemesis did something, and the service came back by itself.
        assert len(suite.crashes(victim)) > crashes_before
        await asyncio.to_thread(suite.wait_ready, victim)


@pytest.mark.timeout(400)
async def test_a_rolling_restart_under_load_loses_nothing_and_no_producer_sees_it(suite, carry):
    before = {one.name: one.pid for one in suite.status()}
    rolling = []

    def restart_each():
        for service in SERVICES:
            suite.restart(service)
            suite.wait_ready(service)

    async def begin(number, history):
        if number == RESTART_AFTER:
            history.write({"nemesis": "rolling restart", "victims": list(SERVICES)})
            rolling.append(asyncio.create_task(asyncio.to_thread(restart_each)))

    crashes = len(suite.crashes())
    await carry("rolling", begin)
    await rolling[0]
    after = {one.name: one.pid for one in suite.status()}
    assert {name for name in SERVICES if after[name] != before[name]} == set(SERVICES)
    # Each ended as it was told to, within its grace.
    assert len(suite.crashes()) == crashes
