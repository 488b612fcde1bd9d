"""The wrapper around handlers, in Temporal's own environment for Temporal activities."""

import asyncio
import dataclasses
import uuid
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import pytest
import structlog
from measured import Measured
from pydantic import BaseModel
from structlog.testing import capture_logs
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

import sdk
from contracts.decisions import AutomatedInstance
from contracts.definitions import Retry
from contracts.runs import TaskCall, TaskOutcome, TaskReport
from contracts.sensitive import Reference
from contracts.telemetry import Attribute, Metric
from contracts.triggers import Chain
from sdk.carrying import temporal_activity
from sdk.errors import OutcomeRefusedError


class Reminder(BaseModel):
    invoice: str


class FakeRecorder:
    """Keeps outcomes; can be away, or refuse."""

    def __init__(self) -> None:
        self.outcomes: list[TaskOutcome] = []
        self.back = asyncio.Event()
        self.back.set()
        self.asked = asyncio.Event()
        self.refuses = False

    async def record(self, outcome: TaskOutcome) -> None:
        self.asked.set()
        await self.back.wait()
        if self.refuses:
            raise OutcomeRefusedError("NOT_FOUND: no such task")
        self.outcomes.append(outcome)


@pytest.fixture
async def recorder() -> FakeRecorder:
    return FakeRecorder()


@pytest.fixture
def runs() -> list[str]:
    return []


@pytest.fixture
def handler(runs: list[str]) -> sdk.Handler[Reminder]:
    @sdk.task_handler("send_reminder")
    async def send_reminder(reminder: Reminder, _context: sdk.TaskContext) -> dict[str, Any]:
        runs.append(reminder.invoice)
        if reminder.invoice == "gone":
            raise sdk.PermanentError("no such invoice")
        if reminder.invoice == "later":
            raise RuntimeError("not now")
        return {"sent": reminder.invoice}

    return send_reminder


@pytest.fixture
def make_call() -> Callable[..., TaskCall]:
    def make(**task_input: Any) -> TaskCall:
        task = AutomatedInstance(
            task_id=uuid.uuid4(),
            rule="remind",
            key="one",
            handler="send_reminder",
            task_queue="notifications-tq",
            input=task_input,
            timeout=timedelta(seconds=30),
            retry=Retry(),
        )
        return TaskCall(namespace="dev", run_id="d:1", definition_id="d", task=task)

    return make


def _environment(timeout: timedelta = timedelta(seconds=30)) -> ActivityEnvironment:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, start_to_close_timeout=timeout)
    return environment


async def test_outcome_is_recorded_in_the_attempt(
    recorder: FakeRecorder, handler: sdk.Handler[Reminder], make_call: Callable[..., TaskCall]
) -> None:
    call = make_call(invoice="i1")
    report = await _environment().run(temporal_activity(handler, recorder), call)
    assert report == TaskReport(recorded=True)
    (outcome,) = recorder.outcomes
    assert (outcome.task_id, outcome.output) == (call.task.task_id, {"sent": "i1"})


async def test_who_is_told_of_a_failure_leaves_the_recording_to_the_workflow(
    handler: sdk.Handler[Reminder], recorder: FakeRecorder, make_call: Callable[..., TaskCall]
) -> None:
    call = make_call(invoice="INV-1").model_copy(update={"on_failure": True})
    report = await _environment().run(temporal_activity(handler, recorder), call)
    assert report == TaskReport(output={"sent": "INV-1"})
    assert recorder.outcomes == []


async def test_outcome_says_of_which_generation_it_is(
    handler: sdk.Handler[Reminder], recorder: FakeRecorder, make_call: Callable[..., TaskCall]
) -> None:
    call = make_call(invoice="INV-1").model_copy(update={"generation": 2})
    await _environment().run(temporal_activity(handler, recorder), call)
    assert [outcome.generation for outcome in recorder.outcomes] == [2]


@pytest.mark.parametrize(
    ("task_input", "kind"), [({"invoice": "gone"}, "Permanent"), ({}, "InvalidInput")]
)
async def test_permanent_failure_is_not_tried_again(
    recorder: FakeRecorder,
    handler: sdk.Handler[Reminder],
    make_call: Callable[..., TaskCall],
    task_input: dict[str, Any],
    kind: str,
) -> None:
    with pytest.raises(ApplicationError) as caught:
        await _environment().run(temporal_activity(handler, recorder), make_call(**task_input))
    assert caught.value.non_retryable
    assert caught.value.type == kind
    assert recorder.outcomes == []


async def test_other_failure_is_left_to_the_retry_of_the_task(
    recorder: FakeRecorder, handler: sdk.Handler[Reminder], make_call: Callable[..., TaskCall]
) -> None:
    with pytest.raises(RuntimeError, match="not now"):
        await _environment().run(temporal_activity(handler, recorder), make_call(invoice="later"))
    assert recorder.outcomes == []


async def test_output_goes_to_the_workflow_when_the_ledger_stays_away(
    recorder: FakeRecorder,
    handler: sdk.Handler[Reminder],
    make_call: Callable[..., TaskCall],
    runs: list[str],
) -> None:
    recorder.back.clear()
    report = await _environment(timedelta(milliseconds=200)).run(
        temporal_activity(handler, recorder), make_call(invoice="i1")
    )
    assert report == TaskReport(recorded=False, output={"sent": "i1"})
    assert runs == ["i1"]


