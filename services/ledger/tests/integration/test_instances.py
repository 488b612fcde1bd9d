"""Events applied to stateful instances, through gRPC, on a real PostgreSQL."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from backbone.ledger.v1 import (
    control_pb2,
    control_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    routing_pb2,
    routing_pb2_grpc,
)
from backbone.ledger.v1 import instances_pb2 as pb
from backbone.ledger.v1 import instances_pb2_grpc as pb_grpc
from contracts import canonical, identifiers
from contracts.decisions import AutomatedInstance, Decision, RuleTrace, StateChange
from contracts.definitions import Retry
from contracts.roles import Role
from contracts.triggers import Trigger
from ledger import app
from ledger.adapters import projections
from ledger.adapters.postgres_instances import PostgresInstanceEventStore
from runtime.postgres import Postgres

InstanceStub: TypeAlias = "pb_grpc.InstanceServiceAsyncStub"
RoutingStub: TypeAlias = "routing_pb2_grpc.RoutingServiceAsyncStub"
ControlStub: TypeAlias = "control_pb2_grpc.ControlServiceAsyncStub"
Channels = Callable[..., Awaitable[grpc.aio.Channel]]

DEFINITION = "billing.dunning"
KEY = identifiers.key_hash(b"a secret of these tests", DEFINITION, "invoice-1")


@pytest.fixture
async def instances(calls: Channels) -> InstanceStub:
    return pb_grpc.InstanceServiceStub(await calls())


@pytest.fixture
async def control(calls: Channels) -> ControlStub:
    return control_pb2_grpc.ControlServiceStub(await calls())


def trigger(number: int) -> Trigger:
    return Trigger.model_validate(
        {
            "kind": "event",
            "names": ["paid"],
            "definition_version": 3,
            "events": [
                {
                    "event_id": f"e-{number}",
                    "type": "billing.payment.received",
                    "source": "shop",
                    "occurred_at": "2026-11-01T12:00:00Z",
                    "payload": {"amount": number},
                }
            ],
        }
    )


def run_id(number: int) -> str:
    return identifiers.run_id(DEFINITION, trigger(number).key)


@pytest.fixture
async def routing(calls: Channels) -> RoutingStub:
    return routing_pb2_grpc.RoutingServiceStub(await calls())


def signalled(
    number: int, *, offset: int | None = None, key_hash: str = KEY, cause: str = ""
) -> routing_pb2.RoutedEvent:
    """Return an event as the router tells of it; without an offset it stands at its number's."""
    return routing_pb2.RoutedEvent(
        place=routing_pb2.RecordPlace(
            topic="dev.events", partition=0, offset=number if offset is None else offset
        ),
        source="shop",
        event_id=f"e-{number}",
        type="billing.payment.received",
        digest=hashlib.sha256(str(number).encode()).digest(),
        registry_revision=7,
        cause=cause,
        candidates=[
            routing_pb2.RoutedCandidate(
                definition_id=DEFINITION,
                definition_version=3,
                outcome=routing_pb2.ROUTING_OUTCOME_SIGNALLED,
                trigger_names=["paid"],
                run_id=run_id(number),
                instance_event=routing_pb2.InstanceEvent(
                    key_hash=key_hash, trigger=canonical.render(trigger(number))
                ),
            )
        ],
    )


async def queue(routing: RoutingStub, *numbers: int) -> None:
    """Record that events were routed to the instance."""
    await routing.RecordRouting(
        routing_pb2.RecordRoutingRequest(
            namespace="dev", events=[signalled(number) for number in numbers]
        )
    )


async def outcomes(routing: RoutingStub) -> dict[str, str]:
    """Return what the decision log says of each event, and why."""
    page = await routing.ListRoutingDecisions(
        routing_pb2.ListRoutingDecisionsRequest(
            namespace="dev", definition_id=DEFINITION, page_size=1000
        )
    )
    return {
        one.event_id: f"{routing_pb2.RoutingOutcome.Name(one.outcome)[16:]} {one.detail}".strip()
        for one in page.decisions
    }


