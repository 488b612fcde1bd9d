"""Records the histories that history replay checks the workflows against.

Run it against a Temporal server when a workflow gains a new shape; a shape that stands is recorded
again only by `--rewrite`, because an old history is what a new build has to be able to replay:

    temporal server start-dev --namespace dev
    python tests/replay/record.py --address localhost:7233
"""

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from contracts import identifiers
from contracts.decisions import AutomatedInstance
from contracts.definitions import Retry
from contracts.names import Signal, TemporalActivity, Workflow
from contracts.runs import (
    AdvanceInput,
    AdvanceTask,
    Applied,
    ApplyNextInput,
    Decided,
    DecideInput,
    EffectsQuestion,
    FailureHandler,
    FailureHandling,
    FailureQuestion,
    InstanceInput,
    NextLook,
    RecordOutcome,
    RetryTaskInput,
    RunFailure,
    RunInput,
    SweepInput,
    SweptPage,
    TaskCall,
    TaskFailure,
    TaskOutcome,
    TaskReport,
    TaskTimersInput,
    TellFailureInput,
    TickInput,
)
from contracts.simulations import Simulated, SimulateInput, SimulationOutcome
from contracts.triggers import Trigger, TriggerKind, Window
from orchestrator_worker.workflows.instance import Instance
from orchestrator_worker.workflows.retry_task import RetryTask
from orchestrator_worker.workflows.run_activity import RunActivity
from orchestrator_worker.workflows.scheduled_tick import ScheduledTick
from orchestrator_worker.workflows.simulate import Simulate
from orchestrator_worker.workflows.sweep import Sweep
from orchestrator_worker.workflows.task_timers import TaskTimers
from orchestrator_worker.workflows.tell_failure import TellFailure
from runtime import temporal

