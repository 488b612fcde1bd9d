"""Human tasks through gRPC, on a real PostgreSQL: who may do what, and what the clock does."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from typing import Any, TypeAlias
from uuid import uuid4

import grpc
import pytest
from google.rpc import error_details_pb2
from measured import Measured

from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from contracts import canonical, identifiers
from contracts.decisions import Decision, HumanInstance
from contracts.definitions import Assignees, Escalation, Reminder
from contracts.roles import Role
from contracts.telemetry import Attribute, Metric
from contracts.triggers import Trigger, TriggerKind
from eventstore import store as eventstore
from ledger import app
from ledger.adapters.postgres_tasks import PostgresTaskStore
from ledger.service import inbox_watch
from ledger.service.inbox_watch import InboxWatch
from runtime import rpcerrors
from runtime.postgres import Postgres

# The stubs know these types in their type hints only.
LedgerStub: TypeAlias = "pb_grpc.LedgerServiceAsyncStub"
TaskStub: TypeAlias = "pb_grpc.TaskServiceAsyncStub"
As = Callable[..., Awaitable[TaskStub]]
Make = Callable[..., Awaitable[str]]

HOUR = timedelta(hours=1)
TIMED: dict[str, Any] = {
    "due": 10 * HOUR,
    "reminders": [Reminder(before_due=2 * HOUR), Reminder(before_due=HOUR)],
    "escalation": Escalation(after=20 * HOUR, assignees=Assignees(groups=["managers"])),
    "expiry": 30 * HOUR,
}


@pytest.fixture
async def person(calls: Callable[..., Awaitable[grpc.aio.Channel]]) -> As:
    """Opens the service for a person with a name, roles and groups."""

    async def open_for(name: str, *roles: Role, groups: tuple[str, ...] = ()) -> TaskStub:
        channel = await calls(*roles, actor=name, groups=groups)
        return pb_grpc.TaskServiceStub(channel)

    return open_for


@pytest.fixture
def make(ledger: LedgerStub) -> Make:
    """Record a run of one human task (or more); return the task's id."""

    async def record(
        *,
        users: tuple[str, ...] = ("ana",),
        groups: tuple[str, ...] = (),
        count: int = 1,
        **task: Any,
    ) -> str:
        trigger = Trigger(kind=TriggerKind.MANUAL, definition_version=1, request_id=uuid4().hex)
        run_id = identifiers.run_id("billing", trigger.key)
        decision = Decision(
            definition_id="billing",
            definition_version=1,
            snapshot_sha256=canonical.digest(b"{}"),
            tasks=[
                HumanInstance(
                    task_id=identifiers.task_id("dev", run_id, "call", str(number)),
                    rule="call",
                    key=str(number),
                    title="Call",
                    input={},
                    assignees=Assignees(users=list(users), groups=list(groups)),
                    **task,
                )
                for number in range(count)
            ],
            rules=[],
        )
        await ledger.RecordRun(
            pb.RecordRunRequest(
                namespace="dev",
                run_id=run_id,
                definition_id="billing",
                trigger=canonical.render(trigger),
                snapshot=b"{}",
                decision=canonical.render(decision),
                workflow_run_id="w-1",
            )
        )
        return str(decision.tasks[0].task_id)

    return record


def named(task_id: str, **fields: Any) -> dict[str, Any]:
    return {"namespace": "dev", "task_id": task_id, "request_id": uuid4().hex, **fields}


def claiming(task_id: str, **fields: Any) -> pb.ClaimTaskRequest:
    return pb.ClaimTaskRequest(**named(task_id, **fields))


def completing(task_id: str, **fields: Any) -> pb.CompleteTaskRequest:
    return pb.CompleteTaskRequest(**named(task_id, answer=b'{"ok":true}', **fields))


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def get(inbox: TaskStub, task_id: str) -> pb.Task:
    return (await inbox.GetTask(pb.GetTaskRequest(namespace="dev", task_id=task_id))).task