async def following(instances: InstanceStub, begun: str = "") -> pb.NextApplication:
    response = await instances.GetNextApplication(
        pb.GetNextApplicationRequest(
            namespace="dev", definition_id=DEFINITION, key_hash=KEY, begun_run_id=begun
        )
    )
    return response.next


async def waiting(instances: InstanceStub, **fields: Any) -> list[tuple[str, int]]:
    page = await instances.ListWaitingInstances(
        pb.ListWaitingInstancesRequest(namespace="dev", **fields)
    )
    return [(one.key_hash, one.events) for one in page.instances]


def application(
    number: int,
    place: pb.NextApplication,
    *,
    ended: bool = False,
    tasks: int = 0,
    **fields: Any,
) -> pb.ApplyToInstanceRequest:
    """Return the request that applies an event: its number is added to the state's list."""
    before = json.loads(place.state) if place.state else {"seen": []}
    bodies = [canonical.render(one) for one in (before, {"seen": [*before["seen"], number]})]
    decided = [
        AutomatedInstance(
            task_id=identifiers.task_id("dev", identifiers.RunId(run_id(number)), "r", str(task)),
            rule="r",
            key=str(task),
            handler="send",
            task_queue="mail-tq",
            input={},
            timeout=timedelta(seconds=30),
            retry=Retry(),
        )
        for task in range(tasks)
    ]
    decision = Decision(
        definition_id=DEFINITION,
        definition_version=3,
        snapshot_sha256=canonical.digest(canonical.render({})),
        tasks=decided,
        rules=[RuleTrace(rule="r", when=True, tasks=[one.task_id for one in decided])],
        state=StateChange(
            before_sha256=canonical.digest(bodies[0]),
            after_sha256=canonical.digest(bodies[1]),
            ended=ended,
        ),
    )
    return pb.ApplyToInstanceRequest(
        namespace="dev",
        run_id=run_id(number),
        definition_id=DEFINITION,
        trigger=canonical.render(trigger(number)),
        snapshot=b"{}",
        decision=canonical.render(decision),
        workflow_run_id="w-1",
        **{
            "key_hash": KEY,
            "generation": place.generation,
            "sequence": place.sequence,
            "state_before": bodies[0],
            "state_after": bodies[1],
            **fields,
        },
    )


async def apply(instances: InstanceStub, number: int, **fields: Any) -> pb.ApplyToInstanceResponse:
    """Apply an event that waits."""
    place = await following(instances)
    assert place.run_id == run_id(number)
    return await instances.ApplyToInstance(application(number, place, **fields))


async def adopt(instances: InstanceStub, number: int, who: str) -> pb.AdoptRunResponse:
    return await instances.AdoptRun(
        pb.AdoptRunRequest(
            namespace="dev",
            definition_id=DEFINITION,
            run_id=run_id(number),
            workflow_run_id=who,
        )
    )


async def not_applied(ledger: ledger_pb2_grpc.LedgerServiceStub, number: int, who: str) -> None:
    await ledger.RecordRunFailure(
        ledger_pb2.RecordRunFailureRequest(
            namespace="dev",
            run_id=run_id(number),
            definition_id=DEFINITION,
            trigger=canonical.render(trigger(number)),
            workflow_run_id=who,
            failure=ledger_pb2.Failure(type="Cancelled", message="by hand"),
        )
    )


async def retry(control: ControlStub, number: int) -> control_pb2.RetryRunResponse:
    return await control.RetryRun(
        control_pb2.RetryRunRequest(
            namespace="dev", run_id=run_id(number), request_id=uuid4().hex, reason="once more"
        )
    )


async def cancel(control: ControlStub, number: int) -> None:
    await control.CancelRun(
        control_pb2.CancelRunRequest(
            namespace="dev", run_id=run_id(number), request_id=uuid4().hex, reason="wrong data"
        )
    )


async def seen(instances: InstanceStub, generation: int = 1) -> tuple[pb.Instance, list[int]]:
    found = await instances.GetInstance(
        pb.GetInstanceRequest(
            namespace="dev", instance_id=identifiers.instance_id(DEFINITION, KEY, generation)
        )
    )
    return found.instance, json.loads(found.state)["seen"]


