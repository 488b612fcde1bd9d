"""The pool against a real PostgreSQL: namespaces, timeouts, conflicts, a server that goes away."""

import asyncio

import asyncpg
import pytest
from measured import Measured

from contracts.telemetry import Attribute, Metric
from runtime import postgres, secretfiles
from runtime.errors import DatabaseUnavailableError
from runtime.postgres import Postgres


@pytest.fixture
async def pool(database):
    pool = await Postgres.connect(
        database.dsn("ledger_owner"), application="test", schema="ledger", size=3
    )
    yield pool
    await pool.close()


async def test_a_transaction_knows_its_namespace_and_the_next_one_does_not(pool):
    read = "SELECT current_setting('backbone.namespace', true)"
    async with pool.transaction("dev") as transaction:
        assert await transaction.fetchval(read) == "dev"
    async with pool.transaction("stage") as transaction:
        assert await transaction.fetchval(read) == "stage"


@pytest.fixture
async def serving(database):
    """A service's pool of one connection, so that one transaction has what another left behind."""
    owner = await asyncpg.connect(database.dsn("ledger_owner"))
    await owner.execute(
        "SET search_path = ledger; CREATE TABLE t (namespace text);"
        "INSERT INTO t VALUES ('dev'), ('stage'); ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        "GRANT SELECT ON t TO ledger, ledger_across;"
        "CREATE POLICY one ON t TO ledger"
        " USING (namespace = current_setting('backbone.namespace', true));"
        "CREATE POLICY every ON t TO ledger_across USING (true)"
    )
    await owner.close()
    dsn = database.dsn("ledger")
    pool = await Postgres.connect(dsn, application="test", schema="ledger", size=1)
    yield pool
    await pool.close()


async def test_a_transaction_sees_its_namespace_and_one_across_sees_all_of_them(serving):
    seen = "SELECT namespace FROM t ORDER BY 1"

    async def rows(transaction):
        return [row["namespace"] for row in await transaction.fetch(seen)]

    # In turns, so that a plan made for one is not used for the other.
    for _ in range(7):
        for namespace in ("dev", "stage"):
            async with serving.transaction(namespace) as transaction:
                assert await rows(transaction) == [namespace]
            async with serving.across() as transaction:
                assert transaction.namespace == ""
                assert await rows(transaction) == ["dev", "stage"]
    assert await serving.retrying_across(rows) == ["dev", "stage"]
    with pytest.raises(KeyError):
        async with serving.across() as transaction:
            raise KeyError
    async with serving.transaction("dev") as transaction:
        assert await transaction.fetchval("SELECT current_user") == "ledger"
        assert await rows(transaction) == ["dev"]


async def test_leaving_with_an_error_undoes_the_work(pool):
    async with pool.transaction("dev") as transaction:
        await transaction.execute("CREATE TABLE t (n int)")
    with pytest.raises(KeyError):
        async with pool.transaction("dev") as transaction:
            await transaction.execute("INSERT INTO t VALUES (1)")
            raise KeyError
    async with pool.transaction("dev") as transaction:
        assert await transaction.fetchval("SELECT count(*) FROM t") == 0