async def history(inbox: TaskStub, task_id: str) -> list[pb.TaskChange]:
    asked = pb.ListTaskChangesRequest(namespace="dev", task_id=task_id)
    return list((await inbox.ListTaskChanges(asked)).changes)


def happened(changes: list[pb.TaskChange]) -> list[str]:
    return [one.event_type.removeprefix("backbone.Task") for one in changes]


async def run_status(ledger: LedgerStub, run_id: str) -> pb.RunStatus.ValueType:
    asked = pb.GetRunRequest(namespace="dev", run_id=run_id)
    return (await ledger.GetRun(asked)).run.status


async def make_later(postgres: Postgres, task_id: str, by: timedelta) -> None:
    """Let so much time pass for a task: all of its times lie that much earlier."""
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "UPDATE tasks SET due_at = due_at - $2::interval,"
            " escalates_at = escalates_at - $2, expires_at = expires_at - $2,"
            " advanced_until = advanced_until - $2, remind_at = ARRAY("
            "SELECT one - $2 FROM unnest(remind_at) AS one) WHERE task_id = $1",
            task_id,
            by,
        )


async def advance(inbox: TaskStub, task_id: str) -> pb.AdvanceTaskResponse:
    return await inbox.AdvanceTask(pb.AdvanceTaskRequest(namespace="dev", task_id=task_id))


async def test_a_task_goes_from_hand_to_hand_and_all_of_it_is_kept(
    person: As, make: Make, ledger: LedgerStub, postgres: Postgres
) -> None:
    task_id = await make(users=("ana",), groups=("collections",))
    ana = await person("ana", Role.ASSIGNEE)
    bo = await person("bo", Role.ASSIGNEE, groups=("collections",))
    claimed = (await ana.ClaimTask(claiming(task_id, version=1))).task
    assert (claimed.version, claimed.claimed_by) == (2, "local/ana")
    assert claimed.HasField("claimed_at")
    # Nobody else completes it, and nothing stands of the attempt.
    code, told = await refused(bo.CompleteTask(completing(task_id)))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "claimed by local/ana; only they or an operator may do this" in told
    released = await ana.ReleaseTask(pb.ReleaseTaskRequest(**named(task_id, reason="no time")))
    assert (released.task.version, released.task.claimed_by) == (3, "")
    await bo.CommentTask(pb.CommentTaskRequest(**named(task_id, comment="I know him")))
    given = await bo.ReassignTask(
        pb.ReassignTaskRequest(
            **named(task_id, reason="cy knows him better", assigned_users=["cy"], version=3)
        )
    )
    assert (given.task.version, given.task.assigned_users, given.task.assigned_groups) == (
        *(4, ["cy"]),
        [],
    )
    # It is no longer theirs, and so no longer there for them.
    assert (await refused(get(bo, task_id)))[0] == grpc.StatusCode.NOT_FOUND
    assert (await refused(bo.CompleteTask(completing(task_id))))[0] == grpc.StatusCode.NOT_FOUND
    cy = await person("cy", Role.ASSIGNEE)
    done = (await cy.CompleteTask(completing(task_id, version=4))).task
    assert (done.status, done.version, done.closed_by) == (
        *(pb.TASK_STATUS_COMPLETED, 5),
        "local/cy",
    )
    assert await run_status(ledger, done.run_id) == pb.RUN_STATUS_COMPLETED

    changes = await history(cy, task_id)
    assert [
        (what, one.actor, one.reason) for what, one in zip(happened(changes), changes, strict=True)
    ] == [
        ("Created", "", ""),
        ("Claimed", "local/ana", ""),
        ("Released", "local/ana", "no time"),
        ("Commented", "local/bo", ""),
        ("Reassigned", "local/bo", "cy knows him better"),
        ("Completed", "local/cy", ""),
    ]
    assert changes[3].comment == "I know him"
    assert (changes[0].assigned_groups, changes[4].assigned_users) == (["collections"], ["cy"])
    # Each is an event of the run's stream, under the same id.
    async with postgres.transaction("dev") as transaction:
        events = await app.event_store().read(transaction, eventstore.run_stream(done.run_id))
    assert {one.event_id for one in changes} <= {one.envelope.event_id for one in events}
    asked = pb.ListTaskChangesRequest(namespace="dev", task_id=task_id, page_size=4)
    first = await cy.ListTaskChanges(asked)
    asked.page_token = first.next_page_token
    rest = await cy.ListTaskChanges(asked)
    assert [*first.changes, *rest.changes] == changes
    assert not rest.next_page_token