HISTORIES = Path(__file__).parent / "histories"
NAMESPACE = "dev"
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Standin:
    """Temporal activities that answer as a scenario says, without ledger or registry."""

    tasks: list[AutomatedInstance] = field(default_factory=list)
    outcome: RecordOutcome = RecordOutcome.RECORDED
    undecidable: bool = False
    away_locally: bool = False
    applied: list[Applied] = field(default_factory=list)
    waits_until: datetime | None = None
    timed: list[uuid.UUID] = field(default_factory=list)
    wakes: int = 0
    told: AutomatedInstance | None = None
    halted: int = 0
    pages: int = 1
    handling: asyncio.Event = field(default_factory=asyncio.Event)

    @activity.defn(name=TemporalActivity.DECIDE.value)
    async def decide(self, _question: DecideInput) -> Decided:
        """Decide what the scenario says."""
        self._refuse_locally()
        if self.undecidable:
            raise ApplicationError("rule remind: no such key: overdue", non_retryable=True)
        return Decided(
            outcome=self.outcome,
            tasks=self.tasks,
            timed=self.timed,
            effects_halted=self.halted > 0,
        )

    @activity.defn(name=TemporalActivity.AWAIT_EFFECTS.value)
    async def await_effects(self, _question: EffectsQuestion) -> bool:
        """Refuse as often as the scenario says."""
        self.halted -= 1
        self.handling.set()
        if self.halted > 0:
            raise ApplicationError("effect is stopped by a kill switch", type="EffectsHalted")
        return True

    @activity.defn(name=TemporalActivity.APPLY_NEXT.value)
    async def apply_next(self, _question: ApplyNextInput) -> Applied:
        """Say what the scenario says, one answer for each question."""
        self._refuse_locally()
        self.handling.set()
        return self.applied.pop(0)

    @activity.defn(name=TemporalActivity.RECORD_RUN_FAILURE.value)
    async def record_run_failure(self, _failure: RunFailure) -> RecordOutcome:
        """Take it."""
        return RecordOutcome.RECORDED

    @activity.defn(name=TemporalActivity.RECORD_TASK_OUTCOME.value)
    async def record_task_outcome(self, _outcome: TaskOutcome) -> bool:
        """Take it."""
        self._refuse_locally()
        return True

    @activity.defn(name=TemporalActivity.ADVANCE_SCHEDULE.value)
    async def advance_schedule(self, _advance: AdvanceInput) -> NextLook:
        """Have a due time of the scenario wait for its jitter, while it does."""
        self._refuse_locally()
        if self.waits_until is not None and datetime.now(UTC) < self.waits_until:
            return NextLook(next_at=self.waits_until)
        return NextLook()

    @activity.defn(name=TemporalActivity.ADVANCE_TASK.value)
    async def advance_task(self, _advance: AdvanceTask) -> NextLook:
        """Want to be woken as often as the scenario says, soon."""
        self._refuse_locally()
        self.wakes -= 1
        soon = datetime.now(UTC) + timedelta(seconds=1)
        return NextLook(next_at=soon if self.wakes >= 0 else None)

    @activity.defn(name=TemporalActivity.FIND_FAILURE_HANDLER.value)
    async def find_failure_handler(self, _question: FailureQuestion) -> FailureHandler:
        """Return who is told in the scenario."""
        return FailureHandler(task=self.told, effects_halted=self.halted > 0)

    @activity.defn(name=TemporalActivity.RECORD_FAILURE_HANDLED.value)
    async def record_failure_handled(self, _handling: FailureHandling) -> bool:
        """Take it."""
        return True

    @activity.defn(name=TemporalActivity.SWEEP_PAGE.value)
    async def sweep_page(self, sweep: SweepInput) -> SweptPage:
        """Have as many pages as the scenario says."""
        page = int(sweep.page_token or 1)
        more = str(page + 1) if page < self.pages else ""
        return SweptPage(next_page_token=more, looked_at=1)

    @activity.defn(name=TemporalActivity.SIMULATE.value)
    async def simulate(self, _question: SimulateInput) -> Simulated:
        """Decide nothing."""
        return Simulated(outcome=SimulationOutcome.DECIDED, decision="{}")

    @activity.defn(name="records_itself")
    async def records_itself(self, _call: TaskCall) -> TaskReport:
        """Be a handler of ours."""
        return TaskReport(recorded=True)

    @activity.defn(name="foreign")
    async def foreign(self, _call: TaskCall) -> dict[str, Any]:
        """Be a handler that does not know our ledger."""
        return {"sent": 1}

    @activity.defn(name="fails")
    async def fails(self, _call: TaskCall) -> TaskReport:
        """Be a handler that fails for good."""
        raise ApplicationError("no such customer", type="Permanent", non_retryable=True)

    @activity.defn(name="waits")
    async def waits(self, _call: TaskCall) -> TaskReport:
        """Be a handler that ends only when it is cancelled."""
        self.handling.set()
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.1)

    def activities(self) -> list[Callable[..., Awaitable[Any]]]:
        """Return all of them, to be registered."""
        return [
            self.decide,
            self.await_effects,
            self.apply_next,
            self.record_run_failure,
            self.record_task_outcome,
            self.advance_schedule,
            self.advance_task,
            self.find_failure_handler,
            self.record_failure_handled,
            self.sweep_page,
            self.simulate,
            self.records_itself,
            self.foreign,
            self.fails,
            self.waits,
        ]

    def _refuse_locally(self) -> None:
        if self.away_locally and activity.info().is_local:
            raise ApplicationError("the ledger is not available", type="NeighbourUnavailable")


@dataclass
class Recording:
    """What a scenario has to start with: a client, a task queue that is served, the stand-in."""

    client: Client
    task_queue: str
    standin: Standin

    def task(self, handler: str, key: str = "one") -> AutomatedInstance:
        """Return a task for a handler of the stand-in."""
        return AutomatedInstance(
            task_id=uuid.uuid4(),
            rule="remind",
            key=key,
            handler=handler,
            task_queue=self.task_queue,
            input={"invoice": key},
            timeout=timedelta(seconds=30),
            retry=Retry(maximum_attempts=1),
        )

    def run_input(self, kind: TriggerKind = TriggerKind.MANUAL) -> RunInput:
        """Return the input of a run that was never started before."""
        if kind is TriggerKind.SCHEDULE:
            due = _EPOCH + timedelta(seconds=uuid.uuid4().int % 10**9)
            window = Window(start=due - timedelta(hours=1), end=due)
            trigger = Trigger(
                kind=kind, definition_version=1, scheduled_for=due, window=window, names=["hourly"]
            )
        else:
            trigger = Trigger(kind=kind, definition_version=1, request_id=uuid.uuid4().hex)
        return RunInput(
            namespace=NAMESPACE,
            run_id=f"replay.example:{trigger.key}",
            definition_id="replay.example",
            trigger=trigger,
        )

    async def start_run(self, run: RunInput | None = None) -> WorkflowHandle[Any, Any]:
        """Start a run as the router does."""
        run = run or self.run_input()
        return await self.client.start_workflow(
            Workflow.RUN_ACTIVITY.value,
            run,
            id=run.run_id,
            task_queue=self.task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )

    async def start_tick(self) -> WorkflowHandle[Any, Any]:
        """Start a tick as a schedule does."""
        return await self.client.start_workflow(
            Workflow.SCHEDULED_TICK.value,
            TickInput(namespace=NAMESPACE, definition_id="replay.example"),
            id=f"tick:replay.example-{uuid.uuid4().hex}",
            task_queue=self.task_queue,
        )

    async def wake_instance(self, *, times: int = 1, at_a_time: int = 100) -> Any:
        """Wake an instance that was never there before, as the router does."""
        instance = InstanceInput(
            namespace=NAMESPACE,
            definition_id="replay.example",
            key_hash=identifiers.short_hash(uuid.uuid4().hex),
            events_per_execution=at_a_time,
        )
        workflow_id = identifiers.instance_workflow_id("replay.example", instance.key_hash)
        handles = [
            await self.client.start_workflow(
                Workflow.INSTANCE.value,
                instance,
                id=workflow_id,
                task_queue=self.task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                start_signal=Signal.WAKE.value,
            )
            for _ in range(times)
        ]
        return self.client.get_workflow_handle(
            workflow_id, run_id=handles[0].first_execution_run_id
        )

    async def start_timers(self) -> WorkflowHandle[Any, Any]:
        """Start what watches over a human task as a run does."""
        task_id = uuid.uuid4()
        return await self.client.start_workflow(
            Workflow.TASK_TIMERS.value,
            TaskTimersInput(namespace=NAMESPACE, task_id=task_id),
            id=identifiers.task_timers_workflow_id(task_id),
            task_queue=self.task_queue,
        )

    async def start_retry(self, handler: str) -> WorkflowHandle[Any, Any]:
        """Start a retry of a task as the operator does."""
        run, task = self.run_input(), self.task(handler)
        return await self.client.start_workflow(
            Workflow.RETRY_TASK.value,
            RetryTaskInput(
                namespace=NAMESPACE,
                run_id=run.run_id,
                definition_id=run.definition_id,
                definition_version=1,
                task=task,
                generation=2,
            ),
            id=identifiers.retry_workflow_id(task.task_id, 2),
            task_queue=self.task_queue,
        )

    async def start_telling(self) -> WorkflowHandle[Any, Any]:
        """Start what tells of a task's failure when its run cannot, as the operator does."""
        run, task = self.run_input(), self.task("fails")
        call_id = identifiers.failure_call_id(NAMESPACE, run.run_id, task.task_id, 1)
        question = FailureQuestion(
            namespace=NAMESPACE,
            run_id=run.run_id,
            definition_id=run.definition_id,
            definition_version=1,
            failure=TaskFailure(type="WorkflowTerminated", message="stuck"),
            task=task,
        )
        return await self.client.start_workflow(
            Workflow.TELL_FAILURE.value,
            TellFailureInput(question=question),
            id=identifiers.failure_workflow_id(call_id),
            task_queue=self.task_queue,
        )


Scenario = Callable[[Recording], Awaitable[WorkflowHandle[Any, Any]]]


async def _zero_tasks(recording: Recording) -> WorkflowHandle[Any, Any]:
    return await recording.start_run()


