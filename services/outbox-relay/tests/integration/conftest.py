"""A ledger's database with events to relay."""

import asyncio
import dataclasses
import os
import shutil
import signal
from datetime import UTC, datetime

import asyncpg
import pytest

from contracts.events import RunCompleted
from devstack.infrastructure import databases, servers
from devstack.infrastructure.endpoints import PostgresEndpoint
from devstack.ports import Ports
from devstack.state import StateFolder
from devstack.supervision import Supervisor
from eventstore import store
from eventstore.events import Cause, Fact
from eventstore.store import ANY, EventStore
from runtime import migrations
from runtime.postgres import Postgres
from runtime.signingkeys import SigningKeys
from signing.keys import SigningKey


class Ledger:
    """The schema of a service that appends events, and the key that it signs them with.

    Its pool is the owner's, who sees the events of all namespaces.
    """

    def __init__(self, pool):
        self.pool = pool
        self.key = SigningKey.generate(signer="ledger", key_id="1")
        self._events = EventStore(service="ledger", keys=SigningKeys(events=self.key))

    def transaction(self, namespace):
        return self.pool.transaction(namespace)

    async def append(self, transaction, run_id, count=1, *, text=""):
        return await self._events.append(
            transaction,
            stream=store.run_stream(run_id),
            facts=[
                Fact(
                    payload=RunCompleted(
                        run_id=run_id, definition_id=f"d{text}", definition_version=number
                    ),
                    key=run_id,
                )
                for number in range(count)
            ],
            expected=ANY,
            occurred_at=datetime.now(UTC),
            cause=Cause(correlation_id="c"),
        )

    async def record(self, namespace, run_id, count=1, *, text=""):
        async with self.transaction(namespace) as transaction:
            return await self.append(transaction, run_id, count, text=text)

    async def value(self, sql):
        async with self.transaction("any") as transaction:
            return await transaction.fetchval(sql)

    async def pending(self):
        return await self.value("SELECT count(*) FROM outbox_pending")


@pytest.fixture(scope="session")
def template(migrated):
    return migrated("ledger", store.migrations())


@pytest.fixture
def open_ledger():
    """Open a ledger, in whichever event loop; the caller closes its pool.

    `database` is migrated; another one is where `migrate_at` says.
    """

    async def open_it(dsn, *, migrate_at=None):
        if migrate_at is not None:
            sources = [store.migrations()]
            await asyncio.to_thread(migrations.apply, migrate_at, schema="ledger", sources=sources)
        return Ledger(await Postgres.connect(dsn, application="test", schema="ledger"))

    return open_it


@pytest.fixture
async def ledger(database, open_ledger):
    ledger = await open_ledger(database.dsn("ledger_owner"))
    yield ledger
    await ledger.pool.close()


_IN_SYNC = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')"


class Pair:
    """A PostgreSQL and its synchronous standby."""

    def __init__(self, folder):
        self._folder = folder
        self._states, self._supervisors, self._endpoints = {}, {}, {}

    def start(self):
        """Start the primary, copy it at rest, and have the copy follow."""
        for name in ("primary", "standby"):
            state = self._states[name] = StateFolder(self._folder / name)
            self._supervisors[name] = Supervisor(state).open()
            port = Ports(state, print).port("postgres")
            primary = self._states["primary"]
            self._endpoints[name] = PostgresEndpoint(
                host="127.0.0.1",
                port=port,
                user="postgres",
                password=primary.secret("postgres"),
                database=databases.DATABASE,
                passwords={role: primary.secret(role) for role in databases.ROLES},
            )
        self._run("primary")
        databases.bootstrap(self._endpoints["primary"])
        self._supervisors["primary"].stop("postgres")
        self._copy()
        self._run("primary")
        self._run("standby")

    async def synchronise(self):
        """Have commits wait for the standby; return once it follows."""
        connection = await asyncpg.connect(self._endpoints["primary"].dsn())
        try:
            await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            await connection.execute("SELECT pg_reload_conf()")
            while not await connection.fetchval(_IN_SYNC):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        finally:
            await connection.close()

    async def fail_over(self):
        """End the primary as a crash would, and promote the standby."""
        await asyncio.to_thread(self._supervisors["primary"].stop, "postgres")
        connection = await asyncpg.connect(self._endpoints["standby"].dsn(database="postgres"))
        try:
            assert await connection.fetchval("SELECT pg_promote()")
        finally:
            await connection.close()

    def primary_dsn(self, role):
        """Return the URL of the first primary."""
        return self._endpoints["primary"].dsn(role)

    def dsn(self, role):
        """Return the URL of whichever of the two is the primary."""
        primary, standby = (self._endpoints[name] for name in ("primary", "standby"))
        one, other = (f"{e.host}:{e.port}" for e in (primary, standby))
        return primary.dsn(role).replace(one, f"{one},{other}") + "?target_session_attrs=primary"

    def stop(self):
        for supervisor in reversed(self._supervisors.values()):
            supervisor.close()

    def _run(self, name):
        launch = servers.postgres(self._states[name], self._endpoints[name], durable=False)
        # Not politely: what was not written to the log is gone.
        program = dataclasses.replace(launch.program, stop_signal=signal.SIGQUIT)
        supervisor = self._supervisors[name]
        supervisor.add(launch.program if name == "primary" and not self._copied else program)
        supervisor.start("postgres")
        supervisor.wait_until("postgres", launch.answers, timeout=60)

    @property
    def _copied(self):
        return (self._folder / "standby" / "postgres").exists()

    def _copy(self):
        source, target = (self._folder / name / "postgres" for name in ("primary", "standby"))
        shutil.copytree(source, target)
        primary = self._endpoints["primary"]
        with (target / "postgresql.auto.conf").open("a") as settings:
            settings.write(
                f"primary_conninfo = 'host={primary.host} port={primary.port}"
                f" user={primary.user} password={primary.password}'\n"
            )
        (target / "standby.signal").touch()
        owner = source.stat()
        for path in (target, *target.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)


@pytest.fixture
async def pair(tmp_path):
    """A primary with a synchronous standby."""
    pair = Pair(tmp_path)
    try:
        await asyncio.to_thread(pair.start)
        await asyncio.wait_for(pair.synchronise(), 60)
        yield pair
    finally:
        await asyncio.to_thread(pair.stop)
