"""The queue of what waits against a model: arrivals, disabling, dispatchers that die and forget.

Real PostgreSQL: who is handed what is decided by its locks and by what its statements see. Steps
are drawn at random; a failure is told with its seed.
"""

import asyncio
import random
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import strategies as st
from pending_queue import DEFINITION, LEASE, ClockedStore, Queue, arrival, offsets, run_id

from contracts.routing import PendingOutcome
from devstack.infrastructure.endpoints import PostgresEndpoint
from ledger import app
from ledger.domain.pending import Choice, Limits, Reason
from ledger.ports.pending import PendingRow
from runtime import migrations
from runtime.postgres import Postgres, Transaction

KEYS = ("a", "b", "")
STEPS = 40
MOST_OPEN = 2


class Waiting:
    """A definition that is disabled and enabled, one router, two dispatchers, and time.

    The router and the dispatchers may not have heard of the last change yet.
    """

    gathers: ClassVar[tuple[int, timedelta] | None] = None
    limits: ClassVar[Limits] = Limits()

    def __init__(self, postgres: Postgres, store: ClockedStore, rng: random.Random) -> None:
        self.rng = rng
        self.postgres = postgres
        self.queue = Queue(postgres, store=store)
        self.arrived: list[str] = []  # keys by offset
        self.changes = [(1, False)]  # (revision, disabled)
        self.unreleased: tuple[Choice, int] | None = None
        self.router = 0  # up to which change the router has heard
        self.hands: dict[int, list[PendingRow]] = {0: [], 1: []}
        self.until = {0: self.queue.store.time, 1: self.queue.store.time}  # of the leases
        self.runs: dict[str, list[int]] = {}  # offsets by run id, in the order of the starts
        self.open: dict[str, str] = {}  # keys by run id

    async def steps(self) -> None:
        async with self.postgres.transaction("dev") as transaction:
            await transaction.execute(
                "TRUNCATE pending_definitions, pending_starts, pending_events, pending_runs"
            )
        weighted = {
            self.arrive: 6, self.the_router_hears: 3, self.switch: 3, self.release: 3,
            self.claim: 5, self.start: 6, self.start_and_die: 1, self.die: 1,
            self.find_it_away: 2, self.find_it_disabled: 2, self.pass_time: 3, self.close: 3,
        }  # fmt: skip
        for _ in range(STEPS):
            [step] = self.rng.choices(list(weighted), list(weighted.values()))
            await step()
            self.check()
        await self.end()

    async def arrive(self) -> None:
        revision, disabled = self.changes[self.router]
        key = self.rng.choice(KEYS)
        for _ in range(self.rng.randint(1, 3)):
            self.arrived.append(key)
            reason = Reason.BATCH if self.gathers else Reason.LIMITED
            await self.queue.arrive(
                arrival(
                    len(self.arrived) - 1,
                    Reason.HELD if disabled else reason,
                    key,
                    revision=revision,
                    gathers=self.gathers,
                    limits=self.limits,
                )
            )

    async def the_router_hears(self) -> None:
        self.router = len(self.changes) - 1

    async def switch(self) -> None:
        """Disable it, or enable it, which is released later."""
        revision, disabled = self.changes[-1]
        if disabled:
            self.unreleased = (self.rng.choice(list(Choice)), revision + 1)
        self.changes.append((revision + 1, not disabled))

    async def release(self) -> None:
        if self.unreleased is None:
            return
        choice, revision = self.unreleased
        self.unreleased = None
        await self.queue.ledger.release(
            namespace="dev", definition_id=DEFINITION, choice=choice, revision=revision,
            actor="ann", reason="",
        )  # fmt: skip

    async def claim(self) -> None:
        who = self.rng.randint(0, 1)
        self.until[who] = self.queue.store.time + LEASE
        self.hands[who] = await self.queue.claim(self.rng.randint(1, 4))

    async def start(self) -> None:
        """Start the next of what was handed out, and tell of it."""
        who, count = self.rng.randint(0, 1), self.rng.randint(1, 4)
        rows, self.hands[who] = self.hands[who][:count], self.hands[who][count:]
        if self._may_start(who):
            for row in rows:
                self._start(row)
            # Told in time, or too late.
            await self.queue.confirm(rows)
        else:
            await self.queue.confirm(rows, PendingOutcome.RETURNED)

    async def start_and_die(self) -> None:
        who = self.rng.randint(0, 1)
        for row in self.hands[who][: self._may_start(who)]:
            self._start(row)
        self.hands[who] = []

    async def die(self) -> None:
        self.hands[self.rng.randint(0, 1)] = []

    async def find_it_away(self) -> None:
        """Give all of it back: nobody answers, and yet the first may have been started."""
        who = self.rng.randint(0, 1)
        rows, self.hands[who] = self.hands[who], []
        for row in rows[: self.rng.randint(0, 1) * self._may_start(who)]:
            self._start(row)
        await self.queue.confirm(rows, PendingOutcome.RETURNED)

    async def find_it_disabled(self) -> None:
        """Hold all of it, by what was heard last or before; what was started is known to be."""
        who = self.rng.randint(0, 1)
        rows, self.hands[who] = self.hands[who], []
        revision, disabled = self.rng.choice(self.changes[-2:])
        started = [row for row in rows if run_id(row) in self.runs]
        await self.queue.confirm(started)
        held = [row for row in rows if row not in started]
        if disabled:
            await self.queue.confirm(held, PendingOutcome.HELD, definition_revision=revision)

    async def pass_time(self) -> None:
        self.queue.passes(
            timedelta(seconds=self.rng.choice([0.3, 0.3, 1, 1, 5, 5, LEASE.total_seconds()]))
        )

    async def close(self) -> None:
        if self.open:
            await self._close(self.rng.choice(sorted(self.open)))

    async def _close(self, closing: str) -> None:
        # As if the run were closed: what counts is that it is counted no more.
        self.open.pop(closing, None)
        async with self.postgres.transaction("dev") as transaction:
            await transaction.execute("DELETE FROM pending_runs WHERE run_id = $1", closing)

    def _may_start(self, who: int) -> bool:
        # A dispatcher begins no start that could be there after its lease.
        return self.queue.store.time < self.until[who]

    def _start(self, row: PendingRow) -> None:
        if run_id(row) not in self.runs:
            self.open[run_id(row)] = row.key
            self.runs[run_id(row)] = offsets(row)
        assert self.runs[run_id(row)] == offsets(row), "a run was tried again with other events"

    def check(self) -> None:
        started = [offset for run in self.runs.values() for offset in run]
        assert len(started) == len(set(started)), "an event is in two runs"
        for key in ("a", "b"):
            of_key = [offset for offset in started if self.arrived[offset] == key]
            assert of_key == sorted(of_key), f"{key}: started out of order"

    async def end(self) -> None:
        """Let everything come to its end, and look at what became of it."""
        # Only what is held now needs a release: nothing else may wait for one.
        if self.changes[-1][1]:
            await self.switch()
        await self.release()
        for _ in range(2 * len(self.arrived) + 5):
            self.queue.passes(LEASE)
            rows = await self.queue.claim(1000)
            for row in rows:
                self._start(row)
            await self.queue.confirm(rows)
            self.check()
            for closing in sorted(self.open):
                await self._close(closing)
            left = await self._left()
            if left == (0, 0):
                break
        started = {offset for run in self.runs.values() for offset in run}
        outcomes = self.queue.log.outcomes()
        discarded = {o for o, outcome in outcomes.items() if outcome is PendingOutcome.DISCARDED}
        assert not started & discarded, "started and discarded"
        assert started | discarded == set(range(len(self.arrived))), "something waits for ever"
        assert {o for o, told in outcomes.items() if told is PendingOutcome.STARTED} == started
        assert left == (0, 0)

    async def _left(self) -> tuple[Any, Any]:
        async with self.postgres.transaction("dev") as transaction:
            return (
                await transaction.fetchval("SELECT count(*) FROM pending_events"),
                await transaction.fetchval(
                    "SELECT COALESCE(sum(waiting), 0) FROM pending_definitions"
                ),
            )


class Gathering(Waiting):
    """The same with a definition that gathers."""

    gathers = (3, timedelta(seconds=5))


class Limited(Waiting):
    """The same with a definition of which two runs of a key are open at a time."""

    limits = Limits(max_open_runs=MOST_OPEN)

    def check(self) -> None:
        super().check()
        for key in KEYS:
            of_key = list(self.open.values()).count(key)
            assert of_key <= MOST_OPEN, f"{of_key} runs of {key!r} are open"


class OrderlessStore(ClockedStore):
    """The bug that hands out what is due, whatever is before it."""

    def __init__(self) -> None:
        super().__init__()
        claimable = self._sql["claimable"]
        assert "start.key = '' OR" in claimable
        self._sql = {**self._sql, "claimable": claimable.replace("start.key = '' OR", "true OR")}


class ForgetfulStore(ClockedStore):
    """The bug that takes no note of a release: what comes late for it waits for ever."""

    async def released(
        self, transaction: Transaction, definition_id: str, revision: int, choice: Choice
    ) -> None:
        return


class GreedyStore(ClockedStore):
    """The bug that forgets a run that may have been started when nobody told of it."""

    def __init__(self) -> None:
        super().__init__()
        claimable = self._sql["claimable"]
        assert "attempts > 0 AND" in claimable
        self._sql = {**self._sql, "claimable": claimable.replace("attempts > 0 AND", "false AND")}


def play(
    database: PostgresEndpoint, base: type[Waiting], store: type[ClockedStore], *, examples: int
) -> None:
    dsn = database.dsn("ledger_owner")
    migrations.apply(dsn, schema=app.SCHEMA, sources=app.MIGRATIONS)
    with asyncio.Runner() as runner:

        def run(work: Awaitable[Any]) -> Any:
            async def awaited() -> Any:
                return await work

            return runner.run(awaited())

        postgres = run(Postgres.connect(dsn, application="tests", schema=app.SCHEMA))

        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(rng=st.randoms(use_true_random=True))
        def game(rng: random.Random) -> None:
            run(base(postgres, store(), rng).steps())

        try:
            game()
        finally:
            run(postgres.close())


@pytest.mark.parametrize("base", [Waiting, Gathering, Limited])
def test_every_event_is_started_once_and_in_order(
    database: PostgresEndpoint, base: type[Waiting]
) -> None:
    play(database, base, ClockedStore, examples=40)


@pytest.mark.parametrize(
    ("base", "store"),
    [(Waiting, OrderlessStore), (Waiting, ForgetfulStore), (Limited, GreedyStore)],
)
def test_the_model_finds_a_bug(
    database: PostgresEndpoint, base: type[Waiting], store: type[ClockedStore]
) -> None:
    with pytest.raises(AssertionError):
        play(database, base, store, examples=600)