async def _one_task(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.tasks = [recording.task("records_itself")]
    return await recording.start_run()


async def _ten_tasks(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.tasks = [recording.task("records_itself", str(n)) for n in range(10)]
    return await recording.start_run()


async def _mixed_tasks(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.tasks = [
        recording.task("records_itself", "ours"),
        recording.task("foreign", "theirs"),
        recording.task("fails", "broken"),
    ]
    return await recording.start_run()


async def _duplicate(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.outcome = RecordOutcome.DUPLICATE
    return await recording.start_run()


async def _undecidable(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.undecidable = True
    return await recording.start_run()


async def _ledger_away(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.away_locally = True
    recording.standin.tasks = [recording.task("foreign")]
    return await recording.start_run()


async def _cancelled(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.tasks = [recording.task("waits"), recording.task("records_itself", "two")]
    handle = await recording.start_run()
    await recording.standin.handling.wait()
    await handle.cancel()
    return handle


async def _effects_halted(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.halted = 3
    recording.standin.tasks = [recording.task("records_itself")]
    return await recording.start_run()


async def _effects_halted_cancelled(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.halted = 1000
    recording.standin.tasks = [recording.task("records_itself")]
    handle = await recording.start_run()
    await recording.standin.handling.wait()
    await handle.cancel()
    return handle


async def _telling_halted(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.told = recording.task("foreign", "told")
    recording.standin.halted = 2
    recording.standin.undecidable = True
    return await recording.start_run()


async def _human_timers(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.tasks = [recording.task("records_itself")]
    recording.standin.timed = [uuid.uuid4(), uuid.uuid4()]
    handle = await recording.start_run()
    await handle.result()
    # Nobody serves their queue here.
    for task_id in recording.standin.timed:
        timers = identifiers.task_timers_workflow_id(task_id)
        await recording.client.get_workflow_handle(timers).terminate()
    return handle


async def _timers_to_the_end(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.wakes = 3
    return await recording.start_timers()


async def _timers_of_a_closed_task(recording: Recording) -> WorkflowHandle[Any, Any]:
    return await recording.start_timers()


async def _timers_ledger_away(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.away_locally = True
    recording.standin.wakes = 1
    return await recording.start_timers()


async def _tick_nothing_due(recording: Recording) -> WorkflowHandle[Any, Any]:
    return await recording.start_tick()


async def _tick_jitter(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.waits_until = datetime.now(UTC) + timedelta(seconds=3)
    return await recording.start_tick()


async def _tick_ledger_away(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.away_locally = True
    return await recording.start_tick()


async def _failure_told(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.told = recording.task("foreign", "told")
    recording.standin.tasks = [recording.task("fails"), recording.task("records_itself", "two")]
    return await recording.start_run()


async def _failure_handler_fails(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.told = recording.task("fails", "told")
    recording.standin.undecidable = True
    return await recording.start_run()


async def _failure_told_to_nobody(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.tasks = [recording.task("fails")]
    return await recording.start_run()


async def _retry(recording: Recording) -> WorkflowHandle[Any, Any]:
    return await recording.start_retry("records_itself")


async def _retry_fails(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.told = recording.task("foreign", "told")
    return await recording.start_retry("fails")


async def _retry_cancelled(recording: Recording) -> WorkflowHandle[Any, Any]:
    handle = await recording.start_retry("waits")
    await recording.standin.handling.wait()
    await handle.cancel()
    return handle


async def _telling(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.told = recording.task("foreign", "told")
    return await recording.start_telling()


async def _telling_nobody(recording: Recording) -> WorkflowHandle[Any, Any]:
    return await recording.start_telling()


async def _telling_cancelled(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.told = recording.task("waits", "told")
    handle = await recording.start_telling()
    await recording.standin.handling.wait()
    await handle.cancel()
    return handle


async def _sweep(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.pages = 3
    return await recording.client.start_workflow(
        Workflow.SWEEP.value,
        SweepInput(namespace=NAMESPACE),
        id=f"sweep-{uuid.uuid4().hex}",
        task_queue=recording.task_queue,
    )


async def _simulate(recording: Recording) -> WorkflowHandle[Any, Any]:
    return await recording.client.start_workflow(
        Workflow.SIMULATE.value,
        SimulateInput(run=recording.run_input(), definition="{}"),
        id=identifiers.simulation_workflow_id(uuid.uuid4()),
        task_queue=recording.task_queue,
    )


async def _instance_ends(recording: Recording) -> WorkflowHandle[Any, Any]:
    # It waits while it is open, and is woken to its end.
    recording.standin.applied = [Applied(events=1), Applied(events=1, open=False)]
    handle = await recording.wake_instance()
    await recording.standin.handling.wait()
    await handle.signal(Signal.WAKE.value)
    return handle


async def _instance_child(recording: Recording) -> WorkflowHandle[Any, Any]:
    runs = [recording.run_input() for _ in range(2)]
    # An execution before this one has started the first.
    await (await recording.start_run(runs[0])).result()
    recording.standin.applied = [
        Applied(begin=runs[0], more=True),
        Applied(events=3, begin=runs[1], more=True),
        Applied(events=2, open=False),
    ]
    return await recording.wake_instance()


async def _instance_continues(recording: Recording) -> WorkflowHandle[Any, Any]:
    run = recording.run_input()
    recording.standin.applied = [
        Applied(events=1, more=True),
        Applied(events=1, begin=run, more=True),
        Applied(open=False),
    ]
    return await recording.wake_instance(at_a_time=2)


async def _instance_timer(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.applied = [
        Applied(events=1, due_in=timedelta(seconds=1)),
        Applied(events=1, open=False),
    ]
    return await recording.wake_instance()


async def _instance_ledger_away(recording: Recording) -> WorkflowHandle[Any, Any]:
    recording.standin.away_locally = True
    recording.standin.applied = [Applied(events=1, open=False)]
    return await recording.wake_instance()


SCENARIOS: dict[str, Scenario] = {
    "run-zero-tasks": _zero_tasks,
    "run-one-task": _one_task,
    "run-ten-tasks": _ten_tasks,
    "run-mixed-tasks": _mixed_tasks,
    "run-duplicate": _duplicate,
    "run-undecidable": _undecidable,
    "run-ledger-away": _ledger_away,
    "run-cancelled": _cancelled,
    "run-effects-halted": _effects_halted,
    "run-effects-halted-cancelled": _effects_halted_cancelled,
    "run-failure-told-late": _telling_halted,
    "run-human-timers": _human_timers,
    "timers-to-the-end": _timers_to_the_end,
    "timers-of-a-closed-task": _timers_of_a_closed_task,
    "timers-ledger-away": _timers_ledger_away,
    "tick-nothing-due": _tick_nothing_due,
    "tick-jitter": _tick_jitter,
    "tick-ledger-away": _tick_ledger_away,
    "run-failure-told": _failure_told,
    "run-failure-handler-fails": _failure_handler_fails,
    "run-failure-told-to-nobody": _failure_told_to_nobody,
    "retry": _retry,
    "retry-fails": _retry_fails,
    "retry-cancelled": _retry_cancelled,
    "telling": _telling,
    "telling-nobody": _telling_nobody,
    "telling-cancelled": _telling_cancelled,
    "sweep-pages": _sweep,
    "simulate": _simulate,
    "instance-ends": _instance_ends,
    "instance-child": _instance_child,
    "instance-continues": _instance_continues,
    "instance-timer": _instance_timer,
    "instance-ledger-away": _instance_ledger_away,
}


async def record(address: str, name: str) -> str:
    """Carry out a scenario on the server at `address`; return its history as JSON."""
    client = await temporal.connect(address, namespace=NAMESPACE, identity="replay-recorder")
    standin = Standin()
    task_queue = f"replay-{uuid.uuid4().hex[:8]}-tq"
    async with Worker(
        client,
        task_queue=task_queue,
        workflows=[
            *(RunActivity, ScheduledTick, TaskTimers, RetryTask, TellFailure),
            *(Sweep, Instance, Simulate),
        ],
        activities=standin.activities(),
        workflow_runner=UnsandboxedWorkflowRunner(),
        default_heartbeat_throttle_interval=timedelta(milliseconds=100),
        max_heartbeat_throttle_interval=timedelta(milliseconds=100),
    ):
        handle = await SCENARIOS[name](
            Recording(client=client, task_queue=task_queue, standin=standin)
        )
        try:
            await handle.result()
        except WorkflowFailureError:
            if not name.endswith("-cancelled"):
                raise
        return _portable((await handle.fetch_history()).to_json())


def _portable(history: str) -> str:
    """Return a history without stack traces: they say where the recorder's files were."""

    def without(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: without(value) for key, value in node.items() if key != "stackTrace"}
        return [without(item) for item in node] if isinstance(node, list) else node

    return json.dumps(without(json.loads(history)), indent=1)


async def _main(address: str, *, rewrite: bool) -> None:
    HISTORIES.mkdir(exist_ok=True)
    for name in SCENARIOS:
        path = HISTORIES / f"{name}.json"
        if path.exists() and not rewrite:
            continue
        path.write_text(await record(address, name) + "\n", encoding="utf-8")
        sys.stdout.write(f"recorded {path.name}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True, help="host:port of a Temporal server")
    parser.add_argument("--rewrite", action="store_true", help="record again what stands")
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.address, rewrite=arguments.rewrite))
