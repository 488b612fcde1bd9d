"""Cancelling and retrying runs and tasks, and what is to be done of it, on a real PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from backbone.ledger.v1 import control_pb2 as pb
from backbone.ledger.v1 import control_pb2_grpc as pb_grpc
from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts import canonical, identifiers
from contracts.decisions import AutomatedInstance, Decision, HumanInstance, TaskInstance
from contracts.definitions import Assignees, Retry
from contracts.roles import Role
from contracts.runs import RetryTaskInput, RunInput, TellFailureInput
from contracts.triggers import Trigger, TriggerKind, Window
from eventstore import store
from ledger import app
from ledger.adapters.postgres_control import PostgresControlStore
from ledger.domain.control import Operation, Order
from runtime.postgres import Postgres

# The stubs know these types in their type hints only.
ControlStub: TypeAlias = "pb_grpc.ControlServiceAsyncStub"
LedgerStub: TypeAlias = "ledger_pb2_grpc.LedgerServiceAsyncStub"
TaskStub: TypeAlias = "ledger_pb2_grpc.TaskServiceAsyncStub"
Channels = Callable[..., Awaitable[grpc.aio.Channel]]

DEFINITION = "billing.overdue"


@pytest.fixture
async def control(calls: Channels) -> ControlStub:
    return pb_grpc.ControlServiceStub(await calls(actor="anna"))


@pytest.fixture
async def tasks(calls: Channels) -> TaskStub:
    return ledger_pb2_grpc.TaskServiceStub(await calls())


def manual() -> Trigger:
    return Trigger(kind=TriggerKind.MANUAL, definition_version=3, request_id=uuid4().hex)


def scheduled(due: datetime) -> Trigger:
    return Trigger(
        kind=TriggerKind.SCHEDULE,
        names=["hourly"],
        definition_version=3,
        scheduled_for=due,
        window=Window(start=due - timedelta(hours=1), end=due),
    )


class Run:
    """A recorded run, and the calls that its worker would make."""

    def __init__(self, ledger: LedgerStub, trigger: Trigger) -> None:
        self.ledger, self.trigger = ledger, trigger
        self.run_id = identifiers.run_id(DEFINITION, trigger.key)
        self.tasks: list[str] = []

    async def decide(
        self, *, automated: int = 0, human: int = 0, due: timedelta | None = None
    ) -> "Run":
        def named(rule: str, number: int) -> Any:
            return identifiers.task_id("dev", self.run_id, rule, str(number))

        tasks: list[TaskInstance] = [
            AutomatedInstance(
                task_id=named("remind", number), rule="remind", key=str(number),
                handler="send_reminder", task_queue="notifications-tq", input={"invoice": number},
                timeout=timedelta(seconds=30), retry=Retry(),
            )
            for number in range(automated)
        ]  # fmt: skip
        tasks += [
            HumanInstance(
                task_id=named("call", number), rule="call", key=str(number), title="Call",
                input={}, assignees=Assignees(groups=["collections"]), due=due,
            )
            for number in range(human)
        ]  # fmt: skip
        decision = Decision(
            definition_id=DEFINITION,
            definition_version=3,
            snapshot_sha256=canonical.digest(b"{}"),
            tasks=tasks,
            rules=[],
        )
        await self.ledger.RecordRun(
            ledger_pb2.RecordRunRequest(
                namespace="dev", run_id=self.run_id, definition_id=DEFINITION,
                trigger=canonical.render(self.trigger), snapshot=b"{}",
                decision=canonical.render(decision), workflow_run_id="w-1",
            )
        )  # fmt: skip
        self.tasks = [str(task.task_id) for task in tasks]
        return self

    async def fail_to_decide(self, *, unattended: bool = False) -> "Run":
        await self.ledger.RecordRunFailure(
            ledger_pb2.RecordRunFailureRequest(
                namespace="dev", run_id=self.run_id, definition_id=DEFINITION,
                trigger=canonical.render(self.trigger), workflow_run_id="w-1",
                failure=ledger_pb2.Failure(type="Undecidable", message="no such key"),
                unattended=unattended,
            )
        )  # fmt: skip
        return self

    async def outcome(
        self, task: int, *, failure: str = "", generation: int = 0
    ) -> ledger_pb2.RecordTaskOutcomeResponse:
        return await self.ledger.RecordTaskOutcome(
            ledger_pb2.RecordTaskOutcomeRequest(
                namespace="dev", run_id=self.run_id, task_id=self.tasks[task], output=b"{}",
                failure=ledger_pb2.Failure(type=failure, message="no") if failure else None,
                generation=generation,
            )
        )  # fmt: skip

    async def get(self) -> ledger_pb2.GetRunResponse:
        return await self.ledger.GetRun(
            ledger_pb2.GetRunRequest(namespace="dev", run_id=self.run_id)
        )

    async def statuses(self) -> tuple[str, list[str]]:
        found = await self.get()
        return (
            ledger_pb2.RunStatus.Name(found.run.status).removeprefix("RUN_STATUS_").lower(),
            [
                ledger_pb2.TaskStatus.Name(task.status).removeprefix("TASK_STATUS_").lower()
                for task in found.tasks
            ],
        )


@pytest.fixture
def run(ledger: LedgerStub) -> Callable[..., Run]:
    return lambda trigger=None: Run(ledger, trigger or manual())


async def event_types(postgres: Postgres, run_id: str) -> list[str]:
    async with postgres.transaction("dev") as transaction:
        events = await app.event_store().read(transaction, store.run_stream(run_id))
    return [event.envelope.type.removeprefix("backbone.") for event in events]


def cancellation(run_id: str, request_id: str = "") -> pb.CancelRunRequest:
    return pb.CancelRunRequest(
        namespace="dev", run_id=run_id, request_id=request_id or uuid4().hex, reason="wrong data"
    )


def run_retry(run_id: str, request_id: str = "") -> pb.RetryRunRequest:
    return pb.RetryRunRequest(
        namespace="dev", run_id=run_id, request_id=request_id or uuid4().hex, reason="once more"
    )


def task_retry(task_id: str, request_id: str = "") -> pb.RetryTaskRequest:
    return pb.RetryTaskRequest(
        namespace="dev", task_id=task_id, request_id=request_id or uuid4().hex, reason="once more"
    )


async def claimed(
    control: ControlStub, *, limit: int = 100, seconds: int = 30
) -> list[pb.Operation]:
    response = await control.ClaimOperations(
        pb.ClaimOperationsRequest(namespace="dev", limit=limit, lease=Duration(seconds=seconds))
    )
    return list(response.operations)


async def confirm(control: ControlStub, operation: pb.Operation, error: str = "") -> list[str]:
    result = pb.OperationResult(
        operation_id=operation.operation_id, lease=operation.lease, done=not error, error=error
    )
    response = await control.ConfirmOperations(
        pb.ConfirmOperationsRequest(namespace="dev", results=[result])
    )
    return list(response.stale)


async def open_executions(control: ControlStub) -> list[pb.OpenExecution]:
    response = await control.ListOpenExecutions(
        pb.ListOpenExecutionsRequest(namespace="dev", min_age=Duration())
    )
    return list(response.executions)


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


TABLES = ("task_changes", "tasks", "run_retries", "failure_calls", "runs")


async def rows(postgres: Postgres) -> dict[str, list[str]]:
    async with postgres.transaction("dev") as transaction:
        return {
            table: sorted(
                repr(dict(row))
                for row in await transaction.fetch(f"SELECT * FROM {table}")  # noqa: S608 - ours
            )
            for table in TABLES
        }


async def test_cancelling_closes_every_open_task_and_the_run(
    control: ControlStub, run: Any, postgres: Postgres
) -> None:
    one = await run().decide(automated=2, human=1)
    await one.outcome(0)

    answer = await control.CancelRun(cancellation(one.run_id))

    assert answer.run.status == ledger_pb2.RUN_STATUS_CANCELLED
    assert (answer.run.closed_by, answer.run.close_reason) == ("local/anna", "wrong data")
    assert await one.statuses() == ("cancelled", ["completed", "cancelled", "cancelled"])
    assert (await event_types(postgres, one.run_id))[-3:] == [
        *("TaskCancelled", "TaskCancelled", "RunCancelled")
    ]
    assert [(o.kind, o.workflow_id) for o in await claimed(control)] == [
        (pb.OPERATION_KIND_CANCEL, one.run_id)
    ]


async def test_outcome_that_comes_after_the_cancellation_changes_nothing(
    control: ControlStub, run: Any, postgres: Postgres
) -> None:
    one = await run().decide(automated=1)
    await control.CancelRun(cancellation(one.run_id))
    before = await event_types(postgres, one.run_id)

    late = await one.outcome(0, failure="Cancelled")

    assert (late.recorded, late.status) == (False, ledger_pb2.TASK_STATUS_CANCELLED)
    assert await event_types(postgres, one.run_id) == before


async def test_same_request_cancels_once_and_another_is_told_that_it_is_closed(
    control: ControlStub, run: Any, postgres: Postgres
) -> None:
    one = await run().decide(automated=1)
    request = cancellation(one.run_id)
    first = await control.CancelRun(request)
    events = await event_types(postgres, one.run_id)

    assert await control.CancelRun(request) == first
    assert await event_types(postgres, one.run_id) == events
    assert await refused(control.CancelRun(cancellation(one.run_id))) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        f"the run {one.run_id} is cancelled, not open",
    )
    other = await run().decide(automated=1)
    code, said = await refused(control.CancelRun(cancellation(other.run_id, request.request_id)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "was used for another run" in said
    assert (await other.statuses())[0] == "running"


async def test_cancellation_and_the_last_outcome_at_once_have_one_winner(
    control: ControlStub, run: Any
) -> None:
    for _ in range(10):
        one = await run().decide(automated=1)
        cancelled, recorded = await asyncio.gather(
            control.CancelRun(cancellation(one.run_id)), one.outcome(0), return_exceptions=True
        )
        status, tasks = await one.statuses()
        if isinstance(cancelled, grpc.aio.AioRpcError):
            assert cancelled.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert (status, tasks) == ("completed", ["completed"])
        else:
            assert (status, tasks) == ("cancelled", ["cancelled"])
            assert recorded.recorded is False


async def test_failed_task_is_open_again_under_its_id_and_the_run_ends_once_more(
    control: ControlStub, run: Any, postgres: Postgres
) -> None:
    one = await run().decide(automated=2)
    await one.outcome(0)
    await one.outcome(1, failure="SmtpError")
    assert await one.statuses() == ("failed", ["completed", "failed"])

    answer = await control.RetryTask(task_retry(one.tasks[1]))

    assert (answer.task.task_id, answer.task.generation) == (one.tasks[1], 2)
    assert not answer.task.HasField("failure")
    assert await one.statuses() == ("running", ["completed", "open"])
    found = (await one.get()).run
    assert not found.HasField("closed_at")
    assert not found.HasField("failure")
    [operation] = await claimed(control)
    assert operation.kind == pb.OPERATION_KIND_RETRY_TASK
    assert operation.workflow_id == f"task:{one.tasks[1]}:2"
    given = RetryTaskInput.model_validate_json(operation.input)
    assert (str(given.task.task_id), given.generation) == (one.tasks[1], 2)
    assert (given.task.handler, given.task.input) == ("send_reminder", {"invoice": 1})

    assert (await one.outcome(1, generation=2)).recorded
    assert await one.statuses() == ("completed", ["completed", "completed"])
    assert (await event_types(postgres, one.run_id))[3:] == [
        *("TaskCompleted", "TaskFailed", "RunFailed"),
        *("RunReopened", "TaskRetried", "TaskCompleted", "RunCompleted"),
    ]


async def test_late_outcome_of_the_generation_before_says_nothing_of_this_one(
    control: ControlStub, run: Any
) -> None:
    one = await run().decide(automated=1)
    await one.outcome(0, failure="SmtpError", generation=1)
    await control.RetryTask(task_retry(one.tasks[0]))

    late = await one.outcome(0, failure="SmtpError", generation=1)

    assert (late.recorded, late.status) == (False, ledger_pb2.TASK_STATUS_OPEN)
    assert await one.statuses() == ("running", ["open"])


async def test_same_request_retries_a_task_once_and_two_people_retry_it_once(
    control: ControlStub, run: Any
) -> None:
    one = await run().decide(automated=1)
    await one.outcome(0, failure="SmtpError")
    request = task_retry(one.tasks[0])

    answers = await asyncio.gather(
        control.RetryTask(request),
        control.RetryTask(request),
        control.RetryTask(task_retry(one.tasks[0])),
        return_exceptions=True,
    )

    errors = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {error.code() for error in errors} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert "is open, not failed" in (errors[0].details() or "")
    assert {a.task.generation for a in answers if a not in errors} == {2}
    assert len(await claimed(control)) == 1


async def test_what_cannot_be_retried_is_told_in_a_sentence(control: ControlStub, run: Any) -> None:
    one = await run().decide(automated=1, human=1)
    assert await refused(control.RetryTask(task_retry(one.tasks[0]))) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        f"the task {one.tasks[0]} is open, not failed",
    )
    assert await refused(control.RetryTask(task_retry(one.tasks[1]))) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        f"the task {one.tasks[1]} is for a person, not for a handler",
    )
    assert await refused(control.RetryRun(run_retry(one.run_id))) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        f"the run {one.run_id} is running, neither failed nor cancelled",
    )
    await one.outcome(0, failure="SmtpError")
    await control.CancelRun(cancellation(one.run_id))
    code, said = await refused(control.RetryTask(task_retry(one.tasks[0])))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "was cancelled; `runs retry` decides it again" in said
    code, _ = await refused(control.RetryRun(run_retry("no.such:manual:1")))
    assert code is grpc.StatusCode.NOT_FOUND
    code, _ = await refused(control.RetryTask(task_retry(str(uuid4()))))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_retry_of_a_failed_run_carries_out_its_failed_tasks_and_no_others(
    control: ControlStub, run: Any
) -> None:
    one = await run().decide(automated=3)
    await one.outcome(0)
    await one.outcome(1, failure="SmtpError")
    await one.outcome(2, failure="SmtpError")
    request = run_retry(one.run_id)

    answer = await control.RetryRun(request)

    assert answer.run_id == one.run_id
    assert list(answer.task_ids) == one.tasks[1:]
    assert await one.statuses() == ("running", ["completed", "open", "open"])
    assert (await control.RetryRun(request)).run_id == one.run_id
    assert [o.kind for o in await claimed(control)] == [pb.OPERATION_KIND_RETRY_TASK] * 2


@pytest.mark.parametrize("cancelled", [True, False])
async def test_run_without_a_decision_or_cancelled_is_decided_again_as_a_run_of_its_own(
    control: ControlStub, run: Any, ledger: LedgerStub, *, cancelled: bool
) -> None:
    one = run()
    if cancelled:
        await one.decide(automated=1)
        await control.CancelRun(cancellation(one.run_id))
        [operation] = await claimed(control)
        await confirm(control, operation)
    else:
        await one.fail_to_decide()
    request = run_retry(one.run_id)

    answer = await control.RetryRun(request)

    assert answer.run_id == f"{one.run_id}:retry:1"
    assert (await control.RetryRun(request)).run_id == answer.run_id
    [operation] = await claimed(control)
    assert (operation.kind, operation.workflow_id) == (pb.OPERATION_KIND_START_RUN, answer.run_id)
    given = RunInput.model_validate_json(operation.input)
    assert given.trigger.retry_of is not None
    assert given.trigger.retry_of.model_dump() == {
        "run_id": one.run_id,
        "number": 1,
        "actor": "local/anna",
        "reason": "once more",
    }
    again = await Run(ledger, given.trigger).decide(automated=1)
    assert again.run_id == answer.run_id
    assert again.tasks != one.tasks
    found = await one.get()
    assert [(r.run_id, r.actor, r.reason) for r in found.retries] == [
        (again.run_id, "local/anna", "once more")
    ]


async def test_retries_of_retries_are_numbered_by_the_first_run(
    control: ControlStub, run: Any, ledger: LedgerStub
) -> None:
    one = await run().fail_to_decide()
    first = (await control.RetryRun(run_retry(one.run_id))).run_id
    [operation] = await claimed(control)
    given = RunInput.model_validate_json(operation.input)
    await Run(ledger, given.trigger).fail_to_decide()

    answers = await asyncio.gather(
        control.RetryRun(run_retry(first)), control.RetryRun(run_retry(one.run_id))
    )

    assert sorted(answer.run_id for answer in answers) == [
        f"{one.run_id}:retry:2",
        f"{one.run_id}:retry:3",
    ]


async def test_run_of_a_due_time_counts_as_open_again_while_it_is_retried(
    control: ControlStub, run: Any, postgres: Postgres
) -> None:
    one = run(scheduled(datetime(2026, 1, 1, tzinfo=UTC)))
    await due_row(postgres, one)
    await one.decide(automated=1)

    async def open_run() -> bool:
        async with postgres.transaction("dev") as transaction:
            return bool(await transaction.fetchval("SELECT run_closed_at IS NULL FROM due_times"))

    await one.outcome(0, failure="SmtpError")
    assert not await open_run()
    await control.RetryTask(task_retry(one.tasks[0]))
    assert await open_run()
    await control.CancelRun(cancellation(one.run_id))
    assert not await open_run()


async def due_row(postgres: Postgres, one: Run) -> None:
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "INSERT INTO due_times (namespace, definition_id, due_at, names, outcome, reason,"
            " run_id, definition_version, task_queue, window_start, window_end, coalesced,"
            " decided_at, acknowledged_at) VALUES ('dev', $1, $2, '{hourly}', 'run', '', $3, 3,"
            " 'a-tq', $4, $2, '{}', now(), now())",
            DEFINITION,
            one.trigger.scheduled_for,
            one.run_id,
            one.trigger.window.start if one.trigger.window else None,
        )


async def test_operation_is_handed_out_again_until_it_is_done(
    control: ControlStub, run: Any
) -> None:
    one = await run().decide(automated=1)
    await control.CancelRun(cancellation(one.run_id))
    [first] = await claimed(control, seconds=1)
    assert await claimed(control) == []

    async def handed_out() -> pb.Operation:
        async with asyncio.timeout(15):
            while True:
                found = await claimed(control, seconds=60)
                if found:
                    return found[0]
                await asyncio.sleep(0.05)

    # Who had it died of it; and its confirmation, if one comes, is too late.
    second = await handed_out()
    assert (second.operation_id, second.attempts) == (first.operation_id, 2)
    assert await confirm(control, first) == [first.operation_id]
    assert await confirm(control, second, "Temporal is away") == []
    [waiting] = (await control.ListOperations(pb.ListOperationsRequest(namespace="dev"))).operations
    assert (waiting.last_error, waiting.actor) == ("Temporal is away", "local/anna")
    third = await handed_out()
    assert await confirm(control, third) == []
    assert await claimed(control) == []


async def test_what_is_to_be_done_already_is_done_once_for_whoever_asks(
    control: ControlStub, postgres: Postgres
) -> None:
    operation = Operation(
        kind="cancel", workflow_id=f"{DEFINITION}:manual:1", definition_id=DEFINITION,
        definition_version=3,
    )  # fmt: skip
    for actor in ("anna", "ben"):
        async with postgres.transaction("dev") as transaction:
            await PostgresControlStore().add_operations(
                transaction,
                [operation],
                order=Order(request_id="", actor=actor, reason="no longer"),
                at=datetime.now(UTC),
            )
    [handed_out] = await claimed(control)
    assert (handed_out.workflow_id, handed_out.actor) == (operation.workflow_id, "anna")


async def test_two_workers_never_hold_one_operation_at_once(control: ControlStub, run: Any) -> None:
    runs = [await run().decide(automated=1) for _ in range(10)]
    for one in runs:
        await control.CancelRun(cancellation(one.run_id))
    found = await asyncio.gather(*(claimed(control, limit=3) for _ in range(8)))
    ids = [operation.operation_id for part in found for operation in part]
    assert len(ids) == len(set(ids))


async def test_retry_that_nobody_was_handed_is_withdrawn_by_a_cancellation(
    control: ControlStub, run: Any
) -> None:
    one = await run().decide(automated=1)
    await one.outcome(0, failure="SmtpError")
    await control.RetryTask(task_retry(one.tasks[0]))
    await control.CancelRun(cancellation(one.run_id))
    assert {o.kind for o in await claimed(control)} == {pb.OPERATION_KIND_CANCEL}


async def test_retry_that_is_under_way_is_cancelled_after_it_was_started(
    control: ControlStub, run: Any
) -> None:
    one = await run().decide(automated=1)
    await one.outcome(0, failure="SmtpError")
    await control.RetryTask(task_retry(one.tasks[0]))
    [started] = await claimed(control)
    await control.CancelRun(cancellation(one.run_id))

    assert [o.workflow_id for o in await claimed(control)] == [one.run_id]
    await confirm(control, started)
    assert [(o.kind, o.workflow_id) for o in await claimed(control)] == [
        (pb.OPERATION_KIND_CANCEL, started.workflow_id)
    ]


async def test_open_executions_are_the_workflows_that_automated_tasks_wait_on(
    control: ControlStub, run: Any
) -> None:
    waits_for_people = await run().decide(human=1)
    done = await run().decide(automated=1)
    await done.outcome(0)
    runs = await run().decide(automated=3)
    await runs.outcome(0, failure="SmtpError")
    await control.RetryTask(task_retry(runs.tasks[0]))

    # The retry is with nobody yet: there is no workflow to look at.
    assert [one.workflow_id for one in await open_executions(control)] == [runs.run_id]
    [operation] = await claimed(control)
    await confirm(control, operation)

    assert [(o.run_id, o.workflow_id, o.task_id, o.generation) for o in
            await open_executions(control)] == [
        (runs.run_id, runs.run_id, "", 1),
        (runs.run_id, f"task:{runs.tasks[0]}:2", runs.tasks[0], 2),
    ]  # fmt: skip
    assert waits_for_people.run_id != runs.run_id


async def test_open_executions_come_in_pages(control: ControlStub, run: Any) -> None:
    runs = [await run().decide(automated=1) for _ in range(5)]
    found, token = [], ""
    while True:
        page = await control.ListOpenExecutions(
            pb.ListOpenExecutionsRequest(
                namespace="dev", page_size=2, page_token=token, min_age=Duration()
            )
        )
        assert len(page.executions) <= 2
        found += [one.run_id for one in page.executions]
        token = page.next_page_token
        if not token:
            break
    assert found == [one.run_id for one in runs]


async def test_what_was_begun_a_moment_ago_is_left_alone(control: ControlStub, run: Any) -> None:
    await run().decide(automated=1)
    response = await control.ListOpenExecutions(
        pb.ListOpenExecutionsRequest(namespace="dev", min_age=Duration(seconds=3600))
    )
    assert not response.executions


async def test_closed_execution_fails_its_open_tasks_and_the_run_with_them(
    control: ControlStub, run: Any
) -> None:
    one = await run().decide(automated=2, human=1)
    await one.outcome(0)
    request = pb.CloseExecutionRequest(
        namespace="dev", run_id=one.run_id, generation=1,
        failure=ledger_pb2.Failure(type="WorkflowTerminated", message="terminated by ben: stuck"),
    )  # fmt: skip

    answer = await control.CloseExecution(request)

    # The people's task can still be done.
    assert (answer.closed_tasks, answer.run_status) == (1, ledger_pb2.RUN_STATUS_WAITING)
    assert await one.statuses() == ("waiting", ["completed", "failed", "open"])
    assert (await one.get()).tasks[1].failure.message == "terminated by ben: stuck"
    assert (await control.CloseExecution(request)).closed_tasks == 0


def closing(one: Run, kind: str = "WorkflowTerminated") -> pb.CloseExecutionRequest:
    return pb.CloseExecutionRequest(
        namespace="dev", run_id=one.run_id, generation=1,
        failure=ledger_pb2.Failure(type=kind, message="terminated by ben: stuck"),
    )  # fmt: skip


async def test_what_a_closed_execution_left_open_is_told_of_once_for_each_task(
    control: ControlStub, run: Any
) -> None:
    one = await run().decide(automated=3, human=1)
    await one.outcome(0, failure="SmtpError")

    for _ in "12":
        await control.CloseExecution(closing(one))

    operations = await claimed(control)
    tellings = [TellFailureInput.model_validate_json(one.input) for one in operations]
    assert {operation.kind for operation in operations} == {pb.OPERATION_KIND_TELL_FAILURE}
    assert {operation.workflow_id for operation in operations} == {
        f"failure:{identifiers.failure_call_id('dev', one.run_id, UUID(task), 1)}"
        for task in one.tasks[1:3]
    }
    assert {str(t.question.task.task_id) for t in tellings if t.question.task} == {*one.tasks[1:3]}
    assert {(t.question.failure.type, t.question.definition_version) for t in tellings} == {
        ("WorkflowTerminated", 3)
    }
    assert {(o.actor, o.reason) for o in operations} == {("local/anna", "terminated by ben: stuck")}


async def test_who_cancels_a_workflow_in_temporal_is_not_told_of_it(
    control: ControlStub, run: Any
) -> None:
    one = await run().decide(automated=1)
    assert (await control.CloseExecution(closing(one, "WorkflowCancelled"))).closed_tasks == 1
    assert await claimed(control) == []


@pytest.mark.parametrize("unattended", [True, False])
async def test_run_that_could_not_decide_is_told_of_by_an_operation_where_its_workflow_has_ended(
    control: ControlStub, run: Any, *, unattended: bool
) -> None:
    one = run()
    for _ in "12":
        await one.fail_to_decide(unattended=unattended)
    operations = await claimed(control)
    call_id = identifiers.failure_call_id("dev", one.run_id, None, 1)
    assert [operation.workflow_id for operation in operations] == (
        [f"failure:{call_id}"] if unattended else []
    )
    for operation in operations:
        question = TellFailureInput.model_validate_json(operation.input).question
        assert (question.run_id, question.task) == (one.run_id, None)
        assert question.failure.type == "Undecidable"


async def test_a_run_that_was_recorded_after_all_is_left_to_who_looks_after_executions(
    control: ControlStub, run: Any
) -> None:
    one = await run().decide(automated=2)
    await one.fail_to_decide(unattended=True)
    assert await one.statuses() == ("running", ["open", "open"])
    assert await claimed(control) == []
    assert (await control.CloseExecution(closing(one))).closed_tasks == 2


async def test_clock_of_a_human_task_is_missed_once_one_of_its_times_has_passed(
    control: ControlStub, run: Any, tasks: TaskStub, postgres: Postgres
) -> None:
    one = await run().decide(human=2, due=timedelta(days=2))
    assert await open_executions(control) == []
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "UPDATE tasks SET due_at = due_at - interval '3 days' WHERE task_id = $1",
            UUID(one.tasks[0]),
        )

    [found] = await open_executions(control)

    assert found.timers
    assert (found.run_id, found.task_id) == (one.run_id, one.tasks[0])
    assert found.workflow_id == f"task-timers:{one.tasks[0]}"
    await tasks.AdvanceTask(ledger_pb2.AdvanceTaskRequest(namespace="dev", task_id=one.tasks[0]))
    assert await open_executions(control) == []


async def test_closed_execution_of_a_retry_leaves_the_others_open(
    control: ControlStub, run: Any
) -> None:
    one = await run().decide(automated=2)
    await one.outcome(0, failure="SmtpError")
    await control.RetryTask(task_retry(one.tasks[0]))
    answer = await control.CloseExecution(
        pb.CloseExecutionRequest(
            namespace="dev", run_id=one.run_id, task_id=one.tasks[0], generation=2,
            failure=ledger_pb2.Failure(type="WorkflowLost", message="it is gone"),
        )
    )  # fmt: skip
    assert answer.closed_tasks == 1
    assert await one.statuses() == ("running", ["failed", "open"])


async def test_due_run_that_was_never_recorded_is_listed_with_its_trigger(
    control: ControlStub, run: Any, postgres: Postgres
) -> None:
    one = run(scheduled(datetime(2026, 1, 1, tzinfo=UTC)))
    await due_row(postgres, one)
    [found] = await open_executions(control)
    assert (found.run_id, found.workflow_id) == (one.run_id, one.run_id)
    assert Trigger.model_validate_json(found.unrecorded_trigger) == one.trigger
    await one.fail_to_decide()
    assert await open_executions(control) == []


async def test_call_of_a_failure_handler_is_recorded_once(
    control: ControlStub, run: Any, postgres: Postgres
) -> None:
    one = await run().decide(automated=1)
    await one.outcome(0, failure="SmtpError")
    request = pb.RecordFailureHandledRequest(
        namespace="dev", run_id=one.run_id, call_id=str(uuid4()), task_id=one.tasks[0],
        handler="notify_owner", failure=ledger_pb2.Failure(type="SmtpError", message="no"),
    )  # fmt: skip
    assert (await control.RecordFailureHandled(request)).recorded
    assert not (await control.RecordFailureHandled(request)).recorded
    [call] = (await one.get()).failure_calls
    assert (call.call_id, call.task_id, call.handler, call.failure.type) == (
        *(request.call_id, one.tasks[0], "notify_owner", "SmtpError"),
    )
    assert (await event_types(postgres, one.run_id)).count("FailureHandled") == 1


async def test_tables_follow_from_the_events_alone(
    control: ControlStub,
    run: Any,
    ledger: LedgerStub,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = await run().decide(automated=2, human=1)
    await one.outcome(0, failure="SmtpError")
    await control.RetryTask(task_retry(one.tasks[0]))
    await one.outcome(0, failure="SmtpError", generation=2)
    await control.RetryTask(task_retry(one.tasks[0]))
    await control.CancelRun(cancellation(one.run_id))
    await control.RetryRun(run_retry(one.run_id))
    await control.RecordFailureHandled(
        pb.RecordFailureHandledRequest(
            namespace="dev", run_id=one.run_id, call_id=str(uuid4()), handler="notify_owner"
        )
    )
    undecided = await run().fail_to_decide()
    await control.RetryRun(run_retry(undecided.run_id))
    closed = await run().decide(automated=1)
    await closed.outcome(0, failure="SmtpError")
    await control.RetryTask(task_retry(closed.tasks[0]))
    before = await rows(postgres)
    assert all(before.values())

    # A batch may end anywhere, also between a task's end and that of its run.
    for batch in range(1, 40):
        monkeypatch.setattr(store, "_REBUILD_BATCH", batch)
        async with postgres.transaction("dev") as transaction:
            for table in TABLES:
                await transaction.execute(f"DELETE FROM {table}")  # noqa: S608 - ours
            await app.event_store().rebuild(transaction)
        assert await rows(postgres) == before


@pytest.mark.parametrize(
    ("method", "request_", "says"),
    [
        ("CancelRun", pb.CancelRunRequest(namespace="dev", run_id="a:manual:1", request_id="r"),
         "reason is missing"),
        ("RetryTask", pb.RetryTaskRequest(namespace="dev", task_id="x", reason="y"), "task id"),
        ("RetryRun", pb.RetryRunRequest(namespace="nowhere", run_id="x", reason="y"), "namespace"),
        ("ClaimOperations", pb.ClaimOperationsRequest(namespace="dev", limit=101), "limit"),
        ("ClaimOperations", pb.ClaimOperationsRequest(namespace="dev", limit=1), "lease"),
        ("CloseExecution", pb.CloseExecutionRequest(namespace="dev", run_id="x"), "failure"),
        ("ListOpenExecutions",
         pb.ListOpenExecutionsRequest(namespace="dev", min_age=Duration(seconds=-1)), "min_age"),
    ],
)  # fmt: skip
async def test_malformed_request_is_refused_in_a_sentence(
    control: ControlStub, method: str, request_: Any, says: str
) -> None:
    code, said = await refused(getattr(control, method)(request_))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in said


async def test_only_operators_cancel_and_only_services_carry_it_out(
    calls: Channels, run: Any
) -> None:
    one = await run().decide(automated=1)
    viewer = pb_grpc.ControlServiceStub(await calls(Role.VIEWER))
    code, _ = await refused(viewer.CancelRun(cancellation(one.run_id)))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    operator = pb_grpc.ControlServiceStub(await calls(Role.OPERATOR))
    code, _ = await refused(claimed(operator))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert (await one.statuses())[0] == "running"


async def test_what_people_asked_for_is_listed_with_who_and_why_newest_first(
    control: ControlStub, run: Callable[..., Run]
) -> None:
    asked = []
    for _ in range(3):
        asked.append(cancellation((await run().decide(automated=1)).run_id))
        await control.CancelRun(asked[-1])
        await control.CancelRun(asked[-1])
    request, listed = pb.ListRequestsRequest(namespace="dev", page_size=2), []
    while True:
        page = await control.ListRequests(request)
        listed += page.requests
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [one.request_id for one in listed] == [one.request_id for one in reversed(asked)]
    assert {(one.method, one.actor, one.reason) for one in listed} == {
        ("CancelRun", "local/anna", "wrong data")
    }
    request.page_token = "nonsense"
    code, _ = await refused(control.ListRequests(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
