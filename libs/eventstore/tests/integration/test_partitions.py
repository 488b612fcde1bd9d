"""The months ahead are made, and those that are too old dropped, while a service runs."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventstore import outbox, sealing, store
from eventstore.events import Event
from eventstore.outbox import Asked, Selection
from eventstore.partitions import PartitionKeeper
from eventstore.store import EventStore
from runtime.errors import DatabaseUnavailableError
from runtime.postgres import Postgres

EVENTS = EventStore(service="ledger")
KEPT = timedelta(days=35)
ALWAYS = Selection(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))

Appended = Callable[..., Awaitable[list[Event]]]

_NEWEST = "SELECT max(relid::text) FROM pg_partition_tree('events') WHERE relid::text ~ '[0-9]$'"


async def values(postgres: Postgres, sql: str, *arguments: Any) -> list[Any]:
    async with postgres.transaction("dev") as transaction:
        return [row[0] for row in await transaction.fetch(sql, *arguments)]


async def execute(postgres: Postgres, sql: str, *arguments: Any) -> None:
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(sql, *arguments)


async def months(postgres: Postgres) -> list[str]:
    return await values(
        postgres,
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'events'::regclass ORDER BY 1",
    )


async def age(postgres: Postgres, events: list[Event], to: datetime) -> None:
    """Give events the time `to`, as if they had been recorded then, and seal them."""
    positions = [event.position for event in events]
    async with postgres.transaction("dev") as transaction:
        for table in ("events", "outbox_pending"):
            await transaction.execute(
                f"UPDATE {table} SET recorded_at = $1 WHERE position = ANY($2)",  # noqa: S608 - ours
                to,
                positions,
            )
    await seal_all(postgres)


@pytest.fixture
async def old_months(postgres: Postgres) -> list[str]:
    """Partitions of January to March 2025."""
    for month in (1, 2, 3):
        await execute(
            postgres,
            f"CREATE TABLE events_2025_0{month} PARTITION OF events"
            f" FOR VALUES FROM ('2025-0{month}-01 00:00+00') TO ('2025-0{month + 1}-01 00:00+00')",
        )
    return ["events_2025_01", "events_2025_02", "events_2025_03"]


async def seal_all(postgres: Postgres) -> None:
    async with postgres.transaction("dev") as transaction:
        settled = await sealing.Horizon().advance(transaction)
        while await sealing.seal(transaction, up_to=settled):
            pass


async def drop_all(postgres: Postgres, *, older_than: timedelta = KEPT) -> list[str]:
    dropped = []
    while True:
        async with postgres.transaction("dev") as transaction:
            name = await EVENTS.drop_month(transaction, older_than=older_than)
        if name is None:
            return dropped
        dropped.append(name)


async def test_a_missing_month_is_made(postgres: Postgres) -> None:
    async def newest() -> str:
        return str((await values(postgres, _NEWEST))[0])

    latest = await newest()
    await execute(postgres, f"DROP TABLE {latest}")
    assert await newest() != latest
    keeper = PartitionKeeper(postgres, EVENTS)
    await keeper.start()
    async with asyncio.timeout(10):
        while await newest() != latest:  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(0.01)
    await keeper.stop()


async def test_months_that_are_published_are_dropped_the_oldest_first(
    postgres: Postgres, appended: Appended, old_months: list[str]
) -> None:
    old, new = await appended("a:manual:1", 3), await appended("a:manual:1", 1)
    await age(postgres, old, datetime(2025, 1, 31, 23, 59, tzinfo=UTC))
    await execute(postgres, "DELETE FROM outbox_pending")
    before = await months(postgres)
    assert await drop_all(postgres) == old_months
    assert await months(postgres) == sorted(set(before) - set(old_months))
    async with postgres.transaction("dev") as transaction:
        left = await EVENTS.read(transaction, store.run_stream("a:manual:1"))
        assert [event.position for event in left] == [event.position for event in new]
        # The head outlives its events: a trigger gives no second run, however late.
        assert await EVENTS.version_of(transaction, store.run_stream("a:manual:1")) == 4


async def test_month_ends_by_its_bound_not_by_its_beginning(
    postgres: Postgres, old_months: list[str]
) -> None:
    (kept,) = await values(postgres, "SELECT now() - timestamptz '2025-02-28 23:00+00'")
    assert await drop_all(postgres, older_than=kept) == old_months[:1]


@pytest.mark.parametrize("state", ["pending", "copied", "parked"])
async def test_month_with_something_left_to_publish_is_kept(
    postgres: Postgres, appended: Appended, old_months: list[str], state: str
) -> None:
    events = await appended("a:manual:1", 3)
    await age(postgres, events, datetime(2025, 2, 1, tzinfo=UTC))
    last = events[-1].position
    if state == "pending":
        await execute(postgres, "DELETE FROM outbox_pending WHERE position <> $1", last)
    else:
        await execute(postgres, "DELETE FROM outbox_pending")
    if state == "copied":
        async with postgres.transaction("dev") as transaction:
            await outbox.republish(transaction, ALWAYS, asked=Asked("r", "anna", "lost"))
    if state == "parked":
        await execute(
            postgres,
            "INSERT INTO outbox_parked (position, recorded_at, namespace, stream, version,"
            " queued_at, reason, waits) VALUES ($1, $2, 'dev', 's', 3, now(), 'refused', true)",
            last,
            datetime(2025, 2, 1, tzinfo=UTC),
        )
    assert await drop_all(postgres) == ["events_2025_01", "events_2025_03"]
    await execute(postgres, "DELETE FROM outbox_pending")
    await execute(postgres, "DELETE FROM outbox_parked")
    assert await drop_all(postgres) == ["events_2025_02"]


async def test_current_month_and_those_ahead_are_never_dropped(
    postgres: Postgres, old_months: list[str]
) -> None:
    before = await months(postgres)
    assert await drop_all(postgres, older_than=timedelta(days=-1000)) == old_months
    assert await months(postgres) == sorted(set(before) - set(old_months))


async def test_drop_gives_up_soon_when_somebody_reads(
    postgres: Postgres, old_months: list[str], appended: Appended
) -> None:
    async with postgres.transaction("dev") as reader:
        await reader.fetch("SELECT * FROM events")
        with pytest.raises(DatabaseUnavailableError):
            await drop_all(postgres)
        await appended("a:manual:1")
    assert await drop_all(postgres) == old_months


async def test_republication_and_drop_wait_for_one_another(
    postgres: Postgres, appended: Appended, old_months: list[str]
) -> None:
    events = await appended("a:manual:1", 3)
    await age(postgres, events, datetime(2025, 1, 1, tzinfo=UTC))
    await execute(postgres, "DELETE FROM outbox_pending")
    async with postgres.transaction("dev") as transaction:
        await outbox.republish(transaction, ALWAYS, asked=Asked("r", "anna", "lost"))
        with pytest.raises(DatabaseUnavailableError):
            await drop_all(postgres)
    assert await drop_all(postgres) == old_months[1:]


async def test_default_partition_is_cleared_of_what_is_published(
    postgres: Postgres, appended: Appended
) -> None:
    lost, pending = await appended("a:manual:1", 5), await appended("a:manual:2", 2)
    (new,) = await appended("a:manual:3")
    await age(postgres, lost + pending, datetime(2025, 5, 5, tzinfo=UTC))
    await execute(
        postgres,
        "DELETE FROM outbox_pending WHERE position = ANY($1)",
        [event.position for event in lost],
    )
    assert await values(postgres, "SELECT count(*) FROM events_default") == [7]
    counts = []
    async with postgres.transaction("dev") as transaction:
        for _ in range(3):
            counts.append(await EVENTS.clear_default(transaction, older_than=KEPT, most=4))
    assert counts == [4, 1, 0]
    assert await values(postgres, "SELECT position FROM events ORDER BY position") == [
        *(event.position for event in pending),
        new.position,
    ]


async def test_keeper_drops_only_when_it_is_told_how_long_to_keep(
    postgres: Postgres, appended: Appended, old_months: list[str]
) -> None:
    old = await appended("a:manual:1", 2)
    await age(postgres, old, datetime(2025, 5, 5, tzinfo=UTC))
    await execute(postgres, "DELETE FROM outbox_pending")
    (newest,) = await values(postgres, _NEWEST)
    await execute(postgres, f"DROP TABLE {newest}")

    async def until_kept(keeper: PartitionKeeper, done: Callable[[list[str]], bool]) -> None:
        await keeper.start()
        async with asyncio.timeout(20):
            while not done(await months(postgres)):  # noqa: ASYNC110 - PostgreSQL tells nobody
                await asyncio.sleep(0.01)
        await keeper.stop()

    await until_kept(PartitionKeeper(postgres, EVENTS), lambda names: newest in names)
    assert set(old_months) <= set(await months(postgres))
    soon = timedelta(milliseconds=50)
    keeper = PartitionKeeper(postgres, EVENTS, retention=KEPT, interval=soon, retry_after=soon)
    await until_kept(keeper, lambda names: not set(old_months) & set(names))
    async with asyncio.timeout(20):
        await keeper.start()
        while await values(postgres, "SELECT 1 FROM events_default LIMIT 1"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await keeper.stop()


def test_retention_of_less_than_35_days_is_refused(postgres: Postgres) -> None:
    with pytest.raises(ValueError, match="for 35 days at least"):
        PartitionKeeper(postgres, EVENTS, retention=timedelta(days=34))
