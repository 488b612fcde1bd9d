"""The outbox in PostgreSQL, over one session that leads its shards by advisory locks.

Reading, deleting, parking and leading share the session: a relay that has lost its lead has lost
its connection with it. It must be a session of its own with the server, never one of a pooler.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta

import asyncpg

from contracts import names
from outbox_relay.domain.horizon import Horizon, running
from outbox_relay.domain.rows import PendingRow, StreamKey
from outbox_relay.domain.shares import SHARDS, Change
from outbox_relay.errors import OutboxUnavailableError
from outbox_relay.ports import Lag, Lead
from runtime import postgres, sqlfiles
from runtime.errors import DatabaseUnavailableError
from runtime.faultpoints import faultpoint

_SQL = sqlfiles.load("outbox_relay", "outbox")
_APPLICATION = "outbox-relay"
_MOST_COUNTED = 100_000


class PostgresOutboxSession:
    """A session with the outbox of one schema."""

    def __init__(
        self,
        *,
        dsn: str,
        schema: str,
        hung_after: timedelta,
        password: Callable[[], str] | None = None,
    ) -> None:
        """Name the database and schema; whoever asks nothing for `hung_after` loses the lead."""
        self._dsn = dsn
        self._password = password
        self._schema = schema
        self._hung_after = hung_after
        self._stack = AsyncExitStack()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def open(self, wake: Callable[[bool], None]) -> None:
        """Connect, listen, and be counted among the relays of this outbox."""
        hung_after = f"{int(self._hung_after.total_seconds() * 1000)}ms"
        with _translated(self._schema):
            faultpoint("relay.before_open")
            connection: asyncpg.Connection[asyncpg.Record]
            connection = await self._stack.enter_async_context(
                postgres.dedicated(self._dsn, application=_APPLICATION, password=self._password)
            )
            await connection.fetchrow(_SQL["prepare"], self._schema, hung_after)
            await connection.add_listener(
                names.outbox_channel(self._schema),
                lambda _connection, _pid, _channel, payload: wake(
                    payload == names.OUTBOX_READ_AGAIN
                ),
            )
            await connection.fetchval(_SQL["join"])
            faultpoint("relay.after_open")
        self._connection = connection

    async def lead(self) -> Lead:
        """Look at the locks of the outbox."""
        with self._guarded() as connection:
            locks = await connection.fetch(_SQL["locks"])
        return Lead(
            members=sum(lock["shard"] == SHARDS for lock in locks),
            mine=frozenset(k["shard"] for k in locks if k["mine"] and k["shard"] < SHARDS),
            others=frozenset(k["shard"] for k in locks if not k["mine"] and k["shard"] < SHARDS),
        )

    async def change(self, change: Change) -> frozenset[int]:
        """Unlock and lock."""
        taken: frozenset[int] = frozenset()
        with self._guarded() as connection:
            faultpoint("relay.before_lead")
            if change.give:
                await connection.fetch(_SQL["give"], sorted(change.give))
            if change.take:
                rows = await connection.fetch(_SQL["take"], sorted(change.take))
                taken = frozenset(row["shard"] for row in rows)
            faultpoint("relay.after_lead")
        return taken

    async def read(
        self, horizon: Horizon, *, shards: Collection[int], rows: int, size: int
    ) -> tuple[list[PendingRow], bool]:
        """Read in one statement, so in one snapshot, which also tells what has ended since."""
        floors = horizon.floors
        with self._guarded() as connection:
            faultpoint("relay.before_read")
            first, *records = await connection.fetch(
                _SQL["read"],
                horizon.tail,
                [str(xid) for xid in floors],
                list(floors.values()),
                list(shards),
                rows,
                size,
            )
            faultpoint("relay.after_read")
        found = [PendingRow._make(record) for record in records]
        complete = len(found) == first[0] < rows
        horizon.read(
            running=running(first[2]),
            last=found[-1].position if found else None,
            complete=complete,
        )
        return found, complete

    async def delete(self, positions: Sequence[int]) -> None:
        """Remove published rows."""
        with self._guarded() as connection:
            faultpoint("relay.before_delete")
            await connection.execute(_SQL["delete"], positions)
            faultpoint("relay.after_delete")

    async def park(self, position: int, *, reason: str, waits: bool) -> None:
        """Move a row from one table to the other."""
        with self._guarded() as connection:
            faultpoint("relay.before_park")
            await connection.execute(_SQL["park"], position, reason, waits)
            faultpoint("relay.after_park")

    async def waiting_streams(self) -> frozenset[StreamKey]:
        """Read the parked rows' streams."""
        with self._guarded() as connection:
            rows = await connection.fetch(_SQL["waiting_streams"])
        return frozenset((row["namespace"], row["stream"]) for row in rows)

    async def lag(self) -> Lag:
        """Count, up to 100,000 rows."""
        with self._guarded() as connection:
            (row,) = await connection.fetch(_SQL["lag"], _MOST_COUNTED)
        return Lag(rows=row["rows"], seconds=row["seconds"], parked=row["parked"])

    async def close(self) -> None:
        """End the session."""
        self._connection = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    @contextmanager
    def _guarded(self) -> "Iterator[asyncpg.Connection[asyncpg.Record]]":
        if self._connection is None:
            raise OutboxUnavailableError(f"the outbox {self._schema}: there is no session")
        with _translated(self._schema):
            yield self._connection


@contextmanager
def _translated(schema: str) -> Iterator[None]:
    try:
        yield
    except (DatabaseUnavailableError, *postgres.UNAVAILABLE, asyncpg.PostgresError) as exc:
        raise OutboxUnavailableError(
            f"the outbox {schema}: {str(exc) or type(exc).__name__}"
        ) from exc