async def test_events_are_applied_in_turn_and_each_is_a_run(
    instances: InstanceStub, routing: RoutingStub, calls: Channels
) -> None:
    await queue(routing, 1, 2)
    await queue(routing, 3)
    assert await waiting(instances) == [(KEY, 3)]
    for number in (1, 2, 3):
        place = await following(instances)
        assert (place.run_id, place.applied) == (run_id(number), False)
        assert Trigger.model_validate_json(place.trigger) == trigger(number)
        assert (place.generation, place.sequence) == (1, number)
        response = await apply(instances, number)
        assert response.outcome == ledger_pb2.RECORD_OUTCOME_RECORDED
        # The next one comes with the answer.
        assert response.next == await following(instances)
    assert response.next.run_id == ""
    assert await waiting(instances) == []
    instance, numbers = await seen(instances)
    assert (instance.sequence, instance.status) == (3, pb.INSTANCE_STATUS_OPEN)
    assert (instance.last_run_id, numbers) == (run_id(3), [1, 2, 3])
    ledger = ledger_pb2_grpc.LedgerServiceStub(await calls())
    run = await ledger.GetRun(ledger_pb2.GetRunRequest(namespace="dev", run_id=run_id(2)))
    assert run.run.status == ledger_pb2.RUN_STATUS_COMPLETED
    assert json.loads(run.decision)["state"]["ended"] is False
    # What deciding it again takes, and gives.
    assert json.loads(run.state_before) == {"seen": [1]}
    assert json.loads(run.state_after) == {"seen": [1, 2]}


async def test_an_event_that_comes_again_changes_nothing(
    instances: InstanceStub, routing: RoutingStub
) -> None:
    await queue(routing, 1)
    await queue(routing, 1)
    place = await following(instances)
    first = await apply(instances, 1)
    await queue(routing, 2)
    await apply(instances, 2)
    # Whatever place is asked for.
    again = await instances.ApplyToInstance(application(1, place))
    assert again.outcome == ledger_pb2.RECORD_OUTCOME_REPEATED
    assert again.decision == first.decision
    assert (await seen(instances))[1] == [1, 2]


async def test_what_was_applied_waits_no_more_though_the_log_has_forgotten_it(
    instances: InstanceStub, routing: RoutingStub, postgres: Postgres
) -> None:
    await queue(routing, 1)
    await apply(instances, 1)
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("DELETE FROM routing_decisions")
        await transaction.execute("DELETE FROM routed_events")
    await queue(routing, 1)
    assert await waiting(instances) == []


async def test_an_event_decided_for_a_place_that_is_taken_is_decided_again(
    instances: InstanceStub, routing: RoutingStub
) -> None:
    await queue(routing, 1, 2)
    place = await following(instances)
    both = await asyncio.gather(
        *(instances.ApplyToInstance(application(number, place)) for number in (1, 2)),
        return_exceptions=True,
    )
    [refusal] = [one for one in both if isinstance(one, grpc.aio.AioRpcError)]
    assert refusal.code() is grpc.StatusCode.ABORTED
    left = await following(instances)
    await apply(instances, 1 if left.run_id == run_id(1) else 2)
    instance, numbers = await seen(instances)
    assert (instance.sequence, sorted(numbers)) == (2, [1, 2])