async def test_what_a_handler_logs_has_the_ids_of_its_task(
    recorder: FakeRecorder, make_call: Callable[..., TaskCall]
) -> None:
    told: list[dict[str, Any]] = []

    @sdk.task_handler("send_reminder")
    async def send_reminder(_reminder: Reminder, _context: sdk.TaskContext) -> None:
        told.append(structlog.contextvars.get_contextvars())

    call = make_call(invoice="i1")
    chain = Chain(correlation_id="c-1", causation_id="e-1")
    call = call.model_copy(update={"chain": chain})
    await _environment().run(temporal_activity(send_reminder, recorder), call)
    ids = {"run_id": call.run_id, "task_id": str(call.task.task_id), "event_id": "e-1"}
    assert told == [{"namespace": call.namespace, **ids}]


async def test_output_goes_to_the_workflow_when_the_ledger_refuses(
    recorder: FakeRecorder, handler: sdk.Handler[Reminder], make_call: Callable[..., TaskCall]
) -> None:
    recorder.refuses = True
    report = await _environment().run(temporal_activity(handler, recorder), make_call(invoice="i1"))
    assert report == TaskReport(recorded=False, output={"sent": "i1"})


async def test_output_survives_a_worker_that_stops_while_the_ledger_is_away(
    recorder: FakeRecorder, handler: sdk.Handler[Reminder], make_call: Callable[..., TaskCall]
) -> None:
    recorder.back.clear()
    environment = _environment()
    running = asyncio.ensure_future(
        environment.run(temporal_activity(handler, recorder), make_call(invoice="i1"))
    )
    await recorder.asked.wait()
    environment.cancel()
    assert await running == TaskReport(recorded=False, output={"sent": "i1"})


EMAIL = {"$sensitive": "b-1", "hash": "h" * 26}


class Values:
    """Sensitive values by their blobs' ids; what is not there is erased."""

    def __init__(self, **known: str) -> None:
        self.known = {name.replace("_", "-"): value for name, value in known.items()}

    async def resolve(self, namespace: str, references: Collection[Reference]) -> dict[str, Any]:
        assert namespace == "dev"
        wanted = {one.blob_id for one in references}
        return {name: value for name, value in self.known.items() if name in wanted}


async def test_a_handler_is_given_the_values_that_its_input_refers_to(
    recorder: FakeRecorder,
    handler: sdk.Handler[Reminder],
    make_call: Callable[..., TaskCall],
    runs: list[str],
) -> None:
    carry_out = temporal_activity(handler, recorder, Values(b_1="ada@example.org"))
    await _environment().run(carry_out, make_call(invoice=EMAIL))
    assert runs == ["ada@example.org"]
    # What it hands back as it is is kept as the reference.
    assert [outcome.output for outcome in recorder.outcomes] == [{"sent": EMAIL}]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("gone", ("Permanent", True)),
        ("later", ("RuntimeError", False)),
        (None, ("InvalidInput", True)),
    ],
)
async def test_a_failure_over_sensitive_input_has_its_type_and_not_its_text(
    recorder: FakeRecorder,
    handler: sdk.Handler[Reminder],
    make_call: Callable[..., TaskCall],
    value: str | None,
    told: tuple[str, bool],
) -> None:
    values = Values() if value is None else Values(b_1=value)
    with capture_logs() as logged, pytest.raises(ApplicationError) as failure:
        await _environment().run(
            temporal_activity(handler, recorder, values), make_call(invoice=EMAIL)
        )
    assert (failure.value.type, failure.value.non_retryable) == told
    assert "its text is left out" in failure.value.message
    for text in ("no such invoice", "not now", "cannot take"):
        assert text not in repr((failure.value.message, logged))
    assert failure.value.__cause__ is None


async def test_a_worker_that_cannot_ask_for_values_runs_no_handler(
    recorder: FakeRecorder,
    handler: sdk.Handler[Reminder],
    make_call: Callable[..., TaskCall],
    runs: list[str],
) -> None:
    with pytest.raises(ApplicationError, match="nobody to ask") as failure:
        await _environment().run(temporal_activity(handler, recorder), make_call(invoice=EMAIL))
    assert (failure.value.type, failure.value.non_retryable, runs) == ("RetryLater", False, [])


async def test_attempts_are_measured_by_definition_handler_and_how_they_ended(
    recorder: FakeRecorder,
    handler: sdk.Handler[Reminder],
    make_call: Callable[..., TaskCall],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = Measured(monkeypatch)
    carry_out = temporal_activity(handler, recorder)
    await _environment().run(carry_out, make_call(invoice="i1"))
    for invoice in ("gone", "later", "later"):
        with pytest.raises((ApplicationError, RuntimeError)):
            await _environment().run(carry_out, make_call(invoice=invoice))

    found = measured.points(Metric.HANDLER_ATTEMPT_DURATION)
    assert {of[Attribute.OUTCOME]: point.count for of, point in found} == {
        "completed": 1,
        "failed": 1,
        "retryable": 2,
    }
    assert {(of[Attribute.DEFINITION_ID], of[Attribute.HANDLER]) for of, _ in found} == {
        ("d", "send_reminder")
    }
