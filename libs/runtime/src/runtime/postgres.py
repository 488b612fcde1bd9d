"""PostgreSQL: a pool with every timeout set, and transactions that know their namespace.

Never await another service inside a transaction: it holds locks for as long as that takes.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg

from contracts.telemetry import Attribute, Metric
from runtime import logs, telemetry
from runtime.errors import DatabaseUnavailableError, SecretUnreadableError

T = TypeVar("T")

_log = logs.get_logger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_ACQUIRE_TIMEOUT_S = 5.0
_COMMAND_TIMEOUT_S = 15.0
_ATTEMPTS = 5
_WAITS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)

_NAMESPACE = "SELECT set_config('backbone.namespace', $1, true)"
_ACROSS = "SELECT set_config('role', $1, true)"

UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # What the client says when a connection was cut in the middle of an answer.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # A password is replaced at two places, of which one is first.
    asyncpg.InvalidAuthorizationSpecificationError,
    SecretUnreadableError,
)
_CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


@dataclass(frozen=True)
class Transaction:
    """An open transaction in `namespace`. Lives no longer than the block that opened it.

    One across all namespaces sees the others too; its own is empty unless it was given one.
    """

    namespace: str
    connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
    _committed: list[Callable[[], None]] = field(default_factory=list, repr=False)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when the commit has returned, and never when it has not.

        A commit whose answer was lost may have taken effect all the same, so that this is for
        hints only. The transaction's owner waits for it: it must neither block nor raise.
        """
        self._committed.append(callback)

    def committed(self) -> None:
        """Call what was to be called after the commit; what one of them raises is logged."""
        for callback in self._committed:
            try:
                callback()
            except Exception:  # noqa: BLE001 - the work is committed, whoever hears of it
                _log.exception("after_commit_failed")

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Return all rows."""
        return await self.connection.fetch(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: Any) -> asyncpg.Record | None:
        """Return the first row, or None."""
        return await self.connection.fetchrow(sql, *arguments)

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        """Return the first column of the first row, or None."""
        return await self.connection.fetchval(sql, *arguments)

    async def execute(self, sql: str, *arguments: Any) -> str:
        """Run a statement and return its command tag."""
        return await self.connection.execute(sql, *arguments)

    async def executemany(self, sql: str, arguments: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each tuple of arguments, in one round trip."""
        await self.connection.executemany(sql, arguments)