async def test_who_looked_at_another_version_is_told_what_it_is_now(person: As, make: Make) -> None:
    task_id = await make(users=("ana", "bo"))
    ana, bo = await person("ana"), await person("bo")
    await ana.ClaimTask(claiming(task_id))
    for call in (
        bo.CompleteTask(completing(task_id, version=1, reason="ana is ill")),
        bo.ReleaseTask(pb.ReleaseTaskRequest(**named(task_id, version=1, reason="x"))),
        bo.CancelTask(pb.CancelTaskRequest(**named(task_id, version=1, reason="x"))),
        bo.ReassignTask(
            pb.ReassignTaskRequest(
                **named(task_id, version=1, reason="x", assigned_groups=["sales"])
            )
        ),
    ):
        code, told = await refused(call)
        assert code == grpc.StatusCode.ABORTED
        assert "is at version 2 now, not 1: it is assigned to ana, bo and claimed by local/ana" in (
            told
        )
    assert happened(await history(ana, task_id)) == ["Created", "Claimed"]


async def test_of_many_people_at_once_one_wins_and_the_others_are_told_who(
    person: As, make: Make, postgres: Postgres
) -> None:
    names = [f"p{number}" for number in range(6)]
    people = [await person(name, Role.ASSIGNEE, groups=("collections",)) for name in names]
    for act in ("claim", "complete"):
        task_id = await make(groups=("collections",))

        async def at_once(one: TaskStub, task_id: str = task_id, act: str = act) -> Any:
            if act == "claim":
                return await one.ClaimTask(claiming(task_id, version=1))
            return await one.CompleteTask(completing(task_id, version=1))

        outcomes = await asyncio.gather(*map(at_once, people), return_exceptions=True)
        won = [one.task for one in outcomes if not isinstance(one, BaseException)]
        lost = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
        assert (len(won), len(lost)) == (1, 5)
        winner = won[0].claimed_by or won[0].closed_by
        assert winner.removeprefix("local/") in names
        expected = {"claim": grpc.StatusCode.ABORTED, "complete": "FAILED_PRECONDITION"}[act]
        assert {error.code() if act == "claim" else error.code().name for error in lost} == {
            expected
        }
        assert all(winner in (error.details() or "") for error in lost)
        async with postgres.transaction("dev") as transaction:
            events = await app.event_store().read(transaction, eventstore.run_stream(won[0].run_id))
        counts = Counter(event.envelope.type for event in events)
        assert counts["backbone.TaskClaimed"] + counts["backbone.TaskCompleted"] == 1


async def test_an_operator_overrides_a_claim_with_a_reason(person: As, make: Make) -> None:
    task_id = await make()
    ana, ops = await person("ana", Role.ASSIGNEE), await person("ops", Role.OPERATOR)
    await ana.ClaimTask(claiming(task_id))
    code, told = await refused(ops.CompleteTask(completing(task_id)))
    assert (code, told.endswith("claimed by local/ana; give a reason")) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        True,
    )
    done = await ops.CompleteTask(completing(task_id, reason="ana is ill"))
    assert (done.task.closed_by, done.task.claimed_by) == ("local/ops", "local/ana")
    assert (await history(ops, task_id))[-1].reason == "ana is ill"


