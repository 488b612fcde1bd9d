"""A run of three tasks, one of which fails, while a process of it dies at each point on its way.

Whatever dies and wherever: one run, exactly the decided tasks, and one outcome of each.
"""

import asyncio
import re
from pathlib import Path

import crashpoints
import identity
import pytest
import sampling
import scenario
from arming import Arm
from crashpoints_stimuli import people
from waiting import until

FILE = Path(__file__).parent / "definitions" / "three-tasks.yaml"
PASSING = Path(__file__).parent / "passing"
PROCESSES = ("ledger", "orchestrator-worker", "handlers")
DEFINITION = "e2e.three-tasks"
OUTCOMES = {"pack/line-0": "completed", "pack/line-1": "completed", "pack/torn": "failed"}
PATIENCE = 60.0  # seconds to come to rest, a crash included
BACKGROUND = (
    r"\w+\.\w+_(claim|confirm)_(pending|operations)",
    r"worker\.\w+_(list_executions|list_overdue|list_waiting|describe_workflow)",
    # Other tests leave instances for which something waits, and runs that were cut short, of which
    # a process that has just begun tells again.
    r"worker\.\w+_wake_instance",
    r"worker\.\w+_(list_cut_short|read_beginning|read_end|record_run_failure)",
    r"ledger\.\w+_record_run_failure",
    r"eventstore\.\w+_(seal|make_months|drop_month|clear_default)",
)
"""What these processes do whether there is a run or not."""


async def run_one(suite, source, history):
    """Start a run by hand, once however often that is asked, and judge what came of it."""

    async def start(intents):
        async with people(suite, source) as somebody:
            await somebody.trigger(intents, definition_id=DEFINITION, expect=tuple(OUTCOMES))

    return await scenario.run(
        suite,
        source=source,
        records=[],
        seconds=0.0,
        history=history,
        alongside=start,
        settle_s=PATIENCE,
    )


def judge(outcome, source):
    """Fail unless there is one run, with the three tasks and an outcome of each, told of once."""
    assert outcome.violations == []
    (run,) = outcome.seen.runs
    assert run.run_id == identity.manual_run(DEFINITION, source)
    assert run.status == "failed"
    assert {task.name: task.status for task in run.tasks} == OUTCOMES
    told = [row for row in outcome.seen.rows_here() if row.type == "backbone.FailureHandled"]
    assert [row.payload().get("failure") for row in told] == [None]


@pytest.fixture(scope="module", autouse=True)
def definition(backbone):
    backbone("apply", "-f", str(FILE), "--reason", "three tasks")


@pytest.mark.parametrize("point", sampling.of_today(crashpoints.of_a_run(), 8), ids=str)
@pytest.mark.timeout(180)
async def test_a_run_of_three_tasks_has_each_outcome_once_whatever_is_killed_on_its_way(
    crashing, tmp_path, history, source, point
):
    with Arm(crashing, point, tmp_path / "died") as armed:
        outcome = await run_one(crashing, source, history)
        assert await until(armed.died, seconds=5), f"{point.name} was never reached"
    (crash,) = crashing.crashes(point.process)[armed.crashes :]
    assert crash.signal == "SIGKILL"
    await asyncio.to_thread(crashing.wait_ready, point.process)
    judge(outcome, source)


async def test_the_points_that_are_crashed_at_are_those_that_such_a_run_passes(
    crashing, tmp_path, history, source
):
    passed = tmp_path / "passed"
    written = {"PYTHONPATH": str(PASSING), "PASSED_FAULTPOINTS": str(passed)}
    for process in PROCESSES:
        crashing.restart(process, env=written)
    try:
        await asyncio.to_thread(crashing.wait_ready)
        judge(await run_one(crashing, source, history), source)
    finally:
        for process in PROCESSES:
            crashing.restart(process, env={"PYTHONPATH": ""})
        await asyncio.to_thread(crashing.wait_ready)
    found = set(passed.read_text().splitlines())
    assert {
        name for name in found if not any(re.fullmatch(pattern, name) for pattern in BACKGROUND)
    } == {point.name for point in crashpoints.of_a_run()}
