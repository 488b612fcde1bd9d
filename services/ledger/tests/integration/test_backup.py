"""A dump as the component `backups` makes it brings everything back, of every namespace."""

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest
import runbooks

from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from contracts import canonical, identifiers
from contracts.triggers import Trigger, TriggerKind
from devstack import manifests
from devstack.infrastructure import create_database, drop_database
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint
from devstack.tools.postgresql import find_postgresql

COMPONENT = Path(__file__).parents[4] / manifests.FOLDER / "components/backups"
PASSWORD = "a:b\\c"  # what a file of passwords has to escape
# The stubs know this type in their type hints only.
LedgerStub: TypeAlias = "pb_grpc.LedgerServiceAsyncStub"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
async def admin(database: PostgresEndpoint) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database.dsn())
    yield connection
    await connection.close()


@pytest.fixture
async def role(admin: Connection, unique_name: str) -> AsyncIterator[str]:
    """The role of `role.sql`, under a name of this test alone."""
    role = f"backup_{unique_name}"
    sql = (COMPONENT / "role.sql").read_text()
    assert "backup" in sql
    await admin.execute(sql.replace("backup", role))
    await admin.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    yield role
    await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def restored(endpoints: Endpoints, unique_name: str) -> Iterator[PostgresEndpoint]:
    """A database in which `bootstrap.sql` ran, and nothing else."""
    name = f"{unique_name}_restored"
    yield create_database(endpoints, name)
    drop_database(endpoints, name)


async def succeeds(*words: str | Path, **variables: str) -> None:
    environment = {**variables, "PATH": f"{find_postgresql().bin}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        *words, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, said.decode()


async def rows(connection: Connection) -> dict[str, list[str]]:
    """Return what each table of the ledger holds."""
    tables = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'ledger' ORDER BY tablename"
    )
    return {
        table: sorted(map(repr, await connection.fetch(f"SELECT * FROM ledger.{table}")))  # noqa: S608 - ours
        for (table,) in tables
    }


async def fail(ledger: LedgerStub, namespace: str) -> None:
    trigger = Trigger(kind=TriggerKind.MANUAL, definition_version=1, request_id="once")
    await ledger.RecordRunFailure(
        pb.RecordRunFailureRequest(
            namespace=namespace,
            run_id=identifiers.run_id("billing", trigger.key),
            definition_id="billing",
            trigger=canonical.render(trigger),
            workflow_run_id="w-1",
            failure=pb.Failure(type="ContextError", message="the database is away"),
        )
    )


@pytest.fixture
async def dump(
    database: PostgresEndpoint, role: str, tmp_path: Path
) -> Callable[[], Awaitable[Path]]:
    """Makes a dump by the component's script, with the real programs."""
    folder = tmp_path / "backups"

    async def run() -> Path:
        (tmp_path / "password").write_text(PASSWORD)
        folder.mkdir()
        await succeeds(
            *("/bin/sh", COMPONENT / "backup.sh"),
            BACKUP_DSN=f"postgresql://{role}@{database.host}:{database.port}/{database.database}",
            BACKUP_FOLDER=str(folder),
            BACKUP_KEEP_DAYS="14",
            BACKUP_PASSWORD_FILE=str(tmp_path / "password"),
            BACKUP_SCRATCH=str(tmp_path),
        )
        (made,) = folder.iterdir()
        return made

    return run


async def test_what_was_dumped_is_all_there_after_a_restore(
    ledger: LedgerStub,
    admin: Connection,
    dump: Callable[[], Awaitable[Path]],
    restored: PostgresEndpoint,
) -> None:
    for namespace in ("dev", "prod"):
        await fail(ledger, namespace)
    (command,) = (one for one in runbooks.commands("restore") if one.startswith("pg_restore"))
    *words, database, file = shlex.split(command)
    assert (database, file) == ("--dbname=backbone", "backbone-….dump")
    await succeeds(*words, f"--dbname={restored.dsn()}", await dump())

    expected = await rows(admin)
    assert len(expected["runs"]) == len(expected["events"]) == 2
    connection = await asyncpg.connect(restored.dsn())
    try:
        assert await rows(connection) == expected
        # Policies and rights are back too: a service sees its namespace's rows and no others.
        await connection.execute("SET ROLE ledger; SET backbone.namespace = 'dev'")
        assert await connection.fetchval("SELECT array_agg(namespace) FROM ledger.runs") == ["dev"]
    finally:
        await connection.close()
