"""Migrations on a real PostgreSQL: order, phases, failure, several at once."""

import concurrent.futures

import asyncpg
import pytest

from runtime import migrations
from runtime.migrations import MigrationError


@pytest.fixture
def dsn(database):
    return database.dsn("ledger_owner")


@pytest.fixture
def write(tmp_path):
    def files(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.sql").write_text(text)
        return tmp_path

    return files


async def tables(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'ledger'"
            " AND tablename NOT LIKE '%yoyo%'"
        )
        return {row["tablename"] for row in rows}
    finally:
        await connection.close()


ONE = "CREATE TABLE one (n int);"
TWO = "-- depends: 0001_pre_one\nCREATE TABLE two (n int);"


async def test_files_are_applied_once_and_in_the_schema(dsn, write):
    folder = write(**{"0001_pre_one": ONE, "0002_post_two": TWO})
    assert migrations.pending(dsn, schema="ledger", sources=[folder]) == [
        "0001_pre_one",
        "0002_post_two",
    ]
    assert migrations.apply(dsn, schema="ledger", sources=[folder]) == [
        "0001_pre_one",
        "0002_post_two",
    ]
    assert migrations.apply(dsn, schema="ledger", sources=[folder]) == []
    assert await tables(dsn) == {"one", "two"}


async def test_a_phase_leaves_the_other_for_later(dsn, write):
    folder = write(**{"0001_pre_one": ONE, "0002_post_two": TWO})
    migrations.apply(dsn, schema="ledger", sources=[folder], phase="pre")
    assert await tables(dsn) == {"one"}
    assert migrations.pending(dsn, schema="ledger", sources=[folder]) == ["0002_post_two"]


async def test_a_file_that_fails_leaves_nothing_of_itself(dsn, write):
    folder = write(**{"0001_pre_one": ONE + "\nSELECT no_such_function();"})
    with pytest.raises(MigrationError, match="no_such_function"):
        migrations.apply(dsn, schema="ledger", sources=[folder])
    assert await tables(dsn) == set()
    write(**{"0001_pre_one": ONE})
    assert migrations.apply(dsn, schema="ledger", sources=[folder]) == ["0001_pre_one"]


async def test_several_at_once_take_turns(dsn, write):
    folder = write(**{"0001_pre_one": ONE})
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        applied = list(
            pool.map(lambda _: migrations.apply(dsn, schema="ledger", sources=[folder]), range(3))
        )
    assert sorted(applied) == [[], [], ["0001_pre_one"]]


async def test_the_lock_of_a_killed_migration_does_not_stay(dsn, write):
    folder = write(**{"0001_pre_one": ONE})
    migrations.apply(dsn, schema="ledger", sources=[folder])
    connection = await asyncpg.connect(dsn)
    await connection.execute("INSERT INTO ledger.yoyo_lock (locked, pid) VALUES (1, 999999)")
    await connection.close()
    write(**{"0002_pre_two": TWO})
    assert migrations.apply(dsn, schema="ledger", sources=[folder]) == ["0002_pre_two"]


async def test_who_does_not_own_the_schema_is_told_so(database, write):
    folder = write(**{"0001_pre_one": ONE})
    with pytest.raises(MigrationError, match="ledger does not own the schema ledger"):
        migrations.apply(database.dsn("ledger"), schema="ledger", sources=[folder])


def test_a_database_that_is_away_is_one_sentence(write):
    with pytest.raises(MigrationError, match="ledger"):
        migrations.apply("postgresql://x:y@127.0.0.1:1/x", schema="ledger", sources=[write()])
