"""Handlers on a real Temporal, with a ledger behind real gRPC that can go away."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from temporalio import exceptions
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType

import sdk
from contracts.runs import MAX_OUTPUT_BYTES, TaskReport
from runtime import grpcclient
from runtime.temporalworker import QueueServerError
from sdk.outcomes import GrpcOutcomeRecorder
from sdk.worker import queue_server


class Reminder(BaseModel):
    invoice: str


@pytest.fixture
def runs() -> list[int]:
    return []


@pytest.fixture
async def remind(
    serve: Callable[..., Any], carry_out: Callable[..., Any], unique_name: str, runs: list[int]
) -> Callable[..., Any]:
    """Have the handler `send_reminder` carry out a task, by its invoice."""

    @sdk.task_handler("send_reminder")
    async def send_reminder(reminder: Reminder, context: sdk.TaskContext) -> dict[str, Any]:
        runs.append(context.attempt)
        if reminder.invoice == "second-time" and context.attempt == 1:
            raise RuntimeError("not yet")
        if reminder.invoice == "later" and context.attempt == 1:
            raise sdk.RetryLaterError("busy", after=timedelta(milliseconds=1))
        if reminder.invoice == "gone":
            raise sdk.PermanentError("no such invoice")
        if reminder.invoice == "enormous":
            return {"a": "x" * MAX_OUTPUT_BYTES}
        if reminder.invoice == "unserialisable":
            return {"a": object()}
        return {"key": context.idempotency_key}

    task_queue = f"{unique_name}-tq"
    await serve({task_queue: [send_reminder]})

    async def run(invoice: str) -> Any:
        return await carry_out("send_reminder", task_queue, {"invoice": invoice})

    return run


async def test_task_costs_one_attempt_that_records_its_outcome(
    remind: Callable[..., Any], ledger: Any, runs: list[int]
) -> None:
    call, report = await remind("i1")
    assert report == TaskReport(recorded=True)
    assert runs == [1]
    (outcome,) = ledger.outcomes
    assert outcome.task_id == str(call.task.task_id)
    assert outcome.output == b'{"key":"%s"}' % str(call.task.task_id).encode()


async def test_handler_does_not_run_again_while_the_ledger_is_away(
    remind: Callable[..., Any], ledger: Any, runs: list[int]
) -> None:
    ledger.away = 3
    _, report = await remind("i1")
    assert report == TaskReport(recorded=True)
    assert runs == [1]
    assert len(ledger.outcomes) == 1


async def test_failed_attempt_is_tried_again(
    remind: Callable[..., Any], ledger: Any, runs: list[int]
) -> None:
    await remind("second-time")
    assert runs == [1, 2]
    assert len(ledger.outcomes) == 1


async def test_permanent_error_ends_the_task(
    remind: Callable[..., Any], ledger: Any, runs: list[int]
) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await remind("gone")
    assert isinstance(caught.value.cause, ActivityError)
    failure = caught.value.cause.cause
    assert isinstance(failure, ApplicationError)
    assert (failure.type, failure.message) == ("Permanent", "no such invoice")
    assert runs == [1]
    assert ledger.outcomes == []


async def test_an_attempt_can_say_when_the_next_is_of_use(
    remind: Callable[..., Any], ledger: Any, runs: list[int]
) -> None:
    await remind("later")
    assert runs == [1, 2]
    assert len(ledger.outcomes) == 1


@pytest.mark.parametrize("invoice", ["enormous", "unserialisable"])
async def test_output_that_cannot_be_kept_fails_the_task_for_good(
    remind: Callable[..., Any], ledger: Any, runs: list[int], invoice: str
) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await remind(invoice)
    assert isinstance(caught.value.cause, ActivityError)
    failure = caught.value.cause.cause
    assert isinstance(failure, ApplicationError)
    assert (failure.type, failure.non_retryable) == ("Output", True)
    assert runs == [1]
    assert ledger.outcomes == []


@pytest.mark.parametrize("heartbeats", [True, False])
async def test_a_handler_that_hangs_times_out_and_leaves_its_place_to_others(
    serve: Callable[..., Any],
    carry_out: Callable[..., Any],
    ledger: Any,
    unique_name: str,
    *,
    heartbeats: bool,
) -> None:
    ended: list[str] = []

    @sdk.task_handler("hangs")
    async def hangs(reminder: Reminder, context: sdk.TaskContext) -> None:
        if reminder.invoice != "hang":
            return
        with contextlib.ExitStack() as stack:
            stack.callback(ended.append, reminder.invoice)
            while True:
                if heartbeats:
                    context.heartbeat()
                await asyncio.sleep(0.05)

    task_queue = f"{unique_name}-tq"
    await serve({task_queue: [hangs]}, max_activities=1)
    with pytest.raises(WorkflowFailureError) as caught:
        await carry_out(
            "hangs", task_queue, {"invoice": "hang"}, within=timedelta(seconds=1), attempts=1
        )
    assert isinstance(caught.value.cause, ActivityError)
    failure = caught.value.cause.cause
    assert isinstance(failure, exceptions.TimeoutError)
    assert failure.type is TimeoutType.START_TO_CLOSE

    # There is one place: this is done only once the one that hung has been ended.
    await carry_out("hangs", task_queue, {"invoice": "next"})
    assert ended == ["hang"]
    assert len(ledger.outcomes) == 1


async def test_a_namespace_that_is_not_there_is_one_sentence(
    temporal_address: str, ledger_address: str, unique_name: str
) -> None:
    @sdk.task_handler("never")
    async def never(_reminder: Reminder, _context: sdk.TaskContext) -> None: ...

    channel = grpcclient.channel(ledger_address, actor="test")
    server = queue_server(
        handlers=[never],
        task_queue=f"{unique_name}-tq",
        namespace="nowhere",
        settings=sdk.WorkerSettings(
            temporal_address=temporal_address, ledger_address=ledger_address
        ),
        recorder=GrpcOutcomeRecorder(channel),
    )
    await server.start()
    with pytest.raises(QueueServerError, match="-tq cannot be served in the namespace nowhere"):
        async with asyncio.timeout(30):
            await server.wait()
    await server.stop()
    await channel.close()
