"""Republishing, retrying and discarding on a real PostgreSQL; the relay is played by statements."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from contracts import names
from devstack.infrastructure.endpoints import PostgresEndpoint
from eventstore import outbox
from eventstore.errors import NotParkedError, RequestIdReusedError
from eventstore.events import Event
from eventstore.outbox import Asked, Progress, Selection
from runtime.postgres import Postgres

ALWAYS = Selection(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
ASKED = Asked("r-1", "anna", "the search index was lost")

Appended = Callable[..., Awaitable[list[Event]]]


def numbers(progress: Progress) -> tuple[int, int, int, int]:
    return (progress.republished, progress.pending, progress.parked, progress.discarded)


async def rows(postgres: Postgres, sql: str, *arguments: Any) -> list[Any]:
    async with postgres.transaction("dev") as transaction:
        return [tuple(row) for row in await transaction.fetch(sql, *arguments)]


async def pending(postgres: Postgres) -> list[Any]:
    return await rows(
        postgres, "SELECT position, republish_id FROM outbox_pending ORDER BY position"
    )


async def publish(postgres: Postgres, *events: Event) -> None:
    """Take the events, or all of them, out of the outbox, as a relay does."""
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "DELETE FROM outbox_pending WHERE cardinality($1::bigint[]) = 0 OR position = ANY($1)",
            [event.position for event in events],
        )


_PARK = """
    WITH refused AS (
        DELETE FROM outbox_pending WHERE position = ANY($1)
        RETURNING position, recorded_at, namespace, stream, version, republish_id, queued_at
    )
    INSERT INTO outbox_parked (
        position, recorded_at, namespace, stream, version, republish_id, queued_at, reason, waits
    )
    SELECT *, 'too large', true FROM refused
