"""Checkpoints are written over what is settled, by one at a time, and nothing is passed over."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from contracts.events import RunCompleted
from devstack.infrastructure.endpoints import PostgresEndpoint
from eventstore import checkpoints, sealing, store
from eventstore.checkpoints import Checkpoint
from eventstore.events import GENESIS, Cause, Event, Fact
from eventstore.sealing import Horizon, Sealer
from eventstore.store import EventStore
from runtime.errors import DatabaseUnavailableError
from runtime.postgres import Postgres

Appended = Callable[..., Awaitable[list[Event]]]
Sealed = Callable[..., Awaitable[int]]

PROCESS = """
import asyncio, sys
from datetime import timedelta
from eventstore.sealing import Sealer
from runtime.postgres import Postgres

async def main():
    postgres = await Postgres.connect(sys.argv[1], application="tests", schema="ledger")
    sealer = Sealer(postgres, interval=timedelta(milliseconds=20), most=3)
    await sealer.start()
    await sealer.wait()

asyncio.run(main())
"""


async def rows(postgres: Postgres) -> list[Any]:
    async with postgres.transaction("dev") as transaction:
        return await transaction.fetch("SELECT * FROM audit_checkpoints ORDER BY number")


async def ranges(postgres: Postgres) -> list[tuple[int, int, int]]:
    return [
        (row["first_position"], row["last_position"], row["events"]) for row in await rows(postgres)
    ]


async def test_checkpoints_follow_one_another_and_cover_every_event(
    postgres: Postgres, appended: Appended, sealed: Sealed
) -> None:
    await appended("a:manual:1", 5)
    await appended("b:manual:1", 2, namespace="prod")
    assert await sealed(most=3) == 7
    assert await sealed() == 0
    await appended("a:manual:1", 1)
    assert await sealed() == 1
    assert await ranges(postgres) == [(1, 3, 3), (4, 6, 3), (7, 7, 1), (8, 8, 1)]
    previous = GENESIS
    async with postgres.transaction("dev") as transaction:
        events = await transaction.fetch("SELECT * FROM events ORDER BY position")
    for row in await rows(postgres):
        checkpoint = Checkpoint.of(row)
        covered = [
            checkpoints.leaf(event)
            for event in events
            if row["first_position"] <= event["position"] <= row["last_position"]
        ]
        assert row["leaves"] == b"".join(covered)
        assert checkpoint.digest == checkpoints.digest(row["leaves"])
        assert checkpoint.previous_hash == previous
        assert checkpoint.hash == checkpoint.hashed().hash
        previous = checkpoint.hash


async def test_positions_of_what_was_undone_belong_to_the_next_range(
    postgres: Postgres, appended: Appended, sealed: Sealed
) -> None:
    await appended("a:manual:1", 1)
    with pytest.raises(RuntimeError, match="undone"):
        async with postgres.transaction("dev") as transaction:
            await transaction.execute("SELECT nextval('events_position_seq')")
            raise RuntimeError("undone")
    await sealed()
    await appended("a:manual:1", 1)
    await sealed()
    assert await ranges(postgres) == [(1, 1, 1), (2, 3, 1)]


async def test_nothing_is_sealed_beside_a_transaction_that_may_still_commit(
    postgres: Postgres, appended: Appended
) -> None:
    horizon = Horizon()

    async def settled() -> int:
        async with postgres.transaction("dev") as transaction:
            return await horizon.advance(transaction)

    await appended("a:manual:1", 2)
    assert await settled() == 2
    async with postgres.transaction("dev") as late:
        (open_event,) = await EventStore(service="ledger").append(
            late,
            stream=store.run_stream("late:manual:1"),
            facts=[Fact(RunCompleted(run_id="l", definition_id="d", definition_version=1), "l")],
            expected=store.NEW,
            occurred_at=datetime(2026, 11, 1, tzinfo=UTC),
            cause=Cause(correlation_id="c"),
        )
        (committed,) = await appended("b:manual:1", 1)
        assert committed.position > open_event.position
        # However often it looks, and whoever commits meanwhile.
        for number in range(3):
            assert await settled() == 2
            await appended(f"c:manual:{number}", 1)
        assert horizon.waits
    assert await settled() == committed.position + 3
    async with postgres.transaction("dev") as transaction:
        assert await sealing.seal(transaction, up_to=committed.position + 3) == 7


async def test_a_look_that_fails_half_way_settles_nothing(
    postgres: Postgres, appended: Appended, monkeypatch: pytest.MonkeyPatch
) -> None:
    horizon = Horizon()
    await appended("a:manual:1", 2)

    async def away(transaction: Any) -> frozenset[str]:
        raise DatabaseUnavailableError("cut off")

    async with postgres.transaction("dev") as transaction:
        with monkeypatch.context() as patch, pytest.raises(DatabaseUnavailableError):
            patch.setattr(horizon, "_writing", away)
            await horizon.advance(transaction)
    async with postgres.transaction("dev") as writer, postgres.transaction("dev") as transaction:
        await writer.execute("LOCK TABLE events IN ROW EXCLUSIVE MODE")
        assert await horizon.advance(transaction) == 0


async def test_a_writer_that_has_taken_no_position_yet_takes_a_later_one(
    postgres: Postgres, appended: Appended
) -> None:
    await appended("a:manual:1", 2)
    async with postgres.transaction("dev") as idle, postgres.transaction("dev") as transaction:
        await idle.execute("SELECT 1")
        # It reads, or has not begun to write: nobody has to wait for it.
        assert await Horizon().advance(transaction) == 2


async def test_another_database_holds_nobody_up(
    postgres: Postgres, appended: Appended, postgres_dsn: str
) -> None:
    other = await asyncpg.connect(postgres_dsn, database="postgres")
    try:
        async with other.transaction():
            await other.execute("SELECT pg_current_xact_id()")
            await appended("a:manual:1", 2)
            async with postgres.transaction("dev") as transaction:
                assert await Horizon().advance(transaction) == 2
    finally:
        await other.close()


async def test_one_at_a_time_seals(postgres: Postgres, appended: Appended) -> None:
    await appended("a:manual:1", 2)
    async with postgres.transaction("dev") as leader:
        assert await sealing.seal(leader, up_to=2) == 2
        async with postgres.transaction("dev") as follower:
            assert await sealing.seal(follower, up_to=2) is None
    async with postgres.transaction("dev") as follower:
        assert await sealing.seal(follower, up_to=2) == 0


async def test_sealers_beside_writers_seal_every_event_once(
    postgres: Postgres, appended: Appended
) -> None:
    sealers = [Sealer(postgres, interval=timedelta(milliseconds=5), most=7) for _ in range(2)]
    for sealer in sealers:
        await sealer.start()
    for turn in range(10):
        await asyncio.gather(*(appended(f"r{n}:manual:{turn}", n) for n in range(1, 5)))
    async with asyncio.timeout(20):
        while sum(row["events"] for row in await rows(postgres)) < 100:  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(0.01)
    for sealer in sealers:
        await sealer.stop()
    last = 0
    for first, end, _ in await ranges(postgres):
        assert first == last + 1
        last = end
    assert sum(row["events"] for row in await rows(postgres)) == 100


@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_sealer_that_dies_leaves_whole_checkpoints_and_the_next_goes_on(
    postgres: Postgres, database: PostgresEndpoint, appended: Appended, side: str
) -> None:
    await appended("a:manual:1", 10)

    async def start(**environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROCESS, database.dsn("ledger"),
            env={"PATH": os.environ["PATH"], **environment},
        )  # fmt: skip

    dying = await start(BACKBONE_FAULTPOINT=f"eventstore.{side}_seal:2")
    assert await asyncio.wait_for(dying.wait(), 60) == -signal.SIGKILL
    assert await ranges(postgres) == [(1, 3, 3), (4, 6, 3)][: 1 if side == "before" else 2]
    living = await start()
    async with asyncio.timeout(60):
        while sum(row["events"] for row in await rows(postgres)) < 10:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    living.terminate()
    await living.wait()
    assert await ranges(postgres) == [(1, 3, 3), (4, 6, 3), (7, 9, 3), (10, 10, 1)]
