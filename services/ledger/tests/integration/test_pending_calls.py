"""What waits, over gRPC and with the decisions that tell of it."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from backbone.ledger.v1 import routing_pb2 as pb
from backbone.ledger.v1 import routing_pb2_grpc as pb_grpc
from contracts.roles import Role

Channels = Callable[..., Awaitable[grpc.aio.Channel]]
RoutingStub: TypeAlias = "pb_grpc.RoutingServiceAsyncStub"
DEFINITION = "billing.gathered"
HELD, BATCHED, LIMITED = (
    pb.ROUTING_OUTCOME_HELD,
    pb.ROUTING_OUTCOME_BATCHED,
    pb.ROUTING_OUTCOME_LIMITED,
)


@pytest.fixture
async def routing(calls: Channels) -> RoutingStub:
    return pb_grpc.RoutingServiceStub(await calls())


def waits(
    offset: int, outcome: int = LIMITED, key: str = "k", *, event_id: str = "", **waiting: Any
) -> pb.RoutedEvent:
    event_id = event_id or f"e-{offset}"
    value = f'{{"event_id":"{event_id}"}}'.encode()
    return pb.RoutedEvent(
        place=pb.RecordPlace(topic="dev.payments", partition=0, offset=offset),
        source="shop",
        event_id=event_id,
        type="paid",
        digest=hashlib.sha256(value).digest(),
        envelope=value,
        candidates=[
            pb.RoutedCandidate(
                definition_id=DEFINITION,
                definition_version=3,
                outcome=outcome,  # type: ignore[arg-type]
                trigger_names=["paid"],
                waiting=pb.Waiting(
                    task_queue="billing-tq", key=key, definition_revision=5, **waiting
                ),
            )
        ],
    )


def gathered(offset: int, **more: Any) -> pb.RoutedEvent:
    return waits(offset, BATCHED, batch_max_events=2, batch_max_wait=Duration(seconds=3600), **more)


async def record(routing: RoutingStub, *events: pb.RoutedEvent) -> None:
    await routing.RecordRouting(pb.RecordRoutingRequest(namespace="dev", events=events))


async def claim(routing: RoutingStub, limit: int = 10) -> list[pb.PendingStart]:
    request = pb.ClaimPendingStartsRequest(
        namespace="dev", holder="test", limit=limit, lease=Duration(seconds=60)
    )
    return list((await routing.ClaimPendingStarts(request)).starts)


async def confirm(routing: RoutingStub, start: pb.PendingStart, **fields: Any) -> list[str]:
    one = pb.Confirmation(pending_id=start.pending_id, lease=start.lease, **fields)
    request = pb.ConfirmPendingStartsRequest(namespace="dev", confirmations=[one])
    return list((await routing.ConfirmPendingStarts(request)).stale)


async def told(routing: RoutingStub) -> list[tuple[int, str, str, bool]]:
    """Offset, outcome, run and whether it is settled, of each decision by its offset."""
    request = pb.ListRoutingDecisionsRequest(namespace="dev", definition_id=DEFINITION)
    found = (await routing.ListRoutingDecisions(request)).decisions
    return sorted(
        (
            one.place.offset,
            pb.RoutingOutcome.Name(one.outcome).removeprefix("ROUTING_OUTCOME_"),
            one.run_id,
            one.HasField("settled_at"),
        )
        for one in found
    )


async def release(routing: RoutingStub, choice: int, **more: Any) -> int:
    request = pb.ReleaseHeldEventsRequest(
        namespace="dev",
        definition_id=DEFINITION,
        choice=choice,  # type: ignore[arg-type]
        **{"request_id": "r-1", "definition_revision": 6, "actor": "ann", "reason": "ok", **more},
    )
    return (await routing.ReleaseHeldEvents(request)).events


async def test_a_decision_tells_that_an_event_waits_and_what_became_of_it(
    routing: RoutingStub,
) -> None:
    await record(routing, waits(1))
    assert await told(routing) == [(1, "LIMITED", "", False)]
    [start] = await claim(routing)
    assert (start.definition_version, start.task_queue, start.key) == (3, "billing-tq", "k")
    assert list(start.trigger_names) == ["paid"]
    assert list(start.envelopes) == [b'{"event_id":"e-1"}']
    started = pb.ROUTING_OUTCOME_STARTED
    assert await confirm(routing, start, outcome=started, run_id="a:event:x") == []
    assert await told(routing) == [(1, "STARTED", "a:event:x", True)]
    assert await confirm(routing, start, outcome=started) == [start.pending_id]


async def test_a_record_that_comes_again_never_enters_a_second_batch(routing: RoutingStub) -> None:
    await record(routing, gathered(1), gathered(2))
    [batch] = await claim(routing)
    await confirm(routing, batch, outcome=pb.ROUTING_OUTCOME_STARTED, run_id="a:batch:x")
    # Redelivered, and produced once more: they were in a batch.
    await record(routing, gathered(1), gathered(2), gathered(3, event_id="e-1"), gathered(4))
    assert await told(routing) == [
        (1, "STARTED", "a:batch:x", True),
        (2, "STARTED", "a:batch:x", True),
        (3, "DUPLICATE", "a:batch:x", False),
        (4, "BATCHED", "", False),
    ]
    await record(routing, gathered(5))
    [second] = await claim(routing)
    assert [len(second.envelopes), second.events, second.as_one_run] == [2, 2, True]
    assert second.pending_id != batch.pending_id


async def test_copies_that_came_while_an_event_waited_are_told_its_run(
    routing: RoutingStub,
) -> None:
    await record(routing, waits(1))
    await record(routing, waits(2, event_id="e-1"))
    assert await told(routing) == [(1, "LIMITED", "", False), (2, "DUPLICATE", "", False)]
    [start] = await claim(routing)
    await confirm(routing, start, outcome=pb.ROUTING_OUTCOME_STARTED, run_id="a:event:x")
    assert await told(routing) == [
        (1, "STARTED", "a:event:x", True),
        (2, "DUPLICATE", "a:event:x", False),
    ]


async def test_events_that_are_left_out_are_told_apart(routing: RoutingStub) -> None:
    await record(routing, gathered(1), gathered(2))
    [batch] = await claim(routing)
    left = pb.MemberOutcome(event=0, outcome=pb.ROUTING_OUTCOME_ERRORED, detail="no such field")
    started = {"outcome": pb.ROUTING_OUTCOME_STARTED, "run_id": "a:batch:x"}
    await confirm(routing, batch, members=[left], **started)
    assert await told(routing) == [(1, "ERRORED", "", True), (2, "STARTED", "a:batch:x", True)]


async def test_held_events_wait_until_they_are_released(routing: RoutingStub) -> None:
    await record(routing, waits(1, HELD), waits(2, HELD, "j"))
    keys = [pb.WaitingKey(definition_id=DEFINITION, key=key) for key in ("x", "j", "k")]
    request = pb.FindWaitingRequest(namespace="dev", keys=keys)
    assert list((await routing.FindWaiting(request)).waiting) == [1, 2]
    assert await claim(routing) == []
    assert await release(routing, pb.HELD_CHOICE_COMPRESS) == 2
    assert await release(routing, pb.HELD_CHOICE_DISCARD) == 0
    [start] = await claim(routing)
    assert (start.events, start.as_one_run, start.reason) == (2, True, "held")


async def test_discarded_events_say_who_discarded_them_and_why(routing: RoutingStub) -> None:
    await record(routing, waits(1, HELD))
    await release(routing, pb.HELD_CHOICE_DISCARD)
    request = pb.ListRoutingDecisionsRequest(namespace="dev", definition_id=DEFINITION)
    [decision] = (await routing.ListRoutingDecisions(request)).decisions
    assert decision.outcome == pb.ROUTING_OUTCOME_DISCARDED
    assert decision.detail == "discarded when the definition was enabled by ann: ok"
    assert decision.HasField("settled_at")


async def test_what_is_held_again_has_no_end_yet(routing: RoutingStub) -> None:
    await record(routing, waits(1))
    [start] = await claim(routing)
    await confirm(routing, start, outcome=HELD, definition_revision=9)
    assert await told(routing) == [(1, "HELD", "", False)]
    await release(routing, pb.HELD_CHOICE_START, definition_revision=10)
    [again] = await claim(routing)
    assert again.reason == "held"


async def test_what_waits_is_listed_page_by_page_without_its_events(routing: RoutingStub) -> None:
    await record(routing, *(waits(n, HELD) for n in range(5)))
    found: list[pb.PendingStart] = []
    token = ""
    while True:
        request = pb.ListPendingStartsRequest(
            namespace="dev", page_size=2, page_token=token, reason="held"
        )
        page = await routing.ListPendingStarts(request)
        found += page.starts
        token = page.next_page_token
        if not token:
            break
    assert len({one.pending_id for one in found}) == 5
    assert all(one.events == 1 and not one.envelopes for one in found)
    assert not any(one.HasField("not_before") for one in found)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (waits(1, BATCHED), "BATCHED needs batch_max_events"),
        (waits(1, BATCHED, batch_max_events=2), "batch_max_wait has to be longer than nothing"),
        (waits(1, max_runs=3), "max_runs_window has to be longer than nothing"),
        (waits(1, pb.ROUTING_OUTCOME_FILTERED), "`waiting` goes with HELD, BATCHED and LIMITED"),
        (waits(1, key="x" * 300), "key is longer than 256 characters"),
    ],
)
async def test_what_is_not_said_as_it_has_to_be_is_refused(
    routing: RoutingStub, event: pb.RoutedEvent, told: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await record(routing, event)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told in str(refused.value.details())


async def test_an_event_that_waits_comes_with_its_envelope(routing: RoutingStub) -> None:
    event = waits(1)
    event.envelope = b""
    with pytest.raises(grpc.aio.AioRpcError, match="comes with its envelope"):
        await record(routing, event)


async def test_people_may_look_at_what_waits_and_do_nothing_to_it(calls: Channels) -> None:
    viewer = pb_grpc.RoutingServiceStub(await calls(Role.VIEWER))
    await viewer.ListPendingStarts(pb.ListPendingStartsRequest(namespace="dev"))
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await claim(viewer)
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_run_that_nobody_told_of_is_told_as_started(routing: RoutingStub) -> None:
    """Its first delivery started it, and died before it could tell; the second had to wait."""
    await record(routing, waits(1))
    [start] = await claim(routing)
    await confirm(routing, start, outcome=pb.ROUTING_OUTCOME_DUPLICATE, run_id="d:event:x")
    assert await told(routing) == [(1, "STARTED", "d:event:x", True)]
    redriven = waits(1)
    redriven.cause = "redrive:again"
    await record(routing, redriven)
    [again] = await claim(routing)
    await confirm(routing, again, outcome=pb.ROUTING_OUTCOME_DUPLICATE, run_id="d:event:x")
    assert await told(routing) == [
        (1, "DUPLICATE", "d:event:x", True),
        (1, "STARTED", "d:event:x", True),
    ]