"""


async def park(postgres: Postgres, *events: Event) -> None:
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(_PARK, [event.position for event in events])


async def republish(
    postgres: Postgres,
    selection: Selection = ALWAYS,
    asked: Asked = ASKED,
    *,
    namespace: str = "dev",
    limit: int = outbox.BATCH,
) -> Progress:
    """Carry a request out, transaction by transaction."""
    while True:
        async with postgres.transaction(namespace) as transaction:
            progress = await outbox.republish(transaction, selection, asked=asked, limit=limit)
        if progress.complete:
            return progress


async def test_published_events_come_back_marked_and_others_stay_as_they_are(
    postgres: Postgres, appended: Appended
) -> None:
    published = await appended("a:manual:1", 3)
    refused, given_up = await appended("a:manual:2", 2)
    await park(postgres, refused, given_up)
    async with postgres.transaction("dev") as transaction:
        await outbox.discard(transaction, given_up.position, asked=replace(ASKED, request_id="d"))
    await publish(postgres)
    (new,) = await appended("a:manual:3")
    assert numbers(await republish(postgres)) == (3, 1, 1, 1)
    assert await pending(postgres) == [
        *((event.position, "r-1") for event in published),
        (new.position, None),
    ]


async def test_plan_counts_and_changes_nothing(postgres: Postgres, appended: Appended) -> None:
    await appended(count=7)
    await publish(postgres)
    async with postgres.transaction("dev") as transaction:
        progress: Progress | None = None
        steps = 0
        while progress is None or not progress.complete:
            progress = await outbox.plan(transaction, ALWAYS, after=progress, limit=3)
            steps += 1
    assert numbers(progress) == (7, 0, 0, 0)
    assert steps == 3
    assert await pending(postgres) == []
    assert await rows(postgres, "SELECT * FROM outbox_requests") == []


async def test_range_begins_with_its_start_and_ends_before_its_end(
    postgres: Postgres, appended: Appended
) -> None:
    events = [(await appended("a:manual:1"))[0] for _ in range(4)]
    await publish(postgres)
    selection = Selection(events[1].recorded_at, events[3].recorded_at)
    assert numbers(await republish(postgres, selection)) == (2, 0, 0, 0)
    assert [position for position, _ in await pending(postgres)] == [
        events[1].position,
        events[2].position,
    ]


async def test_range_is_found_among_positions_that_are_not_quite_in_the_order_of_time(
    postgres: Postgres,
) -> None:
    rng = random.Random(5)
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    # With gaps in the positions, pauses, bursts, and writers that were half an hour late.
    at = begin
    recorded: dict[int, datetime] = {}
    position = 0
    for _ in range(400):
        position += rng.choice((1, 1, 1, 33))
        at += rng.choice((timedelta(seconds=1), timedelta(minutes=20), timedelta(days=3)))
        recorded[position] = at - timedelta(minutes=rng.choice((0, 0, 30)))
    async with postgres.transaction("dev") as transaction:
        await transaction.executemany(
            "INSERT INTO events (position, recorded_at, namespace, stream, version, event_id, type,"
            " topic, key, headers, body, previous_hash, hash) VALUES ($1, $2, 'dev', 's', $1,"
            " gen_random_uuid(), 't', 't', 'k', '[]', '', sha256(''), sha256(''))",
            list(recorded.items()),
        )
        for _ in range(60):
            first, end = sorted(begin + (at - begin) * rng.uniform(-0.1, 1.1) for _ in range(2))
            progress: Progress | None = None
            while progress is None or not progress.complete:
                progress = await outbox.plan(
                    transaction, Selection(first, end), after=progress, limit=50
                )
            expected = sum(first <= moment < end for moment in recorded.values())
            assert progress.republished == expected
            # It looks at what is near the range only.
            near = [p for p, moment in recorded.items() if moment < end + timedelta(hours=3)]
            assert progress.last <= max(near, default=0) + 33


@pytest.mark.parametrize("limit", [2, 3, 100])
async def test_stream_and_type_narrow_the_range(
    postgres: Postgres, appended: Appended, limit: int
) -> None:
    wanted = await appended("a:manual:1", 3)
    await appended("a:manual:2", 3)
    wanted += await appended("a:manual:1", 1)
    await publish(postgres)
    selection = replace(ALWAYS, stream="run:a:manual:1", types=("backbone.RunCompleted",))
    assert (await republish(postgres, selection, limit=limit)).republished == 4
    assert [position for position, _ in await pending(postgres)] == [
        event.position for event in wanted
    ]
    other = replace(ALWAYS, types=("backbone.RunDecided",))
    asked = replace(ASKED, request_id="r-2")
    assert numbers(await republish(postgres, other, asked, limit=limit)) == (0, 0, 0, 0)


async def test_other_namespaces_are_left_alone(postgres: Postgres, appended: Appended) -> None:
    await appended("a:manual:1", 2)
    (theirs,) = await appended("a:manual:1", namespace="prod")
    await publish(postgres)
    assert (await republish(postgres, namespace="prod")).republished == 1
    assert await pending(postgres) == [(theirs.position, "r-1")]


async def test_request_goes_on_where_it_ended_and_publishes_nothing_twice(
    postgres: Postgres, appended: Appended
) -> None:
    events = await appended(count=5)
    await publish(postgres)
    async with postgres.transaction("dev") as transaction:
        first = await outbox.republish(transaction, ALWAYS, asked=ASKED, limit=2)
    assert (first.republished, first.complete) == (2, False)
    await publish(postgres)
    late = await appended("b:manual:1")
    await publish(postgres, *late)
    assert (await republish(postgres, limit=2)).republished == 5
    assert [position for position, _ in await pending(postgres)] == [
        event.position for event in events[2:]
    ]
    await publish(postgres)
    assert (await republish(postgres)).republished == 5
    assert await pending(postgres) == []
    ((kind, actor, reason, completed),) = await rows(
        postgres,
        "SELECT kind, actor, reason, completed_at IS NOT NULL FROM outbox_requests",
    )
    assert (kind, actor, reason, completed) == ("republish", ASKED.actor, ASKED.reason, True)


async def test_request_id_of_another_request_is_refused(
    postgres: Postgres, appended: Appended
) -> None:
    (event,) = await appended()
    await park(postgres, event)
    await republish(postgres)
    with pytest.raises(RequestIdReusedError):
        await republish(postgres, replace(ALWAYS, types=("backbone.RunCompleted",)))
    async with postgres.transaction("dev") as transaction:
        with pytest.raises(RequestIdReusedError):
            await outbox.retry(transaction, event.position, asked=ASKED)


async def test_two_who_ask_with_one_id_take_turns(postgres: Postgres, appended: Appended) -> None:
    await appended(count=20)
    await publish(postgres)
    both = await asyncio.gather(republish(postgres, limit=3), republish(postgres, limit=3))
    assert [progress.republished for progress in both] == [20, 20]
    assert len(await pending(postgres)) == 20


async def test_event_that_is_being_published_is_left_to_the_relay(
    postgres: Postgres, appended: Appended
) -> None:
    first, second = await appended(count=2)
    await publish(postgres, first)
    async with postgres.transaction("dev") as relay:
        await relay.execute("DELETE FROM outbox_pending WHERE position = $1", second.position)
        assert numbers(await republish(postgres)) == (1, 1, 0, 0)
    assert await pending(postgres) == [(first.position, "r-1")]


async def test_second_republication_adds_no_second_row(
    postgres: Postgres, appended: Appended
) -> None:
    await appended(count=2)
    await publish(postgres)
    async with postgres.transaction("dev") as first:
        await outbox.republish(first, ALWAYS, asked=ASKED)
        second = asyncio.create_task(republish(postgres, asked=replace(ASKED, request_id="r-2")))
        async with asyncio.timeout(10):
            while not await first.fetchval(  # noqa: ASYNC110 - PostgreSQL tells nobody
                "SELECT count(*) FROM pg_locks WHERE NOT granted"
            ):
                await asyncio.sleep(0.01)
    assert numbers(await second) == (0, 2, 0, 0)
    assert {mark for _, mark in await pending(postgres)} == {"r-1"}


async def test_retried_event_is_pending_again_and_relays_are_told(
    postgres: Postgres, appended: Appended, database: PostgresEndpoint
) -> None:
    (event,) = await appended()
    await park(postgres, event)
    told: asyncio.Queue[str] = asyncio.Queue()
    relay = await asyncpg.connect(database.dsn("relay"))
    try:
        await relay.add_listener(
            names.outbox_channel("ledger"), lambda *message: told.put_nowait(message[3])
        )
        async with postgres.transaction("dev") as transaction:
            assert await outbox.retry(transaction, event.position, asked=ASKED)
        assert await asyncio.wait_for(told.get(), 10) == names.OUTBOX_READ_AGAIN
    finally:
        await relay.close()
    assert await pending(postgres) == [(event.position, None)]
    await park(postgres, event)
    async with postgres.transaction("dev") as transaction:
        assert not await outbox.retry(transaction, event.position, asked=ASKED)
    assert await pending(postgres) == []


async def test_discarded_event_stays_known_with_who_and_why(
    postgres: Postgres, appended: Appended
) -> None:
    event, behind = await appended(count=2)
    await park(postgres, event)
    async with postgres.transaction("dev") as transaction:
        assert await outbox.discard(transaction, event.position, asked=ASKED)
        assert not await outbox.discard(transaction, event.position, asked=ASKED)
        assert await outbox.parked(transaction) == []
    assert await pending(postgres) == [(behind.position, None)]
    assert await rows(
        postgres,
        "SELECT position, version, parked_reason, actor, reason"
        " FROM outbox_discarded JOIN outbox_requests USING (namespace, request_id)",
    ) == [(event.position, 1, "too large", ASKED.actor, ASKED.reason)]


async def test_copy_that_was_given_up_can_be_republished(
    postgres: Postgres, appended: Appended
) -> None:
    (event,) = await appended()
    await publish(postgres)
    await republish(postgres)
    await park(postgres, event)
    async with postgres.transaction("dev") as transaction:
        await outbox.discard(transaction, event.position, asked=replace(ASKED, request_id="d"))
    progress = await republish(postgres, asked=replace(ASKED, request_id="r-2"))
    assert numbers(progress) == (1, 0, 0, 0)


@pytest.mark.parametrize("settle", [outbox.retry, outbox.discard])
async def test_what_is_not_parked_can_be_neither_retried_nor_discarded(
    postgres: Postgres, appended: Appended, settle: Any
) -> None:
    (event,) = await appended()
    (theirs,) = await appended(namespace="prod")
    await park(postgres, theirs)
    for position in (event.position, theirs.position, 4711):
        async with postgres.transaction("dev") as transaction:
            with pytest.raises(NotParkedError):
                await settle(transaction, position, asked=ASKED)
            # A refused request leaves nothing behind, its id is free.
            await transaction.execute("DELETE FROM outbox_requests")


async def test_parked_events_are_listed_in_pages(postgres: Postgres, appended: Appended) -> None:
    events = await appended(count=3)
    await park(postgres, *events)
    async with postgres.transaction("dev") as transaction:
        first = await outbox.parked(transaction, limit=2)
        rest = await outbox.parked(transaction, after=first[-1].position, limit=2)
    assert [one.position for one in (*first, *rest)] == [event.position for event in events]
    assert first[0].event_id == events[0].envelope.event_id
    assert (first[0].type, first[0].key) == ("backbone.RunCompleted", "billing:manual:1")
    assert (first[0].reason, first[0].waits) == ("too large", True)
    assert first[0].size == len(events[0].body)


async def test_state_counts_the_namespaces_own_rows(postgres: Postgres, appended: Appended) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    published, refused, left = await appended(count=3)
    await appended(namespace="prod")
    await publish(postgres, published)
    await park(postgres, refused)
    await republish(postgres)
    async with postgres.transaction("dev") as transaction:
        state = await outbox.state(transaction)
    assert (state.pending, state.copies, state.parked, state.waiting) == (2, 1, 1, 1)
    assert (state.discarded, state.counted_all) == (0, True)
    assert state.oldest_queued_at is not None
    assert before < state.oldest_queued_at
    assert left.position in [position for position, _ in await pending(postgres)]


async def test_session_of_the_release_before_can_append(
    postgres: Postgres, database: PostgresEndpoint
) -> None:
    old = await asyncpg.connect(database.dsn("ledger"), server_settings={"search_path": "ledger"})
    relay = await asyncpg.connect(database.dsn("relay"), server_settings={"search_path": "ledger"})
    try:
        await old.execute("SET backbone.namespace = 'dev'")
        await old.execute(
            "INSERT INTO outbox_pending (position, recorded_at, namespace, stream, version)"
            " SELECT n, now(), 'dev', 'run:' || n, 1 FROM generate_series(1, 500) AS n"
        )
        shards = await old.fetch("SELECT DISTINCT shard FROM outbox_pending ORDER BY shard")
        assert [row["shard"] for row in shards] == list(range(16))
        assert await relay.execute("DELETE FROM outbox_pending WHERE position = 1") == "DELETE 1"
    finally:
        await relay.close()
        await old.close()