async def test_what_does_not_wait_is_not_applied(instances: InstanceStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await instances.ApplyToInstance(application(1, await following(instances)))
    assert caught.value.code() is grpc.StatusCode.ABORTED


async def test_a_run_that_has_work_is_told_until_somebody_has_begun_it(
    instances: InstanceStub, routing: RoutingStub
) -> None:
    await queue(routing, 1, 2)
    response = await apply(instances, 1, tasks=1)
    assert not response.HasField("next")
    for _ in "12":
        told = await following(instances)
        assert (told.run_id, told.applied) == (run_id(1), True)
    assert (await following(instances, begun=run_id(1))).run_id == run_id(2)
    assert (await following(instances)).run_id == run_id(2)


async def test_an_event_that_could_not_be_applied_leaves_its_place_to_the_next(
    instances: InstanceStub, routing: RoutingStub, calls: Channels
) -> None:
    await queue(routing, 1, 2)
    ledger = ledger_pb2_grpc.LedgerServiceStub(await calls())
    await not_applied(ledger, 1, identifiers.instance_workflow_id(DEFINITION, KEY))
    place = await following(instances)
    assert (place.run_id, place.sequence) == (run_id(2), 1)


async def test_somebody_is_told_of_an_event_that_could_not_be_applied_once(
    routing: RoutingStub, control: ControlStub, calls: Channels
) -> None:
    await queue(routing, 1)
    ledger = ledger_pb2_grpc.LedgerServiceStub(await calls())
    for _ in "12":
        await not_applied(ledger, 1, identifiers.instance_workflow_id(DEFINITION, KEY))
    request = control_pb2.ListOperationsRequest(namespace="dev")
    (operation,) = (await control.ListOperations(request)).operations
    assert operation.kind == control_pb2.OPERATION_KIND_TELL_FAILURE
    assert operation.workflow_id == identifiers.failure_workflow_id(
        identifiers.failure_call_id("dev", identifiers.RunId(run_id(1)), None, 1)
    )


async def test_of_more_than_may_wait_the_oldest_are_given_up_and_the_log_says_so(
    postgres: Postgres, calls: Channels
) -> None:
    channel = await calls(instance_max_waiting=3)
    routing = routing_pb2_grpc.RoutingServiceStub(channel)
    instances = pb_grpc.InstanceServiceStub(channel)
    await queue(routing, 1)
    await apply(instances, 1, tasks=1)
    await queue(routing, 2, 3, 4, 5, 6)
    assert (await following(instances, begun=run_id(1))).run_id == run_id(4)
    found = await outcomes(routing)
    gone = "DISCARDED more than 3 events waited for the instance"
    assert found == {
        **{f"e-{number}": "SIGNALLED" for number in (1, 4, 5, 6)},
        "e-2": gone,
        "e-3": gone,
    }


async def test_what_has_waited_for_too_long_is_given_up_and_the_log_says_so(
    instances: InstanceStub, routing: RoutingStub, postgres: Postgres
) -> None:
    await queue(routing, 1, 2, 3)
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "UPDATE instance_events SET queued_at = queued_at - interval '8 days'"
            " WHERE run_id = ANY ($1)",
            [run_id(1), run_id(2)],
        )
    assert (await following(instances)).run_id == run_id(3)
    found = await outcomes(routing)
    assert found["e-3"] == "SIGNALLED"
    assert found["e-1"] == found["e-2"]
    assert found["e-2"] == "DISCARDED it waited for its instance for longer than 7 days"


async def test_keys_of_which_something_waits_are_listed_by_page(
    instances: InstanceStub, routing: RoutingStub
) -> None:
    keys = sorted(identifiers.key_hash(b"a secret", DEFINITION, str(n)) for n in range(3))
    await routing.RecordRouting(
        routing_pb2.RecordRoutingRequest(
            namespace="dev",
            events=[signalled(n, key_hash=keys[n % 3]) for n in range(5)],
        )
    )
    found: list[tuple[str, int]] = []
    token = ""
    for _ in range(3):
        page = await instances.ListWaitingInstances(
            pb.ListWaitingInstancesRequest(namespace="dev", page_size=1, page_token=token)
        )
        found += [(one.key_hash, one.events) for one in page.instances]
        token = page.next_page_token
    assert (found, token) == ([(keys[0], 2), (keys[1], 2), (keys[2], 1)], "")
    assert await waiting(instances, min_age=Duration(seconds=60)) == []
    assert await waiting(instances, definition_id="billing.other") == []


