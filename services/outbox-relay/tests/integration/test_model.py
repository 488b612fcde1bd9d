"""Event store and relay's reading against a model, with transactions that interleave at will.

Real PostgreSQL: which rows a snapshot shows, and which transactions it names as running, is exactly
what no fake would get right.
"""

import asyncio
import json
from datetime import timedelta
from types import MappingProxyType

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from outbox_relay.adapters.postgres_outbox import PostgresOutboxSession
from outbox_relay.domain.horizon import Horizon
from outbox_relay.domain.shares import SHARDS, Change

NAMESPACE = "dev"
STREAMS = st.sampled_from(["a", "b", "c", "d"])
WRITERS = st.integers(0, 2)


class CursorHorizon(Horizon):
    """The bug that every outbox has once: what was passed is never looked at again."""

    floors = MappingProxyType({})


class Relaying(RuleBasedStateMachine):
    """Three writers with a transaction each, and a relay that reads and lands."""

    ledger = dsn = runner = None
    make_horizon = Horizon

    def __init__(self):
        super().__init__()
        self.open = {}  # writer -> (context, transaction)
        self.written = {}  # writer -> {stream: rows it wrote}
        self.committed = dict.fromkeys("abcd", 0)
        self.published = {stream: [] for stream in "abcd"}
        self.flying = []
        self.run(self._clear())
        self._connect()

    def run(self, work):
        return self.runner.run(work)

    async def _clear(self):
        async with self.ledger.transaction(NAMESPACE) as transaction:
            await transaction.execute("TRUNCATE outbox_pending, events, stream_heads")

    def _connect(self):
        async def connect():
            session = PostgresOutboxSession(
                dsn=self.dsn, schema="ledger", hung_after=timedelta(seconds=60)
            )
            await session.open(lambda _again: None)
            await session.change(Change(give=frozenset(), take=frozenset(range(SHARDS))))
            return session

        self.session, self.horizon, self.flying = self.run(connect()), self.make_horizon(), []

    # --- writers ---------------------------------------------------------------------------------

    @rule(writer=WRITERS, stream=STREAMS)
    def append(self, writer, stream):
        if any(stream in rows for other, rows in self.written.items() if other != writer):
            return  # It would wait for the stream's head, as it should.

        async def append():
            if writer not in self.open:
                context = self.ledger.transaction(NAMESPACE)
                self.open[writer] = (context, await context.__aenter__())
            await self.ledger.append(self.open[writer][1], stream)

        self.run(append())
        rows = self.written.setdefault(writer, {})
        rows[stream] = rows.get(stream, 0) + 1

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def commit(self, data):
        writer = data.draw(st.sampled_from(sorted(self.open)))
        context, _ = self.open.pop(writer)
        self.run(context.__aexit__(None, None, None))
        for stream, rows in self.written.pop(writer).items():
            self.committed[stream] += rows

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def roll_back(self, data):
        writer = data.draw(st.sampled_from(sorted(self.open)))
        context, _ = self.open.pop(writer)
        self.run(context.__aexit__(RuntimeError, RuntimeError("rolled back"), None))
        del self.written[writer]

    # --- the relay -------------------------------------------------------------------------------

    @rule(limit=st.integers(1, 6))
    def read(self, limit):
        self._read(limit)

    def _read(self, limit):
        rows, complete = self.run(
            self.session.read(self.horizon, shards=range(SHARDS), rows=limit, size=10**6)
        )
        in_flight = {row.position for row in self.flying}
        for row in rows:
            if row.position not in in_flight:
                self.flying.append(row)
                self._publish(row)
        return complete

    def _publish(self, row):
        stream = row.stream.removeprefix("run:")
        version = int(dict(json.loads(row.headers))["backbone-stream-version"])
        if version not in self.published[stream]:
            self.published[stream].append(version)

    @precondition(lambda self: self.flying)
    @rule(rows=st.integers(1, 6))
    def land(self, rows):
        landed, self.flying = self.flying[:rows], self.flying[rows:]
        self.run(self.session.delete([row.position for row in landed]))

    # --- what must hold --------------------------------------------------------------------------

    @invariant()
    def streams_are_published_in_order_without_a_gap(self):
        for stream, versions in self.published.items():
            assert versions == list(range(1, len(versions) + 1)), (stream, versions)

    def teardown(self):
        try:
            for context, _ in self.open.values():
                self.run(context.__aexit__(None, None, None))
            for rows in self.written.values():
                for stream, count in rows.items():
                    self.committed[stream] += count
            while not self._read(100):
                pass
            self.streams_are_published_in_order_without_a_gap()
            found = {stream: len(versions) for stream, versions in self.published.items()}
            assert found == self.committed, "something was passed over"
        finally:
            self.run(self.session.close())


class RelayingWithTrouble(Relaying):
    """The same, and the relay dies or loses its producer on the way."""

    @rule()
    def crash(self):
        self.run(self.session.close())
        self._connect()

    @rule()
    def lose_the_producer(self):
        if self.flying:
            self.horizon.rewind(min(row.position for row in self.flying) - 1)
            self.flying = []


@pytest.fixture
def machine(database, open_ledger):
    """Run the machine on a database of its own, with a horizon of one's choice."""
    with asyncio.Runner() as runner:
        ledger = runner.run(open_ledger(database.dsn("ledger_owner")))

        def make(base, horizon, *, examples, phases=tuple(hypothesis.Phase)):
            machine = type(
                "Machine",
                (base,),
                {
                    "ledger": ledger,
                    "dsn": database.dsn("relay"),
                    "runner": runner,
                    "make_horizon": horizon,
                },
            )
            run_state_machine_as_test(
                machine,
                settings=hypothesis.settings(
                    max_examples=examples,
                    stateful_step_count=30,
                    phases=phases,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(hypothesis.HealthCheck),
                ),
            )

        yield make
        runner.run(ledger.pool.close())


@pytest.mark.parametrize("base", [Relaying, RelayingWithTrouble])
def test_nothing_is_passed_over_and_streams_keep_their_order(machine, base):
    machine(base, Horizon, examples=20)


def test_the_model_finds_a_cursor(machine):
    with pytest.raises(AssertionError):
        # The first failure will do; to make it small would take minutes.
        machine(Relaying, CursorHorizon, examples=200, phases=[hypothesis.Phase.generate])
