"""A migrated schema of its own for every test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest

from contracts.events import RunCompleted
from devstack.infrastructure.endpoints import PostgresEndpoint
from eventstore import sealing, store
from eventstore.events import Cause, Event, Fact
from eventstore.store import ANY, EventStore
from runtime.postgres import Postgres

AT = datetime(2026, 11, 1, 12, 0, 0, 5, tzinfo=UTC)

Appended = Callable[..., Awaitable[list[Event]]]
Sealed = Callable[..., Awaitable[int]]


@pytest.fixture(scope="session")
def template(migrated: Callable[..., str]) -> str:
    return migrated("ledger", store.migrations())


@pytest.fixture
async def postgres(database: PostgresEndpoint) -> AsyncIterator[Postgres]:
    # As the owner: the tests also change what the service may not.
    dsn = database.dsn("ledger_owner")
    opened = await Postgres.connect(dsn, application="tests", schema="ledger")
    yield opened
    await opened.close()


@pytest.fixture
def appended(postgres: Postgres) -> Appended:
    """Appends to the stream of a run and commits: `await appended("billing:manual:1", 3)`."""

    async def append(
        run: str = "billing:manual:1",
        count: int = 1,
        *,
        namespace: str = "dev",
        into: EventStore | None = None,
    ) -> list[Event]:
        async with postgres.transaction(namespace) as transaction:
            return await (into or EventStore(service="ledger")).append(
                transaction,
                stream=store.run_stream(run),
                facts=[
                    Fact(
                        payload=RunCompleted(
                            run_id=run, definition_id="billing", definition_version=number
                        ),
                        key=run,
                    )
                    for number in range(1, count + 1)
                ],
                expected=ANY,
                occurred_at=AT,
                cause=Cause(correlation_id="c"),
            )

    return append


@pytest.fixture
def sealed(postgres: Postgres) -> Sealed:
    """Seals everything that is settled, `most` events a checkpoint; returns how many events."""

    async def seal_all(most: int = sealing.MOST_EVENTS) -> int:
        total = 0
        async with postgres.transaction("dev") as transaction:
            settled = await sealing.Horizon().advance(transaction)
            while count := await sealing.seal(transaction, up_to=settled, most=most):
                total += count
        return total

    return seal_all