async def test_a_cancelled_task_closes_its_run_without_a_failure(
    person: As, make: Make, ledger: LedgerStub
) -> None:
    task_id = await make()
    ops, ana = await person("ops", Role.OPERATOR), await person("ana", Role.ASSIGNEE)
    asked = pb.CancelTaskRequest(**named(task_id, reason="paid meanwhile"))
    assert (await refused(ana.CancelTask(asked)))[0] == grpc.StatusCode.PERMISSION_DENIED
    asked.reason = ""
    assert (await refused(ops.CancelTask(asked)))[0] == grpc.StatusCode.INVALID_ARGUMENT
    asked.reason = "paid meanwhile"
    task = (await ops.CancelTask(asked)).task
    assert (task.status, task.closed_by) == (pb.TASK_STATUS_CANCELLED, "local/ops")
    assert await run_status(ledger, task.run_id) == pb.RUN_STATUS_COMPLETED
    code, told = await refused(ana.CompleteTask(completing(task_id)))
    assert (code, told) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        f"the task {task_id} is cancelled by local/ops, not open",
    )


@pytest.mark.parametrize("what", ["claim", "comment", "cancel"])
async def test_the_same_request_again_changes_nothing_and_is_answered(
    person: As, make: Make, what: str
) -> None:
    task_id, other = await make(), await make()
    ana = await person("ana")

    async def ask(task: str, *, comment: str = "hello", actor: TaskStub = ana) -> pb.Task:
        names = {"namespace": "dev", "task_id": task, "request_id": "r-1"}
        if what == "claim":
            return (await actor.ClaimTask(pb.ClaimTaskRequest(**names, version=1))).task
        if what == "comment":
            return (await actor.CommentTask(pb.CommentTaskRequest(**names, comment=comment))).task
        return (await actor.CancelTask(pb.CancelTaskRequest(**names, reason="gone"))).task

    assert await ask(task_id) == await ask(task_id)
    assert len(await history(ana, task_id)) == 2
    bo = await person("bo")
    for call in (ask(other), ask(task_id, actor=bo)):
        assert (await refused(call))[0] == grpc.StatusCode.INVALID_ARGUMENT
    if what == "comment":
        code, _ = await refused(ask(task_id, comment="another"))
        assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_the_inbox_of_a_person_holds_what_is_for_them(person: As, make: Make) -> None:
    by_name, by_group = await make(), await make(users=(), groups=("collections",))
    others, claimed = await make(users=("zoe",)), await make(users=("zoe", "ana"))
    ana = await person("ana", Role.ASSIGNEE, groups=("collections", "desk"))
    viewer = await person("vic", Role.VIEWER)
    ops = await person("ops")
    await ops.CompleteTask(completing(await make(), reason="done"))
    await ana.ClaimTask(claiming(claimed))

    async def listed(stub: TaskStub, **filters: Any) -> list[str]:
        asked = pb.ListTasksRequest(namespace="dev", **filters)
        return [task.task_id for task in (await stub.ListTasks(asked)).tasks]

    still_open = {"status": pb.TASK_STATUS_OPEN}
    for filters in ({}, {"mine": True}):
        assert await listed(ana, **still_open, **filters) == [claimed, by_group, by_name]
    assert len(await listed(ana)) == 4
    assert await listed(ana, assigned_group="collections", **still_open) == [by_group]
    for filters in ({"assigned_group": "sales"}, {"assigned_user": "zoe"}):
        asked = pb.ListTasksRequest(namespace="dev", **filters)
        assert (await refused(ana.ListTasks(asked)))[0] == grpc.StatusCode.PERMISSION_DENIED
    assert await listed(viewer, **still_open) == [claimed, others, by_group, by_name]
    assert await listed(viewer, assigned_user="zoe") == [claimed, others]
    assert await listed(viewer, mine=True) == []
    # Pages go on within what is theirs.
    asked = pb.ListTasksRequest(namespace="dev", page_size=2, **still_open)
    page = await ana.ListTasks(asked)
    asked.page_token = page.next_page_token
    assert [task.task_id for task in (await ana.ListTasks(asked)).tasks] == [by_name]
    assert (await refused(viewer.ListTasks(asked)))[0] == grpc.StatusCode.INVALID_ARGUMENT
    # What is another's is not there, to be seen or changed.
    for call in (get(ana, others), history(ana, others), ana.ClaimTask(claiming(others))):
        assert (await refused(call))[0] == grpc.StatusCode.NOT_FOUND
    # Who may see it and not act is told so.
    assert (await refused(viewer.ClaimTask(claiming(others))))[0] == (
        grpc.StatusCode.PERMISSION_DENIED
    )


