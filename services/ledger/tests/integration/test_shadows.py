"""Shadows through gRPC, on a real PostgreSQL: they decide beside runs, and nothing comes of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import uuid4

import grpc
import pytest

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc, shadows_pb2_grpc
from backbone.ledger.v1 import shadows_pb2 as pb
from contracts import canonical, identifiers
from contracts.decisions import Decision
from contracts.roles import Role
from contracts.triggers import Trigger, TriggerKind
from runtime.postgres import Postgres

# The stubs know these types in their type hints only.
LedgerStub: TypeAlias = "ledger_pb2_grpc.LedgerServiceAsyncStub"
ShadowStub: TypeAlias = "shadows_pb2_grpc.ShadowServiceAsyncStub"
Channels = Callable[..., Awaitable[grpc.aio.Channel]]

NAME = "billing.overdue"


@pytest.fixture
async def shadows(calls: Channels) -> ShadowStub:
    return shadows_pb2_grpc.ShadowServiceStub(await calls(actor="anna"))


STATEFUL = {
    "mode": "stateful",
    "instance": {},
    "triggers": [{"name": "paid", "event": {"type": "paid", "correlate": "event.subject"}}],
}


def content(when: str = "true", spec: Any = None, **metadata: str) -> bytes:
    task = {"type": "automated", "handler": "send", "taskQueue": "mail-tq"}
    return json.dumps(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": NAME, "namespace": "dev", "owner": "billing", **metadata},
            "spec": {
                "taskQueue": "billing-tq",
                "rules": [{"name": "remind", "when": when, "task": task}],
                **(spec or {}),
            },
        }
    ).encode()


def start(**fields: Any) -> pb.StartShadowRequest:
    request = pb.StartShadowRequest(
        **{
            "namespace": "dev",
            "definition_id": NAME,
            "definition_version": 8,
            "content": content(),
            "request_id": uuid4().hex,
            "reason": "try it",
            **fields,
        }
    )
    if not request.HasField("expires_at"):
        request.expires_at.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    return request


def recording(namespace: str = "dev") -> ledger_pb2.RecordRunRequest:
    trigger = Trigger(kind=TriggerKind.MANUAL, definition_version=7, request_id=uuid4().hex)
    decision = Decision(
        definition_id=NAME,
        definition_version=7,
        snapshot_sha256=canonical.digest(b"{}"),
        tasks=[],
        rules=[],
    )
    return ledger_pb2.RecordRunRequest(
        namespace=namespace,
        run_id=identifiers.run_id(NAME, trigger.key),
        definition_id=NAME,
        trigger=canonical.render(trigger),
        snapshot=b"{}",
        decision=canonical.render(decision),
        workflow_run_id="w-1",
    )


def failed(shadow_id: str, run_id: str, reason: str = "no such field") -> Any:
    decision = pb.ShadowDecision(run_id=run_id, outcome=pb.SHADOW_OUTCOME_FAILED, reason=reason)
    return pb.RecordShadowDecisionRequest(namespace="dev", shadow_id=shadow_id, decision=decision)


async def recorded(ledger: LedgerStub) -> ledger_pb2.RecordRunRequest:
    request = recording()
    await ledger.RecordRun(request)
    return request


async def test_a_run_is_told_of_the_shadow_while_it_decides(
    ledger: LedgerStub, shadows: ShadowStub
) -> None:
    assert (await ledger.RecordRun(recording())).shadow_id == ""
    started = (await shadows.StartShadow(start())).shadow
    assert (started.active, started.decided, started.started_by) == (True, 0, "local/anna")
    request = recording()
    assert (await ledger.RecordRun(request)).shadow_id == started.shadow_id
    # Neither a repetition nor another execution of it is told again.
    assert (await ledger.RecordRun(request)).shadow_id == ""
    request.workflow_run_id = "w-2"
    assert (await ledger.RecordRun(request)).shadow_id == ""
    # Nor is another namespace.
    assert (await ledger.RecordRun(recording("prod"))).shadow_id == ""
    stop = pb.StopShadowRequest(namespace="dev", definition_id=NAME, reason="seen enough")
    stopped = (await shadows.StopShadow(stop)).shadow
    assert (stopped.active, stopped.stop_reason) == (False, "seen enough")
    assert (await shadows.StopShadow(stop)).shadow == stopped
    assert (await ledger.RecordRun(recording())).shadow_id == ""


async def test_the_first_decision_of_a_run_stands_and_nothing_else_comes_of_it(
    ledger: LedgerStub, shadows: ShadowStub, postgres: Postgres
) -> None:
    shadow_id = (await shadows.StartShadow(start())).shadow.shadow_id
    request = await recorded(ledger)
    decision = json.loads(request.decision)
    task = {
        "type": "automated",
        "task_id": str(uuid4()),
        "rule": "remind",
        "key": "",
        "handler": "send",
        "task_queue": "mail-tq",
        "input": {},
        "timeout": "60s",
        "retry": {},
    }
    decided = pb.ShadowDecision(
        run_id=request.run_id,
        outcome=pb.SHADOW_OUTCOME_DECIDED,
        decision=json.dumps(decision | {"tasks": [task]}).encode(),
    )
    before = await everything(postgres)
    tell = pb.RecordShadowDecisionRequest(namespace="dev", shadow_id=shadow_id, decision=decided)
    assert (await shadows.RecordShadowDecision(tell)).recorded
    assert not (await shadows.RecordShadowDecision(tell)).recorded
    assert not (await shadows.RecordShadowDecision(failed(shadow_id, request.run_id))).recorded
    assert await everything(postgres) == before
    listing = pb.ListShadowDecisionsRequest(namespace="dev", shadow_id=shadow_id)
    (found,) = (await shadows.ListShadowDecisions(listing)).decisions
    assert found.outcome == pb.SHADOW_OUTCOME_DECIDED
    assert json.loads(found.decision)["tasks"][0]["handler"] == "send"
    got = pb.GetShadowRequest(namespace="dev", shadow_id=shadow_id)
    assert (await shadows.GetShadow(got)).shadow.decided == 1


async def everything(postgres: Postgres) -> dict[str, int]:
    """Count what has effects: runs, tasks, events, what is to be published and started."""
    tables = ("runs", "tasks", "events", "outbox_pending", "pending_starts", "trigger_keys")
    async with postgres.transaction("dev") as transaction:
        return {
            table: await transaction.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
            for table in tables
        }


async def test_a_shadow_ends_by_itself(ledger: LedgerStub, shadows: ShadowStub) -> None:
    shadow_id = (await shadows.StartShadow(start(max_runs=2))).shadow.shadow_id
    for _ in range(2):
        request = recording()
        assert (await ledger.RecordRun(request)).shadow_id == shadow_id
        assert (await shadows.RecordShadowDecision(failed(shadow_id, request.run_id))).recorded
    assert (await ledger.RecordRun(recording())).shadow_id == ""
    listing = pb.ListShadowsRequest(namespace="dev")
    (found,) = (await shadows.ListShadows(listing)).shadows
    assert (found.active, found.decided) == (False, 2)
    assert not found.content
    # One that has ended makes room, and is forgotten.
    other = (await shadows.StartShadow(start())).shadow.shadow_id
    assert other != shadow_id
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shadows.GetShadow(pb.GetShadowRequest(namespace="dev", shadow_id=shadow_id))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    late = await recorded(ledger)
    assert not (await shadows.RecordShadowDecision(failed(shadow_id, late.run_id))).recorded


async def test_a_shadow_expires(
    ledger: LedgerStub, shadows: ShadowStub, postgres: Postgres
) -> None:
    await shadows.StartShadow(start())
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("UPDATE shadows SET expires_at = clock_timestamp()")
    assert (await ledger.RecordRun(recording())).shadow_id == ""
    assert (await shadows.StartShadow(start())).shadow.active


async def test_one_shadow_decides_at_a_time_whoever_asks_at_once(shadows: ShadowStub) -> None:
    answers = await asyncio.gather(
        *(shadows.StartShadow(start()) for _ in range(8)), return_exceptions=True
    )
    started = [one for one in answers if isinstance(one, pb.StartShadowResponse)]
    refused = [one for one in answers if isinstance(one, grpc.aio.AioRpcError)]
    assert (len(started), len(refused)) == (1, 7)
    assert {one.code() for one in refused} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert "is its shadow already, started by local/anna" in str(refused[0].details())


async def test_the_same_request_is_one_shadow(shadows: ShadowStub) -> None:
    request = start()
    first, again = [(await shadows.StartShadow(request)).shadow for _ in "12"]
    assert first == again
    request.content = content("false")
    with pytest.raises(grpc.aio.AioRpcError, match="has started another shadow"):
        await shadows.StartShadow(request)


async def test_decisions_come_in_pages_newest_first(
    ledger: LedgerStub, shadows: ShadowStub
) -> None:
    shadow_id = (await shadows.StartShadow(start())).shadow.shadow_id
    runs = [(await recorded(ledger)).run_id for _ in range(3)]
    for run_id in runs:
        await shadows.RecordShadowDecision(failed(shadow_id, run_id, "x" * 5000 + "\x00"))
    request = pb.ListShadowDecisionsRequest(namespace="dev", shadow_id=shadow_id, page_size=2)
    first = await shadows.ListShadowDecisions(request)
    request.page_token = first.next_page_token
    second = await shadows.ListShadowDecisions(request)
    assert [one.run_id for one in (*first.decisions, *second.decisions)] == runs[::-1]
    assert second.next_page_token == ""
    assert len(first.decisions[0].reason) == 1000


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"content": b"{"}, "content is not accepted"),
        ({"content": b"{}"}, "content."),
        ({"content": content("nope +")}, "content: rule 'remind', when"),
        ({"content": content(spec=STATEFUL)}, "billing.overdue is stateful, and a shadow would"),
        ({"content": content(id="a.b")}, "the content is a.b in dev"),
        ({"content": content(namespace="prod")}, "in prod, not billing.overdue in dev"),
        ({"max_runs": 100_001}, "max_runs is 100001"),
        ({"max_runs": -1}, "max_runs is -1"),
        ({"definition_version": 0}, "counts from 1"),
        ({"request_id": ""}, "not a request_id"),
        ({"reason": ""}, "reason is missing"),
        ({"definition_id": "No"}, "not a definition id"),
        ({"namespace": "elsewhere"}, "not served here"),
    ],
)
async def test_what_is_wrong_is_refused_in_a_sentence(
    shadows: ShadowStub, fields: Any, said: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shadows.StartShadow(start(**fields))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in str(refused.value.details())


@pytest.mark.parametrize("hours", [-1, 32 * 24])
async def test_a_shadow_has_an_end(shadows: ShadowStub, hours: int) -> None:
    request = start()
    request.expires_at.FromDatetime(datetime.now(UTC) + timedelta(hours=hours))
    with pytest.raises(grpc.aio.AioRpcError, match="expires_at has to be in the future"):
        await shadows.StartShadow(request)


async def test_a_definition_without_a_shadow_has_none_to_stop(shadows: ShadowStub) -> None:
    stop = pb.StopShadowRequest(namespace="dev", definition_id=NAME, reason="no more")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shadows.StopShadow(stop)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_only_operators_start_and_stop_and_only_services_record(calls: Channels) -> None:
    viewer = shadows_pb2_grpc.ShadowServiceStub(await calls(Role.VIEWER))
    stop = pb.StopShadowRequest(namespace="dev", definition_id=NAME, reason="no more")
    for call in (
        viewer.StartShadow(start()),
        viewer.StopShadow(stop),
        viewer.RecordShadowDecision(failed("x", "y")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert not (await viewer.ListShadows(pb.ListShadowsRequest(namespace="dev"))).shadows
