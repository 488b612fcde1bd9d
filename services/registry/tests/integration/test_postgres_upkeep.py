"""Upkeep: a partition that is missing is made."""

from collections.abc import Awaitable, Callable

from registry import app
from registry.adapters.postgres_upkeep import PartitionUpkeep
from runtime import migrations
from runtime.postgres import Postgres

_NEWEST = "SELECT max(relid::text) FROM pg_partition_tree('events') WHERE relid::text ~ '[0-9]$'"


async def test_missing_month_is_made(
    postgres_dsn: str, until: Callable[..., Awaitable[None]]
) -> None:
    migrations.apply(postgres_dsn, schema=app.SCHEMA, sources=app.MIGRATIONS)
    postgres = await Postgres.connect(postgres_dsn, application="test", schema=app.SCHEMA)

    async def newest() -> str:
        async with postgres.transaction("dev") as transaction:
            return str(await transaction.fetchval(_NEWEST))

    latest = await newest()
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(f"DROP TABLE {latest}")
    assert await newest() != latest
    upkeep = PartitionUpkeep(postgres, namespace="dev")
    await upkeep.start()

    async def made() -> bool:
        return await newest() == latest

    await until(made, "the month is there again")
    await upkeep.stop()
    await postgres.close()