async def test_what_was_held_waits_for_its_instance_once_it_is_released(
    instances: InstanceStub, routing: RoutingStub
) -> None:
    for number in (1, 2):
        held = signalled(number)
        told = held.candidates[0]
        told.outcome = routing_pb2.ROUTING_OUTCOME_HELD
        told.ClearField("run_id")
        told.ClearField("instance_event")
        told.waiting.CopyFrom(
            routing_pb2.Waiting(task_queue="d-tq", key="invoice-1", definition_revision=7)
        )
        held.envelope = canonical.render(trigger(number).events[0].document())
        await routing.RecordRouting(
            routing_pb2.RecordRoutingRequest(namespace="dev", events=[held])
        )
    assert await waiting(instances) == []
    await routing.ReleaseHeldEvents(
        routing_pb2.ReleaseHeldEventsRequest(
            namespace="dev", definition_id=DEFINITION, choice=routing_pb2.HELD_CHOICE_START,
            definition_revision=8, request_id=uuid4().hex,
        )
    )  # fmt: skip
    claimed = await routing.ClaimPendingStarts(
        routing_pb2.ClaimPendingStartsRequest(
            namespace="dev", holder="r", limit=10, lease=Duration(seconds=20)
        )
    )
    confirmations = [
        routing_pb2.Confirmation(
            pending_id=start.pending_id,
            lease=start.lease,
            outcome=routing_pb2.ROUTING_OUTCOME_SIGNALLED,
            definition_version=3,
            run_id=run_id(number),
            instance_event=routing_pb2.InstanceEvent(
                key_hash=KEY, trigger=canonical.render(trigger(number))
            ),
        )
        for number, start in enumerate(claimed.starts, start=1)
    ]
    for _ in "12":
        await routing.ConfirmPendingStarts(
            routing_pb2.ConfirmPendingStartsRequest(namespace="dev", confirmations=confirmations)
        )
    assert await waiting(instances) == [(KEY, 2)]
    assert await outcomes(routing) == {"e-1": "SIGNALLED", "e-2": "SIGNALLED"}
    for number in (1, 2):
        await apply(instances, number)
    assert (await seen(instances))[1] == [1, 2]


