"""History replay: what a released build began, this build can finish.

Workers run workflows outside the SDK's sandbox (ADR 032), so every history is replayed both as
they would and in the sandbox, which raises at once where a workflow asks the machine.
"""

import asyncio
import importlib
import json
import pkgutil
from collections import deque
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from clock_workflow import AsksTheMachine
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from contracts.names import Signal, TemporalActivity, Workflow
from contracts.runs import (
    Decided,
    DecideInput,
    InstanceInput,
    RunInput,
    RunResult,
    TaskTimersInput,
    TickInput,
)
from orchestrator_worker import workflows
from orchestrator_worker.workflows.instance import Instance
from orchestrator_worker.workflows.retry_task import RetryTask
from orchestrator_worker.workflows.run_activity import RunActivity
from orchestrator_worker.workflows.scheduled_tick import ScheduledTick
from orchestrator_worker.workflows.simulate import Simulate
from orchestrator_worker.workflows.sweep import Sweep
from orchestrator_worker.workflows.task_timers import TaskTimers
from orchestrator_worker.workflows.tell_failure import TellFailure
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
    "tick-jitter",
    "tick-ledger-away",
    "run-failure-told",
    "run-failure-handler-fails",
    "run-failure-told-to-nobody",
    "retry",
    "retry-fails",
    "retry-cancelled",
    "telling",
    "telling-nobody",
    "telling-cancelled",
    "sweep-pages",
    "simulate",
    "instance-ends",
    "instance-child",
    "instance-continues",
    "instance-timer",
    "instance-ledger-away",
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


RUNNERS: dict[str, WorkflowRunner] = {
    "as-served": UnsandboxedWorkflowRunner(),
    # The contract is imported once: pydantic's models are not made for two of a kind.
    "sandbox": SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules("contracts")
    ),
}


def _replayer(*replayed: type, runner: str = "sandbox") -> Replayer:
    return Replayer(
        workflows=list(replayed),
        data_converter=temporal.data_converter(),
        workflow_runner=RUNNERS[runner],
    )


def test_every_shape_of_every_workflow_has_a_history() -> None:
    assert {path.stem for path in HISTORIES} >= SHAPES


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_workflows_replay_their_recorded_histories(path: Path, runner: str) -> None:
    replayer = _replayer(
        *(RunActivity, ScheduledTick, TaskTimers, RetryTask, TellFailure),
        *(Sweep, Instance, Simulate),
        runner=runner,
    )
    await replayer.replay_workflow(_history(path))


async def test_sandbox_finds_a_workflow_that_asks_the_machine() -> None:
    history = _history(Path(__file__).parent / "histories" / "run-zero-tasks.json")
    with pytest.raises(RuntimeError, match=r"Cannot access time\.time"):
        await asyncio.wait_for(_replayer(AsksTheMachine).replay_workflow(history), timeout=30)


def test_workflow_modules_hold_nothing_that_changes() -> None:
    # One run would see what another has left there: they share the modules.
    held = {
        f"{module.name}.{name}"
        for module in pkgutil.iter_modules(workflows.__path__, f"{workflows.__name__}.")
        for name, value in vars(importlib.import_module(module.name)).items()
        if not name.startswith("__") and isinstance(value, list | dict | set | deque)
    }
    assert held == set()


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
class _LooksOnce:
    """The planted change: it does not wait for a due time's jitter."""

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


@workflow.defn(name=Workflow.INSTANCE.value, sandboxed=False)
class _NeverAsksAgain:
    """The planted change: it does not wait for its timer."""

    @workflow.signal(name=Signal.WAKE.value)
    def wake(self) -> None:
        return None

    @workflow.run
    async def run(self, instance: InstanceInput) -> None:
        await workflow.execute_local_activity(
            TemporalActivity.APPLY_NEXT.value,
            instance,
            schedule_to_close_timeout=timedelta(seconds=5),
        )


@pytest.mark.parametrize(
    ("shape", "changed"),
    [
        ("instance-timer", _NeverAsksAgain),
        ("run-one-task", _DecidesRemotely),
        ("run-human-timers", _LeavesNoClock),
        ("tick-jitter", _LooksOnce),
        ("timers-to-the-end", _SleepsFirst),
    ],
)
async def test_replay_finds_a_planted_change(shape: str, changed: type[Any]) -> None:
    history = _history(Path(__file__).parent / "histories" / f"{shape}.json")
    with pytest.raises(workflow.NondeterminismError):
        await asyncio.wait_for(_replayer(changed).replay_workflow(history), timeout=30)
