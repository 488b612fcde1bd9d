"""The consumer inbox in PostgreSQL: in the database of the effects, in a schema of its own."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from contracts.names import Header
from runtime import logs, sqlfiles
from runtime.errors import DatabaseUnavailableError
from runtime.faultpoints import faultpoint
from runtime.migrations import MigrationError
from runtime.postgres import Postgres, Transaction
from sdk.inbox.arrivals import Admission, Arrival, Gap, Refusal
from sdk.inbox.installation import DEFAULT_SCHEMA, install, is_away, quoted
from sdk.inbox.records import Headers, Record

_EVERY_TOPIC = ""
_FORGET_BATCH = 5_000
_LONGEST_PAUSE_S = 15.0

_log = logs.get_logger(__name__)


class PostgresInboxStore:
    """An inbox whose transactions are those of a pool; handlers get the open `Transaction`."""

    def __init__(self, database: Postgres, *, schema: str = DEFAULT_SCHEMA) -> None:
        """Keep the inbox in `schema` of `database`, whose search path is the handlers' own.

        Raises:
            ValueError: `schema` is not a plain lower-case name.
        """
        self._database = database
        self._sql = {
            name: text.replace("{schema}", quoted(schema))
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
        quoted(schema)
        database = await Postgres.connect(
            dsn, application=application, schema=search_path, size=size
        )
        return cls(database, schema=schema)

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        application: str,
        schema: str = DEFAULT_SCHEMA,
        search_path: str = "public",
        size: int = 8,
    ) -> "PostgresInboxStore":
        """Make or migrate the tables (`install`) and connect (`connect`).

        While the database is away, this says so in a line and tries again.

        Raises:
            MigrationError: the database is there and refuses.
            ValueError: `schema` is not a plain lower-case name.
        """
        for attempt in itertools.count():
            try:
                await asyncio.to_thread(install, dsn, schema=schema)
                return await cls.connect(
                    dsn, application=application, schema=schema, search_path=search_path, size=size
                )
            except (MigrationError, DatabaseUnavailableError) as exc:
                if isinstance(exc, MigrationError) and not is_away(exc):
                    raise
                again_in_s = min(_LONGEST_PAUSE_S, 0.5 * 2.0 ** min(attempt, 10))
                _log.warning("database_away", error=_one_line(exc), again_in_s=again_in_s)
            await asyncio.sleep(again_in_s)
        raise AssertionError("unreachable")

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
            some = int(
                await transaction.fetchval(
                    self._sql["forget"], namespace, group, older_than, _FORGET_BATCH
                )
            )
            faultpoint("sdk.before_forget")
            return some

        forgotten = 0
        while True:
            some = await self._database.retrying(namespace, forget_some)
            faultpoint("sdk.after_forget")
            if not some:
                return forgotten
            forgotten += some

    async def ready(
        self, namespace: str, group: str, topics: Collection[str]
    ) -> Sequence[tuple[str, str]]:
        """Return streams where an event waits in vain (see `InboxStore`).

        Raises:
            DatabaseUnavailableError: as `Postgres.transaction`.
        """
        async with self._database.transaction(namespace) as transaction:
            rows = await transaction.fetch(self._sql["ready"], namespace, group, list(topics))
        return [(row["source"], row["stream"]) for row in rows]

    async def gaps(self, namespace: str, group: str, *, limit: int) -> Sequence[Gap]:
        """Return the streams that wait for missing versions (see `InboxStore`).

        Raises:
            DatabaseUnavailableError: as `Postgres.transaction`.
        """
        async with self._database.transaction(namespace) as transaction:
            rows = await transaction.fetch(self._sql["gaps"], namespace, group, limit)
        return [Gap(**row) for row in rows]

    async def skip(self, namespace: str, group: str, gap: Gap) -> bool:
        """Give up missing versions (see `InboxStore`).

        Raises:
            DatabaseUnavailableError: as `Postgres.transaction`.
        """
        stream = (namespace, group, gap.source, gap.stream)
        async with self._database.transaction(namespace) as transaction:
            last = await transaction.fetchval(self._sql["lock_stream"], *stream)
            first = await transaction.fetchval(self._sql["first_waiting"], *stream)
            skipped = (last, first) == (gap.after, gap.before)
            if skipped:
                await transaction.execute(self._sql["move_stream"], *stream, gap.before - 1)
            faultpoint("sdk.before_skip")
        faultpoint("sdk.after_skip")
        return skipped

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

    async def admit(self, arrival: Arrival, *, gapless: bool) -> Admission:
        """Note an event (see `InboxTransaction`)."""
        event = arrival.event
        identity = (*self._owner, event.source, event.event_id)
        noted = await self._transaction.fetchval(
            self._sql["note_event"],
            *identity,
            arrival.digest,
            _EVERY_TOPIC if gapless else arrival.topic,
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
        if gapless:
            return await self._next_in_stream(event.source, arrival.stream, arrival.version)
        stream = (*self._owner, arrival.topic, event.source, arrival.stream)
        if await self._transaction.fetchval(self._sql["advance_stream"], *stream, arrival.version):
            return Admission.NEW
        forgotten = await self._transaction.fetchval(self._sql["forgotten_version"], *stream)
        return Admission.DUPLICATE if arrival.version <= forgotten else Admission.OUT_OF_ORDER

    async def _next_in_stream(self, source: str, stream: str, version: int) -> Admission:
        last, forgotten = await self._lock(source, stream)
        if version > last + 1:
            return Admission.EARLY
        if version == last + 1:
            await self._transaction.execute(
                self._sql["move_stream"], *self._owner, source, stream, version
            )
            return Admission.NEW
        return Admission.DUPLICATE if version <= forgotten else Admission.OUT_OF_ORDER

    async def _lock(self, source: str, stream: str) -> tuple[int, int]:
        """Return the version of a stream and its forgotten one, which stay until the end."""
        row = await self._transaction.fetchrow(
            self._sql["lock_stream"], *self._owner, source, stream
        )
        if row is None:
            raise AssertionError("an upsert gives a row")
        return row["version"], row["forgotten_version"]

    async def admit_copy(self, arrival: Arrival) -> Admission:
        """Note a republished copy (see `InboxTransaction`)."""
        noted = await self._transaction.fetchval(
            self._sql["note_copy"],
            *self._owner,
            arrival.event.source,
            arrival.event.event_id,
            arrival.digest,
            arrival.topic,
            arrival.republish_id,
            arrival.stream,
        )
        return Admission.DUPLICATE if noted is None else Admission.NEW

    async def put_aside(self, arrival: Arrival, record: Record) -> bool:
        """Let an early event wait (see `InboxTransaction`)."""
        return bool(
            await self._transaction.fetchval(
                self._sql["put_aside"],
                *self._owner,
                arrival.event.source,
                arrival.stream,
                arrival.version,
                arrival.event.event_id,
                record.topic,
                record.partition,
                record.offset,
                arrival.republish_id,
                record.traceparent,
                record.value,
            )
        )

    async def take_next(self, source: str, stream: str, topics: Collection[str]) -> Record | None:
        """Take the waiting event whose turn it is (see `InboxTransaction`)."""
        last, _ = await self._lock(source, stream)
        place = (*self._owner, source, stream, last + 1)
        row = await self._transaction.fetchrow(self._sql["take_waiting"], *place, list(topics))
        if row is None:
            return None
        await self._transaction.execute(self._sql["move_stream"], *place)
        return Record(
            topic=row["topic"],
            partition=row["kafka_partition"],
            offset=row["kafka_offset"],
            value=row["body"],
            headers=_headers(stream, last + 1, row["republish_id"], row["traceparent"]),
        )

    async def next_waits(self, source: str, stream: str) -> bool:
        """Whether an event waits whose turn it is (see `InboxTransaction`)."""
        return bool(
            await self._transaction.fetchval(self._sql["next_waits"], *self._owner, source, stream)
        )

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


def _headers(
    stream: str, version: int, republish_id: str | None, traceparent: str | None
) -> Headers:
    headers = {
        Header.STREAM: stream,
        Header.STREAM_VERSION: str(version),
        Header.REPUBLISHED: republish_id,
        Header.TRACEPARENT: traceparent,
    }
    return tuple((name.value, text.encode()) for name, text in headers.items() if text is not None)


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())
