"""The router against a model of its neighbours: whatever may happen between two calls happens.

Two processes of the real consumer, router and starter read one topic. Kafka's group, Temporal, the
ledger and the memory of events are models. Each call to one of them hangs until the machine answers
it, and time stands still until the machine lets it pass.
"""

import asyncio
import functools
import logging
import selectors
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from confluent_kafka import KafkaException, TopicPartition
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from contracts.rejections import EventRejectedError, Reason
from router.adapters import temporal_starter
from router.adapters.kafka_consumer import KafkaConsumer
from router.adapters.temporal_starter import TemporalWorkflowStarter
from router.domain.authentication import Authentication
from router.domain.instances import Directory
from router.domain.progress import BACKOFF_LONGEST_S
from router.domain.records import Record
from router.errors import TransientError
from router.ports import Claim, Seen
from router.service.routing import Router

TOPIC = "dev.events"
PARTITIONS = range(2)
SLOTS = range(2)  # places for a process of the router
WANTS = {"one": ["first"], "two": ["first", "second"], "none": [], "part": ["sound"]}
"""Which definitions an event of each type starts. `part` has one more, whose condition errs."""
START_TIMEOUT = timedelta(seconds=10)
REST_S = BACKOFF_LONGEST_S * 1.3  # longer than any pause or timeout

Work = Sequence[tuple[int, int, str]]
"""Steps of work: how many records are polled, which of the hanging calls is answered, and how:
`well`; `away`, without effect; `lost`, an effect that looks like `away`; or `later`, after a rest.
"""
HOW = ("well", "well", "well", "well", "well", "away", "lost", "later")


def steps(code: bytes) -> Work:
    """Return the steps that bytes stand for, which are drawn faster than tuples."""
    return [(byte % 4 + 1, byte // 4 % 8, HOW[byte // 32]) for byte in code]


ANY = st.integers(0, 9)
PARTITION = st.sampled_from(PARTITIONS)
KEY = st.sampled_from([None, b"x", b"y"])
WORK = st.binary(max_size=12).map(steps)
KIND = st.sampled_from([*WANTS, "broken"])


class ViolationError(AssertionError):
    """The router broke a promise."""


class Idle(selectors.SelectSelector):
    """Lets an event loop run until there is nothing more to do before `until`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.until = 0.0
        self.stop: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout > 0:
            due = self.until if timeout is None else self.now + timeout
            self.now = min(due, self.until)
            if due >= self.until:
                self.stop()
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still between runs."""

    def __init__(self) -> None:
        self.idle = Idle()
        super().__init__(self.idle)
        self.idle.stop = self.stop

    def time(self) -> float:
        return self.idle.now

    def pass_time(self, seconds: float = 0.0) -> None:
        """Run what is ready, and what becomes due within `seconds`."""
        self.idle.until = self.idle.now + seconds
        self.run_forever()
        self.run_forever()  # What became due at the very end has made more ready.


@dataclass(frozen=True)
class Entry:
    """A record of the topic, and what has to come of it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    event_id: str = ""
    wants: tuple[str, ...] = ()
    reason: Reason | None = None

    def message(self) -> Any:
        """Return it as librdkafka hands it over."""
        return SimpleNamespace(
            topic=lambda: TOPIC,
            partition=lambda: self.partition,
            offset=lambda: self.offset,
            key=lambda: self.key,
            value=lambda: self.value,
            headers=lambda: None,
            timestamp=lambda: (1, 0),
        )


@dataclass(eq=False)
class Call:
    """A call to a neighbour that has not been answered.

    Without a failure it can only answer None; without a future nobody waits for the answer.
    """

    effect: Callable[[], Any]
    failure: Exception | None = None
    future: "asyncio.Future[Any] | None" = None


@dataclass(eq=False)
class World:
    """What is durable, and what hangs."""

    loop: Loop
    log: list[list[Entry]] = field(default_factory=lambda: [[] for _ in PARTITIONS])
    committed: list[int] = field(default_factory=lambda: [0 for _ in PARTITIONS])
    owners: list["Member | None"] = field(default_factory=lambda: [None for _ in PARTITIONS])
    running: dict[str, bool] = field(default_factory=dict)  # by workflow id; False when it ended
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)  # (definition, event id)
    parked: dict[tuple[int, int], Reason] = field(default_factory=dict)
    recorded: set[tuple[int, int]] = field(default_factory=set)
    digests: dict[str, str] = field(default_factory=dict)  # of recorded events, by event id
    memory: dict[str, Seen] = field(default_factory=dict)
    hanging: list[Call] = field(default_factory=list)
    on_the_way: list[Call] = field(default_factory=list)  # who called waits no longer
    violation: str | None = None

    @property
    def entries(self) -> list[Entry]:
        return [entry for entries in self.log for entry in entries]

    def end(self, partition: int) -> int:
        """Return the offset behind the last record."""
        entries = self.log[partition]
        return entries[-1].offset + 1 if entries else 0

    async def call(self, effect: Callable[[], Any], failure: Exception | None) -> Any:
        """Hang until the machine answers; who gives up leaves the request behind."""
        call = Call(effect, failure, self.loop.create_future())
        self.hanging.append(call)
        try:
            return await call.future
        except asyncio.CancelledError:
            if call in self.hanging:
                self.hanging.remove(call)
                self.on_the_way.append(call)
            raise

    def answer(self, call: Call, how: str) -> None:
        """Answer `well`; or `away`, or `lost`, which is carried out and answered like `away`."""
        self.hanging.remove(call)
        result: Any = None
        problem: Exception | None = None
        if how != "away":
            try:
                result = call.effect()
            except (WorkflowAlreadyStartedError, KafkaException) as exc:
                problem = exc
        if call.future is None:
            return
        if how != "well":
            result, problem = None, call.failure
        if problem is not None:
            call.future.set_exception(problem)
        else:
            call.future.set_result(result)

    def arrive(self, call: Call) -> None:
        """Carry out what nobody waits for any more."""
        self.on_the_way.remove(call)
        self.hanging.append(replace(call, future=None))
        self.answer(self.hanging[-1], "well")

    def is_durable(self, entry: Entry) -> bool:
        """Return whether everything that has to come of a record is there."""
        place = entry.partition, entry.offset
        if self.parked.get(place) is Reason.ID_CONFLICT:
            return True
        is_recorded = place in self.recorded or not entry.event_id
        return is_recorded and self.parked.get(place) is entry.reason and self.is_started(entry)

    def is_started(self, entry: Entry) -> bool:
        """Return whether all that a record starts is there, or it is parked and starts nothing."""
        parked = self.parked.get((entry.partition, entry.offset))
        if parked is Reason.ID_CONFLICT or not entry.event_id:
            return parked is not None
        return all(self.runs[definition, entry.event_id] for definition in entry.wants)

    def check_committed(self) -> None:
        """What was acknowledged to Kafka has its outcome."""
        for entry in self.entries:
            if entry.offset < self.committed[entry.partition] and not self.is_durable(entry):
                self.fail(f"committed without an outcome: {entry}")

    def check_order(self, partition: int, offset: int) -> None:
        """A record is begun when all that came before it under its key have started their runs."""
        *before, begun = [entry for entry in self.log[partition] if entry.offset <= offset]
        for entry in before:
            if entry.key == begun.key is not None and not self.is_started(entry):
                self.fail(f"out of order: {begun} was begun before {entry} had started")

    def check_parked(self) -> None:
        """Only what is wrong is parked, for what is wrong with it."""
        for entry in self.entries:
            reason = self.parked.get((entry.partition, entry.offset), entry.reason)
            values = {one.value for one in self.entries if one.event_id == entry.event_id}
            conflicts = reason is Reason.ID_CONFLICT and len(values) > 1
            if reason is not entry.reason and not conflicts:
                self.fail(f"parked for {reason}: {entry}")

    def check_runs(self) -> None:
        """An event starts a definition once."""
        for (definition, event_id), times in self.runs.items():
            if times > 1:
                self.fail(f"{event_id} started {definition} {times} times")

    def fail(self, message: str) -> None:
        """Note a violation first: the router may be the caller, and catches what it can."""
        self.violation = self.violation or message
        raise ViolationError(message)


class Temporal:
    """Temporal, as its client shows it."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def start_workflow(self, workflow: str, run: Any, **options: Any) -> None:
        workflow_id, reuse = options["id"], options["id_reuse_policy"]

        def start() -> None:
            running = self._world.running.get(workflow_id)
            once = reuse is WorkflowIDReusePolicy.REJECT_DUPLICATE
            if running or (once and running is not None):
                raise WorkflowAlreadyStartedError(workflow_id, workflow)
            self._world.running[workflow_id] = True
            self._world.runs[run.definition_id, run.trigger.events[0].event_id] += 1
            self._world.check_runs()

        await self._world.call(start, RPCError("away", RPCStatusCode.UNAVAILABLE, b""))


class Memory:
    """The memory of settled events, which writes when it likes and may forget."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def recall(self, namespace: str, events: Sequence[tuple[str, str]]) -> list[Seen | None]:
        def read() -> list[Seen | None]:
            return [self._world.memory.get(event_id) for _, event_id in events]

        found: list[Seen | None] | None = await self._world.call(read, None)
        return found or [None for _ in events]

    def remember(
        self, namespace: str, source: str, event_id: str, *, digest: str, revision: int
    ) -> None:
        seen = Seen(digest, revision)
        write = functools.partial(self._world.memory.__setitem__, event_id, seen)
        self._world.hanging.append(Call(write))


class NothingWaits:
    """The part of the ledger that no definition here has anything wait in."""

    async def find_waiting(
        self, namespace: str, keys: Sequence[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        raise AssertionError("nothing ever waits here")

    async def claim(self, namespace: str, *, limit: int, lease: timedelta) -> Claim:
        return Claim()

    async def confirm(self, namespace: str, confirmations: Sequence[Any]) -> None:
        """Nothing is ever claimed."""


class DecisionLog:
    """The ledger, which keeps decisions and knows the digest of each event."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def record(
        self, namespace: str, events: Sequence[Any], unrouted: Sequence[Any]
    ) -> dict[int, EventRejectedError]:
        def record() -> dict[int, EventRejectedError]:
            conflicts = {}
            for index, event in enumerate(events):
                if self._world.digests.setdefault(event.event_id, event.digest) != event.digest:
                    conflicts[index] = EventRejectedError(Reason.ID_CONFLICT, "other bytes")
                else:
                    self._world.recorded.add((event.record.partition, event.record.offset))
            for found in unrouted:
                places = [
                    (entry.partition, entry.offset)
                    for entry in self._world.log[found.partition]
                    if found.first <= entry.offset <= found.last
                    and entry.event_id and not entry.wants
                ]  # fmt: skip
                if found.records > len(places):
                    self._world.fail(f"more than there are: {found}")
                self._world.recorded.update(places)
            return conflicts

        return dict(await self._world.call(record, TransientError("no ledger now")))


class DeadLetters:
    """The topic of dead letters."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def park(self, record: Record, *, reason: Reason, **_: Any) -> None:
        def park() -> None:
            self._world.parked[record.partition, record.offset] = reason
            self._world.check_parked()

        await self._world.call(park, TransientError("no dead letters now"))


class Member:
    """A member of the group, as librdkafka's consumer shows it to its process."""

    def __init__(self, world: World, slot: int) -> None:
        self._world = world
        self._slot = slot
        self._positions: dict[int, int] = {}
        self._fetched_from: dict[int, int] = {}
        self._paused: set[int] = set()
        self.seeks_late = False  # what was fetched before the next seek is handed out after it

    def rebalance(self, assignment: Sequence[int]) -> tuple[list[int], list[int]]:
        """Follow the group's assignment; return the partitions revoked and those assigned."""
        owners = self._world.owners
        for partition, slot in enumerate(assignment):
            if owners[partition] is self and slot != self._slot:
                owners[partition] = None
        revoked = [p for p in self._positions if owners[p] is not self]
        for partition in revoked:
            del self._positions[partition]
        assigned = [p for p, s in enumerate(assignment) if s == self._slot and owners[p] is None]
        for partition in assigned:
            owners[partition] = self
            # librdkafka keeps the pause of a partition that is revoked and comes back.
            self._positions[partition] = self._world.committed[partition]
            self._fetched_from.pop(partition, None)
        return revoked, assigned

    def expel(self) -> None:
        """Let the group take everything from this member, which finds out when it polls."""
        owners = self._world.owners
        owners[:] = [None if owner is self else owner for owner in owners]

    def fetch(self, most: int) -> list[Entry]:
        """Return at most so many records of each partition that is not paused."""
        batch: list[Entry] = []
        for partition, position in self._positions.items():
            if partition in self._paused:
                continue
            before = self._fetched_from.pop(partition, self._world.end(partition))
            if late := self._from(partition, before)[:most]:
                batch += late
            elif entries := self._from(partition, position)[:most]:
                self._positions[partition] = entries[-1].offset + 1
                batch += entries
        return batch

    def _from(self, partition: int, offset: int) -> list[Entry]:
        return [entry for entry in self._world.log[partition] if entry.offset >= offset]

    async def call(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Stand in for the consumer's own call of its client."""
        if method == "commit":
            commit = functools.partial(self._commit, kwargs["offsets"])
            await self._world.call(commit, KafkaException("the broker is away"))
        elif method == "seek":
            # It waits for its turn, as a poll may have done that was asked for before.
            seek = functools.partial(self._seek, *args)
            await self._world.call(seek, KafkaException("erroneous state"))
        else:
            getattr(self, method)(*args)

    def _commit(self, places: Iterable[TopicPartition]) -> None:
        for place in places:
            if self._world.owners[place.partition] is not self:
                raise KafkaException("fenced")
            self._world.committed[place.partition] = place.offset
        self._world.check_committed()

    def _seek(self, place: TopicPartition) -> None:
        if place.partition not in self._positions:
            raise KafkaException("erroneous state")
        if self.seeks_late:
            self._fetched_from[place.partition] = self._positions[place.partition]
        self.seeks_late = False
        self._positions[place.partition] = place.offset

    def pause(self, places: Iterable[TopicPartition]) -> None:
        self._paused |= {place.partition for place in places}

    def resume(self, places: Iterable[TopicPartition]) -> None:
        self._paused -= {place.partition for place in places}


@dataclass(frozen=True)
class Build:
    """What a process of the router is made of."""

    definitions: Any
    observer: Any
    consumer: type[KafkaConsumer] = KafkaConsumer
    router: type[Router] = Router


class Process:
    """One process of the router."""

    def __init__(self, world: World, build: Build, slot: int) -> None:
        self._world = world
        self.member = Member(world, slot)
        self._work: asyncio.Task[None] | None = None
        self._stop: asyncio.Task[None] | None = None
        starter = TemporalWorkflowStarter(
            {"dev": Temporal(world)},  # type: ignore[dict-item]
            timeout=START_TIMEOUT,
            concurrency=4,
        )
        ordered = type("Ordered", (Ordered, build.router), {"world": world})
        self._router = ordered(
            "dev",
            definitions=build.definitions,
            starter=starter,
            seen=Memory(world),
            dead_letters=DeadLetters(world),
            decision_log=DecisionLog(world),
            pending_starts=NothingWaits(),
            directory=Directory(b"a secret of these tests"),
            authentication=Authentication(clock=lambda: 0, is_open=True),
            observer=build.observer,
            concurrency=4,
        )
        self._consumer = build.consumer(
            "nowhere:1",
            topics=[TOPIC],
            group="g",
            route=self._router.route,
            batch_records=10,
            drain=timedelta(seconds=1),
        )
        self._consumer._call = self.member.call  # type: ignore[method-assign]

    @property
    def is_busy(self) -> bool:
        """Whether a batch is in work: until it ends, the group is not polled."""
        if self._work is not None and self._work.done():
            self._work.result()
            self._work = None
        return self._work is not None

    @property
    def is_stopping(self) -> bool:
        return self._stop is not None

    def poll(self, assignment: Sequence[int], most: int) -> None:
        """Follow the group, and begin to work on the next records."""
        revoked, assigned = self.member.rebalance(assignment)
        if revoked:
            self._consumer._revoked(self.member, [TopicPartition(TOPIC, p) for p in revoked])
        if assigned:
            self._consumer._assigned(None, [TopicPartition(TOPIC, p) for p in assigned])
        if self._stop is None and (entries := self.member.fetch(most)):
            batch = tuple(entry.message() for entry in entries)
            self._work = self._world.loop.create_task(self._handle(batch))

    def stop(self) -> None:
        """Begin to end in order."""
        if self._stop is None:
            self._stop = self._world.loop.create_task(self._consumer.stop())

    def die(self) -> None:
        """End at once; what is on its way may still arrive."""
        for task in (self._work, self._stop, *self._consumer._rests.values()):
            if task is not None:
                task.cancel()
        self._world.loop.pass_time()
        self.member.expel()

    async def _handle(self, batch: Any) -> None:
        # As FastStream does it, with the consumer's middleware around.
        try:
            await self._consumer._handle(batch)
        except Exception as exc:  # noqa: BLE001 - the middleware's own clause
            await self._consumer._escaped(batch, exc)


class Ordered(Router):
    """Watches that records of one key are begun in their order."""

    world: World

    async def _carry_out(self, task: Any, *args: Any) -> None:
        self.world.check_order(task.record.partition, task.record.offset)
        await super()._carry_out(task, *args)


class Machine(RuleBasedStateMachine):
    """All that may happen, in any order."""

    build: Build
    event: Callable[..., bytes]

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.world = World(self.loop)
        self.processes = {slot: Process(self.world, self.build, slot) for slot in SLOTS}
        self.assignment = tuple(0 for _ in PARTITIONS)
        self.events = 0

    @initialize(sent=st.lists(st.tuples(PARTITION, KEY, KIND), min_size=1, max_size=6))
    def begin(self, sent: list[tuple[int, bytes | None, str]]) -> None:
        for partition, key, kind in sent:
            self.send(partition, key, kind, ())

    @rule(partition=PARTITION, key=KEY, kind=KIND, then=WORK)
    def send(self, partition: int, key: bytes | None, kind: str, then: Work) -> None:
        self.events += 1
        event_id = f"e-{self.events}"
        entry = Entry(partition, 0, key, b"{", reason=Reason.MALFORMED_JSON)
        if kind != "broken":
            value = type(self).event(event_id, type=kind)
            reason = Reason.EXPRESSION_ERROR if kind == "part" else None
            entry = Entry(partition, 0, key, value, event_id, tuple(WANTS[kind]), reason)
        self._append(entry)
        self._work(then)

    @rule(which=ANY, partition=PARTITION, suffix=st.sampled_from([b"", b"", b" "]), then=WORK)
    def send_again(self, which: int, partition: int, suffix: bytes, then: Work) -> None:
        entry = self._one(self.world.entries, which)
        self._append(replace(entry, partition=partition, value=entry.value + suffix))
        self._work(then)

    @rule(slot=st.sampled_from(SLOTS), how=st.sampled_from(["kill", "stop", "expel"]), then=WORK)
    def lose(self, slot: int, how: str, then: Work) -> None:
        """Kill a process and start another; or let one end in order; or let its session end."""
        process = self.processes[slot]
        if how == "expel":
            process.member.expel()
        elif how == "stop" and not process.is_stopping:
            process.stop()
            self.loop.pass_time()
        else:
            process.die()
            self.processes[slot] = Process(self.world, self.build, slot)
        self._work(then)

    @rule(slots=st.tuples(*(st.sampled_from(SLOTS) for _ in PARTITIONS)), then=WORK)
    def assign(self, slots: tuple[int, ...], then: Work) -> None:
        self.assignment = slots
        self._work(then)

    @rule(slots=st.tuples(*(st.sampled_from(SLOTS) for _ in PARTITIONS)), then=WORK)
    def lend(self, slots: tuple[int, ...], then: Work) -> None:
        """Give partitions away and take them back after a while."""
        home = self.assignment
        self.assign(slots, [(1, 0, "well"), (1, 0, "later")])
        self.assign(home, then)

    @rule(slot=st.sampled_from(SLOTS), then=WORK)
    def disturb(self, slot: int, then: Work) -> None:
        """Let a seek be late, the memory forget, runs end, and what was given up arrive."""
        self.processes[slot].member.seeks_late = True
        self.world.memory.clear()
        self.world.running = dict.fromkeys(self.world.running, False)
        if self.world.on_the_way:
            self.world.arrive(self.world.on_the_way[0])
        self._work(then)

    @rule()
    def recover(self) -> None:
        """Let all be well: then everything is settled and committed before long."""
        while self.world.on_the_way:
            self.world.arrive(self.world.on_the_way[0])
        for slot, process in self.processes.items():
            process.member.seeks_late = False
            if process.is_stopping:
                self.lose(slot, "kill", ())
        for _ in range(20):
            self._work([(5, 0, "well")])
            while self.world.hanging:
                self._work([(5, 0, "well")])
            if all(self.world.committed[p] == self.world.end(p) for p in PARTITIONS):
                return
            self.loop.pass_time(REST_S)
        self.world.fail(f"stuck at {self.world.committed}: {self.world.log}")

    @invariant()
    def holds(self) -> None:
        if self.world.violation:
            raise ViolationError(self.world.violation)

    def teardown(self) -> None:
        try:
            if self.world.violation is None:
                self._end()
        finally:
            for process in self.processes.values():
                process.die()
            self.loop.close()

    def _end(self) -> None:
        """All is well in the end, wherever the partitions are."""
        self.recover()
        for slot in SLOTS:
            self.assignment = tuple(slot for _ in PARTITIONS)
            for partition in PARTITIONS:
                self.send(partition, None, "one", ())
            self.recover()
        self.holds()

    def _work(self, steps: Work) -> None:
        """Again and again, let whoever is free poll, and answer one of the calls that hang."""
        for most, which, how in steps:
            for process in self.processes.values():
                if not process.is_busy:
                    process.poll(self.assignment, most)
            self.loop.pass_time()
            if how == "later":
                self.loop.pass_time(REST_S)
            elif self.world.hanging:
                self.world.answer(self._one(self.world.hanging, which), how)
                self.loop.pass_time()

    def _append(self, entry: Entry) -> None:
        log = self.world.log[entry.partition]
        # A transaction's marker takes an offset without a record, after every third here.
        offset = self.world.end(entry.partition) + (len(log) % 3 == 2)
        log.append(replace(entry, offset=offset))

    @staticmethod
    def _one(choices: Sequence[Any], which: int) -> Any:
        return choices[which % len(choices)]


class CommitFirst(KafkaConsumer):
    """Planted: commits what it has read, and works on it then."""

    async def _handle(self, records: Any) -> None:
        last = {(TOPIC, record.partition()): record.offset() + 1 for record in records}
        await self._commit(last)
        await super()._handle(records)


class MarkFirst(Router):
    """Planted: marks an event as seen, and works on it then."""

    async def _recall(self, tasks: Any, cause: str) -> None:
        await super()._recall(tasks, cause)
        for task in tasks:
            if task.event is not None and not task.is_known:
                document = task.event.document
                self._seen.remember(
                    "dev",
                    document["source"],
                    document["event_id"],
                    digest=task.digest,
                    revision=task.revision,
                )


class RecordsLast(Router):
    """Planted: takes decisions for recorded when nobody answered."""

    async def _record(self, *args: Any) -> bool:
        if not await super()._record(*args):
            routed, found, results, _ = args
            for task in routed:
                results.failed.pop(task.index, None)
            for index in found.unrouted:
                results.failed.pop(index, None)
                results.settled[index] = "no_match"
        return True


class StaysPaused(KafkaConsumer):
    """Planted: leaves a partition that rests paused when it is revoked."""

    def _revoked(self, consumer: Any, partitions: Sequence[TopicPartition]) -> None:
        super()._revoked(SimpleNamespace(resume=lambda _: None), partitions)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    level = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=level)
    yield
    structlog.reset_defaults()


@pytest.fixture
def machine(definitions, counts, make):
    def machine(**build: Any) -> type[Machine]:
        name = "Planted" if build else "Sound"
        members = {"build": Build(definitions, counts, **build), "event": staticmethod(make.event)}
        return type(name, (Machine,), members)

    definitions.put("first", {"type": "one"}, {"type": "two"})
    definitions.put("second", {"type": "two"})
    definitions.put("sound", {"type": "part"})
    definitions.put("broken", {"type": "part", "when": "event.payload.nope == 1"})
    return machine


def explore(machine: type[Machine], *, examples: int, **changes: Any) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            **changes,
        ),
    )


def test_nothing_is_lost_or_done_twice_whatever_happens_in_between(machine):
    explore(machine(), examples=100)


def same_examples_each_time(machine: type[Machine]) -> None:
    explore(machine, examples=300, derandomize=True, phases=[Phase.generate])


def test_the_model_finds_a_commit_before_the_work(machine):
    with pytest.raises(ViolationError, match="committed without an outcome"):
        same_examples_each_time(machine(consumer=CommitFirst))


def rested(machine: type[Machine]) -> None:
    """Take a partition away before its rest has begun, and give it back."""
    story = machine()
    story.send(0, None, "one", [(1, 0, "well"), (1, 0, "away")])
    story.lend((1, 1), ())
    story.teardown()


def test_a_partition_that_rested_when_it_was_lent_is_read_again(machine):
    rested(machine())
    with pytest.raises(ViolationError, match="stuck"):
        rested(machine(consumer=StaysPaused))


def test_the_model_finds_a_partition_that_stays_paused(machine):
    with pytest.raises(ViolationError, match="stuck"):
        same_examples_each_time(machine(consumer=StaysPaused))


def test_a_commit_that_was_refused_is_made_later(machine):
    story = machine()()
    story.send(0, None, "none", [(1, 0, "well"), (1, 1, "away")])
    assert story.world.committed == [0, 0]
    story.teardown()
    assert story.world.committed[0] > 0


def test_the_model_finds_an_event_marked_before_the_work(machine):
    with pytest.raises(ViolationError, match="committed without an outcome"):
        same_examples_each_time(machine(router=MarkFirst))


def test_the_model_finds_decisions_that_were_not_recorded(machine):
    with pytest.raises(ViolationError, match="committed without an outcome"):
        same_examples_each_time(machine(router=RecordsLast))


def test_the_model_finds_ids_that_start_again(machine, monkeypatch):
    again = SimpleNamespace(REJECT_DUPLICATE=WorkflowIDReusePolicy.ALLOW_DUPLICATE)
    monkeypatch.setattr(temporal_starter, "WorkflowIDReusePolicy", again)
    with pytest.raises(ViolationError, match="started first 2 times"):
        same_examples_each_time(machine())
