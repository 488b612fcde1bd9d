"""The outbox in PostgreSQL, over one session that holds the leader's lock.

Reading, deleting and leading share the session: a relay that lost its lead has lost its connection
with it, so that it cannot delete what it no longer leads.
"""

import json
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack

import asyncpg

from outbox_relay.domain.batches import PendingRow, StreamKey
from outbox_relay.errors import OutboxUnavailableError
from runtime import postgres, sqlfiles
from runtime.errors import DatabaseUnavailableError

_SQL = sqlfiles.load("outbox_relay", "outbox")


class PostgresOutboxStore:
    """The pending rows of one schema."""

    def __init__(self, *, dsn: str, schema: str) -> None:
        """Name the database and schema; the session opens with the first `lead`."""
        self._dsn = dsn
        self._schema = schema
        self._session = AsyncExitStack()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._leading = False

    async def lead(self) -> bool:
        """Open the session if it is gone, and try to take the lock if it is not ours yet."""
        if self._leading:
            return True
        try:
            connection = self._connection or await self._connect()
            self._leading = bool(await connection.fetchval(_SQL["try_lead"], self._schema))
        except (DatabaseUnavailableError, *postgres.UNAVAILABLE, asyncpg.PostgresError) as exc:
            raise await self._lost(exc) from exc
        return self._leading

    async def pending(self, *, limit: int, without: Collection[StreamKey]) -> list[PendingRow]:
        """Return rows by position."""
        try:
            rows = await self._open().fetch(
                _SQL["pending"], limit, [f"{namespace} {stream}" for namespace, stream in without]
            )
        except (*postgres.UNAVAILABLE, asyncpg.PostgresError) as exc:
            raise await self._lost(exc) from exc
        return [
            PendingRow(
                position=row["position"],
                namespace=row["namespace"],
                stream=row["stream"],
                topic=row["topic"],
                key=row["key"],
                headers=tuple((name, value) for name, value in json.loads(row["headers"])),
                body=row["body"],
            )
            for row in rows
        ]

    async def delete(self, positions: Sequence[int]) -> None:
        """Remove published rows."""
        try:
            await self._open().execute(_SQL["delete"], positions)
        except (*postgres.UNAVAILABLE, asyncpg.PostgresError) as exc:
            raise await self._lost(exc) from exc

    async def close(self) -> None:
        """Close the session, which gives up the lead."""
        self._leading = False
        self._connection = None
        await self._session.aclose()

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        connection: asyncpg.Connection[asyncpg.Record] = await self._session.enter_async_context(
            postgres.dedicated(self._dsn, application="outbox-relay")
        )
        self._connection = connection
        await connection.execute("SELECT set_config('search_path', $1, false)", self._schema)
        return connection

    def _open(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or not self._leading:
            raise OutboxUnavailableError(f"the outbox {self._schema} is not led by this process")
        return self._connection

    async def _lost(self, exc: BaseException) -> OutboxUnavailableError:
        await self.close()
        return OutboxUnavailableError(f"{self._schema}: {str(exc) or type(exc).__name__}")
