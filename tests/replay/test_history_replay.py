"""History replay: what a released build began, this build can finish."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from contracts.names import TemporalActivity, Workflow
from contracts.runs import Decided, DecideInput, RunInput, RunResult, TaskTimersInput, TickInput
from orchestrator_worker.adapters.temporal_worker import sandbox
from orchestrator_worker.workflows.retry_task import RetryTask
from orchestrator_worker.workflows.run_activity import RunActivity
from orchestrator_worker.workflows.scheduled_tick import ScheduledTick
from orchestrator_worker.workflows.sweep import Sweep
from orchestrator_worker.workflows.task_timers import TaskTimers
from runtime import temporal

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
SHAPES = {
    "run-zero-tasks",
    "run-one-task",
    "run-ten-tasks",
    "run-mixed-tasks",
    "run-duplicate",
    "run-undecidable",
    "run-ledger-away",
    "run-cancelled",
    "run-human-timers",
    "timers-to-the-end",
    "timers-of-a-closed-task",
    "timers-ledger-away",
    "tick-nothing-due",
    "tick-children",
    "tick-ledger-away",
    "run-failure-told",
    "run-failure-handler-fails",
    "run-failure-told-to-nobody",
    "retry",
    "retry-fails",
    "retry-cancelled",
    "sweep-pages",
}
# What a run costs is mostly Temporal's history: the count of events may fall, not grow unseen.
MOST_EVENTS = {
    "run-zero-tasks": 6,
    "run-duplicate": 6,
    "run-one-task": 12,
    "tick-nothing-due": 6,
    "timers-of-a-closed-task": 6,
    "timers-to-the-end": 24,
}


def _history(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text(encoding="utf-8"))


def _replayer(*workflows: type) -> Replayer:
    return Replayer(
        workflows=list(workflows),
        data_converter=temporal.data_converter(),
        workflow_runner=sandbox(),
    )


def test_every_shape_of_every_workflow_has_a_history() -> None:
    assert {path.stem for path in HISTORIES} >= SHAPES


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_workflows_replay_their_recorded_histories(path: Path) -> None:
    replayer = _replayer(RunActivity, ScheduledTick, TaskTimers, RetryTask, Sweep)
    await replayer.replay_workflow(_history(path))


@pytest.mark.parametrize("shape", sorted(MOST_EVENTS))
def test_history_is_as_short_as_it_was(shape: str) -> None:
    path = Path(__file__).parent / "histories" / f"{shape}.json"
    events = json.loads(path.read_text(encoding="utf-8"))["events"]
    assert len(events) <= MOST_EVENTS[shape]


@workflow.defn(name=Workflow.RUN_ACTIVITY.value, sandboxed=False)
class _DecidesRemotely:
    """The planted change: the first step is a normal Temporal activity, not a local one."""

    @workflow.run
    async def run(self, run: RunInput) -> RunResult:
        decided: Decided = await workflow.execute_activity(
            TemporalActivity.DECIDE.value,
            DecideInput(run=run, workflow_run_id=workflow.info().first_execution_run_id),
            result_type=Decided,
            start_to_close_timeout=timedelta(seconds=30),
        )
        return RunResult(outcome=decided.outcome)


@workflow.defn(name=Workflow.SCHEDULED_TICK.value, sandboxed=False)
class _ForgetsToAcknowledge:
    """The planted change: a step at the end is gone."""

    @workflow.run
    async def run(self, tick: TickInput) -> None:
        await workflow.execute_local_activity(
            TemporalActivity.ADVANCE_SCHEDULE.value,
            tick,
            schedule_to_close_timeout=timedelta(seconds=5),
        )


@workflow.defn(name=Workflow.TASK_TIMERS.value, sandboxed=False)
class _SleepsFirst:
    """The planted change: a pause before the first look."""

    @workflow.run
    async def run(self, timers: TaskTimersInput) -> None:
        await workflow.sleep(1)
        await workflow.execute_local_activity(
            TemporalActivity.ADVANCE_TASK.value,
            timers,
            schedule_to_close_timeout=timedelta(seconds=5),
        )


@workflow.defn(name=Workflow.RUN_ACTIVITY.value, sandboxed=False)
class _LeavesNoClock(RunActivity):
    """The planted change: what watches over human tasks is not started."""

    @workflow.run
    async def run(self, run: RunInput) -> RunResult:
        return await super().run(run)

    async def _decide(self, question: DecideInput) -> Decided:
        decided = await super()._decide(question)
        return decided.model_copy(update={"timed": []})


@pytest.mark.parametrize(
    ("shape", "changed"),
    [
        ("run-one-task", _DecidesRemotely),
        ("run-human-timers", _LeavesNoClock),
        ("tick-children", _ForgetsToAcknowledge),
        ("timers-to-the-end", _SleepsFirst),
    ],
)
async def test_replay_finds_a_planted_change(shape: str, changed: type[Any]) -> None:
    history = _history(Path(__file__).parent / "histories" / f"{shape}.json")
    with pytest.raises(workflow.NondeterminismError):
        await asyncio.wait_for(_replayer(changed).replay_workflow(history), timeout=30)
