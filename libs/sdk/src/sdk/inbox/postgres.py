"""The consumer inbox in PostgreSQL: in the database of the effects, in a schema of its own."""

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib import resources

import psycopg
from psycopg import sql

from runtime import migrations, sqlfiles
from runtime.migrations import MigrationError
from runtime.postgres import Postgres, Transaction
from sdk.inbox.arrivals import Admission, Arrival, Refusal

DEFAULT_SCHEMA = "inbox"

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_FORGET_BATCH = 5_000
_CONNECT_TIMEOUT_S = 10


def install(dsn: str, *, schema: str = DEFAULT_SCHEMA) -> list[str]:
    """Make or migrate the tables of an inbox in `schema`; return the applied migrations, in order.

    The schema is made when it is not there. Several processes may do this at once.

    Raises:
        MigrationError: the database is not reachable, or refused.
        ValueError: `schema` is not a plain lower-case name.
    """
    _quoted(schema)
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


class PostgresInboxStore:
    """An inbox whose transactions are those of a pool; handlers get the open `Transaction`."""

    def __init__(self, database: Postgres, *, schema: str = DEFAULT_SCHEMA) -> None:
        """Keep the inbox in `schema` of `database`, whose search path is the handlers' own.

        Raises:
            ValueError: `schema` is not a plain lower-case name.
        """
        self._database = database
        self._sql = {
            name: text.replace("{schema}", _quoted(schema))
            for name, text in sqlfiles.load("sdk.inbox", "inbox").items()
        }

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        application: str,
        schema: str = DEFAULT_SCHEMA,
        search_path: str = "public",
        size: int = 8,
    ) -> "PostgresInboxStore":
        """Open a pool of at most `size` connections; `search_path` is where handlers' tables are.

        Raises:
            DatabaseUnavailableError: nothing answers there.
            ValueError: `schema` is not a plain lower-case name.
        """
        _quoted(schema)
        database = await Postgres.connect(
            dsn, application=application, schema=search_path, size=size
        )
        return cls(database, schema=schema)

    async def close(self) -> None:
        """Close the pool."""
        await self._database.close()

    @asynccontextmanager
    async def transaction(
        self, namespace: str, group: str
    ) -> AsyncIterator["PostgresInboxTransaction"]:
        """Open a transaction (see `InboxStore`).

        Raises:
            DatabaseUnavailableError: as `Postgres.transaction`.
        """
        async with self._database.transaction(namespace) as transaction:
            yield PostgresInboxTransaction(transaction, self._sql, group)

    async def forget(self, namespace: str, group: str, *, older_than: timedelta) -> int:
        """Forget old ids, a few thousand in each transaction (see `InboxStore`).

        Raises:
            DatabaseUnavailableError: as `Postgres.transaction`.
        """

        async def forget_some(transaction: Transaction) -> int:
            return int(
                await transaction.fetchval(
                    self._sql["forget"], namespace, group, older_than, _FORGET_BATCH
                )
            )

        forgotten = 0
        while some := await self._database.retrying(namespace, forget_some):
            forgotten += some
        return forgotten

    async def refusals(self, namespace: str, group: str, *, limit: int) -> Sequence[Refusal]:
        """Return the newest refused records (see `InboxStore`).

        Raises:
            DatabaseUnavailableError: as `Postgres.transaction`.
        """
        async with self._database.transaction(namespace) as transaction:
            rows = await transaction.fetch(self._sql["refusals"], namespace, group, limit)
        return [
            Refusal(
                topic=row["topic"],
                partition=row["kafka_partition"],
                offset=row["kafka_offset"],
                reason=row["reason"],
                detail=row["detail"],
                body=row["body"],
                source=row["source"],
                event_id=row["event_id"],
            )
            for row in rows
        ]


class PostgresInboxTransaction:
    """A transaction of `PostgresInboxStore`."""

    def __init__(self, transaction: Transaction, sql_blocks: dict[str, str], group: str) -> None:
        self._transaction = transaction
        self._sql = sql_blocks
        self._owner = (transaction.namespace, group)

    @property
    def effects(self) -> Transaction:
        """The open transaction."""
        return self._transaction

    async def admit(self, arrival: Arrival) -> Admission:
        """Note an event (see `InboxTransaction`)."""
        event = arrival.event
        identity = (*self._owner, event.source, event.event_id)
        noted = await self._transaction.fetchval(
            self._sql["note_event"],
            *identity,
            arrival.digest,
            arrival.topic,
            arrival.stream,
            arrival.version,
        )
        if noted is None:
            known = await self._transaction.fetchval(self._sql["noted_sha256"], *identity)
            # None: forgotten in between, which only happens to what was seen long ago.
            same = known is None or known == arrival.digest
            return Admission.DUPLICATE if same else Admission.CONFLICT
        if arrival.stream is None or arrival.version is None:
            return Admission.NEW
        stream = (*self._owner, arrival.topic, event.source, arrival.stream)
        if await self._transaction.fetchval(self._sql["advance_stream"], *stream, arrival.version):
            return Admission.NEW
        forgotten = await self._transaction.fetchval(self._sql["forgotten_version"], *stream)
        return Admission.DUPLICATE if arrival.version <= forgotten else Admission.OUT_OF_ORDER

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo the effects of a block that raises (see `InboxTransaction`)."""
        async with self._transaction.connection.transaction():
            yield

    async def refuse(self, refusal: Refusal) -> None:
        """Keep a refused record (see `InboxTransaction`)."""
        await self._transaction.execute(
            self._sql["refuse"],
            *self._owner,
            refusal.topic,
            refusal.partition,
            refusal.offset,
            refusal.source,
            refusal.event_id,
            refusal.reason,
            # PostgreSQL's text holds no NUL, and an exception may quote one.
            refusal.detail.replace("\x00", "\N{REPLACEMENT CHARACTER}"),
            refusal.body,
        )


def _quoted(schema: str) -> str:
    if not _SCHEMA.fullmatch(schema):
        raise ValueError(f"not a schema's name: {schema!r} (lower-case letters, digits and _)")
    return f'"{schema}"'
