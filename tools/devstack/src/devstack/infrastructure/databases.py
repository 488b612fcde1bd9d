"""Databases of a running PostgreSQL: roles, schemas, and fresh ones for tests."""

from pathlib import Path

import asyncpg
import psycopg

from devstack import loops
from devstack.errors import DevstackError
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint

DATABASE = "backbone"
SCHEMAS = ("registry", "ledger")
ROLES = (*SCHEMAS, "relay", *(f"{schema}_owner" for schema in SCHEMAS))
"""Who signs in: the services, and who migrates their schemas, which no service does."""

_BOOTSTRAP = Path("deploy/kustomize/components/postgres/bootstrap.sql")
_TIMEOUT = 30.0  # seconds
_LOOK = 2  # seconds, whole ones for libpq


def owner(schema: str) -> str:
    """Return the role that owns a schema, and migrates it."""
    return f"{schema}_owner"


def create_database(
    endpoints: Endpoints, name: str, *, template: str | None = None
) -> PostgresEndpoint:
    """Create the database `name`, with the roles and schemas of Backbone.

    Args:
        endpoints: The server.
        name: Of the new database.
        template: The database to copy, to which nobody may be connected; else there is nothing
            but roles and schemas in it.

    Raises:
        asyncpg.DuplicateDatabaseError: There is one of that name.
        asyncpg.ObjectInUseError: Somebody is still connected to the template after 5 s.
    """
    endpoint = endpoints.postgres.within(name)
    loops.run(_create(endpoint, template))
    return endpoint


def drop_database(endpoints: Endpoints, name: str) -> None:
    """Drop the database `name`, whoever is connected to it; nothing happens if it is absent."""
    loops.run(_drop(endpoints.postgres, name))


def bootstrap(endpoint: PostgresEndpoint) -> None:
    """Make the database, roles and schemas of Backbone and set the roles' passwords; idempotent."""
    loops.run(_bootstrap(endpoint))


def answers(endpoint: PostgresEndpoint) -> bool:
    """Return whether the server takes connections."""
    # Not by asyncpg: refused over TLS, as by a server that only starts, it leaves a socket open
    # when the event loop ends.
    try:
        with psycopg.connect(
            endpoint.dsn(database="postgres"), connect_timeout=_LOOK, autocommit=True
        ) as connection:
            connection.execute("SELECT 1")
    except (OSError, psycopg.Error):
        return False
    return True


def bootstrap_sql() -> str:
    """Return the SQL that also compose and Kubernetes run, from the clone this is part of.

    Raises:
        DevstackError: This package was not installed from a clone.
    """
    for folder in Path(__file__).resolve().parents:
        if (folder / _BOOTSTRAP).is_file():
            return (folder / _BOOTSTRAP).read_text()
    message = f"{_BOOTSTRAP} is missing: devstack is used from a clone of the repository"
    raise DevstackError(message)


async def _create(endpoint: PostgresEndpoint, template: str | None) -> None:
    copied = "" if template is None else f" TEMPLATE {_quoted(template)}"
    connection = await _connect(endpoint, "postgres")
    try:
        await connection.execute(f"CREATE DATABASE {_quoted(endpoint.database)}{copied}")
    finally:
        await connection.close()
    # Also of a copy: who may connect is not copied.
    await _prepare(endpoint)


async def _drop(endpoint: PostgresEndpoint, name: str) -> None:
    connection = await _connect(endpoint, "postgres")
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")
    finally:
        await connection.close()


async def _bootstrap(endpoint: PostgresEndpoint) -> None:
    connection = await _connect(endpoint, "postgres")
    try:
        exists = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", endpoint.database
        )
        if not exists:
            await connection.execute(f"CREATE DATABASE {_quoted(endpoint.database)}")
    finally:
        await connection.close()
    await _prepare(endpoint)
    connection = await _connect(endpoint, endpoint.database)
    try:
        for role in ROLES:
            # DDL takes no parameters; the password is this package's own hexadecimal text.
            await connection.execute(
                f"ALTER ROLE {_quoted(role)} PASSWORD '{endpoint.passwords[role]}'"
            )
    finally:
        await connection.close()


async def _prepare(endpoint: PostgresEndpoint) -> None:
    connection = await _connect(endpoint, endpoint.database)
    try:
        await connection.execute("SET client_min_messages = warning")
        await connection.execute(bootstrap_sql())
    finally:
        await connection.close()


async def _connect(
    endpoint: PostgresEndpoint, database: str
) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(
        endpoint.dsn(database=database), timeout=_TIMEOUT, command_timeout=_TIMEOUT
    )


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
