"""Relays hear of commits; writers never do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import pytest

from contracts import names
from contracts.events import RunCompleted
from devstack.infrastructure.endpoints import PostgresEndpoint
from eventstore.events import Cause, Event, Fact
from eventstore.store import ANY, EventStore
from eventstore.wakeup import RelayWakeup
from runtime.postgres import Postgres

Appended = Callable[..., Awaitable[list[Event]]]
Heard = asyncio.Queue[str]

RUN_COMPLETED = RunCompleted(
    run_id="billing:manual:1", definition_id="billing", definition_version=1
)
_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tests-wakeup'"


@pytest.fixture
async def superuser(database: PostgresEndpoint) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.dsn())
    yield connection
    await connection.close()


@pytest.fixture
async def heard(database: PostgresEndpoint) -> AsyncIterator[Heard]:
    """What a relay hears."""
    told: Heard = asyncio.Queue()
    relay = await asyncpg.connect(database.dsn("relay"))
    await relay.add_listener(
        names.outbox_channel("ledger"), lambda *message: told.put_nowait(message[3])
    )
    yield told
    await relay.close()


@pytest.fixture
async def wakeup(database: PostgresEndpoint) -> AsyncIterator[RelayWakeup]:
    component = RelayWakeup(database.dsn("ledger"), schema="ledger", application="tests")
    await component.start()
    yield component
    await component.stop()


async def test_relay_hears_of_an_append_after_its_commit(
    postgres: Postgres, appended: Appended, wakeup: RelayWakeup, heard: Heard
) -> None:
    await appended(into=EventStore(service="ledger", appended=wakeup.wake))
    assert await asyncio.wait_for(heard.get(), 10) == ""
    async with postgres.transaction("dev") as transaction:
        assert await transaction.fetchval("SELECT count(*) FROM outbox_pending") == 1


async def test_append_that_is_undone_is_not_told(postgres: Postgres) -> None:
    told: list[str] = []
    events = EventStore(service="ledger", appended=lambda: told.append("told"))

    async def append(*, fails: bool) -> None:
        async with postgres.transaction("dev") as transaction:
            await events.append(
                transaction,
                stream="run:billing:manual:1",
                facts=[Fact(payload=RUN_COMPLETED, key="billing:manual:1")],
                expected=ANY,
                occurred_at=datetime(2026, 11, 1, tzinfo=UTC),
                cause=Cause(correlation_id="c"),
            )
            assert told == []
            if fails:
                raise RuntimeError("undone")

    with pytest.raises(RuntimeError):
        await append(fails=True)
    assert told == []
    await append(fails=False)
    assert told == ["told"]


async def test_many_commits_are_few_notifications_and_the_last_one_is_told(
    postgres: Postgres, wakeup: RelayWakeup, heard: Heard
) -> None:
    for _ in range(1000):
        wakeup.wake()
    await asyncio.wait_for(heard.get(), 10)
    for number in range(200):
        wakeup.wake()
        if number % 20 == 0:
            await asyncio.sleep(0)
    wakeup.wake()
    await asyncio.wait_for(heard.get(), 10)
    assert heard.qsize() < 200


async def test_it_connects_again_and_tells_what_was_committed_meanwhile(
    postgres: Postgres,
    appended: Appended,
    wakeup: RelayWakeup,
    heard: Heard,
    superuser: asyncpg.Connection,
) -> None:
    events = EventStore(service="ledger", appended=wakeup.wake)
    await appended(into=events)
    await asyncio.wait_for(heard.get(), 10)
    for _ in range(3):
        while not heard.empty():
            heard.get_nowait()
        # What was told before it lost its session may be heard before it has the next one.
        async with asyncio.timeout(20):
            while not (sessions := await superuser.fetch(_SESSIONS)):
                continue
        await superuser.execute("SELECT pg_terminate_backend($1, 5000)", sessions[0]["pid"])
        await appended(into=events)
        await asyncio.wait_for(heard.get(), 20)


async def test_without_a_database_it_goes_on_trying() -> None:
    tried: asyncio.Queue[None] = asyncio.Queue()

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tried.put_nowait(None)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        component = RelayWakeup(
            f"postgresql://nobody:x@127.0.0.1:{port}/none", schema="ledger", application="tests"
        )
        await component.start()
        async with asyncio.timeout(20):
            for _ in range(3):
                component.wake()
                await tried.get()
        await component.stop()
