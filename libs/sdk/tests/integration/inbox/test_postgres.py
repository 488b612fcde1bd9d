"""What only the store in PostgreSQL has: opening, the command for people."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from contracts.names import Header
from devstack.infrastructure.endpoints import PostgresEndpoint
from runtime.migrations import MigrationError
from sdk.inbox import Order, PostgresInboxStore, Refusal, Transaction
from sdk.inbox.__main__ import main
from sdk.inbox.processing import Processor
from sdk.inbox.records import Record

OWNER = ("--schema", "reports_inbox", "--group", "reports")


@pytest.fixture
async def store(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PostgresInboxStore]:
    monkeypatch.setenv("INBOX_DSN", postgres_dsn)
    store = await PostgresInboxStore.open(postgres_dsn, application="tests", schema="reports_inbox")
    yield store
    await store.close()


async def let_wait(store: PostgresInboxStore, stream: str, version: int) -> None:
    async def handle(event: object, transaction: Transaction) -> None:
        raise AssertionError("it is not its turn")

    processor = Processor(
        store,
        handle,
        namespace="dev",
        group="reports",
        topics=["dev.events"],
        order=Order.GAPLESS,
    )
    event = {
        "event_id": f"{stream}-{version}",
        "type": "backbone.TaskCreated",
        "source": "backbone/ledger",
        "occurred_at": "2026-01-01T00:00:00Z",
        "payload": {},
    }
    headers = (
        (Header.STREAM.value, stream.encode()),
        (Header.STREAM_VERSION.value, str(version).encode()),
    )
    await processor.process(Record("dev.events", 0, 0, json.dumps(event).encode(), headers))


async def run(*arguments: str) -> int:
    """Run the command, which has an event loop of its own."""
    return await asyncio.to_thread(main, arguments)


async def test_opening_makes_the_tables_once(store: PostgresInboxStore, postgres_dsn: str) -> None:
    again = await PostgresInboxStore.open(postgres_dsn, application="tests", schema="reports_inbox")
    await again.close()
    assert await store.gaps("dev", "reports", limit=10) == []


async def test_opening_gives_up_when_the_database_refuses(database: PostgresEndpoint) -> None:
    with pytest.raises(MigrationError, match="permission denied"):
        await PostgresInboxStore.open(database.dsn("ledger"), application="tests", schema="another")


async def test_people_list_gaps_and_skip_them(
    store: PostgresInboxStore, capsys: pytest.CaptureFixture[str]
) -> None:
    await let_wait(store, "run:1", 2)
    await let_wait(store, "run:2", 5)
    await let_wait(store, "run:2", 6)

    assert await run("gaps", *OWNER) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("backbone/ledger run:1 missing 1, 1 waiting since 20")
    assert second.startswith("backbone/ledger run:2 missing 1-4, 2 waiting since 20")

    assert await run("skip", *OWNER, "run:2") == 0
    assert capsys.readouterr().out.startswith("skipped backbone/ledger run:2 missing 1-4")
    assert [gap.stream for gap in await store.gaps("dev", "reports", limit=10)] == ["run:1"]

    assert await run("skip", *OWNER, "run:2") == 1
    assert await run("skip", *OWNER, "--all") == 0
    assert await store.gaps("dev", "reports", limit=10) == []


async def test_people_list_what_was_refused(
    store: PostgresInboxStore, capsys: pytest.CaptureFixture[str]
) -> None:
    async with store.transaction("dev", "reports") as transaction:
        await transaction.refuse(Refusal("dev.events", 1, 7, "empty", "no value", b""))
    assert await run("refusals", *OWNER) == 0
    assert capsys.readouterr().out == "dev.events[1]@7 - - empty: no value\n"


async def test_database_that_is_away_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INBOX_DSN", "postgresql://127.0.0.1:1/x")
    with pytest.raises(SystemExit) as caught:
        await run("gaps", *OWNER)
    assert caught.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("inbox: PostgreSQL cannot be reached")


async def test_dsn_that_is_missing_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("INBOX_DSN", raising=False)
    assert await run("gaps", *OWNER) == 2
    assert "INBOX_DSN" in capsys.readouterr().out
