"""Open instances of a stateful definition: what they hold in memory while they wait for events."""

import asyncio
import hashlib
import os
import time

import asyncpg
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from backbone.ledger.v1 import routing_pb2 as pb
from backbone.ledger.v1 import routing_pb2_grpc
from benchmarks.runs import contenders
from benchmarks.runs.stack import TASK_QUEUE
from contracts import canonical, identifiers
from contracts.names import Signal, Workflow
from contracts.runs import InstanceInput, RunInput
from runtime import grpcclient

DEFINITION = "bench.instances"
_AT_ONCE = 50
_DEADLINE_S = 180.0
_LOOK_S = 0.2


async def open_instances(client: Client, count: int, *, ledger: str, dsn: str) -> None:
    """Open `count` instances by one event each, as the router does; return once all are recorded.

    `ledger` is the address of the ledger, and `dsn` its database.

    Raises:
        TimeoutError: the ledger does not have them within 180 s.
    """
    secret = os.urandom(32)
    left = count
    channel = grpcclient.channel(ledger, actor="router")
    routing = routing_pb2_grpc.RoutingServiceStub(channel)

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            run = contenders.run_of(DEFINITION, tasks=0)
            key_hash = identifiers.key_hash(secret, DEFINITION, run.trigger.events[0].event_id)
            await routing.RecordRouting(
                pb.RecordRoutingRequest(
                    namespace=run.namespace, events=[_signalled(run, key_hash, offset=left)]
                )
            )
            await client.start_workflow(
                Workflow.INSTANCE.value,
                InstanceInput(namespace=run.namespace, definition_id=DEFINITION, key_hash=key_hash),
                id=identifiers.instance_workflow_id(DEFINITION, key_hash),
                task_queue=TASK_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                start_signal=Signal.WAKE.value,
            )

    database = await asyncpg.connect(dsn)
    try:
        wanted = await database.fetchval(_COUNT, DEFINITION) + count
        await asyncio.gather(*(one_after_the_other() for _ in range(_AT_ONCE)))
        deadline = time.monotonic() + _DEADLINE_S
        while (found := await database.fetchval(_COUNT, DEFINITION)) < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{found} of {wanted} instances within {_DEADLINE_S:.0f} s")
            await asyncio.sleep(_LOOK_S)
    finally:
        await database.close()
        await channel.close()


def _signalled(run: RunInput, key_hash: str, *, offset: int) -> pb.RoutedEvent:
    event = run.trigger.events[0]
    return pb.RoutedEvent(
        place=pb.RecordPlace(topic="bench", partition=0, offset=offset),
        source=event.source,
        event_id=event.event_id,
        type=event.type,
        digest=hashlib.sha256(event.event_id.encode()).digest(),
        candidates=[
            pb.RoutedCandidate(
                definition_id=DEFINITION,
                definition_version=run.trigger.definition_version,
                outcome=pb.ROUTING_OUTCOME_SIGNALLED,
                trigger_names=list(run.trigger.names),
                run_id=run.run_id,
                instance_event=pb.InstanceEvent(
                    key_hash=key_hash, trigger=canonical.render(run.trigger)
                ),
            )
        ],
    )


_COUNT = "SELECT count(*) FROM ledger.instances WHERE definition_id = $1"
