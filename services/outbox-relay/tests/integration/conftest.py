"""A ledger's database with events to relay."""

import asyncio
from datetime import UTC, datetime

import pytest

from contracts.events import RunCompleted
from eventstore import store
from eventstore.events import Cause, Fact
from eventstore.store import ANY, EventStore
from runtime import migrations
from runtime.postgres import Postgres


class Ledger:
    """The schema of a service that appends events."""

    def __init__(self, pool):
        self.pool = pool
        self._events = EventStore(service="ledger")

    def transaction(self, namespace):
        return self.pool.transaction(namespace)

    async def append(self, transaction, run_id, count=1, *, text=""):
        return await self._events.append(
            transaction,
            stream=store.run_stream(run_id),
            facts=[
                Fact(
                    payload=RunCompleted(
                        run_id=run_id, definition_id=f"d{text}", definition_version=number
                    ),
                    key=run_id,
                )
                for number in range(count)
            ],
            expected=ANY,
            occurred_at=datetime.now(UTC),
            cause=Cause(correlation_id="c"),
        )

    async def record(self, namespace, run_id, count=1, *, text=""):
        async with self.transaction(namespace) as transaction:
            return await self.append(transaction, run_id, count, text=text)

    async def value(self, sql):
        async with self.transaction("any") as transaction:
            return await transaction.fetchval(sql)

    async def pending(self):
        return await self.value("SELECT count(*) FROM outbox_pending")


@pytest.fixture
def open_ledger(database):
    """Open the ledger, in whichever event loop; the caller closes its pool."""

    async def open_it():
        dsn = database.dsn("ledger")
        sources = [store.migrations()]
        await asyncio.to_thread(migrations.apply, dsn, schema="ledger", sources=sources)
        return Ledger(await Postgres.connect(dsn, application="test", schema="ledger"))

    return open_it


@pytest.fixture
async def ledger(open_ledger):
    ledger = await open_ledger()
    yield ledger
    await ledger.pool.close()
