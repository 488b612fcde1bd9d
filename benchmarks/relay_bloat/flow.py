"""Lets rows flow through an outbox at the pace its relay keeps up with, and looks at the table."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import asyncpg
import psutil

from benchmarks import report
from benchmarks.relay import draining
from benchmarks.relay.backbone_relay import BackboneRelay
from benchmarks.relay.contenders import Place
from benchmarks.relay.stack import TopicEnds
from contracts.names import EventType

_BATCH = 5_000  # rows of one transaction
_BEHIND = 20_000  # rows the relay may be behind before the writer waits
_LOOK_S = 0.02
_SERIES_S = 5.0
_READY_S = 60.0
_LONGEST_S = 600.0

# As the event store's append, many runs at once; the bodies are small.
_APPEND = """
WITH new AS (
    SELECT nextval('ledger.events_position_seq') AS position, clock_timestamp() AS recorded_at,
        'run:bloat:' || ($1 + number) AS stream
    FROM generate_series(1, $2::bigint) AS number
), written AS (
    INSERT INTO ledger.events (
        position, recorded_at, namespace, stream, version, event_id, type, topic, key, headers,
        body, previous_hash, hash
    )
    SELECT position, recorded_at, $3, stream, 1, md5(stream)::uuid, $4, $5, stream, '[]'::json,
        '{"payload":{}}'::bytea, sha256(''::bytea), sha256(''::bytea)
    FROM new
)
INSERT INTO ledger.outbox_pending (position, recorded_at, namespace, stream, version, size)
SELECT position, recorded_at, $3, stream, 1, 14 FROM new
"""
_LOOK = """
SELECT pg_table_size(relid) AS heap, pg_indexes_size(relid) AS indexes, n_dead_tup, autovacuum_count
FROM pg_stat_user_tables
WHERE schemaname = 'ledger' AND relname = 'outbox_pending'
"""


@dataclass(frozen=True)
class Phase:
    """A number of rows, and where a transaction is open meanwhile."""

    name: str
    rows: int
    held_in: Literal["here", "elsewhere"] | None = None


@dataclass(frozen=True)
class Summary:
    """What a phase came to, by metric."""

    phase: str
    figures: dict[str, float]


@dataclass(frozen=True)
class _Look:
    at: float
    table_mb: float
    index_mb: float
    dead_rows: float
    autovacuums: float


class _Flow:
    """A writer, and what it sees of the relay and of the table."""

    def __init__(
        self, place: Place, connection: "asyncpg.Connection[asyncpg.Record]", ends: TopicEnds
    ) -> None:
        self._place = place
        self._connection = connection
        self._ends = ends
        self._written = 0
        self.looks: list[_Look] = []

    async def burst(self, rows: int) -> float:
        """Append rows in one transaction; return at how many a second they then went."""
        await self._append(rows)
        began = time.monotonic()
        await self._until_behind(0)
        return rows / (time.monotonic() - began)

    async def flow(self, rows: int, phase: str) -> float:
        """Append rows as the relay takes them; return how many a second that were."""
        end = self._written + rows
        began = told = time.monotonic()
        while self._written < end:
            await self._append(min(_BATCH, end - self._written))
            await self._until_behind(_BEHIND)
            if time.monotonic() - told > _SERIES_S:
                told = time.monotonic()
                look = await self.look()
                report.note(
                    f"{phase}, {self._written} rows, {told - began:.0f} s: table "
                    f"{look.table_mb:.1f} MB, index {look.index_mb:.1f} MB, {look.dead_rows:.0f} "
                    f"dead rows, {look.autovacuums:.0f} autovacuums"
                )
        await self._until_behind(0)
        return rows / (time.monotonic() - began)

    async def look(self) -> _Look:
        """Look at the table."""
        row = await self._connection.fetchrow(_LOOK)
        assert row is not None
        self.looks.append(
            _Look(
                time.monotonic(),
                table_mb=row["heap"] / 1e6,
                index_mb=row["indexes"] / 1e6,
                dead_rows=row["n_dead_tup"],
                autovacuums=row["autovacuum_count"],
            )
        )
        return self.looks[-1]

    async def _append(self, rows: int) -> None:
        await self._connection.execute(
            *(_APPEND, self._written, rows, self._place.namespace),
            *(EventType.TASK_CREATED.value, self._place.topic),
        )
        self._written += rows

    async def _until_behind(self, most: int) -> None:
        """Wait until the relay is at most so many rows behind.

        Raises:
            TimeoutError: it does not get there.
        """
        deadline = time.monotonic() + _LONGEST_S
        while self._written - self._ends.count() > most:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._ends.count()} of {self._written} rows are published")
            await asyncio.sleep(_LOOK_S)


async def run(
    relay: BackboneRelay,
    place: Place,
    process: psutil.Process,
    phase: Phase,
    *,
    burst: int,
    settings: str | None,
) -> Summary:
    """Let the rows of a phase through; `settings` are set on the table before."""
    connection = await asyncpg.connect(place.dsn)
    try:
        if settings is not None:
            await connection.execute(settings)
        deadline = time.monotonic() + _READY_S
        while not await relay.ready(place):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the relay is not ready after {_READY_S:.0f} s")
            await asyncio.sleep(0.1)
        with contextlib.closing(TopicEnds(place.stack.bootstrap, place.topic)) as ends:
            flow = _Flow(place, connection, ends)
            await flow.burst(burst)  # warms up
            start = await flow.burst(burst)
            async with _held(place, phase):
                per_s = await flow.flow(phase.rows, phase.name)
                end = await flow.burst(burst)
                last = await flow.look()
    finally:
        await connection.close()
    report.note(
        f"{phase.name}: {phase.rows} rows at {per_s:.0f}/s, bursts {start:.0f}/s and {end:.0f}/s, "
        f"relay at {draining.peak_rss_mb(process):.0f} MB"
    )
    return Summary(
        phase.name,
        {
            "table_mb_max": max(look.table_mb for look in flow.looks),
            "table_mb_end": last.table_mb,
            "index_mb_max": max(look.index_mb for look in flow.looks),
            "index_mb_end": last.index_mb,
            "dead_rows_max": max(look.dead_rows for look in flow.looks),
            "dead_rows_end": last.dead_rows,
            "autovacuums": last.autovacuums,
            "flow_rows_per_s": per_s,
            "burst_rows_per_s_start": start,
            "burst_rows_per_s_end": end,
        },
    )


@contextlib.asynccontextmanager
async def _held(place: Place, phase: Phase) -> AsyncIterator[None]:
    """Keep a transaction open that has written, in this database or in another one."""
    if phase.held_in is None:
        yield
        return
    database = place.database
    dsn = database.dsn() if phase.held_in == "here" else database.dsn(database="postgres")
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetchval("SELECT pg_current_xact_id()")
            yield
    finally:
        await connection.close()