@pytest.mark.parametrize("filters", [{}, {"mine": True, "status": pb.TASK_STATUS_OPEN}])
async def test_tasks_are_listed_by_definition_and_by_when_they_are_due(
    person: As, make: Make, filters: dict[str, Any]
) -> None:
    at_noon, undated = await make(due=HOUR), await make()
    ana = await person("ana")
    due = (await get(ana, at_noon)).due_at.ToDatetime(tzinfo=UTC)

    async def listed(**more: Any) -> list[str]:
        asked = pb.ListTasksRequest(namespace="dev", **filters, **more)
        return [task.task_id for task in (await ana.ListTasks(asked)).tasks]

    assert await listed(definition_id="billing") == [undated, at_noon]
    assert await listed(definition_id="sales") == []
    assert await listed(due_before=due) == []
    assert await listed(due_before=due + timedelta(seconds=1)) == [at_noon]


async def test_a_refused_answer_tells_each_place_and_what_is_wrong_there(
    person: As, make: Make
) -> None:
    form = {
        "type": "object",
        "required": ["paid"],
        "properties": {"lines": {"items": {"minimum": 1}}},
    }
    task_id = await make(form=form)
    ana = await person("ana")
    asked = pb.CompleteTaskRequest(**named(task_id, answer=b'{"lines": [1, 0]}'))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ana.CompleteTask(asked)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    told = error_details_pb2.BadRequest()
    assert rpcerrors.detail_of(caught.value, told)
    assert {one.field: one.description for one in told.field_violations} == {
        "": '"paid" is a required property',
        "lines[1]": "0 is less than the minimum of 1",
    }


async def test_the_clock_reminds_tells_of_lateness_escalates_and_expires(
    person: As, make: Make, ledger: LedgerStub, postgres: Postgres
) -> None:
    task_id = await make(**TIMED)
    ops = await person("ops")
    task = await get(ops, task_id)
    created = task.created_at.ToDatetime()
    times = [*task.remind_at, task.due_at, task.escalates_at, task.expires_at]
    assert [(one.ToDatetime() - created) / HOUR for one in times] == [8, 9, 10, 20, 30]
    ana = await person("ana")
    await ana.ClaimTask(claiming(task_id))

    # Before anything is due, and after each look, nothing happens twice.
    for hours, expected in (
        (0, []),
        (8, ["Reminded"]),
        (1, ["Reminded"]),
        (1, ["Overdue"]),
        (10, ["Escalated"]),
        (10, ["Expired"]),
    ):
        await make_later(postgres, task_id, hours * HOUR)
        before = happened(await history(ops, task_id))
        first, again = [await advance(ops, task_id) for _ in "12"]
        assert happened(await history(ops, task_id))[len(before) :] == expected
        assert first == again
        assert first.HasField("next_at") == (expected != ["Expired"])
        if expected == ["Escalated"]:
            escalated = await get(ops, task_id)
            assert (escalated.assigned_users, escalated.assigned_groups) == ([], ["managers"])
            assert (escalated.claimed_by, escalated.version) == ("", 3)
    expired = await get(ops, task_id)
    assert (expired.status, expired.closed_by) == (pb.TASK_STATUS_EXPIRED, "")
    assert await run_status(ledger, expired.run_id) == pb.RUN_STATUS_COMPLETED


