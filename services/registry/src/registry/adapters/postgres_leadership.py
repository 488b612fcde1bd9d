"""Leadership by an advisory lock of PostgreSQL: it ends with the connection that holds it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from registry.errors import LeadershipLostError
from runtime import postgres
from runtime.faultpoints import faultpoint

_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext('registry.leadership'), hashtext($1))"
_RETRY_S = 1.0


class PostgresLeadership:
    """The lead of `subject` among all replicas on one database."""

    def __init__(self, dsn: str, *, subject: str) -> None:
        self._dsn = dsn
        self._subject = subject

    @asynccontextmanager
    async def held(self) -> AsyncIterator["PostgresTerm"]:
        """Wait until the lock is ours, on a connection of its own, and hold it for the block.

        Raises:
            DatabaseUnavailableError: the database cannot be reached.
        """
        async with postgres.dedicated(self._dsn, application="registry-leader") as connection:
            # Asked again and again rather than waited for: a session that waits in the server can
            # hold the lock for a process that is no longer there.
            faultpoint("registry.before_lead")
            while not await connection.fetchval(_TRY_LOCK, self._subject):  # noqa: ASYNC110 - as above
                await asyncio.sleep(_RETRY_S)
            faultpoint("registry.after_lead")
            yield PostgresTerm(connection)


class PostgresTerm:
    """The lock is ours for as long as its connection lives."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def confirm(self) -> None:
        """Ask over the connection that holds the lock.

        Raises:
            LeadershipLostError: the connection is gone, and the lock with it.
        """
        try:
            faultpoint("registry.before_confirm_lead")
            await self._connection.fetchval("SELECT 1", timeout=5.0)
            faultpoint("registry.after_confirm_lead")
        except (*postgres.UNAVAILABLE, asyncpg.PostgresError) as exc:
            raise LeadershipLostError(
                f"the connection that held the lead is gone: {exc or type(exc).__name__}"
            ) from exc
