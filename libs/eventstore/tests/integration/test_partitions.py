"""The months ahead are made while a service runs."""

import asyncio

from eventstore.partitions import PartitionKeeper
from eventstore.store import EventStore
from runtime.postgres import Postgres

_NEWEST = "SELECT max(relid::text) FROM pg_partition_tree('events') WHERE relid::text ~ '[0-9]$'"


async def test_a_missing_month_is_made(postgres: Postgres) -> None:
    async def newest() -> str:
        async with postgres.transaction("dev") as transaction:
            return str(await transaction.fetchval(_NEWEST))

    latest = await newest()
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(f"DROP TABLE {latest}")
    assert await newest() != latest
    keeper = PartitionKeeper(postgres, EventStore(service="ledger"), namespace="dev")
    await keeper.start()
    async with asyncio.timeout(10):
        while await newest() != latest:  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(0.01)
    await keeper.stop()