async def test_a_wake_up_that_our_clock_is_behind_does_its_work(
    person: As, make: Make, postgres: Postgres
) -> None:
    task_id = await make(due=HOUR)
    ops = await person("ops")
    await make_later(postgres, task_id, HOUR - timedelta(seconds=2))
    task = await get(ops, task_id)
    asked = pb.AdvanceTaskRequest(namespace="dev", task_id=task_id)
    assert (await ops.AdvanceTask(asked)).next_at == task.due_at
    asked.woken_for.CopyFrom(task.due_at)
    assert not (await ops.AdvanceTask(asked)).HasField("next_at")
    assert happened(await history(ops, task_id)) == ["Created", "Overdue"]


async def test_the_clock_leaves_closed_and_automated_tasks_alone(
    person: As, make: Make, postgres: Postgres
) -> None:
    task_id = await make(**TIMED, count=2)
    ops = await person("ops")
    await ops.CompleteTask(completing(task_id, reason="done"))
    await make_later(postgres, task_id, 100 * HOUR)
    assert not (await advance(ops, task_id)).HasField("next_at")
    assert happened(await history(ops, task_id)) == ["Created", "Completed"]
    code, _ = await refused(advance(ops, str(uuid4())))
    assert code == grpc.StatusCode.NOT_FOUND


async def test_completing_and_expiring_at_once_is_one_of_both(
    person: As, make: Make, postgres: Postgres
) -> None:
    ops = await person("ops")
    for _ in range(5):
        task_id = await make(expiry=HOUR)
        await make_later(postgres, task_id, 2 * HOUR)
        await asyncio.gather(
            ops.CompleteTask(completing(task_id, reason="done")),
            advance(ops, task_id),
            return_exceptions=True,
        )
        assert happened(await history(ops, task_id)) in (
            ["Created", "Completed"],
            ["Created", "Expired"],
        )


async def test_read_models_of_human_tasks_are_the_same_after_a_rebuild(
    person: As, make: Make, postgres: Postgres
) -> None:
    ana = await person("ana")
    whole, cancelled = await make(**TIMED), await make()
    await ana.ClaimTask(claiming(whole))
    await ana.CommentTask(pb.CommentTaskRequest(**named(whole, comment="later")))
    for hours in (8, 2, 10):
        await make_later(postgres, whole, hours * HOUR)
        await advance(ana, whole)
    to = {"assigned_users": ["bo", "cy"], "reason": "busy"}
    await ana.ReassignTask(pb.ReassignTaskRequest(**named(whole, **to)))
    await ana.ClaimTask(claiming(whole))
    await ana.CancelTask(pb.CancelTaskRequest(**named(cancelled, reason="gone")))
    # The times that the test moved are not what the events say.
    tasks = (
        "SELECT task_id, status, version, claimed_by, claimed_at, assigned_users, assigned_groups"
        " FROM tasks ORDER BY position"
    )
    changes = "SELECT * FROM task_changes ORDER BY position"
    async with postgres.transaction("dev") as transaction:
        before = await transaction.fetch(tasks), await transaction.fetch(changes)
        await transaction.execute("TRUNCATE runs, tasks, task_changes")
        await app.event_store().rebuild(transaction)
        assert (await transaction.fetch(tasks), await transaction.fetch(changes)) == before
    assert [row["version"] for row in before[0]] == [5, 2]


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (pb.CommentTaskRequest(**named("x")), "not a task id"),
        (pb.CommentTaskRequest(**named(str(uuid4()))), "comment is missing"),
        (pb.CommentTaskRequest(**named(str(uuid4()), comment="x" * 4001)), "4000 characters"),
        (pb.ReassignTaskRequest(**named(str(uuid4()), reason="r")), "at least one user or group"),
        (
            pb.ReassignTaskRequest(**named(str(uuid4()), reason="r", assigned_groups=["No Group"])),
            "assigned.groups.0",
        ),
        (
            pb.ReassignTaskRequest(**named(str(uuid4()), reason="r", assigned_users=["u"] * 101)),
            "at most 100 users and groups",
        ),
        (pb.ClaimTaskRequest(**named(str(uuid4()), version=-1)), "versions count from 1"),
        (pb.ListTasksRequest(namespace="dev", mine=True, assigned_user="ana"), "exclude"),
    ],
)
async def test_bad_requests_are_refused_in_a_sentence(person: As, request_: Any, told: str) -> None:
    inbox = await person("ana")
    call = getattr(inbox, type(request_).__name__.removesuffix("Request"))
    code, said = await refused(call(request_))
    assert (code, told in said) == (grpc.StatusCode.INVALID_ARGUMENT, True), said