async def test_what_is_to_follow_a_commit_follows_it_and_it_alone(pool):
    followed = []

    async def write(transaction):
        await transaction.execute("INSERT INTO t VALUES (1)")
        transaction.after_commit(lambda: followed.append("committed"))

    async with pool.transaction("dev") as transaction:
        await transaction.execute("CREATE TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    async with pool.transaction("dev") as transaction:
        await write(transaction)
        assert followed == []
    assert followed == ["committed"]
    with pytest.raises(KeyError):
        async with pool.transaction("dev") as transaction:
            await write(transaction)
            raise KeyError
    # The key is looked at by the commit itself.
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.retrying("dev", write)
    assert followed == ["committed"]


async def test_what_follows_a_commit_cannot_fail_it(pool):
    followed = []
    async with pool.transaction("dev") as transaction:
        transaction.after_commit(lambda: {}["absent"])
        transaction.after_commit(lambda: followed.append("committed"))
    assert followed == ["committed"]


async def test_only_the_attempt_that_committed_is_followed(pool):
    followed = []

    async def work(transaction):
        number = len(attempts)
        attempts.append(number)
        transaction.after_commit(lambda: followed.append(number))
        if number == 0:
            raise asyncpg.SerializationError("again")

    attempts = []
    await pool.retrying("dev", work)
    assert followed == [1]


async def test_a_statement_that_waits_for_ever_is_unavailable(pool):
    with pytest.raises(DatabaseUnavailableError):
        async with pool.transaction("dev") as transaction:
            await transaction.execute("SET LOCAL statement_timeout = '100ms'")
            await transaction.fetchval("SELECT pg_sleep(60)")


async def test_a_deadlock_is_worked_again(pool):
    async with pool.transaction("dev") as transaction:
        await transaction.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
        await transaction.execute("INSERT INTO t VALUES (1, 0), (2, 0)")
    first_locks = asyncio.Barrier(2)
    attempts = []

    def add_in_order(first, second):
        async def work(transaction):
            attempts.append(first)
            await transaction.execute("UPDATE t SET n = n + 1 WHERE id = $1", first)
            if len(attempts) <= 2:
                await first_locks.wait()
            await transaction.execute("UPDATE t SET n = n + 1 WHERE id = $1", second)

        return work

    await asyncio.gather(
        pool.retrying("dev", add_in_order(1, 2)), pool.retrying("dev", add_in_order(2, 1))
    )
    assert len(attempts) == 3
    async with pool.transaction("dev") as transaction:
        assert [row["n"] for row in await transaction.fetch("SELECT n FROM t")] == [2, 2]


async def test_a_cut_connection_is_unavailable_and_the_pool_recovers(pool, database):
    killer = await asyncpg.connect(database.dsn())
    try:
        with pytest.raises(DatabaseUnavailableError):
            async with pool.transaction("dev") as transaction:
                pid = await transaction.fetchval("SELECT pg_backend_pid()")
                await killer.execute("SELECT pg_terminate_backend($1, 5000)", pid)
                await transaction.fetchval("SELECT 1")
    finally:
        await killer.close()
    await pool.ping()


async def test_a_server_that_is_not_there_is_unavailable():
    with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
        await Postgres.connect(
            "postgresql://x:y@127.0.0.1:1/x", application="test", schema="ledger"
        )


async def test_a_wrong_password_is_named(database):
    with pytest.raises(DatabaseUnavailableError, match="password"):
        await Postgres.connect(
            database.dsn("ledger").replace(database.passwords["ledger"], "wrong"),
            application="test",
            schema="ledger",
        )


async def test_a_dedicated_session_is_closed_at_the_end(database):
    async with postgres.dedicated(database.dsn("ledger"), application="lonely") as connection:
        assert await connection.fetchval("SELECT pg_try_advisory_lock(7)")
    async with postgres.dedicated(database.dsn("ledger"), application="other") as connection:
        assert await connection.fetchval("SELECT pg_try_advisory_lock(7)")


@pytest.fixture
async def role(database, unique_name):
    """A role whose password can be changed: `await role(password)` says it to the server."""
    connection = await asyncpg.connect(database.dsn())

    async def change(password):
        await connection.execute(f"ALTER ROLE {unique_name} PASSWORD '{password}'")

    await connection.execute(f"CREATE ROLE {unique_name} LOGIN PASSWORD 'first'")
    await connection.execute(f'GRANT CONNECT ON DATABASE "{database.database}" TO {unique_name}')
    yield change
    await connection.execute(f"DROP OWNED BY {unique_name}; DROP ROLE {unique_name}")
    await connection.close()


async def test_each_connection_asks_for_the_password_of_now(database, role, unique_name, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("first\n")
    dsn = f"postgresql://{unique_name}@{database.host}:{database.port}/{database.database}"
    password = secretfiles.reader(secret)
    pool = await Postgres.connect(
        dsn, application="test", schema="public", size=2, password=password
    )
    try:
        async with pool.transaction("dev"):
            await role("second")
            # The first connection is in use, so that another one is made.
            with pytest.raises(DatabaseUnavailableError, match="password authentication failed"):
                await pool.ping()
            secret.unlink()
            with pytest.raises(DatabaseUnavailableError, match=f"{secret} cannot be read"):
                await pool.ping()
            secret.write_text("second\n")
            await pool.ping()
        async with postgres.dedicated(dsn, application="test", password=password) as connection:
            assert await connection.fetchval("SELECT current_user") == unique_name
    finally:
        await pool.close()


async def test_waits_for_a_connection_are_measured_and_those_in_vain_are_counted(
    database, monkeypatch
):
    measured = Measured(monkeypatch)
    monkeypatch.setattr(postgres, "_ACQUIRE_TIMEOUT_S", 0.05)
    pool = await Postgres.connect(
        database.dsn("ledger_owner"), application="test", schema="ledger", size=1
    )
    async with pool.transaction("dev"):
        with pytest.raises(DatabaseUnavailableError):
            async with pool.transaction("dev"):
                pass
    await pool.close()
    ((waited, took),) = measured.points(Metric.POOL_WAIT)
    ((_, timeouts),) = measured.points(Metric.POOL_TIMEOUTS)
    assert (waited, took.count, timeouts.value) == ({Attribute.POOL: "ledger"}, 1, 1)
