"""Failures told of, tasks and runs retried and cancelled, and the sweep, on a real Temporal."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import Worker

from contracts import canonical, identifiers
from contracts.decisions import AutomatedInstance
from contracts.definitions import Retry
from contracts.names import SYSTEM_TASK_QUEUE, Workflow
from contracts.runs import (
    FailureNotice,
    FailureQuestion,
    RetryTaskInput,
    RunInput,
    SweepInput,
    SweptPage,
    TaskCall,
    TaskFailure,
    TellFailureInput,
    TickInput,
)
from orchestrator_worker.adapters import temporal_sweep_clock
from orchestrator_worker.domain.executions import OpenExecution, Operation, OverdueSchedule

pytestmark = pytest.mark.usefixtures("serving", "handlers")

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
Start = Callable[..., Awaitable[WorkflowHandle[Any, Any]]]


class Handlers:
    """Handlers that fail, hang or work, and one that is told of failures."""

    def __init__(self) -> None:
        self.told: list[TaskCall] = []
        self.calls: list[TaskCall] = []
        self.waiting = asyncio.Event()
        self.broken = False

    @activity.defn(name="works")
    async def works(self, call: TaskCall) -> dict[str, Any]:
        self.calls.append(call)
        return {"done": call.generation}

    @activity.defn(name="fails")
    async def fails(self, call: TaskCall) -> None:
        self.calls.append(call)
        raise ApplicationError("no such customer", type="UnknownCustomer", non_retryable=True)

    @activity.defn(name="hangs")
    async def hangs(self, _call: TaskCall) -> None:
        self.waiting.set()
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.05)

    @activity.defn(name="notify_owner")
    async def notify_owner(self, call: TaskCall) -> None:
        self.told.append(call)
        if self.broken:
            raise ApplicationError("no mail today", type="SmtpError", non_retryable=True)


@pytest.fixture
async def handlers(client: Client, handlers_queue: str) -> AsyncIterator[Handlers]:
    handlers = Handlers()
    async with Worker(
        client,
        task_queue=handlers_queue,
        activities=[handlers.works, handlers.fails, handlers.hangs, handlers.notify_owner],
        default_heartbeat_throttle_interval=timedelta(milliseconds=100),
        max_heartbeat_throttle_interval=timedelta(milliseconds=100),
    ):
        yield handlers


@pytest.fixture
def define(
    definitions: Any, make_definition: Any, handlers_queue: str, task_queue: str
) -> Callable[..., None]:
    """Let version 1 decide one task for each named handler, with somebody told of failures."""

    def apply(*names: str, when: str = "true") -> None:
        definitions.known["dev", "billing.overdue", 1] = make_definition(
            task_queue=task_queue,
            on_failure={"handler": "notify_owner", "taskQueue": handlers_queue},
            rules=[
                {
                    "name": name,
                    "when": when,
                    "task": {
                        "type": "automated",
                        "handler": name,
                        "taskQueue": handlers_queue,
                        "retry": {"maximumAttempts": 1},
                    },
                }
                for name in names
            ],
        )

    return apply


def operation(kind: Any, workflow_id: str, given: Any = None) -> Operation:
    return Operation(
        namespace="dev",
        operation_id=uuid.uuid4().hex,
        lease="lease",
        kind=kind,
        workflow_id=workflow_id,
        definition_id="billing.overdue",
        definition_version=1,
        input=b"" if given is None else canonical.render(given),
        attempts=1,
    )


@pytest.fixture
def carried_out(control: Any, eventually: Eventually) -> Callable[..., Awaitable[None]]:
    """Have operations carried out, until the ledger was told that they are done."""

    async def carry_out(*operations: Operation) -> None:
        control.operations += operations

        async def nothing_left() -> bool:
            return not control.operations

        await eventually(nothing_left)

    return carry_out


async def test_failure_of_a_task_is_told_once_with_its_key(
    start: Start, define: Any, make_run: Any, handlers: Handlers, *, control: Any, ledger: Any
) -> None:
    define("fails", "works")
    run = make_run()

    assert (await (await start(run)).result()).failed == 1

    [call] = handlers.told
    [failed] = [one.task for one in handlers.calls if one.task.handler == "fails"]
    assert call.on_failure
    assert call.task.task_id == identifiers.failure_call_id("dev", run.run_id, failed.task_id, 1)
    notice = FailureNotice.model_validate(call.task.input)
    assert (notice.run_id, notice.task_id, notice.handler) == (
        *(run.run_id, failed.task_id, "fails"),
    )
    assert notice.failure.type == "UnknownCustomer"
    [handling] = control.handled.values()
    assert (handling.call_id, handling.task_id, handling.failure) == (
        *(call.task.task_id, failed.task_id, None),
    )
    # It is no task of the run.
    assert call.task.task_id not in ledger.outcomes


async def test_failure_of_who_is_told_is_recorded_and_told_to_nobody(
    start: Start, define: Any, make_run: Any, handlers: Handlers, control: Any
) -> None:
    define("fails")
    handlers.broken = True

    await (await start(make_run())).result()

    assert len(handlers.told) == 1
    [handling] = control.handled.values()
    assert handling.failure.type == "SmtpError"


async def test_run_that_cannot_decide_is_told(
    start: Start, define: Any, make_run: Any, handlers: Handlers, control: Any
) -> None:
    define("works", when="trigger.input.no_such_field == 1")
    run = make_run(input={})

    result = await (await start(run)).result()

    [call] = handlers.told
    notice = FailureNotice.model_validate(call.task.input)
    assert (notice.run_id, notice.task_id, notice.failure) == (run.run_id, None, result.failure)
    assert [one.task_id for one in control.handled.values()] == [None]


async def test_run_of_a_version_that_is_not_there_is_told_to_nobody(
    start: Start, make_run: Any, handlers: Handlers, control: Any
) -> None:
    result = await (await start(make_run(version=9))).result()
    assert result.failure.type == "DefinitionNotFound"
    assert (handlers.told, control.handled) == ([], {})


async def test_task_is_carried_out_again_by_a_workflow_of_its_own(
    client: Client,
    define: Any,
    make_run: Any,
    handlers: Handlers,
    handlers_queue: str,
    *,
    ledger: Any,
    carried_out: Any,
) -> None:
    define("works")
    run = make_run()
    given = retry_of(run, "works", handlers_queue)
    workflow_id = identifiers.retry_workflow_id(given.task.task_id, 2)

    await carried_out(operation("retry_task", workflow_id, given))

    assert await client.get_workflow_handle(workflow_id).result() is True
    assert [(c.task.task_id, c.generation) for c in handlers.calls] == [(given.task.task_id, 2)]
    outcome = ledger.outcomes[given.task.task_id]
    assert (outcome.output, outcome.generation) == ({"done": 2}, 2)

    # Asked for once more, by whoever the first one's answer got lost to.
    await carried_out(operation("retry_task", workflow_id, given))
    assert len(handlers.calls) == 1


def retry_of(run: RunInput, handler: str, queue: str) -> RetryTaskInput:
    return RetryTaskInput(
        namespace="dev",
        run_id=run.run_id,
        definition_id=run.definition_id,
        definition_version=1,
        task=AutomatedInstance(
            task_id=uuid.uuid4(),
            rule="works",
            key="",
            handler=handler,
            task_queue=queue,
            input={},
            timeout=timedelta(seconds=30),
            retry=Retry(maximum_attempts=1),
        ),
        generation=2,
    )


async def test_task_that_fails_again_is_told_of_again(
    client: Client,
    define: Any,
    make_run: Any,
    handlers: Handlers,
    handlers_queue: str,
    *,
    carried_out: Any,
) -> None:
    define("fails")
    given = retry_of(make_run(), "fails", handlers_queue)
    workflow_id = identifiers.retry_workflow_id(given.task.task_id, 2)
    await carried_out(operation("retry_task", workflow_id, given))
    assert await client.get_workflow_handle(workflow_id).result() is False
    assert [call.task.task_id for call in handlers.told] == [
        identifiers.failure_call_id("dev", given.run_id, given.task.task_id, 2)
    ]


async def test_failure_that_no_workflow_is_left_to_tell_of_is_told_once(
    client: Client,
    define: Any,
    make_run: Any,
    handlers: Handlers,
    handlers_queue: str,
    *,
    control: Any,
    carried_out: Any,
) -> None:
    define("works")
    given = retry_of(make_run(), "works", handlers_queue)
    telling = left_behind(given)
    call_id = identifiers.failure_call_id("dev", given.run_id, given.task.task_id, 2)
    workflow_id = identifiers.failure_workflow_id(call_id)

    for _ in "12":
        await carried_out(operation("tell_failure", workflow_id, telling))
        await client.get_workflow_handle(workflow_id).result()

    [call] = handlers.told
    notice = FailureNotice.model_validate(call.task.input)
    assert (call.on_failure, call.task.task_id) == (True, call_id)
    assert (notice.task_id, notice.failure) == (given.task.task_id, telling.question.failure)
    assert list(control.handled) == [call_id]


def left_behind(retry: RetryTaskInput) -> TellFailureInput:
    return TellFailureInput(
        question=FailureQuestion(
            namespace="dev",
            run_id=retry.run_id,
            definition_id=retry.definition_id,
            definition_version=retry.definition_version,
            failure=TaskFailure(type="WorkflowTerminated", message="stuck"),
            task=retry.task,
            generation=retry.generation,
        )
    )


@pytest.mark.parametrize("known", [True, False], ids=["no handler", "no such version"])
async def test_failure_that_nobody_wants_to_know_of_starts_nothing(
    client: Client,
    definitions: Any,
    make_definition: Any,
    make_run: Any,
    handlers_queue: str,
    *,
    carried_out: Any,
    known: bool,
) -> None:
    if known:
        definitions.known["dev", "billing.overdue", 1] = make_definition()
    given = retry_of(make_run(), "works", handlers_queue)
    workflow_id = f"failure:{uuid.uuid4()}"
    await carried_out(operation("tell_failure", workflow_id, left_behind(given)))
    with pytest.raises(RPCError, match="not found"):
        await client.get_workflow_handle(workflow_id).describe()


async def test_run_is_started_as_the_ledger_asks(
    client: Client, define: Any, make_run: Any, carried_out: Any, ledger: Any
) -> None:
    define("works")
    run = make_run()
    await carried_out(operation("start_run", run.run_id, run))
    await client.get_workflow_handle(run.run_id).result()
    assert run.run_id in ledger.runs


async def test_definition_is_ticked_as_the_ledger_asks(
    client: Client, carried_out: Any, ledger_service: Any, unique_name: str
) -> None:
    workflow_id = identifiers.asked_tick_workflow_id(unique_name, "a run is closed")
    tick = TickInput(namespace="dev", definition_id=unique_name)
    # Given twice, it is done once.
    await carried_out(operation("tick", workflow_id, tick), operation("tick", workflow_id, tick))
    await client.get_workflow_handle(workflow_id).result()
    assert len(ledger_service.woken_for) == 1


@pytest.mark.parametrize("retry", [False, True], ids=["run", "retried task"])
async def test_cancelled_workflow_ends_its_handlers_and_tells_nobody(
    client: Client,
    start: Start,
    define: Any,
    make_run: Any,
    handlers: Handlers,
    *,
    handlers_queue: str,
    carried_out: Any,
    ledger: Any,
    retry: bool,
) -> None:
    define("hangs")
    run = make_run()
    if retry:
        given = retry_of(run, "hangs", handlers_queue)
        workflow_id = identifiers.retry_workflow_id(given.task.task_id, 2)
        await carried_out(operation("retry_task", workflow_id, given))
    else:
        workflow_id = (await start(run)).id
    await handlers.waiting.wait()

    await carried_out(operation("cancel", workflow_id))

    with pytest.raises(WorkflowFailureError):
        await client.get_workflow_handle(workflow_id).result()
    assert [one.failure.type for one in ledger.outcomes.values()] == ["Cancelled"]
    assert handlers.told == []


async def test_cancelling_what_has_ended_or_never_was_is_done(
    start: Start, define: Any, make_run: Any, carried_out: Any
) -> None:
    define("works")
    handle = await start(make_run())
    await handle.result()
    await carried_out(operation("cancel", handle.id), operation("cancel", uuid.uuid4().hex))
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_operation_that_cannot_be_done_is_given_back_with_the_reason(
    make_run: Any, control: Any, eventually: Eventually, definitions: Any
) -> None:
    run = make_run()
    control.operations.append(operation("start_run", run.run_id, run))

    async def given_back() -> bool:
        return bool(control.results)

    await eventually(given_back)
    assert "no version 1 of billing.overdue" in control.results[0].error
    assert definitions.asked


async def test_operations_wait_for_a_ledger_that_is_away(
    client: Client,
    define: Any,
    make_run: Any,
    control: Any,
    ledger_server: Any,
    *,
    carried_out: Any,
) -> None:
    define("works")
    await ledger_server.stop()
    run = make_run()
    control.operations.append(operation("start_run", run.run_id, run))
    await ledger_server.start()
    await carried_out()
    await client.get_workflow_handle(run.run_id).result()


async def sweep(client: Client) -> SweptPage:
    result: SweptPage = await client.execute_workflow(
        Workflow.SWEEP.value,
        SweepInput(namespace="dev"),
        id=f"sweep-{uuid.uuid4().hex}",
        task_queue=SYSTEM_TASK_QUEUE,
        result_type=SweptPage,
    )
    return result


def execution(run: RunInput, **fields: Any) -> OpenExecution:
    fields = {"workflow_id": run.run_id, "task_id": "", "generation": 1, **fields}
    return OpenExecution(run_id=run.run_id, definition_id=run.definition_id, **fields)


async def test_sweep_closes_what_was_terminated_with_who_did_it_and_why(
    client: Client, start: Start, define: Any, make_run: Any, handlers: Handlers, *, control: Any
) -> None:
    define("hangs")
    terminated, running = make_run(), make_run()
    handle = await start(terminated)
    await start(running)
    await handlers.waiting.wait()
    control.open = [execution(terminated), execution(running)]
    await sweep(client)
    assert control.closed == {}

    await handle.terminate(reason="stuck since yesterday")

    await sweep(client)
    [(workflow_id, failure)] = control.closed.items()
    assert (workflow_id, failure.type) == (terminated.run_id, "WorkflowTerminated")
    assert failure.message == (
        "the workflow was terminated in Temporal by test: stuck since yesterday"
    )
    await client.get_workflow_handle(running.run_id).terminate()


async def test_sweep_closes_what_temporal_has_forgotten_and_what_ended_without_an_outcome(
    client: Client, start: Start, define: Any, make_run: Any, control: Any
) -> None:
    define("works")
    ended, forgotten = make_run(), make_run()
    await (await start(ended)).result()
    control.open = [execution(ended), execution(forgotten)]
    await sweep(client)
    assert {one: failure.type for one, failure in control.closed.items()} == {
        ended.run_id: "OutcomeMissing",
        forgotten.run_id: "WorkflowLost",
    }


async def test_sweep_records_a_due_run_that_was_terminated_before_it_decided(
    client: Client, make_run: Any, control: Any, ledger: Any, unique_name: str
) -> None:
    run = make_run()
    handle = await client.start_workflow(
        Workflow.RUN_ACTIVITY.value, run, id=run.run_id, task_queue=f"{unique_name}-nobody-tq"
    )
    control.open = [execution(run, unrecorded=run.trigger)]
    await sweep(client)
    assert run.run_id not in ledger.failures

    await handle.terminate(reason="no worker")

    await sweep(client)
    failure = ledger.failures[run.run_id]
    assert failure.failure.type == "WorkflowTerminated"
    assert failure.workflow_run_id == (await handle.describe()).run_id
    assert failure.run == run
    # Its workflow tells nobody any more.
    assert failure.unattended


async def test_sweep_records_runs_that_were_cut_short_before_the_ledger_heard_of_them(
    client: Client, make_run: Any, ledger: Any, unique_name: str, *, eventually: Eventually
) -> None:
    def begin(run: RunInput) -> Any:
        return client.start_workflow(
            Workflow.RUN_ACTIVITY.value, run, id=run.run_id, task_queue=f"{unique_name}-nobody-tq"
        )

    terminated, known, running = (make_run() for _ in "123")
    handles = [await begin(run) for run in (terminated, known, running)]
    await ledger.record_run(
        known, workflow_run_id=handles[1].result_run_id, snapshot=b"", decision=b""
    )
    for handle in handles[:2]:
        await handle.terminate(reason="the context will not come")

    async def recorded() -> bool:
        await sweep(client)
        return terminated.run_id in ledger.failures

    # Temporal lists what has ended a moment later.
    await eventually(recorded)
    failure = ledger.failures[terminated.run_id]
    assert (failure.run, failure.unattended) == (terminated, True)
    assert failure.workflow_run_id == handles[0].result_run_id
    assert failure.failure.message == (
        "the workflow was terminated in Temporal by test: the context will not come"
    )
    assert not {known.run_id, running.run_id} & {*ledger.failures}
    await handles[2].terminate()


async def test_sweep_winds_up_a_clock_that_was_terminated_and_leaves_a_running_one(
    client: Client, make_run: Any, control: Any, ledger: Any, eventually: Eventually
) -> None:
    run, task_id = make_run(), uuid.uuid4()
    later = datetime.now(UTC) + timedelta(days=2)
    ledger.next_at = {task_id: [later]}
    workflow_id = identifiers.task_timers_workflow_id(task_id)
    control.open = [execution(run, workflow_id=workflow_id, task_id=str(task_id), timers=True)]
    handle = client.get_workflow_handle(workflow_id)

    async def woken(times: int) -> None:
        async def so_often() -> bool:
            return len(ledger.advances) >= times

        await eventually(so_often)

    # Twice: as a clock that was never started, and as one that somebody has ended since.
    for times in (1, 2):
        await sweep(client)
        await woken(times)
        first = (await handle.describe()).run_id
        await sweep(client)
        described = await handle.describe()
        assert (described.run_id, described.status) == (first, WorkflowExecutionStatus.RUNNING)
        await handle.terminate()
    assert control.closed == {}


async def test_sweep_ticks_what_nobody_looked_after(
    client: Client, control: Any, ledger_service: Any, unique_name: str, eventually: Eventually
) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    control.overdue = [OverdueSchedule(f"{unique_name}.{n}", since) for n in range(3)]
    await sweep(client)

    async def ticked(times: int) -> bool:
        return len(ledger_service.woken_for) >= times

    await eventually(lambda: ticked(3))
    # What is still overdue is ticked again.
    await sweep(client)
    await eventually(lambda: ticked(6))


async def test_sweep_goes_through_all_pages(
    client: Client, start: Start, define: Any, make_run: Any, control: Any
) -> None:
    define("works")
    run = make_run()
    await (await start(run)).result()
    control.open = [execution(run, workflow_id=f"{run.run_id}-{n}", task_id=str(n))
                    for n in range(250)]  # fmt: skip
    await sweep(client)
    assert (len(control.closed), control.pages) == (250, 3)


async def test_sweep_is_scheduled_once_and_stays_paused_by_a_person(
    client: Client, eventually: Eventually
) -> None:
    async def there() -> bool:
        return identifiers.SWEEP_ID in [one.id async for one in await client.list_schedules()]

    await eventually(there)
    every = timedelta(hours=11)
    await asyncio.gather(
        *(temporal_sweep_clock.put(client, "dev", interval=every) for _ in range(3))
    )
    handle = client.get_schedule_handle(identifiers.SWEEP_ID)
    assert (await handle.describe()).schedule.spec.intervals[0].every == every
    await handle.pause()
    await temporal_sweep_clock.put(client, "dev", interval=timedelta(hours=12))
    described = (await handle.describe()).schedule
    assert described.spec.intervals[0].every == timedelta(hours=12)
    assert described.state.paused
    await handle.delete()
    await temporal_sweep_clock.put(client, "dev", interval=timedelta(hours=12))
    assert not (await handle.describe()).schedule.state.paused
