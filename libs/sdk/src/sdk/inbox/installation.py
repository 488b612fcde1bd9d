"""Makes and migrates the tables of a consumer inbox, in a schema of the consumer's choice."""

import contextlib
import re
from importlib import resources

import psycopg
from psycopg import sql

from runtime import migrations
from runtime.migrations import MigrationError

DEFAULT_SCHEMA = "inbox"

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_CONNECT_TIMEOUT_S = 10


def install(dsn: str, *, schema: str = DEFAULT_SCHEMA) -> list[str]:
    """Make or migrate the tables of an inbox in `schema`; return the applied migrations, in order.

    The schema is made when it is not there. Several processes may do this at once.

    Raises:
        MigrationError: the database is not reachable, or refused.
        ValueError: `schema` is not a plain lower-case name.
    """
    quoted(schema)
    try:
        with psycopg.connect(
            dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S
        ) as connection:
            found = connection.execute(
                "SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)
            ).fetchone()
            # To make a schema takes a right that the owner of an existing one need not have.
            if found is None:
                # Suppressed: another process was first.
                with contextlib.suppress(
                    psycopg.errors.DuplicateSchema, psycopg.errors.UniqueViolation
                ):
                    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    except psycopg.Error as exc:
        raise MigrationError(f"making the schema {schema} failed: {exc}") from exc
    folder = resources.files("sdk.inbox").joinpath("sql", "migrations")
    return migrations.apply(dsn, schema=schema, sources=[folder])


def quoted(schema: str) -> str:
    """Return a schema's name as SQL spells it.

    Raises:
        ValueError: `schema` is not a plain lower-case name.
    """
    if not _SCHEMA.fullmatch(schema):
        raise ValueError(f"not a schema's name: {schema!r} (lower-case letters, digits and _)")
    return f'"{schema}"'


def is_away(exc: MigrationError) -> bool:
    """Say whether the database could not be reached or was too busy, rather than refused."""
    return isinstance(exc.__cause__, psycopg.OperationalError)
