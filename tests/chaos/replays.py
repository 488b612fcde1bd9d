"""A replay of the orders that were decided so far: planned, applied, and seen to its end.

What the plan says is written down for the checker: these runs there must be, each once.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

import identity
import observing
from history import Intents
from waiting import until

from backbone.ledger.v1 import replay_pb2, replay_pb2_grpc
from backbone.router.v1 import router_pb2, router_pb2_grpc

T = TypeVar("T")
Ask = Callable[[Callable[[], Awaitable[T]]], Awaitable[T]]
"""Asks until there is an answer: whoever is asked may be away."""


async def replay(
    ask: Ask,
    *,
    router: "router_pb2_grpc.RouterServiceAsyncStub",
    replays: "replay_pb2_grpc.ReplayServiceAsyncStub",
    intents: Intents,
    definition_id: str,
    source: str,
    since: datetime,
    until_: datetime,
    seconds: float,
) -> None:
    """Have the orders of a source that came between two times started once more.

    Raises:
        AssertionError: The replay does not come to its end within `seconds`.
    """
    replay_id = f"{source}-again"
    planning = router_pb2.PlanReplayRequest(
        namespace=identity.NAMESPACE,
        replay_id=replay_id,
        topic=observing.INPUT,
        definition_ids=[definition_id],
        mode="all",
        max_starts_per_second=50,
        reason="chaos",
    )
    planning.records_from.FromDatetime(since)
    planning.records_to.FromDatetime(until_)

    async def planned() -> bool:
        return (await ask(lambda: router.PlanReplay(planning))).complete

    assert await until(planned, seconds=seconds), "the plan is never complete"
    of_plan = replay_pb2.ListReplayStartsRequest(
        namespace=identity.NAMESPACE, replay_id=replay_id, page_size=1000
    )
    starts = (await ask(lambda: replays.ListReplayStarts(of_plan))).starts
    wanted = replay_pb2.GetReplayRequest(namespace=identity.NAMESPACE, replay_id=replay_id)
    plan = (await ask(lambda: replays.GetReplay(wanted))).replay
    assert len(starts) == plan.starts
    order = replay_pb2.ApplyReplayRequest(
        namespace=identity.NAMESPACE,
        replay_id=replay_id,
        plan_hash=plan.plan_hash,
        request_id=replay_id,
        reason="chaos",
    )
    await ask(lambda: replays.ApplyReplay(order))

    async def finished() -> bool:
        found = (await ask(lambda: replays.GetReplay(wanted))).replay
        return found.state == replay_pb2.REPLAY_STATE_FINISHED

    assert await until(finished, seconds=seconds), "the replay has no end"
    of_event = {(sent.source, sent.event_id): sent.expect_tasks for sent in intents.sent}
    for start in starts:
        (event,) = start.events
        run_id = identity.event_run(definition_id, event.source, event.event_id)
        intents.replayed[f"{run_id}:replay:{replay_id}"] = of_event[event.source, event.event_id]