class Postgres:
    """A pool of connections to one schema."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, across: str = "") -> None:
        """Wrap an open pool; `connect` makes one. `across` is the role that sees everything."""
        self._pool = pool
        self._across = across
        self._waits = _Waits(across.removesuffix("_across"))

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        application: str,
        schema: str,
        size: int = 8,
        password: Callable[[], str] | None = None,
    ) -> "Postgres":
        """Open a pool of at most `size` connections whose search path is `schema`.

        Each connection asks for its `password` when it is made, instead of what the DSN says.

        Raises:
            DatabaseUnavailableError: nothing answers there.
        """
        try:
            pool = await asyncpg.create_pool(
                dsn,
                password=password,
                min_size=1,
                max_size=size,
                timeout=_CONNECT_TIMEOUT_S,
                command_timeout=_COMMAND_TIMEOUT_S,
                max_inactive_connection_lifetime=300.0,
                reset=_leave,
                server_settings={
                    "application_name": application,
                    "search_path": schema,
                    "timezone": "UTC",
                    "statement_timeout": "10000",
                    "lock_timeout": "5000",
                    "idle_in_transaction_session_timeout": "30000",
                    "tcp_keepalives_idle": "30",
                    "tcp_user_timeout": "15000",
                },
            )
        except UNAVAILABLE as exc:
            raise DatabaseUnavailableError(f"PostgreSQL cannot be reached: {_text(exc)}") from exc
        except asyncpg.PostgresError as exc:
            raise DatabaseUnavailableError(f"PostgreSQL refuses the connection: {exc}") from exc
        return cls(pool, across=f"{schema}_across")

    async def close(self) -> None:
        """Close the pool; connections still in use after 5 s are cut."""
        try:
            await asyncio.wait_for(self._pool.close(), 5.0)
        except TimeoutError:
            self._pool.terminate()

    async def ping(self) -> None:
        """Return when the database answers.

        Raises:
            DatabaseUnavailableError: it does not.
        """
        try:
            async with self._pool.acquire(timeout=_ACQUIRE_TIMEOUT_S) as connection:
                await connection.fetchval("SELECT 1")
        except UNAVAILABLE as exc:
            raise DatabaseUnavailableError(f"PostgreSQL does not answer: {_text(exc)}") from exc

    @asynccontextmanager
    async def transaction(self, namespace: str) -> AsyncIterator[Transaction]:
        """Open a transaction whose `backbone.namespace` is `namespace`; leaving the block commits.

        It sees and writes the rows of that namespace and no others: see docs/tenancy.md.

        Raises:
            DatabaseUnavailableError: the connection is lost or something took too long. Whether a
                commit that was under way took effect is then unknown: writes are idempotent.
        """
        async with self._opened(namespace, _NAMESPACE, namespace) as transaction:
            yield transaction

    @asynccontextmanager
    async def across(self, namespace: str = "") -> AsyncIterator[Transaction]:
        """Open a transaction that sees all namespaces, as the role `<schema>_across`.

        For what is of no namespace: sealing, verification, months; and for an operator's command
        that works through whole tables, which names its `namespace` in each statement. Never for
        a caller who named one.

        Raises:
            DatabaseUnavailableError: as in `transaction`.
        """
        async with self._opened(namespace, _ACROSS, self._across) as transaction:
            yield transaction

    async def retrying(self, namespace: str, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction, and again from its start after a deadlock or a conflict.

        Raises:
            DatabaseUnavailableError: as in `transaction`, or five conflicts in a row.
        """
        return await self._retrying(lambda: self.transaction(namespace), work)

    async def retrying_across(
        self, work: Callable[[Transaction], Awaitable[T]], *, namespace: str = ""
    ) -> T:
        """Run `work` as `retrying` does, in a transaction that sees all namespaces.

        Raises:
            DatabaseUnavailableError: as in `retrying`.
        """
        return await self._retrying(lambda: self.across(namespace), work)

    @asynccontextmanager
    async def _opened(self, namespace: str, sql: str, value: str) -> AsyncIterator[Transaction]:
        try:
            connection = await self._waits.measured(self._pool.acquire(timeout=_ACQUIRE_TIMEOUT_S))
            try:
                transaction = Transaction(namespace, connection)
                async with connection.transaction():
                    await connection.execute(sql, value)
                    yield transaction
                transaction.committed()
            finally:
                await self._pool.release(connection)
        except UNAVAILABLE as exc:
            raise DatabaseUnavailableError(f"PostgreSQL does not answer: {_text(exc)}") from exc

    async def _retrying(
        self,
        opened: Callable[[], AbstractAsyncContextManager[Transaction]],
        work: Callable[[Transaction], Awaitable[T]],
    ) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                async with opened() as transaction:
                    return await work(transaction)
            except _CONFLICTS as exc:
                if attempt == _ATTEMPTS - 1:
                    raise DatabaseUnavailableError(
                        f"PostgreSQL could not serialise the transaction: {exc}"
                    ) from exc
                await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - jitter
        raise AssertionError("unreachable")


class _Waits:
    """How long transactions wait for a connection of the pool, made anew where one is lacking."""

    def __init__(self, pool: str) -> None:
        self._attributes: dict[str, str] = {Attribute.POOL: pool}
        meter = telemetry.meter(__name__)
        self._took = meter.create_histogram(
            Metric.POOL_WAIT,
            unit="s",
            description="Time to obtain an open connection from the pool.",
            explicit_bucket_boundaries_advisory=_WAITS,
        )
        self._timeouts = meter.create_counter(
            Metric.POOL_TIMEOUTS, description="Times that no connection came free in time."
        )

    async def measured(self, acquiring: Awaitable[T]) -> T:
        started = time.perf_counter()
        try:
            acquired = await acquiring
        except TimeoutError:
            self._timeouts.add(1, self._attributes)
            raise
        self._took.record(time.perf_counter() - started, self._attributes)
        return acquired


@asynccontextmanager
async def dedicated(
    dsn: str, *, application: str, password: Callable[[], str] | None = None
) -> AsyncIterator[Any]:
    """Open one connection outside any pool: for LISTEN, and for advisory locks of a session.

    It asks for its `password` now, instead of what the DSN says.

    Raises:
        DatabaseUnavailableError: nothing answers there.
    """
    try:
        connection = await asyncpg.connect(
            dsn,
            password=password,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            server_settings={
                "application_name": application,
                "timezone": "UTC",
                "tcp_keepalives_idle": "10",
                "tcp_keepalives_interval": "5",
                "tcp_keepalives_count": "3",
                "tcp_user_timeout": "15000",
            },
        )
    except UNAVAILABLE as exc:
        raise DatabaseUnavailableError(f"PostgreSQL cannot be reached: {_text(exc)}") from exc
    except asyncpg.PostgresError as exc:
        raise DatabaseUnavailableError(f"PostgreSQL refuses the connection: {exc}") from exc
    try:
        yield connection
    except UNAVAILABLE as exc:
        raise DatabaseUnavailableError(f"PostgreSQL does not answer: {_text(exc)}") from exc
    finally:
        try:
            await connection.close(timeout=2.0)
        except (*UNAVAILABLE, asyncpg.PostgresError):
            connection.terminate()


async def _leave(connection: object) -> None:
    """Save the round trip of a reset: what transactions set, they set for themselves only."""


def _text(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__