async def test_the_backlog_is_measured(
    routing: RoutingStub, instances: InstanceStub, postgres: Postgres
) -> None:
    async def measured() -> tuple[int, float]:
        async with postgres.transaction("dev") as transaction:
            return await PostgresInstanceEventStore().backlog(transaction)

    assert await measured() == (0, 0.0)
    await queue(routing, 1, 2)
    events, age = await measured()
    assert events == 2
    assert age > 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"key_hash": "invoice-1"}, "not the hash of a correlation key"),
        ({"trigger": b"{}"}, "trigger"),
        ({"trigger": canonical.render(trigger(2))}, "but definition and trigger make it"),
    ],
)
async def test_what_cannot_be_applied_is_not_queued(
    routing: RoutingStub, change: dict[str, Any], sentence: str
) -> None:
    event = signalled(1)
    for name, value in change.items():
        setattr(event.candidates[0].instance_event, name, value)
    with pytest.raises(grpc.aio.AioRpcError, match=sentence) as caught:
        await routing.RecordRouting(
            routing_pb2.RecordRoutingRequest(namespace="dev", events=[event])
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_instance_that_ended_begins_again_with_the_next_event(
    instances: InstanceStub, routing: RoutingStub
) -> None:
    await queue(routing, 1, 2, 3)
    await apply(instances, 1)
    await apply(instances, 2, ended=True)
    place = await following(instances)
    assert (place.generation, place.sequence, place.state) == (2, 1, b"")
    await apply(instances, 3)
    ended, numbers = await seen(instances, 1)
    assert (ended.status, numbers) == (pb.INSTANCE_STATUS_ENDED, [1, 2])
    assert ended.HasField("ended_at")
    open_, numbers = await seen(instances, 2)
    assert (open_.status, numbers) == (pb.INSTANCE_STATUS_OPEN, [3])
    for status, expected in ((0, [2, 1]), (pb.INSTANCE_STATUS_OPEN, [2])):
        page = await instances.ListInstances(
            pb.ListInstancesRequest(namespace="dev", definition_id=DEFINITION, status=status)
        )
        assert [one.generation for one in page.instances] == expected
    first = await instances.ListInstances(pb.ListInstancesRequest(namespace="dev", page_size=1))
    second = await instances.ListInstances(
        pb.ListInstancesRequest(namespace="dev", page_size=1, page_token=first.next_page_token)
    )
    assert [page.instances[0].generation for page in (first, second)] == [2, 1]


async def test_one_execution_carries_out_a_run(
    instances: InstanceStub, routing: RoutingStub, calls: Channels
) -> None:
    await queue(routing, 1)
    recorded = await apply(instances, 1, tasks=2)

    for _ in "12":
        assert (await adopt(instances, 1, "w-2")).decision == recorded.decision
    other = await adopt(instances, 1, "w-3")
    assert (other.outcome, other.decision) == (ledger_pb2.RECORD_OUTCOME_DUPLICATE, b"")
    # Who carries it out can give it up, and nobody else can.
    ledger = ledger_pb2_grpc.LedgerServiceStub(await calls())
    for who, status in (
        ("w-1", ledger_pb2.RUN_STATUS_RUNNING),
        ("w-2", ledger_pb2.RUN_STATUS_FAILED),
    ):
        await not_applied(ledger, 1, who)
        run = await ledger.GetRun(ledger_pb2.GetRunRequest(namespace="dev", run_id=run_id(1)))
        assert run.run.status == status


async def test_the_sweep_is_not_told_of_a_run_that_its_instance_has_yet_to_begin(
    instances: InstanceStub, routing: RoutingStub, control: ControlStub
) -> None:
    async def opened() -> list[str]:
        response = await control.ListOpenExecutions(
            control_pb2.ListOpenExecutionsRequest(namespace="dev", min_age=Duration())
        )
        return [one.workflow_id for one in response.executions]

    await queue(routing, 1)
    await apply(instances, 1, tasks=2)
    assert await opened() == []
    assert await waiting(instances) == [(KEY, 1)]

    await following(instances, begun=run_id(1))
    assert await opened() == [run_id(1)]
    assert await waiting(instances) == []


async def test_a_run_that_was_cancelled_before_it_began_is_not_carried_out(
    instances: InstanceStub, routing: RoutingStub, control: ControlStub
) -> None:
    await queue(routing, 1)
    await apply(instances, 1, tasks=2)
    await cancel(control, 1)

    adopted = await adopt(instances, 1, "w-1")

    assert (adopted.outcome, adopted.decision) == (ledger_pb2.RECORD_OUTCOME_DUPLICATE, b"")
    # What the event left in the state stays.
    assert (await seen(instances))[1] == [1]


async def test_retrying_a_run_carries_out_its_tasks_and_applies_no_event_again(
    instances: InstanceStub, routing: RoutingStub, control: ControlStub, calls: Channels
) -> None:
    ledger = ledger_pb2_grpc.LedgerServiceStub(await calls())
    await queue(routing, 1, 2, 3)
    await apply(instances, 1, tasks=2)
    await following(instances, begun=run_id(1))
    await adopt(instances, 1, "w-1")
    await not_applied(ledger, 1, "w-1")
    await apply(instances, 2, tasks=1)
    await cancel(control, 2)
    await not_applied(ledger, 3, identifiers.instance_workflow_id(DEFINITION, KEY))

    retried = await retry(control, 1)

    assert (retried.run_id, len(retried.task_ids)) == (run_id(1), 2)
    for number, sentence in ((2, "was applied to its instance"), (3, "could not be applied")):
        with pytest.raises(grpc.aio.AioRpcError, match=sentence) as caught:
            await retry(control, number)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert (await seen(instances))[1] == [1, 2]


async def test_the_table_follows_from_events_alone(
    instances: InstanceStub, routing: RoutingStub, postgres: Postgres
) -> None:
    await queue(routing, *range(1, 6))
    for number in range(1, 6):
        await apply(instances, number, ended=number == 3)

    async def rows() -> list[str]:
        async with postgres.transaction("dev") as transaction:
            return list(map(repr, await transaction.fetch("SELECT * FROM instances ORDER BY 4")))

    before = await rows()
    assert len(before) == 2
    await projections.rebuild(postgres, app.event_store(), ["dev"])
    assert await rows() == before


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"key_hash": "invoice-1"}, "not the hash of a correlation key"),
        ({"generation": 0}, "count from 1"),
        ({"state_after": b"{}"}, "the decision is of other states"),
        ({"state_after": b"[1]"}, "state_after is not a JSON object"),
        ({"state_before": b"{" + b" " * 70_000 + b"}"}, "more than the 65536 allowed"),
    ],
)
async def test_what_does_not_fit_together_is_refused(
    instances: InstanceStub, routing: RoutingStub, fields: dict[str, Any], sentence: str
) -> None:
    await queue(routing, 1)
    place = await following(instances)
    with pytest.raises(grpc.aio.AioRpcError, match=sentence) as caught:
        await instances.ApplyToInstance(application(1, place, **fields))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not (await following(instances)).applied


