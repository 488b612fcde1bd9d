"""Leadership by a lease in PostgreSQL, timed by the database's clock.

A lock of a session would stay with a process that hangs: its kernel keeps the connection alive. A
lease ends, and who wakes up after it knows by its own clock that it may do nothing any more.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Never

from registry.errors import LeadershipLostError
from registry.ports import Lease
from runtime import logs, sqlfiles
from runtime.errors import DatabaseUnavailableError
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres

_RETRY_S = 1.0
_RENEWALS = 5  # within a duration: four may fail

_SQL = sqlfiles.load("registry", "leases")
_log = logs.get_logger(__name__)


class PostgresLeadership:
    """The lead of one namespace among all replicas on one database."""

    def __init__(self, postgres: Postgres, *, namespace: str, duration: timedelta) -> None:
        """Lead for `duration` at a time: as long nobody does after a leader has died or hung."""
        self._postgres = postgres
        self._namespace = namespace
        self._duration = duration
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"

    @asynccontextmanager
    async def held(self) -> AsyncIterator["PostgresTerm"]:
        """Wait until the lease is ours, and give it back after the block.

        Raises:
            DatabaseUnavailableError: the database does not answer.
        """
        while (term := await self._take()) is None:  # noqa: ASYNC110 - others give it up in silence
            await asyncio.sleep(_RETRY_S)
        try:
            yield term
        finally:
            await self._give_back(term)

    async def _take(self) -> "PostgresTerm | None":
        asked = asyncio.get_running_loop().time()
        async with self._postgres.transaction(self._namespace) as transaction:
            number = await transaction.fetchval(
                _SQL["take"], self._namespace, self._holder, self._duration
            )
            faultpoint("registry.before_lead")
        faultpoint("registry.after_lead")
        if number is None:
            return None
        return PostgresTerm(self._postgres, self._namespace, number, self._duration, since=asked)

    async def _give_back(self, term: "PostgresTerm") -> None:
        try:
            async with self._postgres.transaction(self._namespace) as transaction:
                await transaction.execute(_SQL["give_back"], self._namespace, term.number)
        except DatabaseUnavailableError as exc:
            # It ends by itself.
            _log.warning("lead_not_given_back", namespace=self._namespace, error=str(exc))


class PostgresTerm:
    """The lease is ours until `duration` after it was last asked for, by this process's clock.

    The database counts from later on, so that nobody else leads while this process thinks it does.
    """

    def __init__(
        self,
        postgres: Postgres,
        namespace: str,
        number: int,
        duration: timedelta,
        *,
        since: float,
    ) -> None:
        self.number = number
        self._postgres = postgres
        self._namespace = namespace
        self._duration = duration
        self._until = since + duration.total_seconds()

    def confirm(self) -> None:
        """Return while nobody else can lead.

        Raises:
            LeadershipLostError: the lease was not renewed in time.
        """
        if asyncio.get_running_loop().time() >= self._until:
            raise LeadershipLostError("the lease has run out: this process was held up")

    async def keep(self) -> Never:
        """Renew the lease, five times within its duration.

        Raises:
            LeadershipLostError: it has run out, or others have it.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._duration.total_seconds() / _RENEWALS)
            asked = loop.time()
            try:
                async with self._postgres.transaction(self._namespace) as transaction:
                    renewed = await transaction.fetchval(
                        _SQL["renew"], self._namespace, self.number, self._duration
                    )
                    faultpoint("registry.before_renew_lead")
                faultpoint("registry.after_renew_lead")
            except DatabaseUnavailableError:
                self.confirm()
                continue
            if renewed is None:
                raise LeadershipLostError("another replica leads")
            self._until = asked + self._duration.total_seconds()

    async def compared(self) -> None:
        """Record that everything was compared with what is there."""
        async with self._postgres.transaction(self._namespace) as transaction:
            await transaction.execute(_SQL["compared"], self._namespace, self.number)
            faultpoint("registry.before_record_comparison")
        faultpoint("registry.after_record_comparison")


class PostgresLeases:
    """Who leads which namespace."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def lease(self, namespace: str) -> Lease | None:
        """Return who leads a namespace, None when nobody ever did."""
        async with self._postgres.transaction(namespace) as transaction:
            row = await transaction.fetchrow(_SQL["lease"], namespace)
        return None if row is None else Lease(**row)
