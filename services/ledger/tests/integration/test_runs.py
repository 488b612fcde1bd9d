"""Recording runs and the outcomes of their tasks, through gRPC, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import uuid4

import asyncpg
import grpc
import pytest
from measured import Measured

from backbone.ledger.v1 import control_pb2, control_pb2_grpc
from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from contracts import canonical, identifiers
from contracts.decisions import AutomatedInstance, Decision, HumanInstance, RuleTrace
from contracts.definitions import Assignees, Retry
from contracts.envelope import MAX_EVENT_BYTES
from contracts.roles import Role
from contracts.telemetry import Attribute, Metric
from contracts.triggers import Trigger, TriggerKind, Window
from eventstore import store as eventstore
from eventstore.events import Event
from ledger import app
from runtime.postgres import Postgres

# The stubs know these types in their type hints only.
LedgerStub: TypeAlias = "pb_grpc.LedgerServiceAsyncStub"
TaskStub: TypeAlias = "pb_grpc.TaskServiceAsyncStub"
Channels = Callable[..., Awaitable[grpc.aio.Channel]]


@dataclass(frozen=True)
class Stored:
    """What the event store holds of one run."""

    events: list[Event]

    @property
    def types(self) -> list[str]:
        return [event.envelope.type.removeprefix("backbone.") for event in self.events]


async def stored(postgres: Postgres, run_id: str) -> Stored:
    async with postgres.transaction("dev") as transaction:
        return Stored(await app.event_store().read(transaction, eventstore.run_stream(run_id)))


def event_trigger(event_id: str = "e-1", **fields: Any) -> Trigger:
    return Trigger.model_validate(
        {
            "kind": "event",
            "names": ["paid"],
            "definition_version": 3,
            "events": [
                {
                    "event_id": event_id,
                    "type": "billing.payment.received",
                    "source": "shop",
                    "occurred_at": "2026-11-01T12:00:00Z",
                    "payload": {"amount": 7},
                    **fields,
                }
            ],
        }
    )


def manual_trigger(version: int = 3) -> Trigger:
    return Trigger(kind=TriggerKind.MANUAL, definition_version=version, request_id=uuid4().hex)


def decision_of(
    trigger: Trigger,
    *,
    definition_id: str = "billing.overdue",
    automated: int = 0,
    human: int = 0,
    form: Mapping[str, Any] | None = None,
    task_input: Mapping[str, Any] | None = None,
    snapshot: Mapping[str, Any] | None = None,
    namespace: str = "dev",
) -> Decision:
    run_id = identifiers.run_id(definition_id, trigger.key)

    def task_id(rule: str, key: str) -> Any:
        return identifiers.task_id(namespace, run_id, rule, key)

    tasks: list[AutomatedInstance | HumanInstance] = [
        AutomatedInstance(
            task_id=task_id("remind", str(number)),
            rule="remind",
            key=str(number),
            handler="send_reminder",
            task_queue="notifications-tq",
            input=dict(task_input or {"invoice": number, "note": None}),
            timeout=timedelta(seconds=30),
            retry=Retry(),
        )
        for number in range(automated)
    ]
    tasks += [
        HumanInstance(
            task_id=task_id("call", str(number)),
            rule="call",
            key=str(number),
            title=f"Call customer {number}",
            input={},
            assignees=Assignees(groups=["collections"]),
            due=timedelta(days=2),
            form=dict(form) if form is not None else None,
        )
        for number in range(human)
    ]
    return Decision(
        definition_id=definition_id,
        definition_version=trigger.definition_version,
        snapshot_sha256=canonical.digest(canonical.render(snapshot or {})),
        tasks=tasks,
        rules=[RuleTrace(rule="remind", when=True, tasks=[task.task_id for task in tasks])],
    )


def record_request(
    trigger: Trigger,
    *,
    definition_id: str = "billing.overdue",
    workflow_run_id: str = "w-1",
    namespace: str = "dev",
    snapshot: Mapping[str, Any] | None = None,
    **decided: Any,
) -> pb.RecordRunRequest:
    decision = decision_of(
        trigger, definition_id=definition_id, snapshot=snapshot, namespace=namespace, **decided
    )
    return pb.RecordRunRequest(
        namespace=namespace,
        run_id=identifiers.run_id(definition_id, trigger.key),
        definition_id=definition_id,
        trigger=canonical.render(trigger),
        snapshot=canonical.render(snapshot or {}),
        decision=canonical.render(decision),
        workflow_run_id=workflow_run_id,
    )


def task_ids(request: pb.RecordRunRequest) -> Sequence[str]:
    return [task["task_id"] for task in json.loads(request.decision)["tasks"]]


def failure_request(request: pb.RecordRunRequest) -> pb.RecordRunFailureRequest:
    return pb.RecordRunFailureRequest(
        namespace=request.namespace,
        run_id=request.run_id,
        definition_id=request.definition_id,
        trigger=request.trigger,
        workflow_run_id=request.workflow_run_id,
        failure=pb.Failure(type="ContextError", message="the billing database is away"),
    )


def outcome_request(
    request: pb.RecordRunRequest, task_id: str, *, failure: str = ""
) -> pb.RecordTaskOutcomeRequest:
    return pb.RecordTaskOutcomeRequest(
        namespace=request.namespace,
        run_id=request.run_id,
        task_id=task_id,
        output=b'{"sent": true}',
        failure=pb.Failure(type="SmtpError", message=failure) if failure else None,
    )


def completion(task_id: str, *, answer: Any = None, request_id: str = "") -> pb.CompleteTaskRequest:
    return pb.CompleteTaskRequest(
        namespace="dev",
        task_id=task_id,
        answer=json.dumps({} if answer is None else answer).encode(),
        request_id=request_id or uuid4().hex,
        reason="the customer was on the phone",
    )


async def get(ledger: LedgerStub, run_id: str) -> pb.GetRunResponse:
    return await ledger.GetRun(pb.GetRunRequest(namespace="dev", run_id=run_id))


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_run_is_recorded_with_documents_tasks_and_events(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    snapshot = {"overdue": [{"id": 1, "amount": 10.5}, {"id": 2, "amount": 0}]}
    request = record_request(event_trigger(), automated=10, human=1, snapshot=snapshot)
    response = await ledger.RecordRun(request)
    assert response.outcome == pb.RECORD_OUTCOME_RECORDED
    assert response.decision == request.decision

    found = await get(ledger, request.run_id)
    assert (found.trigger, found.decision) == (request.trigger, request.decision)
    assert json.loads(found.snapshot) == snapshot
    assert found.run.status == pb.RUN_STATUS_RUNNING
    assert found.run.tasks == 11
    assert found.run.trigger_names == ["paid"]
    assert [task.task_id for task in found.tasks] == list(task_ids(request))
    assert json.loads(found.tasks[0].input) == {"invoice": 0, "note": None}
    person = found.tasks[-1]
    assert person.title == "Call customer 0"
    assert person.assigned_groups == ["collections"]
    assert person.due_at.seconds - person.created_at.seconds == 2 * 24 * 3600
    assert (await stored(postgres, request.run_id)).types == ["RunDecided"] + ["TaskCreated"] * 11


async def test_every_event_of_a_run_carries_its_cause(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    trigger = event_trigger("e-7", correlation_id="order-1", hops=3, traceparent=traceparent)
    request = record_request(trigger, automated=1)
    await ledger.RecordRun(request)
    await ledger.RecordTaskOutcome(outcome_request(request, task_ids(request)[0]))
    events = (await stored(postgres, request.run_id)).events
    assert len(events) == 4
    for event in events:
        assert event.envelope.correlation_id == "order-1"
        assert event.envelope.causation_id == "e-7"
        assert event.envelope.traceparent == traceparent
        assert event.envelope.hops == 4


async def test_odd_ids_of_a_producer_do_not_lose_the_run(ledger: LedgerStub) -> None:
    # Whatever an envelope takes: white space of all kinds, quotes, text outside of the BMP.
    odd = "\u2028 \u00a0'\"\\{}%s\U0001f4a5"
    request = record_request(event_trigger(odd, correlation_id=odd, subject=odd), automated=1)
    assert (await ledger.RecordRun(request)).outcome == pb.RECORD_OUTCOME_RECORDED


async def test_run_without_an_event_begins_a_chain_of_its_own(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    request = record_request(manual_trigger())
    await ledger.RecordRun(request)
    envelope = (await stored(postgres, request.run_id)).events[0].envelope
    assert (envelope.correlation_id, envelope.causation_id) == (request.run_id, None)


async def test_run_without_tasks_is_completed_at_once(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    request = record_request(manual_trigger())
    await ledger.RecordRun(request)
    run = (await get(ledger, request.run_id)).run
    assert run.status == pb.RUN_STATUS_COMPLETED
    assert run.HasField("closed_at")
    assert (await stored(postgres, request.run_id)).types == ["RunDecided", "RunCompleted"]


async def test_retry_of_one_execution_gets_the_decision_that_stands(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    trigger = event_trigger()
    first = record_request(trigger, automated=2)
    later = record_request(trigger, automated=5, snapshot={"changed": True})
    await ledger.RecordRun(first)
    response = await ledger.RecordRun(later)
    assert response.outcome == pb.RECORD_OUTCOME_REPEATED
    assert response.decision == first.decision
    assert len((await stored(postgres, first.run_id)).events) == 3


async def test_other_execution_is_told_duplicate_and_leaves_no_trace(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    trigger = event_trigger()
    first = record_request(trigger, automated=2)
    other = record_request(trigger, automated=3, workflow_run_id="w-2", snapshot={"x": 1})
    await ledger.RecordRun(first)
    response = await ledger.RecordRun(other)
    assert (response.outcome, response.decision) == (pb.RECORD_OUTCOME_DUPLICATE, b"")
    async with postgres.transaction("dev") as transaction:
        assert await transaction.fetchval("SELECT count(*) FROM documents") == 3


async def test_of_many_executions_at_once_one_records(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    trigger = event_trigger()
    requests = [
        record_request(trigger, automated=3, workflow_run_id=f"w-{number % 4}")
        for number in range(16)
    ]
    responses = await asyncio.gather(*(ledger.RecordRun(request) for request in requests))
    outcomes = [response.outcome for response in responses]
    assert outcomes.count(pb.RECORD_OUTCOME_RECORDED) == 1
    assert outcomes.count(pb.RECORD_OUTCOME_REPEATED) == 3
    assert outcomes.count(pb.RECORD_OUTCOME_DUPLICATE) == 12
    assert len((await stored(postgres, requests[0].run_id)).events) == 4


async def test_same_trigger_in_two_namespaces_is_two_runs(
    ledger: LedgerStub,
) -> None:
    trigger = event_trigger()
    for namespace in ("dev", "prod"):
        response = await ledger.RecordRun(record_request(trigger, automated=1, namespace=namespace))
        assert response.outcome == pb.RECORD_OUTCOME_RECORDED


async def test_last_task_closes_the_run(ledger: LedgerStub, postgres: Postgres) -> None:
    request = record_request(event_trigger(), automated=2)
    await ledger.RecordRun(request)
    first, second = task_ids(request)
    response = await ledger.RecordTaskOutcome(outcome_request(request, first))
    assert (response.recorded, response.status) == (True, pb.TASK_STATUS_COMPLETED)
    assert (await get(ledger, request.run_id)).run.status == pb.RUN_STATUS_RUNNING
    await ledger.RecordTaskOutcome(outcome_request(request, second))
    found = await get(ledger, request.run_id)
    assert found.run.status == pb.RUN_STATUS_COMPLETED
    assert json.loads(found.tasks[0].output) == {"sent": True}
    assert found.tasks[0].closed_by == "local/tester"
    assert (await stored(postgres, request.run_id)).types[-3:] == [
        "TaskCompleted",
        "TaskCompleted",
        "RunCompleted",
    ]


async def test_outcome_of_a_closed_task_changes_nothing(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    request = record_request(event_trigger(), automated=2)
    await ledger.RecordRun(request)
    task_id = task_ids(request)[0]
    await ledger.RecordTaskOutcome(outcome_request(request, task_id))
    again = await ledger.RecordTaskOutcome(outcome_request(request, task_id, failure="late"))
    assert (again.recorded, again.status) == (False, pb.TASK_STATUS_COMPLETED)
    assert len((await stored(postgres, request.run_id)).events) == 4


async def test_tasks_that_end_at_once_close_the_run_once(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    request = record_request(event_trigger(), automated=6)
    await ledger.RecordRun(request)
    outcomes = [outcome_request(request, task_id) for task_id in task_ids(request)] * 2
    responses = await asyncio.gather(*(ledger.RecordTaskOutcome(each) for each in outcomes))
    assert sum(response.recorded for response in responses) == 6
    assert (await get(ledger, request.run_id)).run.status == pb.RUN_STATUS_COMPLETED
    types = (await stored(postgres, request.run_id)).types
    assert types.count("RunCompleted") == 1
    assert types.count("TaskCompleted") == 6
    assert types[-1] == "RunCompleted"


async def test_last_two_tasks_do_not_both_see_the_other_open(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    request = record_request(event_trigger(), automated=2)
    await ledger.RecordRun(request)
    first, second = task_ids(request)
    async with postgres.transaction("dev") as holder:
        await holder.fetch("SELECT FROM runs WHERE run_id = $1 FOR UPDATE", request.run_id)
        both = [
            asyncio.ensure_future(ledger.RecordTaskOutcome(outcome_request(request, task_id)))
            for task_id in (first, second)
        ]
        # Both have begun and wait for the run's row.
        async with asyncio.timeout(5), postgres.transaction("dev") as watcher:
            while (
                await watcher.fetchval(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
                < 2
            ):
                await watcher.execute("SELECT pg_stat_clear_snapshot()")
    await asyncio.gather(*both)
    assert (await get(ledger, request.run_id)).run.status == pb.RUN_STATUS_COMPLETED
    assert (await stored(postgres, request.run_id)).types.count("RunCompleted") == 1


async def test_run_with_a_failed_task_fails_when_all_are_done(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    request = record_request(event_trigger(), automated=2)
    await ledger.RecordRun(request)
    first, second = task_ids(request)
    response = await ledger.RecordTaskOutcome(outcome_request(request, first, failure="no host"))
    assert (response.recorded, response.status) == (True, pb.TASK_STATUS_FAILED)
    await ledger.RecordTaskOutcome(outcome_request(request, second))
    found = await get(ledger, request.run_id)
    assert found.run.status == pb.RUN_STATUS_FAILED
    assert found.run.failure.message == "1 of 2 tasks failed"
    assert found.tasks[0].failure.message == "no host"
    assert (await stored(postgres, request.run_id)).types[-1] == "RunFailed"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    return Measured(monkeypatch)


async def test_closed_tasks_are_counted_by_definition_handler_and_outcome(
    measured: Measured, ledger: LedgerStub
) -> None:
    request = record_request(event_trigger(), automated=2)
    await ledger.RecordRun(request)
    first, second = task_ids(request)
    await ledger.RecordTaskOutcome(outcome_request(request, first, failure="no host"))
    await ledger.RecordTaskOutcome(outcome_request(request, first))  # late, and not counted
    await ledger.RecordTaskOutcome(outcome_request(request, second))
    found = [(dict(of), point.value) for of, point in measured.points(Metric.LEDGER_TASKS)]
    labels = {
        Attribute.NAMESPACE: "dev",
        Attribute.DEFINITION_ID: request.definition_id,
        Attribute.HANDLER: "send_reminder",
    }
    assert sorted(found, key=lambda one: one[0][Attribute.OUTCOME]) == [
        ({**labels, Attribute.OUTCOME: "completed"}, 1),
        ({**labels, Attribute.OUTCOME: "failed"}, 1),
    ]


async def test_run_waits_while_only_people_have_something_to_do(
    ledger: LedgerStub, inbox: TaskStub
) -> None:
    request = record_request(event_trigger(), automated=1, human=1)
    await ledger.RecordRun(request)
    automated, human = task_ids(request)
    await ledger.RecordTaskOutcome(outcome_request(request, automated))
    assert (await get(ledger, request.run_id)).run.status == pb.RUN_STATUS_WAITING
    await inbox.CompleteTask(completion(human))
    assert (await get(ledger, request.run_id)).run.status == pb.RUN_STATUS_COMPLETED


async def test_run_that_could_not_decide_is_failed_and_stays_so(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    request = record_request(event_trigger(), automated=1)
    failing = failure_request(request)
    assert (await ledger.RecordRunFailure(failing)).outcome == pb.RECORD_OUTCOME_RECORDED
    assert (await ledger.RecordRunFailure(failing)).outcome == pb.RECORD_OUTCOME_REPEATED
    assert (await ledger.RecordRun(request)).outcome == pb.RECORD_OUTCOME_REPEATED
    found = await get(ledger, request.run_id)
    assert found.run.status == pb.RUN_STATUS_FAILED
    assert found.run.failure.type == "ContextError"
    assert (found.trigger, found.decision) == (request.trigger, b"")
    assert (await stored(postgres, request.run_id)).types == ["RunFailed"]


async def test_tasks_nobody_will_carry_out_fail_with_the_execution(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    request = record_request(event_trigger(), automated=2)
    await ledger.RecordRun(request)
    response = await ledger.RecordRunFailure(failure_request(request))
    assert response.outcome == pb.RECORD_OUTCOME_REPEATED
    assert (await get(ledger, request.run_id)).run.status == pb.RUN_STATUS_FAILED
    assert (await stored(postgres, request.run_id)).types[-3:] == [
        "TaskFailed",
        "TaskFailed",
        "RunFailed",
    ]


async def test_failure_of_another_execution_leaves_the_run_alone(
    ledger: LedgerStub,
) -> None:
    request = record_request(event_trigger(), automated=2)
    await ledger.RecordRun(request)
    failing = failure_request(request)
    failing.workflow_run_id = "w-2"
    assert (await ledger.RecordRunFailure(failing)).outcome == pb.RECORD_OUTCOME_DUPLICATE
    assert (await get(ledger, request.run_id)).run.status == pb.RUN_STATUS_RUNNING


async def test_person_completes_a_task_with_an_answer_that_fits(
    ledger: LedgerStub,
    inbox: TaskStub,
    postgres: Postgres,
) -> None:
    form = {"type": "object", "required": ["paid"], "properties": {"paid": {"type": "boolean"}}}
    request = record_request(event_trigger(), human=1, form=form)
    await ledger.RecordRun(request)
    assert (await get(ledger, request.run_id)).run.status == pb.RUN_STATUS_WAITING
    task_id = task_ids(request)[0]
    code, told = await refused(inbox.CompleteTask(completion(task_id, answer={"paid": "maybe"})))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert 'paid: "maybe" is not of type "boolean"' in told
    response = await inbox.CompleteTask(completion(task_id, answer={"paid": True}))
    assert response.task.status == pb.TASK_STATUS_COMPLETED
    assert response.task.closed_by == "local/anna"
    assert json.loads(response.task.output) == {"paid": True}
    event = (await stored(postgres, request.run_id)).events[-2]
    assert event.envelope.document()["payload"]["reason"] == "the customer was on the phone"


async def test_same_completion_again_gives_the_first_ones_result(
    ledger: LedgerStub, inbox: TaskStub
) -> None:
    request = record_request(event_trigger(), human=2)
    await ledger.RecordRun(request)
    first, second = task_ids(request)
    asked = completion(first, answer={"a": 1}, request_id="r-1")
    response = await inbox.CompleteTask(asked)
    assert await inbox.CompleteTask(asked) == response
    for other in (
        completion(first, answer={"a": 2}, request_id="r-1"),
        completion(second, answer={"a": 1}, request_id="r-1"),
    ):
        code, _ = await refused(inbox.CompleteTask(other))
        assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_of_two_people_at_once_one_wins(ledger: LedgerStub, inbox: TaskStub) -> None:
    request = record_request(event_trigger(), human=1)
    await ledger.RecordRun(request)
    (task_id,) = task_ids(request)
    outcomes = await asyncio.gather(
        *(inbox.CompleteTask(completion(task_id, answer={"by": n})) for n in range(4)),
        return_exceptions=True,
    )
    lost = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert len(lost) == 3
    assert {error.code() for error in lost} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert "is completed by local/anna" in (lost[0].details() or "")


async def test_handlers_and_people_cannot_do_each_others_tasks(
    ledger: LedgerStub, inbox: TaskStub
) -> None:
    request = record_request(event_trigger(), automated=1, human=1)
    await ledger.RecordRun(request)
    automated, human = task_ids(request)
    code, _ = await refused(inbox.CompleteTask(completion(automated)))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    code, _ = await refused(ledger.RecordTaskOutcome(outcome_request(request, human)))
    assert code == grpc.StatusCode.FAILED_PRECONDITION


async def test_unknown_runs_and_tasks_are_not_found(ledger: LedgerStub, inbox: TaskStub) -> None:
    request = record_request(event_trigger(), automated=1)
    unknown = str(uuid4())
    for call in (
        get(ledger, request.run_id),
        ledger.RecordTaskOutcome(outcome_request(request, unknown)),
        inbox.GetTask(pb.GetTaskRequest(namespace="dev", task_id=unknown)),
        inbox.CompleteTask(completion(unknown)),
    ):
        code, _ = await refused(call)
        assert code == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"run_id": "billing.overdue:manual:else"}, "definition and trigger make it"),
        ({"definition_id": "Billing"}, "not a definition id"),
        ({"namespace": "elsewhere"}, "is not served here"),
        ({"workflow_run_id": ""}, "workflow_run_id is missing"),
        ({"trigger": b"{"}, "trigger is not accepted"),
        ({"trigger": b"{}"}, "trigger.kind"),
        ({"snapshot": b"[]"}, "snapshot is not a JSON object"),
        ({"snapshot": b'{"a": 1, "a": 2}'}, "appears twice"),
        ({"snapshot": b'{"other": 1}'}, "not made from this snapshot"),
        ({"decision": b"{}"}, "decision.definition_id"),
        ({"snapshot": b" " * (1024 * 1024 + 1)}, "more than the 1048576"),
    ],
)
async def test_malformed_run_is_refused_in_a_sentence(
    ledger: LedgerStub, change: dict[str, Any], sentence: str
) -> None:
    request = record_request(event_trigger(), automated=1)
    for name, value in change.items():
        setattr(request, name, value)
    code, told = await refused(ledger.RecordRun(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert sentence in told


async def test_decision_with_foreign_task_ids_is_refused(
    ledger: LedgerStub,
) -> None:
    request = record_request(event_trigger(), automated=1)
    document = json.loads(request.decision)
    document["tasks"][0]["task_id"] = str(uuid4())
    request.decision = canonical.render(document)
    code, told = await refused(ledger.RecordRun(request))
    assert (code, told) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "a task of the rule remind has an id not its own",
    )


async def test_task_too_large_for_an_event_is_refused_and_nothing_stands(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    request = record_request(
        event_trigger(), automated=1, task_input={"text": "x" * MAX_EVENT_BYTES}
    )
    code, told = await refused(ledger.RecordRun(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "pass a reference" in told
    async with postgres.transaction("dev") as transaction:
        assert await transaction.fetchval("SELECT count(*) FROM trigger_keys") == 0


async def test_lists_are_newest_first_and_go_on_by_token(
    ledger: LedgerStub, inbox: TaskStub
) -> None:
    requests = [
        record_request(event_trigger(f"e-{number}"), automated=number % 2, human=1)
        for number in range(5)
    ]
    for request in requests:
        await ledger.RecordRun(request)
    seen: list[str] = []
    asked = pb.ListRunsRequest(namespace="dev", page_size=2, definition_id="billing.overdue")
    while True:
        page = await ledger.ListRuns(asked)
        assert len(page.runs) <= 2
        seen += [run.run_id for run in page.runs]
        if not page.next_page_token:
            break
        asked.page_token = page.next_page_token
    assert seen == [request.run_id for request in reversed(requests)]

    other = pb.ListRunsRequest(namespace="dev", page_token=asked.page_token)
    code, told = await refused(ledger.ListRuns(other))
    assert (code, told) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "page_token belongs to a list with other filters",
    )
    code, _ = await refused(
        ledger.ListRuns(pb.ListRunsRequest(namespace="dev", status=99))  # type: ignore[arg-type]
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    waiting = await ledger.ListRuns(
        pb.ListRunsRequest(namespace="dev", status=pb.RUN_STATUS_WAITING)
    )
    assert len(waiting.runs) == 3
    people = await inbox.ListTasks(
        pb.ListTasksRequest(
            namespace="dev", type=pb.TASK_TYPE_HUMAN, status=pb.TASK_STATUS_OPEN, page_size=3
        )
    )
    assert [task.run_id for task in people.tasks] == seen[:3]
    assert people.next_page_token


async def test_read_models_are_the_same_after_a_rebuild(
    ledger: LedgerStub,
    inbox: TaskStub,
    postgres: Postgres,
) -> None:
    mixed = record_request(event_trigger("e-1"), automated=2, human=1)
    for request in (
        mixed,
        record_request(event_trigger("e-2")),
        record_request(event_trigger("e-3"), automated=3),
    ):
        await ledger.RecordRun(request)
    await ledger.RecordRunFailure(failure_request(record_request(event_trigger("e-4"))))
    first, second, human = task_ids(mixed)
    await ledger.RecordTaskOutcome(outcome_request(mixed, first))
    await ledger.RecordTaskOutcome(outcome_request(mixed, second, failure="no host"))
    await inbox.CompleteTask(completion(human))

    runs, tasks = "SELECT * FROM runs ORDER BY position", "SELECT * FROM tasks ORDER BY position"
    async with postgres.transaction("dev") as transaction:
        before = await transaction.fetch(runs), await transaction.fetch(tasks)
        await transaction.execute("TRUNCATE runs, tasks, task_changes")
        await app.event_store().rebuild(transaction)
        assert (await transaction.fetch(runs), await transaction.fetch(tasks)) == before


async def last_run(ledger: LedgerStub, **fields: Any) -> pb.GetLastRunResponse:
    request = pb.GetLastRunRequest(namespace="dev", definition_id="billing.overdue", **fields)
    return await ledger.GetLastRun(request)


async def test_the_last_run_is_the_newest_of_the_definition_besides_the_one_that_asks(
    ledger: LedgerStub, calls: Channels
) -> None:
    assert not (await last_run(ledger)).HasField("run")
    due = datetime(2026, 11, 1, 12, tzinfo=UTC)
    scheduled = Trigger(
        kind=TriggerKind.SCHEDULE,
        definition_version=3,
        scheduled_for=due,
        window=Window(start=due - timedelta(hours=1), end=due),
    )
    first, second = record_request(scheduled), record_request(event_trigger("e-2"), automated=1)
    third = record_request(event_trigger("e-3"))
    for request in (first, second, record_request(event_trigger(), definition_id="billing.other")):
        await ledger.RecordRun(request)
    await ledger.RecordRunFailure(failure_request(third))

    def told(response: pb.GetLastRunResponse) -> tuple[str, bool]:
        return response.run.run_id, response.HasField("window_end")

    assert told(await last_run(ledger)) == (third.run_id, False)
    assert told(await last_run(ledger, other_than_run_id=third.run_id)) == (second.run_id, False)
    completed = await last_run(ledger, status=pb.RUN_STATUS_COMPLETED)
    assert told(completed) == (first.run_id, True)
    assert completed.window_start.ToDatetime(tzinfo=UTC) == due - timedelta(hours=1)
    assert completed.window_end == completed.scheduled_for
    assert completed.run.HasField("closed_at")
    asking = {"status": pb.RUN_STATUS_COMPLETED, "other_than_run_id": first.run_id}
    assert told(await last_run(ledger, **asking)) == ("", False)
    cancel = control_pb2.CancelRunRequest(
        namespace="dev", run_id=second.run_id, request_id=uuid4().hex, reason="no more"
    )
    assert told(await last_run(ledger, status=pb.RUN_STATUS_CANCELLED)) == ("", False)
    await control_pb2_grpc.ControlServiceStub(await calls()).CancelRun(cancel)
    assert told(await last_run(ledger, status=pb.RUN_STATUS_CANCELLED)) == (second.run_id, False)


def redaction(run_id: str, *fields: str, request_id: str = "") -> pb.RedactSnapshotRequest:
    return pb.RedactSnapshotRequest(
        namespace="dev",
        run_id=run_id,
        fields=fields,
        request_id=request_id or uuid4().hex,
        reason="the customer asked",
    )


FOUND = {"overdue": [{"id": 1, "email": "ann@example.com"}], "customer": {"name": "Ann"}}
MARK = {"$redacted": None}


async def test_fields_of_a_snapshot_are_redacted_and_the_chain_of_events_stands(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    request = record_request(event_trigger(), automated=1, snapshot=FOUND)
    await ledger.RecordRun(request)
    before = await stored(postgres, request.run_id)
    asked = redaction(request.run_id, "overdue.email", "customer", request_id="r-1")
    left = {"overdue": [{"id": 1, "email": MARK}], "customer": MARK}

    for _ in "12":
        assert json.loads((await ledger.RedactSnapshot(asked)).snapshot) == left

    found = await get(ledger, request.run_id)
    assert json.loads(found.snapshot) == left
    assert found.decision == request.decision
    assert (await stored(postgres, request.run_id)).events == before.events
    async with postgres.transaction("dev") as transaction:
        rows = await transaction.fetch(
            "SELECT sha256, body, redacted_by, redaction_reason FROM documents"
            " WHERE redacted_at IS NOT NULL"
        )
        assert [(row["redacted_by"], row["redaction_reason"]) for row in rows] == [
            ("local/tester", "the customer asked")
        ]
        assert rows[0]["sha256"] == canonical.digest(canonical.render(FOUND))
        everything = await transaction.fetch("SELECT body FROM documents")
        assert not [row for row in everything if b"ann@example.com" in row["body"]]

    # A run that finds the same later does not bring it back.
    again = record_request(event_trigger("e-2"), snapshot=FOUND)
    assert (await ledger.RecordRun(again)).outcome == pb.RECORD_OUTCOME_RECORDED
    assert json.loads((await get(ledger, again.run_id)).snapshot) == left


async def test_a_redaction_that_cannot_be_is_told_and_changes_nothing(ledger: LedgerStub) -> None:
    request = record_request(event_trigger(), snapshot=FOUND)
    failed = failure_request(record_request(event_trigger("e-2")))
    await ledger.RecordRun(request)
    await ledger.RecordRunFailure(failed)
    done = redaction(request.run_id, "customer", request_id="r-1")
    await ledger.RedactSnapshot(done)
    code = grpc.StatusCode
    for asked, status, says in (
        (redaction("billing.overdue:event:none", "a"), code.NOT_FOUND, "billing.overdue"),
        (redaction(failed.run_id, "a"), code.FAILED_PRECONDITION, "has no snapshot"),
        (redaction(request.run_id, "overdue.id", "overdue.phone"), code.FAILED_PRECONDITION,
         "has no overdue.phone to redact"),
        (redaction(request.run_id, "overdue", request_id="r-1"), code.INVALID_ARGUMENT, "r-1"),
        (redaction(request.run_id), code.INVALID_ARGUMENT, "1 to 50"),
        (redaction(request.run_id, "a..b"), code.INVALID_ARGUMENT, "not the path of a field"),
    ):  # fmt: skip
        found = await refused(ledger.RedactSnapshot(asked))
        assert found[0] == status, found
        assert says in found[1]
    snapshot = json.loads((await get(ledger, request.run_id)).snapshot)
    assert snapshot == {**FOUND, "customer": MARK}


async def test_no_document_is_something_else_than_its_hash_says_unless_it_is_redacted(
    postgres: Postgres,
) -> None:
    async with postgres.transaction("dev") as transaction:
        with pytest.raises(asyncpg.CheckViolationError, match="documents_sha256_check"):
            await transaction.execute(
                "INSERT INTO documents (namespace, sha256, body) VALUES ('dev', 'abc', '{}')"
            )


@pytest.mark.parametrize(
    ("roles", "allowed"),
    [
        ({Role.VIEWER}, {"GetRun", "GetLastRun", "ListTasks"}),
        ({Role.OPERATOR}, {"GetRun", "GetLastRun", "RedactSnapshot", "ListTasks", "CompleteTask"}),
        ({Role.TASK_WORKER}, {"RecordTaskOutcome"}),
        ({Role.SERVICE}, {"GetRun", "GetLastRun", "ListTasks", "RecordTaskOutcome", "RecordRun"}),
        ({Role.AUTHOR}, set()),
    ],
)
async def test_roles_decide_who_may_call_what(
    calls: Channels, roles: set[Role], allowed: set[str]
) -> None:
    channel = await calls(*roles)
    service, tasks = pb_grpc.LedgerServiceStub(channel), pb_grpc.TaskServiceStub(channel)
    attempts: dict[str, Awaitable[Any]] = {
        "GetRun": service.GetRun(pb.GetRunRequest()),
        "GetLastRun": service.GetLastRun(pb.GetLastRunRequest()),
        "RedactSnapshot": service.RedactSnapshot(pb.RedactSnapshotRequest()),
        "RecordRun": service.RecordRun(pb.RecordRunRequest()),
        "RecordTaskOutcome": service.RecordTaskOutcome(pb.RecordTaskOutcomeRequest()),
        "ListTasks": tasks.ListTasks(pb.ListTasksRequest()),
        "CompleteTask": tasks.CompleteTask(pb.CompleteTaskRequest()),
    }
    codes = {name: (await refused(call))[0] for name, call in attempts.items()}
    assert {
        name for name, code in codes.items() if code != grpc.StatusCode.PERMISSION_DENIED
    } == allowed


async def test_runs_are_found_by_their_chain_and_by_the_subjects_of_their_events(
    ledger: LedgerStub,
) -> None:
    of_chain = record_request(event_trigger("e-1", correlation_id="order-7"))
    also = record_request(event_trigger("e-2", correlation_id="order-7", subject="invoice/9"))
    of_subject = record_request(event_trigger("e-3", subject="invoice/9"))
    for request in (of_chain, also, of_subject, record_request(event_trigger("e-4"))):
        await ledger.RecordRun(request)

    async def found(**asked: Any) -> list[str]:
        runs, token = [], ""
        while True:
            page = await ledger.ListRuns(
                pb.ListRunsRequest(namespace="dev", page_size=1, page_token=token, **asked)
            )
            runs += [run.run_id for run in page.runs]
            token = page.next_page_token
            if not token:
                return runs

    assert await found(correlation_id="order-7") == [also.run_id, of_chain.run_id]
    assert await found(subject="invoice/9") == [of_subject.run_id, also.run_id]
    assert await found(subject="invoice/9", status=pb.RUN_STATUS_FAILED) == []
    assert await found(subject="invoice/9", definition_id="billing.other") == []
    assert await found(correlation_id="order-8") == await found(subject="invoice/") == []
    code, _ = await refused(
        ledger.ListRuns(pb.ListRunsRequest(namespace="dev", correlation_id="a", subject="b"))
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_overview_counts_what_ran_waits_and_failed(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    empty = await ledger.GetOverview(pb.GetOverviewRequest(namespace="dev"))
    assert (list(empty.recent_runs), empty.open_runs) == ([], 0)
    assert not empty.human_tasks.HasField("oldest_at")
    done, waiting, undecided = (record_request(event_trigger(f"e-{n}"), human=n) for n in range(3))
    for request in (done, waiting, record_request(event_trigger("e-9"), automated=1)):
        await ledger.RecordRun(request)
    await ledger.RecordRunFailure(failure_request(undecided))
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("UPDATE tasks SET due_at = now() - interval '1 hour'")

    told = await ledger.GetOverview(pb.GetOverviewRequest(namespace="dev"))
    assert {one.status: one.runs for one in told.recent_runs} == {
        pb.RUN_STATUS_COMPLETED: 1,
        pb.RUN_STATUS_WAITING: 1,
        pb.RUN_STATUS_RUNNING: 1,
        pb.RUN_STATUS_FAILED: 1,
    }
    assert not told.more_recent_runs
    assert told.open_runs == 2
    assert (told.human_tasks.tasks, told.human_tasks.unclaimed, told.human_tasks.overdue) == (
        *(1, 1, 1),
    )
    assert told.human_tasks.HasField("oldest_at")
    assert told.automated_tasks.tasks == 1
    assert (told.failed_runs, told.failed_tasks, told.overdue_definitions) == (1, 0, 0)
    assert list(told.pending_starts) == []


async def test_the_overview_looks_back_as_far_as_it_is_asked(
    ledger: LedgerStub, postgres: Postgres
) -> None:
    await ledger.RecordRun(record_request(event_trigger()))
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("UPDATE runs SET recorded_at = now() - interval '2 hours'")

    async def recent(**back: timedelta) -> int:
        told = await ledger.GetOverview(pb.GetOverviewRequest(namespace="dev", **back))
        return sum(one.runs for one in told.recent_runs)

    assert await recent() == 0
    assert await recent(since=timedelta(hours=3)) == 1
    for back in (timedelta(0), timedelta(days=8)):
        code, _ = await refused(
            ledger.GetOverview(pb.GetOverviewRequest(namespace="dev", since=back))
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT
