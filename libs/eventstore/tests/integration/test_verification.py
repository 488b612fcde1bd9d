"""What was changed behind the event store's back is found, and nothing in an honest history."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from contracts.events import RunCompleted
from devstack.infrastructure.endpoints import PostgresEndpoint
from eventstore import events as rendering
from eventstore import sealing, store
from eventstore.events import Cause, Event, Fact
from eventstore.store import ANY, EventStore
from eventstore.verification import Cursor, Finding, FindingKind, Phase, Step, Verifier
from runtime import migrations
from runtime.postgres import Postgres, Transaction

Appended = Callable[..., Awaitable[list[Event]]]
Sealed = Callable[..., Awaitable[int]]

EVENTS = EventStore(service="ledger")
KEPT = timedelta(days=35)

ALTERED = FindingKind.EVENT_ALTERED
MISSING = FindingKind.EVENTS_MISSING
BROKEN = FindingKind.CHAIN_BROKEN
CUT = FindingKind.STREAM_CUT
HEAD = FindingKind.HEAD_WRONG
CHECKPOINT = FindingKind.CHECKPOINT_ALTERED
NO_CHECKPOINT = FindingKind.CHECKPOINT_MISSING


async def verify(postgres: Postgres, cursor: Cursor | None = None) -> list[Step]:
    verifier, steps = Verifier(postgres), []
    cursor = cursor or Cursor()
    while True:
        step = await verifier.step(cursor)
        steps.append(step)
        if step.cursor is None:
            return steps
        cursor = step.cursor


async def findings(postgres: Postgres) -> list[Finding]:
    return [finding for step in await verify(postgres) for finding in step.findings]


async def kinds(postgres: Postgres) -> set[FindingKind]:
    return {finding.kind for finding in await findings(postgres)}


async def execute(postgres: Postgres, *statements: str) -> None:
    async with postgres.transaction("dev") as transaction:
        for statement in statements:
            await transaction.execute(statement)


@pytest.fixture
async def history(postgres: Postgres, appended: Appended, sealed: Sealed) -> None:
    """Streams a (versions 1 to 6), b, c and d; positions 1 to 12 in checkpoints of 5, 5 and 2.

    Positions 13 (b) and 14 (e) are not sealed yet.
    """
    await appended("a", 4)  # 1 to 4
    await appended("b", 2)  # 5, 6
    await appended("a", 2)  # 7, 8
    await appended("c", 2)  # 9, 10
    await appended("d", 2)  # 11, 12
    assert await sealed(most=5) == 12
    await appended("b", 1)
    await appended("e", 1)


async def test_an_honest_history_has_no_findings_and_everything_is_looked_at(
    postgres: Postgres, history: None
) -> None:
    steps = await verify(postgres)
    assert [finding for step in steps for finding in step.findings] == []
    assert sum(step.checkpoints for step in steps) == 3
    assert sum(step.events for step in steps) == 14
    assert sum(step.unsealed for step in steps) == 2
    assert sum(step.streams for step in steps) == 5


TAMPERINGS: dict[str, tuple[list[str], set[FindingKind]]] = {
    "an edited payload": (
        ["UPDATE events SET body = replace(convert_from(body, 'UTF8'), 'billing', 'bribing')::bytea"
         " WHERE position = 3"],
        {ALTERED, BROKEN},
    ),
    "an edited payload with its hash": (
        ["UPDATE events SET body = 'x', hash = sha256(previous_hash || 'x') WHERE position = 3"],
        {ALTERED, BROKEN},
    ),
    "edited headers": (["UPDATE events SET headers = '[]' WHERE position = 3"], {ALTERED}),
    "an edited topic": (["UPDATE events SET topic = 'dev.other' WHERE position = 3"], {ALTERED}),
    "an edited key": (["UPDATE events SET key = 'other' WHERE position = 12"], {ALTERED}),
    "an edited time": (
        ["UPDATE events SET recorded_at = recorded_at - interval '1 s' WHERE position = 9"],
        {ALTERED},
    ),
    "an edited time in another month": (
        ["UPDATE events SET recorded_at = recorded_at - interval '60 days' WHERE position = 9"],
        {ALTERED},
    ),
    "an event in the middle of a stream deleted": (
        ["DELETE FROM events WHERE position = 3"], {MISSING, BROKEN},
    ),
    "the end of a stream deleted": (["DELETE FROM events WHERE position = 8"], {MISSING, CUT}),
    "the end of a stream deleted, with its head": (
        ["DELETE FROM events WHERE position = 8",
         "UPDATE stream_heads SET (version, hash) ="
         " (SELECT version, hash FROM events WHERE position = 7) WHERE stream = 'run:a'"],
        {MISSING},
    ),
    "a stream deleted": (["DELETE FROM events WHERE stream = 'run:c'"], {MISSING, CUT}),
    "a stream deleted with its head": (
        ["DELETE FROM events WHERE stream = 'run:c'",
         "DELETE FROM stream_heads WHERE stream = 'run:c'"],
        {MISSING},
    ),
    "two events swapped": (
        ["UPDATE events SET position = 15 - position WHERE position IN (7, 8)"], {ALTERED},
    ),
    "two events swapped in their stream": (
        ["UPDATE events SET version = 7 - version WHERE position IN (3, 4)"], {ALTERED, BROKEN},
    ),
    "a partition truncated": (
        ["TRUNCATE events"], {MISSING, CUT},
    ),
    "an event put in the place of another": (
        ["DELETE FROM events WHERE position = 6",
         "UPDATE events SET position = 6 WHERE position = 14"],
        {ALTERED, BROKEN},
    ),
    "a head edited": (
        ["UPDATE stream_heads SET hash = sha256('x') WHERE stream = 'run:d'"], {HEAD},
    ),
    "a head deleted": (["DELETE FROM stream_heads WHERE stream = 'run:d'"], {HEAD}),
    "a checkpoint edited": (
        ["UPDATE audit_checkpoints SET sealed_at = now() WHERE number = 2"], {CHECKPOINT},
    ),
    "a checkpoint's range edited": (
        ["UPDATE audit_checkpoints SET last_position = 11 WHERE number = 2"],
        {CHECKPOINT, ALTERED},
    ),
    "a checkpoint's leaves edited": (
        ["UPDATE audit_checkpoints SET leaves = overlay(leaves PLACING '\\x00' FROM 1)"
         " WHERE number = 1"],
        {CHECKPOINT, ALTERED},
    ),
    "a checkpoint edited with its hash": (
        ["UPDATE audit_checkpoints SET hash = sha256('x') WHERE number = 2"], {CHECKPOINT},
    ),
    "a checkpoint deleted": (["DELETE FROM audit_checkpoints WHERE number = 2"], {NO_CHECKPOINT}),
    "the first checkpoint deleted": (
        ["DELETE FROM audit_checkpoints WHERE number = 1"], {NO_CHECKPOINT},
    ),
    "an unsealed payload edited": (
        ["UPDATE events SET body = 'x' WHERE position = 13"], {BROKEN},
    ),
    "an unsealed end of a stream deleted": (["DELETE FROM events WHERE position = 13"], {CUT}),
    "an unsealed stream deleted": (["DELETE FROM events WHERE position = 14"], {CUT}),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "found"), TAMPERINGS.values(), ids=TAMPERINGS.keys())
async def test_what_was_changed_is_found(
    postgres: Postgres, history: None, statements: list[str], found: set[FindingKind]
) -> None:
    await execute(postgres, *statements)
    assert await kinds(postgres) == found


async def test_a_finding_names_the_place(postgres: Postgres, history: None) -> None:
    await execute(postgres, "UPDATE events SET headers = '[]' WHERE position = 7")
    (finding,) = await findings(postgres)
    assert (finding.checkpoint, finding.position) == (2, 7)
    assert (finding.namespace, finding.stream, finding.version) == ("dev", "run:a", 5)


async def test_many_altered_events_of_a_range_are_told_in_few_words(
    postgres: Postgres, appended: Appended, sealed: Sealed
) -> None:
    await appended("a", 50)
    await sealed()
    await execute(postgres, "UPDATE events SET headers = '[]'")
    found = await findings(postgres)
    assert len(found) == 11
    assert found[-1].detail == "40 more events of this range are not as they were sealed"


async def test_a_history_that_is_rewritten_as_a_whole_is_found_by_an_anchor_alone(
    postgres: Postgres, appended: Appended, sealed: Sealed, history: None
) -> None:
    async def newest() -> tuple[int, bytes]:
        async with postgres.transaction("dev") as transaction:
            found = await sealing.newest(transaction)
        assert found is not None
        return found.number, found.hash

    await sealed(most=5)
    anchor = await newest()
    await execute(
        postgres,
        "DELETE FROM events WHERE stream = 'run:c'",
        "DELETE FROM stream_heads WHERE stream = 'run:c'",
        "DELETE FROM audit_checkpoints",
    )
    await sealed(most=5)
    assert await findings(postgres) == []
    async with postgres.transaction("dev") as transaction:
        rewritten = await sealing.checkpoint(transaction, anchor[0])
    assert rewritten is None or rewritten.hash != anchor[1]


async def test_it_can_go_on_after_a_checkpoint(postgres: Postgres, history: None) -> None:
    await execute(postgres, "UPDATE events SET headers = '[]' WHERE position IN (1, 12)")
    steps = await verify(postgres, Cursor(checkpoint=1))
    assert [f.position for step in steps for f in step.findings] == [12]
    assert [step.cursor.phase for step in steps if step.cursor][-1] is Phase.HEADS


# --- months that were dropped


async def age(transaction: Transaction, positions: list[int], month: int) -> None:
    """Give events a time in a month of 2025, as if they had been recorded then."""
    for table in ("events", "outbox_pending"):
        await transaction.execute(
            f"UPDATE {table} SET recorded_at = make_timestamptz(2025, $1, 3, 0, 0, 0, 'UTC')"  # noqa: S608 - ours
            " + position * interval '1 s' WHERE position = ANY($2)",
            month,
            positions,
        )


async def make_months(transaction: Transaction, *months: int) -> None:
    for month in months:
        await transaction.execute(
            f"CREATE TABLE IF NOT EXISTS events_2025_0{month} PARTITION OF events"
            f" FOR VALUES FROM ('2025-0{month}-01 00:00+00') TO ('2025-0{month + 1}-01 00:00+00')"
        )


async def drop_all(postgres: Postgres) -> list[str]:
    dropped = []
    while True:
        async with postgres.transaction("dev") as transaction:
            name = await EVENTS.drop_month(transaction, older_than=KEPT)
        if name is None:
            break
        dropped.append(name)
    while True:
        async with postgres.transaction("dev") as transaction:
            if not await EVENTS.clear_default(transaction, older_than=KEPT, most=2):
                return dropped


async def test_checkpoints_stand_for_a_month_that_was_dropped(
    postgres: Postgres, appended: Appended, sealed: Sealed
) -> None:
    old = await appended("a", 4)
    await appended("a", 3)
    lost = await appended("b", 3)  # whose month nobody made
    async with postgres.transaction("dev") as transaction:
        await make_months(transaction, 1)
        await age(transaction, [event.position for event in old], 1)
        await age(transaction, [event.position for event in lost], 2)
        await transaction.execute("DELETE FROM outbox_pending")
    # Nothing is dropped before it is sealed.
    assert await drop_all(postgres) == []
    await sealed(most=6)
    assert await drop_all(postgres) == ["events_2025_01"]
    steps = await verify(postgres)
    assert [finding for step in steps for finding in step.findings] == []
    assert sum(step.events for step in steps) == 3
    assert [(one.month.isoformat(), one.events) for step in steps for one in step.dropped] == [
        ("2025-01-01", 4),
        ("2025-02-01", 3),
    ]
    # What is left is held to its checkpoint all the same, and so is what says that it may be gone.
    await execute(postgres, "DELETE FROM events WHERE version = 6")
    assert await kinds(postgres) == {MISSING}
    await execute(postgres, "DELETE FROM audit_checkpoints WHERE kind = 'dropped'")
    assert MISSING in await kinds(postgres)


async def test_a_partition_that_is_dropped_by_hand_is_missed(
    postgres: Postgres, appended: Appended, sealed: Sealed
) -> None:
    old = await appended("a", 4)
    async with postgres.transaction("dev") as transaction:
        await make_months(transaction, 1)
        await age(transaction, [event.position for event in old], 1)
    await sealed()
    await execute(postgres, "DROP TABLE events_2025_01")
    assert await kinds(postgres) == {MISSING, CUT}


async def test_a_month_that_somebody_emptied_is_not_dropped(
    postgres: Postgres, appended: Appended, sealed: Sealed
) -> None:
    old = await appended("a", 4)
    async with postgres.transaction("dev") as transaction:
        await make_months(transaction, 1)
        await age(transaction, [event.position for event in old], 1)
        await transaction.execute("DELETE FROM outbox_pending")
    await sealed()
    await execute(postgres, "TRUNCATE events_2025_01")
    assert await drop_all(postgres) == []
    assert await kinds(postgres) == {MISSING, CUT}


# --- any history


class Honest:
    """Appends, rollbacks, sealing, retention: whatever happens to an event store in its life."""

    def __init__(self, postgres: Postgres, rng: random.Random) -> None:
        self.postgres, self.rng = postgres, rng
        self.horizon = sealing.Horizon()

    async def live(self) -> None:
        async with self.postgres.transaction("dev") as transaction:
            await transaction.execute(
                "TRUNCATE events, stream_heads, outbox_pending, audit_checkpoints"
            )
            await transaction.execute("ALTER SEQUENCE events_position_seq RESTART")
            await make_months(transaction, 1, 2, 3)
        # Months only pass: what is old was recorded first.
        for month in (1, 3, 4, None):
            for _ in range(self.rng.randint(0, 8)):
                await self.append(month)
                if self.rng.random() < 0.4:
                    await self.seal()
            if self.rng.random() < 0.3:
                await drop_all(self.postgres)

    async def append(self, month: int | None) -> None:
        run = self.rng.choice("abcdefgh")
        namespace = self.rng.choice(["dev", "prod"])
        try:
            async with self.postgres.transaction(namespace) as transaction:
                made = await EVENTS.append(
                    transaction,
                    stream=store.run_stream(run),
                    facts=[
                        Fact(
                            RunCompleted(run_id=run, definition_id="d", definition_version=number),
                            key=run,
                        )
                        for number in range(1, self.rng.randint(2, 5))
                    ],
                    expected=ANY,
                    occurred_at=datetime(2026, 11, 1, tzinfo=UTC),
                    cause=Cause(correlation_id="c"),
                )
                if month is not None:
                    await age(transaction, [event.position for event in made], month)
                if self.rng.random() < 0.8:
                    await transaction.execute("DELETE FROM outbox_pending")
                if self.rng.random() < 0.2:
                    raise UndoneError
        except UndoneError:
            pass

    async def seal(self) -> None:
        most = self.rng.randint(1, 6)
        async with self.postgres.transaction("dev") as transaction:
            settled = await self.horizon.advance(transaction)
            for _ in range(self.rng.randint(1, 4)):
                await sealing.seal(transaction, up_to=settled, most=most)


class UndoneError(Exception):
    pass


async def spoil(postgres: Postgres, rng: random.Random) -> bool:
    """Change one thing that is sealed; return False where there is none."""
    async with postgres.transaction("dev") as transaction:
        positions = await transaction.fetch(
            "SELECT position FROM events WHERE position <= events_sealed_to() ORDER BY position"
        )
        if not positions:
            return False
        position = rng.choice(positions)["position"]
        row = await transaction.fetchrow("SELECT * FROM events WHERE position = $1", position)
        assert row is not None
        if rng.random() < 0.3:
            await transaction.execute("DELETE FROM events WHERE position = $1", position)
            # A month that was dropped may lack any of its events.
            return not await transaction.fetchval(
                "SELECT EXISTS (SELECT FROM audit_checkpoints WHERE kind = 'dropped' AND month"
                " = date_trunc('month', $1::timestamptz AT TIME ZONE 'UTC'))",
                row["recorded_at"],
            )
        column = rng.choice(["body", "headers", "topic", "key", "type", "hash", "version"])
        value: Any = {
            "body": row["body"] + b" ",
            "headers": json.dumps([*json.loads(row["headers"]), ["x", "y"]]),
            "hash": rendering.link(row["hash"], b""),
            "version": row["version"] + 100,
        }.get(column, f"{row[column]}x" if isinstance(row[column], str) else None)
        await transaction.execute(
            f"UPDATE events SET {column} = $1 WHERE position = $2",  # noqa: S608 - ours
            value,
            position,
        )
        return True


def test_any_honest_history_is_fine_and_any_change_of_it_found(
    database: PostgresEndpoint,
) -> None:
    dsn = database.dsn("ledger_owner")
    migrations.apply(dsn, schema="ledger", sources=[store.migrations()])
    spoiled = 0
    with asyncio.Runner() as runner:
        postgres = runner.run(Postgres.connect(dsn, application="tests", schema="ledger"))

        async def play(seed: int) -> None:
            nonlocal spoiled
            rng = random.Random(seed)
            await Honest(postgres, rng).live()
            assert await findings(postgres) == []
            if await spoil(postgres, rng):
                spoiled += 1
                assert await findings(postgres) != []

        @hypothesis.settings(
            max_examples=40,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(seed=st.integers(0, 2**64))
        def game(seed: int) -> None:
            runner.run(play(seed))

        try:
            game()
        finally:
            runner.run(postgres.close())
    assert spoiled > 10