async def test_an_unknown_instance_or_run_is_not_found(instances: InstanceStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="there is no instance") as caught:
        await seen(instances)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError, match="not the id of an instance"):
        await instances.GetInstance(pb.GetInstanceRequest(namespace="dev", instance_id="x"))
    with pytest.raises(grpc.aio.AioRpcError, match="there is no run"):
        await instances.AdoptRun(
            pb.AdoptRunRequest(
                namespace="dev", definition_id=DEFINITION, run_id=run_id(1), workflow_run_id="w"
            )
        )


async def test_viewers_look_and_do_not_apply(calls: Channels) -> None:
    viewer = pb_grpc.InstanceServiceStub(await calls(Role.VIEWER))
    assert await waiting(viewer) == []
    assert not (await viewer.ListInstances(pb.ListInstancesRequest(namespace="dev"))).instances
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await following(viewer)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


QUIET = pb.InstanceTimer(name="quiet", after=Duration(seconds=7200))
LATE = pb.InstanceTimer(name="late", after=Duration(seconds=259_200))


async def fire(instances: InstanceStub, told: pb.NextApplication, **fields: Any) -> Any:
    """Apply a timer that is due: the state stays as it is."""
    cause = Trigger.model_validate_json(told.trigger)
    request = application(0, told, **fields)
    decision = Decision.model_validate_json(request.decision)
    digest = canonical.digest(told.state)
    change = StateChange(before_sha256=digest, after_sha256=digest, ended=False)
    tasks = [
        task.model_copy(
            update={
                "task_id": identifiers.task_id(
                    "dev", identifiers.RunId(told.run_id), task.rule, task.key
                )
            }
        )
        for task in decision.tasks
    ]
    rules = [RuleTrace(rule="r", when=True, tasks=[task.task_id for task in tasks])]
    decision = decision.model_copy(update={"state": change, "tasks": tasks, "rules": rules})
    request.MergeFrom(
        pb.ApplyToInstanceRequest(
            run_id=told.run_id,
            trigger=canonical.render(cause),
            decision=canonical.render(decision),
            state_before=told.state,
            state_after=told.state,
        )
    )
    return await instances.ApplyToInstance(request)


async def elapse(postgres: Postgres, hours: int) -> None:
    """Have all timers be due so much earlier."""
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "UPDATE instances SET next_timer_at = next_timer_at - $1::interval, timers = ("
            " SELECT COALESCE(jsonb_agg(timer || jsonb_build_object("
            "  'due_at', (timer ->> 'due_at')::timestamptz - $1::interval)), '[]')"
            " FROM jsonb_array_elements(timers) AS timer)",
            timedelta(hours=hours),
        )


async def timers(instances: InstanceStub) -> list[str]:
    instance, _ = await seen(instances)
    return [timer.name for timer in instance.timers]


async def test_an_event_sets_timers_which_are_told_when_they_are_due(
    instances: InstanceStub, routing: RoutingStub, postgres: Postgres, calls: Channels
) -> None:
    await queue(routing, 1)
    response = await apply(instances, 1, timers=[QUIET, LATE])
    assert 7100 < response.next.due_in.ToTimedelta().total_seconds() <= 7200
    assert await timers(instances) == ["quiet", "late"]
    assert await waiting(instances) == []
    await elapse(postgres, 2)
    assert await waiting(instances) == [(KEY, 0)]

    told = await following(instances)
    cause = Trigger.model_validate_json(told.trigger)
    assert (cause.kind, cause.names, cause.definition_version) == ("timer", ["quiet"], 3)
    assert told.run_id == f"{DEFINITION}:timer:{KEY}:1:1:quiet"
    assert (told.generation, told.sequence, json.loads(told.state)) == (1, 2, {"seen": [1]})
    fired = await fire(instances, told, timers=[QUIET, LATE])

    # It fires once; the others stay as they were set.
    assert fired.outcome == ledger_pb2.RECORD_OUTCOME_RECORDED
    assert 0 < fired.next.due_in.ToTimedelta().total_seconds() <= 259_200 - 7200
    assert await timers(instances) == ["late"]
    again = await fire(instances, told, timers=[QUIET, LATE])
    assert again.outcome == ledger_pb2.RECORD_OUTCOME_REPEATED
    ledger = ledger_pb2_grpc.LedgerServiceStub(await calls())
    run = await ledger.GetRun(ledger_pb2.GetRunRequest(namespace="dev", run_id=told.run_id))
    assert (run.run.trigger_kind, run.run.status) == ("timer", ledger_pb2.RUN_STATUS_COMPLETED)
    # The next event sets it anew.
    await queue(routing, 2)
    await apply(instances, 2, timers=[QUIET, LATE])
    assert await timers(instances) == ["quiet", "late"]


