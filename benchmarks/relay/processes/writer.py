"""Appends events at an even pace and notes when each commit has returned.

    python -m benchmarks.relay.processes.writer CONTENDER SERVERS URL NAMESPACE RATE COUNT OUT.json

The pace does not wait for slow commits: they overlap, as those of a service's callers do. Before
what is noted, it appends for one second, in which connections open, and waits for Kafka to have it.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from benchmarks.relay import backlog, debezium, faststream_outbox
from benchmarks.relay.backlog import Run
from benchmarks.relay.stack import TopicEnds
from contracts.names import Header
from eventstore import store
from eventstore.store import EventStore
from eventstore.wakeup import RelayWakeup
from runtime.postgres import Postgres, Transaction

_FIRST = 100_000  # runs whose numbers are in no backlog
_POOL = 8
_WARM_S = 60.0

Append = Callable[[int], Awaitable[str]]
"""Commits an event of the run with this number and returns the event's id."""


@contextlib.asynccontextmanager
async def backbone(dsn: str, namespace: str) -> AsyncIterator[Append]:
    """Append as the ledger does: to the event store, with a wake-up after the commit."""
    wakeup = RelayWakeup(dsn, schema="ledger", application="bench")
    postgres = await Postgres.connect(dsn, application="bench", schema="ledger", size=_POOL)
    events = EventStore(service="ledger", appended=wakeup.wake)

    async def append(number: int) -> str:
        run = Run.numbered(namespace, number)

        async def work(transaction: Transaction) -> str:
            [event] = await events.append(
                transaction,
                stream=store.run_stream(run.id),
                facts=[backlog.fact(namespace, run, 1)],
                expected=store.NEW,
                occurred_at=datetime.now(UTC),
                cause=backlog.cause(number),
            )
            return event.envelope.event_id

        return await postgres.retrying(namespace, work)

    await wakeup.start()
    try:
        yield append
    finally:
        await wakeup.stop()
        await postgres.close()


@contextlib.asynccontextmanager
async def peer(dsn: str, namespace: str, kind: str) -> AsyncIterator[Append]:
    """Append the same events to the table of a peer, one insert in a transaction."""
    postgres = await Postgres.connect(dsn, application="bench", schema="public", size=_POOL)

    async def append(number: int) -> str:
        event = backlog.render(namespace, number, 1)
        async with postgres.transaction(namespace) as transaction:
            if kind == faststream_outbox.NAME:
                headers = json.dumps(dict(event.headers) | {"key": event.key})
                await transaction.execute(faststream_outbox.INSERT, event.body, headers)
            else:
                headers_of = dict(event.headers)
                await transaction.execute(
                    debezium.INSERT,
                    UUID(event.envelope.event_id),
                    event.topic,
                    event.key,
                    event.type.value,
                    headers_of[Header.STREAM],
                    headers_of[Header.STREAM_VERSION],
                    headers_of[Header.TRACEPARENT],
                    event.body,
                )
        return event.envelope.event_id

    try:
        yield append
    finally:
        await postgres.close()


async def write(append: Append, *, per_second: float, first: int, count: int) -> dict[str, float]:
    """Append `count` events and return when each was committed, in monotonic seconds."""
    committed: dict[str, float] = {}
    # As many as there are connections: the others wait here, and not against the pool's time limit.
    turns = asyncio.Semaphore(_POOL)

    async def one(number: int) -> None:
        async with turns:
            event_id = await append(number)
            committed[event_id] = time.monotonic()

    began = time.monotonic()
    async with asyncio.TaskGroup() as appends:
        for number in range(count):
            wait_s = began + number / per_second - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            appends.create_task(one(first + number))
    return committed


async def run(
    contender: str, servers: str, dsn: str, namespace: str, *, per_second: float, count: int
) -> dict[str, float]:
    """Append in the way of `contender`; return when each event was committed.

    Raises:
        TimeoutError: Kafka does not get the rows of the first second.
    """
    opened = (
        backbone(dsn, namespace) if contender == "backbone" else peer(dsn, namespace, contender)
    )
    async with opened as append:
        warm = int(per_second)
        await write(append, per_second=per_second, first=_FIRST, count=warm)
        with contextlib.closing(TopicEnds(servers, backlog.topic(namespace))) as ends:
            deadline = time.monotonic() + _WARM_S
            while ends.count() < warm:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{ends.count()} of {warm} rows within {_WARM_S:.0f} s")
                await asyncio.sleep(0.05)
        return await write(append, per_second=per_second, first=_FIRST + warm, count=count)


if __name__ == "__main__":
    who, kafka, database, where, rate, number, output = sys.argv[1:]
    noted = asyncio.run(run(who, kafka, database, where, per_second=float(rate), count=int(number)))
    Path(output).write_text(json.dumps(noted))
