"""Migrations: numbered SQL files, `NNNN_{pre|post}_what.sql`, applied by yoyo into one schema.

`pre` runs before a release's code, `post` after the old code is gone; the old release runs on the
new schema. Several replicas may migrate at once: an advisory lock lets them take turns, and frees
itself when its holder dies (yoyo's own lock table would not).

Who migrates owns the schema, which no service does: the DSN names another role there.
"""

import contextlib
from collections.abc import Iterator, Sequence
from importlib.resources import as_file
from importlib.resources.abc import Traversable
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import psycopg
import yoyo

from runtime.errors import ConfigurationError

Phase = Literal["pre", "post"]

_LOCK_TIMEOUT_MS = 5_000
_CONNECT_TIMEOUT_S = 10


class MigrationError(ConfigurationError):
    """The schema could not be brought up to date."""


def apply(
    dsn: str, *, schema: str, sources: Sequence[Traversable], phase: Phase | None = None
) -> list[str]:
    """Apply what is missing in `schema` and return the applied ids, in order.

    `sources` are the folders with the files, those that others depend on first. With `phase` only
    the ones of that phase are applied.

    Raises:
        MigrationError: the database is not reachable, who signs in does not own the schema, or a
            file failed; its transaction is undone.
    """
    try:
        with _exclusive(dsn, schema), _loaded(dsn, schema, sources, phase) as (backend, missing):
            backend.break_lock()
            with backend.lock():
                backend.apply_migrations(missing)
            return [migration.id for migration in missing]
    except (psycopg.Error, yoyo.exceptions.BadMigration) as exc:
        raise MigrationError(f"migrating the schema {schema} failed: {exc}") from exc


def pending(dsn: str, *, schema: str, sources: Sequence[Traversable]) -> list[str]:
    """Return the ids of the migrations that `schema` lacks; who asks need not own it.

    Raises:
        MigrationError: the database is not reachable.
    """
    try:
        applied = _applied(dsn, schema)
        with contextlib.ExitStack() as stack:
            folders = [str(stack.enter_context(as_file(source))) for source in sources]
            known = yoyo.read_migrations(*folders)
            return [migration.id for migration in known if migration.id not in applied]
    except psycopg.Error as exc:
        raise MigrationError(f"reading the schema {schema} failed: {exc}") from exc


def _applied(dsn: str, schema: str) -> frozenset[str]:
    # yoyo's own way makes its tables first, which is the owner's right.
    with psycopg.connect(dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
        table = f"{schema}._yoyo_migration"
        found = connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()
        if found is None or found[0] is None:
            return frozenset()
        # The schema is the service's own constant.
        rows = connection.execute(f"SELECT migration_id FROM {table}").fetchall()  # noqa: S608
        return frozenset(row[0] for row in rows)


@contextlib.contextmanager
def _exclusive(dsn: str, schema: str) -> Iterator[None]:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
        connection.execute(
            "SELECT pg_advisory_lock(hashtext('backbone.migrations'), hashtext(%s))", (schema,)
        )
        # yoyo hides that it may not create its tables, and fails at the first that is not there.
        found = connection.execute(
            "SELECT current_user, has_schema_privilege(%s, 'CREATE')", (schema,)
        ).fetchone()
        if found is not None and not found[1]:
            raise MigrationError(
                f"{found[0]} does not own the schema {schema}; sign in as its owner to migrate"
            )
        yield


@contextlib.contextmanager
def _loaded(
    dsn: str, schema: str, sources: Sequence[Traversable], phase: Phase | None
) -> Iterator[tuple[Any, Any]]:
    with contextlib.ExitStack() as stack:
        folders = [str(stack.enter_context(as_file(source))) for source in sources]
        backend = yoyo.get_backend(_yoyo_uri(dsn, schema))
        stack.callback(backend.connection.close)
        migrations = yoyo.read_migrations(*folders)
        missing = backend.to_apply(migrations)
        if phase is not None:
            missing = missing.filter(lambda migration: f"_{phase}_" in migration.id)
        yield backend, missing


def _yoyo_uri(dsn: str, schema: str) -> str:
    parts = urlsplit(dsn)
    options = f"-c search_path={schema} -c lock_timeout={_LOCK_TIMEOUT_MS}"
    query = "&".join(
        part
        for part in (
            parts.query,
            urlencode({"options": options, "connect_timeout": _CONNECT_TIMEOUT_S}, quote_via=quote),
        )
        if part
    )
    return urlunsplit(("postgresql+psycopg", parts.netloc, parts.path, query, ""))
