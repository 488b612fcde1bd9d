"""The inbox against a model: what arrives, comes again, fails, is read by two, is skipped.

A log of records stands for a partition; two consumers read it, each from where it is. A consumer
that dies reads on from what was committed last. The model says which effects there must be; beside
it stand rules that hold whatever the model says.
"""

import asyncio
import copy
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from contracts.names import Header
from sdk import PermanentError
from sdk.errors import HandlerFailedError
from sdk.inbox import (
    MemoryInboxStore,
    Order,
    PostgresInboxStore,
    Transaction,
    arrival,
    install,
)
from sdk.inbox.processing import Processor
from sdk.inbox.records import Record

TOPIC = "dev.events"
STREAMS = ("run:a", "run:b")
T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """A record of the log."""

    event_id: str
    stream: str | None = None
    version: int | None = None
    refused: bool = False
    """The handler refuses it for good."""
    republish_id: str | None = None

    @property
    def effect(self) -> str:
        return f"{self.event_id}/{self.republish_id or ''}"

    def record(self, offset: int) -> Record:
        event = {
            "event_id": self.event_id,
            "type": "billing.payment.received",
            "source": "tests",
            "occurred_at": "2026-01-01T00:00:00Z",
            "payload": {"refused": self.refused},
        }
        headers = []
        if self.stream is not None:
            headers = [
                (Header.STREAM.value, self.stream.encode()),
                (Header.STREAM_VERSION.value, str(self.version).encode()),
            ]
        if self.republish_id is not None:
            headers.append((Header.REPUBLISHED.value, self.republish_id.encode()))
        return Record(TOPIC, 0, offset, json.dumps(event).encode(), tuple(headers))


@dataclass
class Model:
    """What must have come of the records that were settled, in the order they were."""

    order: Order
    republished: bool
    effects: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)
    last: dict[str, int] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, dict[int, Published]] = field(default_factory=dict)

    def settle(self, one: Published, *, failing: str | None) -> bool:
        """Settle a record; False when the handler fails, which undoes what it stands in."""
        works = self._first(one, failing)
        if works is None:
            works = self._copy(one, failing)
        return works and self.release(one.stream, failing=failing)

    def _first(self, one: Published, failing: str | None) -> bool | None:
        """Settle what was not seen before; None when it was, as far as anybody knows."""
        if one.event_id in self.seen:
            return None
        if one.stream is None or one.version is None:
            return self._handle(one, failing)
        last = self.last.get(one.stream, 0)
        if one.version <= self.forgotten.get(one.stream, 0):
            self.seen.add(one.event_id)
            self.dropped.add(one.event_id)
            return None
        if self.order is Order.GAPLESS and one.version > last + 1:
            self.waiting.setdefault(one.stream, {})[one.version] = one
        elif self.order is not Order.ANY and one.version <= last:
            self.refused.add(one.event_id)
            self._settled(one.stream, one.version)
        elif self._handle(one, failing):
            self.last[one.stream] = max(last, one.version)
            self._settled(one.stream, one.version)
        else:
            return False
        self.seen.add(one.event_id)
        return True

    def _copy(self, one: Published, failing: str | None) -> bool:
        waits = any(one.event_id == w.event_id for of in self.waiting.values() for w in of.values())
        asked = self.republished and one.republish_id is not None
        if waits or not asked or one.effect in self.copies:
            return True
        if not self._handle(one, failing):
            return False
        self.copies.add(one.effect)
        return True

    def release(self, stream: str | None, *, failing: str | None) -> bool:
        waiting = self.waiting.get(stream or "", {})
        while stream is not None and (turn := self.last.get(stream, 0) + 1) in waiting:
            if not self._handle(waiting[turn], failing):
                return False
            del waiting[turn]
            self.last[stream] = turn
            self._settled(stream, turn)
        return True

    def _handle(self, one: Published, failing: str | None) -> bool:
        if one.event_id == failing:
            return False
        self.seen.add(one.event_id)
        if one.refused:
            self.refused.add(one.event_id)
        else:
            self.effects.append(one.effect)
        return True

    def _settled(self, stream: str, version: int) -> None:
        self.settled[stream] = max(version, self.settled.get(stream, 0))

    def forget(self, without_stream: set[str]) -> None:
        """Forget ids; those of streams are known by their versions from then on."""
        self.seen -= without_stream
        self.copies.clear()
        self.forgotten = dict(self.settled)

    def gaps(self) -> dict[str, tuple[int, int]]:
        return {
            stream: (last, min(waiting))
            for stream, waiting in self.waiting.items()
            if waiting and min(waiting) > (last := self.last.get(stream, 0)) + 1
        }


@dataclass
class Consumer:
    position: int = 0


@dataclass
class Backend:
    """A store, and how a handler writes with its transactions and what is written is read."""

    store: Any
    write: Callable[[Any, str], Awaitable[None]]
    written: Callable[[], Awaitable[list[str]]]
    close: Callable[[], Awaitable[None]]


class InboxMachine(RuleBasedStateMachine):
    def __init__(
        self,
        open_backend: Callable[[str], Coroutine[Any, Any, Backend]],
        *,
        order: Order,
        group: str,
    ) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.backend = self.run(open_backend(group))
        self.order = order
        self.group = group
        self.log: list[Published] = []
        self.withheld: list[Published] = []
        self.versions = dict.fromkeys(STREAMS, 0)
        self.committed = 0
        self.consumers = (Consumer(), Consumer())
        self.failing: str | None = None
        self.numbers = itertools.count(1)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        try:
            if hasattr(self, "model"):
                self.drain()
        finally:
            self.run(self.backend.close())
            self.loop.close()

    @initialize(republished=st.booleans())
    def begin(self, *, republished: bool) -> None:
        order = self.order
        self.model = Model(order, republished)
        self.processor = Processor(
            self.backend.store,
            self.handle,
            namespace="dev",
            group=self.group,
            topics=[TOPIC],
            order=order,
            republished=republished,
        )

    async def handle(self, event: Any, effects: Any) -> None:
        await self.backend.write(effects, f"{event.event_id}/{arrival().republish_id or ''}")
        if event.event_id == self.failing:
            raise ConnectionError("away, after the effect and before the commit")
        if event.payload["refused"]:
            raise PermanentError("no such invoice")

    # What is published

    @rule(
        batch=st.lists(
            st.tuples(
                st.sampled_from([*STREAMS, *STREAMS, None]), st.integers(0, 9), st.integers(0, 4)
            ),
            min_size=1,
            max_size=8,
        )
    )
    def publish(self, batch: list[tuple[str | None, int, int]]) -> None:
        for stream, refused, withheld in batch:
            version = None
            if stream is not None:
                version = self.versions[stream] = self.versions[stream] + 1
            one = Published(f"e{next(self.numbers)}", stream, version, refused == 0)
            (self.withheld if withheld == 0 else self.log).append(one)

    @precondition(lambda self: self.withheld)
    @rule(data=st.data())
    def publish_late(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.withheld) - 1))
        self.log.append(self.withheld.pop(at))

    @precondition(lambda self: self.log)
    @rule(data=st.data(), republish_id=st.sampled_from([None, None, "first", "second"]))
    def publish_again(self, data: st.DataObject, republish_id: str | None) -> None:
        one = data.draw(st.sampled_from(self.log))
        self.log.append(Published(one.event_id, one.stream, one.version, one.refused, republish_id))

    # What consumers do

    @rule(number=st.integers(0, 1), records=st.integers(1, 12), fails=st.integers(0, 9))
    def read(self, number: int, records: int, fails: int) -> None:
        consumer = self.consumers[number]
        for at in range(consumer.position, min(consumer.position + records, len(self.log))):
            if not self.settle(at, failing=self.log[at].event_id if at % 10 == fails else None):
                return
            consumer.position = at + 1

    def settle(self, at: int, *, failing: str | None) -> bool:
        self.failing = failing
        before = copy.deepcopy(self.model)
        works = self.model.settle(self.log[at], failing=failing)
        if works:
            self.run(self.processor.process(self.log[at].record(at)))
        else:
            assert self.model == before or self.model.order is Order.GAPLESS
            with pytest.raises(HandlerFailedError):
                self.run(self.processor.process(self.log[at].record(at)))
        self.failing = None
        return works

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def read_at_once(self, data: st.DataObject) -> None:
        """A consumer that lost its partition works on, beside the one that has it."""
        a, b = (data.draw(st.integers(0, len(self.log) - 1)) for _ in "ab")
        before = copy.deepcopy(self.model)

        async def both() -> None:
            await asyncio.gather(
                *(self.processor.process(self.log[at].record(at)) for at in (a, b))
            )

        self.run(both())
        written = Counter(self.run(self.backend.written()))
        possible = []
        for order in ((a, b), (b, a)):
            model = copy.deepcopy(before)
            for at in order:
                assert model.settle(self.log[at], failing=None)
            possible.append(model)
            if Counter(model.effects) == written:
                self.model = model
                return
        raise AssertionError((written, possible))

    @precondition(lambda self: self.withheld or self.log)
    @rule(number=st.integers(0, 1))
    def commit(self, number: int) -> None:
        self.committed = self.consumers[number].position

    @rule(number=st.integers(0, 1))
    def die_and_start_again(self, number: int) -> None:
        self.consumers[number].position = self.committed

    @rule()
    def reset_the_group(self) -> None:
        self.committed = 0
        for consumer in self.consumers:
            consumer.position = 0

    # What upkeep and people do

    @rule(data=st.data())
    def sweep(self, data: st.DataObject) -> None:
        waiting = [w.event_id for of in self.model.waiting.values() for w in of.values()]
        self.failing = data.draw(st.sampled_from([None, *waiting]))
        self.run(self.processor.release(within=timedelta(seconds=20)))
        for stream in STREAMS:
            self.model.release(stream, failing=self.failing)
        self.failing = None

    @rule()
    def skip(self) -> None:
        gaps = self.run(self.backend.store.gaps("dev", self.group, limit=10))
        assert {gap.stream: (gap.after, gap.before) for gap in gaps} == self.model.gaps()
        for gap in gaps[:1]:
            assert self.run(self.backend.store.skip("dev", self.group, gap))
            self.model.last[gap.stream] = gap.before - 1

    @rule()
    def forget(self) -> None:
        self.run(self.backend.store.forget("dev", self.group, older_than=timedelta(0)))
        self.model.forget({one.event_id for one in self.log if one.stream is None})

    # What must hold

    @invariant()
    def effects_are_those_of_the_model(self) -> None:
        if hasattr(self, "model"):
            assert Counter(self.run(self.backend.written())) == Counter(self.model.effects)

    @invariant()
    def effects_of_a_stream_keep_their_order(self) -> None:
        if not hasattr(self, "model") or self.model.order is Order.ANY:
            return
        place = {one.event_id: (one.stream, one.version) for one in self.log}
        last: dict[str, int] = {}
        for effect in self.run(self.backend.written()):
            event_id, _, republish_id = effect.partition("/")
            stream, version = place[event_id]
            # A copy that was asked for comes when it comes, and even after it was refused.
            if stream is not None and version is not None and not republish_id:
                assert version > last.get(stream, 0)
                last[stream] = version

    def drain(self) -> None:
        """What was published has its effect, is refused, or waits behind a gap; none is lost."""
        for at in range(self.committed, len(self.log)):
            assert self.settle(at, failing=None)
        self.sweep_all()
        self.effects_are_those_of_the_model()
        effects = {effect.partition("/")[0] for effect in self.run(self.backend.written())}
        refusals = self.run(self.backend.store.refusals("dev", self.group, limit=10_000))
        refused = {refusal.event_id for refusal in refusals}
        assert refused == self.model.refused
        gaps = self.run(self.backend.store.gaps("dev", self.group, limit=10))
        waiting = {
            one.event_id
            for one in self.log
            for gap in gaps
            if one.stream == gap.stream and (one.version or 0) >= gap.before
        }
        published = {one.event_id for one in self.log}
        assert published == effects | refused | waiting | self.model.dropped

    def sweep_all(self) -> None:
        self.run(self.processor.release(within=timedelta(seconds=20)))
        for stream in STREAMS:
            self.model.release(stream, failing=None)


@pytest.mark.parametrize("order", Order)
def test_memory_inbox_is_as_the_model(order: Order) -> None:
    async def open_backend(_group: str) -> Backend:
        store = MemoryInboxStore()

        async def write(effects: dict[str, Any], text: str) -> None:
            effects.setdefault("written", []).append(text)

        async def written() -> list[str]:
            return list(store.effects.get("written", []))

        async def close() -> None:
            pass

        return Backend(store, write, written, close)

    run_state_machine_as_test(
        lambda: InboxMachine(open_backend, order=order, group="model"),
        settings=settings(max_examples=200, stateful_step_count=40, deadline=None),
    )


@pytest.mark.parametrize("order", Order)
def test_postgres_inbox_is_as_the_model(postgres_dsn: str, order: Order) -> None:
    install(postgres_dsn, schema="model_inbox")
    groups = itertools.count()
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("CREATE TABLE effects (n bigserial, consumer_group text, effect text)")

    async def open_backend(group: str) -> Backend:
        store = await PostgresInboxStore.connect(
            postgres_dsn, application="tests", schema="model_inbox", size=2
        )

        async def write(transaction: Transaction, text: str) -> None:
            await transaction.execute(
                "INSERT INTO effects (consumer_group, effect) VALUES ($1, $2)", group, text
            )

        async def written() -> list[str]:
            async with store.transaction("dev", group) as transaction:
                rows = await transaction.effects.fetch(
                    "SELECT effect FROM effects WHERE consumer_group = $1 ORDER BY n", group
                )
            return [row["effect"] for row in rows]

        return Backend(store, write, written, store.close)

    run_state_machine_as_test(
        lambda: InboxMachine(open_backend, order=order, group=f"model-{next(groups)}"),
        settings=settings(max_examples=20, stateful_step_count=30, deadline=None),
    )