async def test_a_timer_is_not_applied_once_an_event_was(
    instances: InstanceStub, routing: RoutingStub, postgres: Postgres
) -> None:
    await queue(routing, 1)
    await apply(instances, 1, timers=[QUIET])
    await elapse(postgres, 2)
    told = await following(instances)
    await queue(routing, 2)
    # What waits comes first.
    assert (await following(instances)).run_id == run_id(2)
    await apply(instances, 2, timers=[QUIET])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fire(instances, told)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    # Nor for the place that it would have now: it is not due any more.
    told.sequence = 3
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fire(instances, told)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert (await seen(instances))[0].sequence == 2


async def test_the_work_of_a_timer_is_told_until_somebody_has_begun_it(
    instances: InstanceStub, routing: RoutingStub, postgres: Postgres
) -> None:
    await queue(routing, 1)
    await apply(instances, 1, timers=[QUIET])
    await elapse(postgres, 2)
    told = await following(instances)
    await fire(instances, told, tasks=1)
    again = await following(instances)
    assert (again.run_id, again.applied) == (told.run_id, True)
    assert (await following(instances, begun=told.run_id)).run_id == ""


async def test_an_instance_that_ends_and_a_condition_that_fails_leave_no_timer(
    instances: InstanceStub, routing: RoutingStub
) -> None:
    await queue(routing, 1, 2)
    await apply(instances, 1, timers=[QUIET])
    response = await apply(instances, 2, timers=[QUIET], ended=True)
    assert not response.next.HasField("due_in")
    assert await timers(instances) == []


async def test_a_timer_that_could_not_be_applied_has_fired(
    instances: InstanceStub,
    routing: RoutingStub,
    control: ControlStub,
    postgres: Postgres,
    calls: Channels,
) -> None:
    await queue(routing, 1)
    await apply(instances, 1, timers=[QUIET, LATE])
    await elapse(postgres, 2)
    told = await following(instances)
    ledger = ledger_pb2_grpc.LedgerServiceStub(await calls())
    await ledger.RecordRunFailure(
        ledger_pb2.RecordRunFailureRequest(
            namespace="dev",
            run_id=told.run_id,
            definition_id=DEFINITION,
            trigger=told.trigger,
            workflow_run_id=identifiers.instance_workflow_id(DEFINITION, KEY),
            failure=ledger_pb2.Failure(type="Undecidable", message="no such field"),
        )
    )
    assert (await following(instances)).run_id == ""
    assert await timers(instances) == ["late"]
    assert await waiting(instances) == []
    with pytest.raises(grpc.aio.AioRpcError, match="has fired, and is not applied again"):
        await control.RetryRun(
            control_pb2.RetryRunRequest(
                namespace="dev", run_id=told.run_id, request_id=uuid4().hex, reason="once more"
            )
        )


async def test_timers_follow_from_events_alone(
    instances: InstanceStub, routing: RoutingStub, postgres: Postgres
) -> None:
    await queue(routing, 1, 2)
    await apply(instances, 1, timers=[QUIET, LATE])
    await apply(instances, 2, timers=[LATE])

    async def rows() -> list[str]:
        async with postgres.transaction("dev") as transaction:
            return list(map(repr, await transaction.fetch("SELECT * FROM instances")))

    before = await rows()
    await projections.rebuild(postgres, app.event_store(), ["dev"])
    assert await rows() == before
