"""The event store on a real PostgreSQL."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import pytest

from contracts.events import RunCompleted
from devstack.infrastructure.endpoints import PostgresEndpoint
from eventstore import events, store
from eventstore.errors import ConcurrencyError
from eventstore.events import GENESIS, Cause, Event, Fact
from eventstore.store import ANY, NEW, EventStore, Expected
from runtime.postgres import Postgres, Transaction

AT = datetime(2026, 11, 1, 12, 0, 0, 5, tzinfo=UTC)
STREAM = store.run_stream("billing:manual:1")


def facts(count: int = 1) -> list[Fact]:
    return [
        Fact(
            payload=RunCompleted(
                run_id="billing:manual:1", definition_id="billing", definition_version=number
            ),
            key="billing:manual:1",
        )
        for number in range(1, count + 1)
    ]


async def append(
    transaction: Transaction,
    *,
    expected: Expected,
    count: int = 1,
    stream: str = STREAM,
    into: EventStore | None = None,
) -> list[Event]:
    return await (into or EventStore(service="ledger")).append(
        transaction,
        stream=stream,
        facts=facts(count),
        expected=expected,
        occurred_at=AT,
        cause=Cause(correlation_id="c"),
    )


async def test_events_are_read_back_as_they_were_appended(postgres: Postgres) -> None:
    async with postgres.transaction("dev") as transaction:
        first = await append(transaction, expected=NEW, count=12)
        more = await append(transaction, expected=ANY, count=2)
        assert await EventStore(service="ledger").read(transaction, STREAM) == first + more
        assert [event.version for event in first + more] == list(range(1, 15))
        positions = [event.position for event in first + more]
        assert positions == sorted(positions)


async def test_hash_chain_links_every_event_of_a_stream(postgres: Postgres) -> None:
    async with postgres.transaction("dev") as transaction:
        await append(transaction, expected=NEW, count=3)
        await append(transaction, expected=3)
        previous = GENESIS
        for event in await EventStore(service="ledger").read(transaction, STREAM):
            assert event.previous_hash == previous
            assert event.hash == events.link(previous, event.body)
            previous = event.hash
        head = await transaction.fetchrow("SELECT version, hash FROM stream_heads")
        assert head is not None
        assert (head["version"], head["hash"]) == (4, previous)


@pytest.mark.parametrize("expected", [NEW, 2, 4])
async def test_append_at_another_version_than_the_stream_has_is_refused(
    postgres: Postgres, expected: int
) -> None:
    async with postgres.transaction("dev") as transaction:
        await append(transaction, expected=NEW, count=3)
        with pytest.raises(ConcurrencyError) as refused:
            await append(transaction, expected=expected)
        assert refused.value.actual == 3


async def test_streams_of_two_namespaces_are_two_streams(postgres: Postgres) -> None:
    async with postgres.transaction("dev") as transaction:
        await append(transaction, expected=NEW)
    async with postgres.transaction("prod") as transaction:
        assert await EventStore(service="ledger").version_of(transaction, STREAM) == 0
        assert (await append(transaction, expected=NEW))[0].version == 1


@pytest.mark.parametrize("begun_with", [0, 1])
async def test_concurrent_appends_take_turns(postgres: Postgres, begun_with: int) -> None:
    async with postgres.transaction("dev") as transaction:
        await append(transaction, expected=NEW, count=begun_with)

    async def one() -> None:
        async with postgres.transaction("dev") as transaction:
            await append(transaction, expected=ANY, count=2)

    await asyncio.gather(*(one() for _ in range(6)))
    async with postgres.transaction("dev") as transaction:
        stored = await EventStore(service="ledger").read(transaction, STREAM)
    assert [event.version for event in stored] == list(range(1, 13 + begun_with))
    positions = [event.position for event in stored]
    assert positions == sorted(positions)


async def test_one_of_two_writers_that_begin_a_stream_is_refused(postgres: Postgres) -> None:
    async def one() -> None:
        async with postgres.transaction("dev") as transaction:
            await append(transaction, expected=NEW)

    outcomes = await asyncio.gather(one(), one(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [ConcurrencyError]


async def test_late_commit_is_found_among_the_pending(postgres: Postgres) -> None:
    async with postgres.transaction("dev") as late:
        (slow,) = await append(late, expected=NEW)
        async with postgres.transaction("dev") as early:
            (fast,) = await append(early, expected=NEW, stream=store.run_stream("other:manual:1"))
        async with postgres.transaction("dev") as relay:
            seen = await relay.fetch("SELECT position FROM outbox_pending ORDER BY position")
            assert [row["position"] for row in seen] == [fast.position]
            await relay.execute(
                "DELETE FROM outbox_pending WHERE position = ANY($1)", [fast.position]
            )
    assert slow.position < fast.position
    async with postgres.transaction("dev") as relay:
        seen = await relay.fetch(
            "SELECT position, e.body FROM outbox_pending p"
            " JOIN events e USING (position, recorded_at) ORDER BY position"
        )
    assert [(row["position"], row["body"]) for row in seen] == [(slow.position, slow.body)]


async def test_nothing_stands_when_the_transaction_is_undone(postgres: Postgres) -> None:
    async def refused() -> None:
        async with postgres.transaction("dev") as transaction:
            await append(transaction, expected=NEW, count=3)
            raise RuntimeError("the business refused")

    with pytest.raises(RuntimeError, match="business"):
        await refused()
    async with postgres.transaction("dev") as transaction:
        assert (
            await transaction.fetchval(
                "SELECT (SELECT count(*) FROM stream_heads) + (SELECT count(*) FROM events)"
                " + (SELECT count(*) FROM outbox_pending)"
            )
            == 0
        )


async def test_rebuild_gives_the_rows_of_the_projection_again(postgres: Postgres) -> None:
    async def project(transaction: Transaction, batch: Sequence[Event]) -> None:
        await transaction.executemany(
            "INSERT INTO seen (position, run_id, at) VALUES ($1, $2, $3)",
            [
                (event.position, event.envelope.subject, event.envelope.occurred_at)
                for event in batch
            ],
        )

    events_of = EventStore(service="ledger", projections=[project])
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "CREATE TABLE seen (position bigint PRIMARY KEY, run_id text, at timestamptz)"
        )
        await append(transaction, expected=NEW, count=700, into=events_of)
        await append(transaction, expected=ANY, count=1, into=events_of)
    async with postgres.transaction("dev") as transaction:
        before = await transaction.fetch("SELECT * FROM seen ORDER BY position")
        await transaction.execute("TRUNCATE seen")
        assert await events_of.rebuild(transaction) == 701
        assert await transaction.fetch("SELECT * FROM seen ORDER BY position") == before


async def test_partitions_are_made_ahead_and_only_once(postgres: Postgres) -> None:
    events_of = EventStore(service="ledger")
    async with postgres.transaction("dev") as transaction:
        assert await events_of.ensure_partitions(transaction, months=3) == []
        assert len(await events_of.ensure_partitions(transaction, months=5)) == 2
        await append(transaction, expected=NEW)
        where = await transaction.fetchval("SELECT tableoid::regclass::text FROM events")
        assert where.startswith("events_2")


async def test_append_goes_on_when_nobody_made_the_month(postgres: Postgres) -> None:
    async with postgres.transaction("dev") as transaction:
        for row in await transaction.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
            " WHERE inhparent = 'events'::regclass AND inhrelid <> 'events_default'::regclass"
        ):
            await transaction.execute(f"DROP TABLE {row['name']}")
        await append(transaction, expected=NEW)
        assert await transaction.fetchval("SELECT count(*) FROM events_default") == 1
        made = await EventStore(service="ledger").ensure_partitions(transaction, months=1)
        assert len(made) == 1
        assert len(await EventStore(service="ledger").read(transaction, STREAM)) == 1


async def test_relay_reads_and_clears_the_outbox_and_nothing_else(
    postgres: Postgres, database: PostgresEndpoint
) -> None:
    async with postgres.transaction("dev") as transaction:
        await append(transaction, expected=NEW)
    connection = await asyncpg.connect(
        database.dsn("relay"), server_settings={"search_path": "ledger"}
    )
    try:
        assert await connection.fetchval("SELECT count(*) FROM events") == 1
        await connection.execute("DELETE FROM outbox_pending")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM events")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval("SELECT count(*) FROM stream_heads")
    finally:
        await connection.close()