@pytest.mark.parametrize(
    ("roles", "allowed"),
    [
        ({Role.VIEWER}, {"ListTasks", "ListTaskChanges"}),
        ({Role.ASSIGNEE}, {"ListTasks", "ListTaskChanges", "ClaimTask", "CommentTask"}),
        ({Role.OPERATOR}, {"ListTasks", "ListTaskChanges", "ClaimTask", "CommentTask"}),
        ({Role.SERVICE}, {"ListTasks", "ListTaskChanges", "AdvanceTask"}),
        ({Role.TASK_WORKER, Role.AUTHOR}, set()),
    ],
)
async def test_roles_decide_who_may_call_what(
    person: As, roles: set[Role], allowed: set[str]
) -> None:
    inbox = await person("ana", *roles)
    names = ("ListTasks", "ListTaskChanges", "ClaimTask", "CommentTask", "AdvanceTask")
    codes = {
        name: (await refused(getattr(inbox, name)(getattr(pb, f"{name}Request")())))[0]
        for name in names
    }
    assert {
        name for name, code in codes.items() if code != grpc.StatusCode.PERMISSION_DENIED
    } == allowed


async def test_an_answer_that_does_not_fit_leaves_the_task_open(person: As, make: Make) -> None:
    task_id = await make(form={"type": "object", "required": ["paid"]})
    ana = await person("ana")
    code, told = await refused(ana.CompleteTask(completing(task_id)))
    assert (code, "paid" in told) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    task = await get(ana, task_id)
    assert (task.status, task.version) == (pb.TASK_STATUS_OPEN, 1)
    assert json.loads(task.form) == {"type": "object", "required": ["paid"]}


async def test_open_human_tasks_are_counted_by_their_age(
    make: Make,
    person: As,
    postgres: Postgres,
    serving: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = Measured(monkeypatch)
    for age in (0 * HOUR, 2 * HOUR, 47 * HOUR, 30 * 24 * HOUR, 31 * 24 * HOUR):
        task_id = await make()
        async with postgres.transaction("dev") as transaction:
            await transaction.execute(
                "UPDATE tasks SET created_at = now() - $2::interval WHERE task_id = $1",
                task_id,
                age,
            )
    done = await make()
    ana = await person("ana")
    await ana.ClaimTask(claiming(done))
    await ana.CompleteTask(completing(done))
    watch = InboxWatch(database=serving, tasks=PostgresTaskStore(), namespaces=["dev", "prod"])

    async def looked() -> dict[tuple[str, str], int]:
        await watch.look()
        return {
            (of[Attribute.NAMESPACE], of[Attribute.AGE]): point.value
            for of, point in measured.points(Metric.LEDGER_OPEN_HUMAN_TASKS)
            if point.value
        }

    assert await looked() == {
        ("dev", "under_1h"): 1,
        ("dev", "under_1d"): 1,
        ("dev", "under_7d"): 1,
        ("dev", "older"): 2,
    }
    # Bounded: the first that were made are looked at, and no others.
    monkeypatch.setattr(inbox_watch, "MOST", 2)
    assert await looked() == {("dev", "under_1h"): 1, ("dev", "under_1d"): 1}
