import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Worker

from contracts.definitions import ActivityDefinition
from contracts.names import TemporalActivity
from contracts.runs import MAX_OUTPUT_BYTES, RecordOutcome, RunInput, RunResult, TaskCall
from orchestrator_worker.settings import Settings

MakeRun = Callable[..., RunInput]
MakeDefinition = Callable[..., ActivityDefinition]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

pytestmark = pytest.mark.usefixtures("serving")


class Handlers:
    """Foreign handlers: they know nothing of the ledger."""

    def __init__(self) -> None:
        self.attempts: dict[str, int] = {}
        self.waiting = asyncio.Event()
        self.calls: list[TaskCall] = []

    @activity.defn(name="sends")
    async def sends(self, call: TaskCall) -> dict[str, Any]:
        self.calls.append(call)
        return {"sent": call.task.input}

    @activity.defn(name="records_itself")
    async def records_itself(self, _call: TaskCall) -> dict[str, Any]:
        return {"recorded": True, "output": None}

    @activity.defn(name="reports")
    async def reports(self, _call: TaskCall) -> dict[str, Any]:
        return {"recorded": False, "output": {"by": "report"}}

    @activity.defn(name="stumbles")
    async def stumbles(self, call: TaskCall) -> str:
        count = self.attempts[call.task.key] = self.attempts.get(call.task.key, 0) + 1
        if count < 3:
            raise RuntimeError("not yet")
        return "third time"

    @activity.defn(name="fails")
    async def fails(self, _call: TaskCall) -> None:
        raise ApplicationError("no such customer", type="UnknownCustomer", non_retryable=True)

    @activity.defn(name="hangs")
    async def hangs(self, _call: TaskCall) -> None:
        self.waiting.set()
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.05)

    @activity.defn(name="overflows")
    async def overflows(self, _call: TaskCall) -> str:
        return "x" * MAX_OUTPUT_BYTES

    @activity.defn(name="mumbles")
    async def mumbles(self, _call: TaskCall) -> bytes:
        return b"\xff"

    def all(self) -> list[Callable[..., Any]]:
        return [
            self.sends,
            self.records_itself,
            self.reports,
            self.stumbles,
            self.fails,
            self.hangs,
            self.overflows,
            self.mumbles,
        ]


@pytest.fixture
async def handlers(client: Client, handlers_queue: str) -> Any:
    handlers = Handlers()
    async with Worker(
        client,
        task_queue=handlers_queue,
        activities=handlers.all(),
        default_heartbeat_throttle_interval=timedelta(milliseconds=100),
        max_heartbeat_throttle_interval=timedelta(milliseconds=100),
    ):
        yield handlers


def _outcomes(ledger: Any) -> dict[str, Any]:
    """Return each task's recorded output, or its failure's type, sorted by text."""
    return {
        str(task_id): outcome.failure.type if outcome.failure else outcome.output
        for task_id, outcome in ledger.outcomes.items()
    }


async def test_outcomes_of_foreign_handlers_are_recorded(
    start: Any, define: Any, ledger: Any, handlers: Handlers
) -> None:
    define("sends", "reports", "fails")

    result = await (await start()).result()

    assert result == RunResult(outcome=RecordOutcome.RECORDED, completed=2, failed=1)
    assert sorted(map(str, _outcomes(ledger).values())) == [
        "UnknownCustomer",
        "{'by': 'report'}",
        "{'sent': {'kind': 'manual'}}",
    ]
    assert handlers.calls[0].task.task_id in ledger.outcomes


@pytest.mark.usefixtures("handlers")
async def test_outcome_that_a_handler_recorded_is_left_to_it(
    start: Any, define: Any, ledger: Any
) -> None:
    define("records_itself")
    result = await (await start()).result()
    assert result.completed == 1
    assert ledger.outcomes == {}


async def test_handler_is_tried_again_as_its_retry_says(
    start: Any, define: Any, ledger: Any, handlers: Handlers
) -> None:
    define("stumbles", attempts=3)
    result = await (await start()).result()
    assert result.completed == 1
    assert handlers.attempts == {"one": 3}
    assert list(_outcomes(ledger).values()) == ["third time"]


@pytest.mark.usefixtures("handlers")
async def test_last_failed_attempt_is_the_outcome(start: Any, define: Any, ledger: Any) -> None:
    define("stumbles", attempts=2)
    result = await (await start()).result()
    assert result.failed == 1
    assert [(f.failure.type, f.failure.message) for f in ledger.outcomes.values()] == [
        ("RuntimeError", "not yet")
    ]


@pytest.mark.usefixtures("handlers")
async def test_handler_that_never_ends_is_a_timeout(start: Any, define: Any, ledger: Any) -> None:
    define("hangs", timeout="1s", attempts=1)
    await (await start()).result()
    assert list(_outcomes(ledger).values()) == ["Timeout"]


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("handler", "failure"), [("overflows", "OutputTooLarge"), ("mumbles", "InvalidOutput")]
)
async def test_output_that_cannot_be_kept_is_a_failure_of_the_task(
    start: Any, define: Any, ledger: Any, handler: str, failure: str
) -> None:
    define(handler)
    result = await (await start()).result()
    assert result.failed == 1
    assert list(_outcomes(ledger).values()) == [failure]


async def test_run_that_cannot_decide_is_recorded_as_failed(
    start: Any, make_run: MakeRun, ledger: Any
) -> None:
    run = make_run(version=9)
    result = await (await start(run)).result()
    assert result.failure is not None
    assert result.failure.type == "DefinitionNotFound"
    assert ledger.failures[run.run_id].failure == result.failure
    assert ledger.runs == {}


@pytest.mark.usefixtures("handlers")
async def test_duplicate_execution_ends_without_effects(
    start: Any, define: Any, make_run: MakeRun, ledger: Any
) -> None:
    define("sends")
    run = make_run()
    ledger.runs[run.run_id] = ("an execution that Temporal has forgotten", b"{}")

    result = await (await start(run)).result()

    assert result == RunResult(outcome=RecordOutcome.DUPLICATE)
    assert ledger.outcomes == {}


@pytest.mark.usefixtures("handlers")
async def test_run_waits_for_a_ledger_that_is_away(
    start: Any, define: Any, ledger: Any, ledger_server: Any, eventually: Eventually
) -> None:
    define("sends")
    await ledger_server.stop()
    handle = await start()
    await eventually(lambda: _scheduled(handle, TemporalActivity.DECIDE))
    assert ledger.runs == {}

    await ledger_server.start()

    assert await handle.result() == RunResult(outcome=RecordOutcome.RECORDED, completed=1)
    assert list(_outcomes(ledger).values()) == [{"sent": {"kind": "manual"}}]


@pytest.mark.usefixtures("handlers")
async def test_outcome_waits_for_a_ledger_that_is_away(
    start: Any, define: Any, ledger: Any, ledger_server: Any, eventually: Eventually
) -> None:
    define("hangs", timeout="2s", attempts=1)
    handle = await start()

    async def decided() -> bool:
        return bool(ledger.runs)

    await eventually(decided)
    await ledger_server.stop()
    await eventually(lambda: _scheduled(handle, TemporalActivity.RECORD_TASK_OUTCOME))

    await ledger_server.start()

    assert (await handle.result()).failed == 1
    assert list(_outcomes(ledger).values()) == ["Timeout"]


async def _waits_for_effects(handle: WorkflowHandle[Any, RunResult]) -> bool:
    pending = (await handle.describe()).raw_description.pending_activities
    return [one.activity_type.name for one in pending] == [TemporalActivity.AWAIT_EFFECTS]


async def test_tasks_of_a_run_begin_when_effects_are_not_stopped_any_more(
    *,
    start: Any,
    define: Any,
    ledger: Any,
    control: Any,
    handlers: Handlers,
    eventually: Eventually,
) -> None:
    define("sends")
    ledger.effects_halted, control.halted = True, "an incident"
    handle = await start()
    await eventually(lambda: _waits_for_effects(handle))
    assert (len(ledger.runs), handlers.calls) == (1, [])
    control.halted = None
    assert (await handle.result()).completed == 1
    assert len(handlers.calls) == 1


async def test_cancelled_run_ends_while_effects_are_stopped(
    *,
    start: Any,
    define: Any,
    ledger: Any,
    control: Any,
    handlers: Handlers,
    eventually: Eventually,
) -> None:
    define("sends")
    ledger.effects_halted, control.halted = True, "an incident"
    handle = await start()
    await eventually(lambda: _waits_for_effects(handle))
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert (list(_outcomes(ledger).values()), handlers.calls) == (["Cancelled"], [])


async def test_cancelled_run_closes_its_tasks_as_failed(
    start: Any, define: Any, ledger: Any, handlers: Handlers, eventually: Eventually
) -> None:
    define("hangs", "records_itself")
    handle = await start()
    await handlers.waiting.wait()
    # Not the handler's end: the run has to know of it, or its task is cancelled as well.
    await eventually(lambda: _took_note_of_a_completion(handle))

    await handle.cancel()

    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert list(_outcomes(ledger).values()) == ["Cancelled"]


async def test_cancelled_run_that_could_not_decide_yet_is_recorded_as_failed(
    start: Any,
    make_run: MakeRun,
    ledger: Any,
    registry_server: Any,
    eventually: Eventually,
) -> None:
    await registry_server.stop()
    run = make_run()
    handle = await start(run)
    await eventually(lambda: _scheduled(handle, TemporalActivity.DECIDE))

    await handle.cancel()

    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert ledger.failures[run.run_id].failure.type == "Cancelled"


async def _took_note_of_a_completion(handle: WorkflowHandle[Any, Any]) -> bool:
    """Return whether the run has worked on after one of its Temporal activities completed."""
    types = [event.event_type for event in (await handle.fetch_history()).events]
    if EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED not in types:
        return False
    completed = types.index(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
    return EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED in types[completed:]


async def _scheduled(handle: WorkflowHandle[Any, Any], name: TemporalActivity) -> bool:
    """Return whether the run has given up on the local activity and schedules a normal one."""
    return any(
        event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        and event.activity_task_scheduled_event_attributes.activity_type.name == name
        for event in (await handle.fetch_history()).events
    )


@pytest.mark.parametrize(
    ("queue", "setting"),
    [
        ("backbone-tick-tq", "SERVE_TICKS"),
        ("backbone-task-timers-tq", "SERVE_TASK_TIMERS"),
        ("backbone-system-tq", "SERVE_SYSTEM"),
    ],
)
def test_settings_refuse_what_cannot_be_served(serving: Settings, queue: str, setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        Settings(**{**serving.model_dump(), "task_queues": (queue,)})
