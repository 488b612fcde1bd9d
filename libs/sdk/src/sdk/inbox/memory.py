"""A consumer inbox in memory, for tests of handlers: the same behaviour, gone with the process."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sdk.inbox.arrivals import Admission, Arrival, Gap, Refusal
from sdk.inbox.records import Record

Effects = dict[str, Any]
_EVERY_TOPIC = ""


@dataclass(slots=True)
class _Stream:
    version: int = 0
    forgotten: int = 0


@dataclass(slots=True)
class _Seen:
    digest: bytes
    at: datetime
    stream: tuple[str, ...] | None
    version: int


@dataclass(slots=True)
class _Waiting:
    event: tuple[str, ...]
    record: Record
    since: datetime


@dataclass(slots=True)
class _State:
    """Keys begin with namespace and group."""

    effects: Effects = field(default_factory=dict)
    events: dict[tuple[str, ...], _Seen] = field(default_factory=dict)
    streams: dict[tuple[str, ...], _Stream] = field(default_factory=dict)
    waiting: dict[tuple[str, ...], dict[int, _Waiting]] = field(default_factory=dict)
    refusals: list[tuple[str, str, Refusal]] = field(default_factory=list)

    def version(self, stream: tuple[str, ...]) -> int:
        return self.streams[stream].version if stream in self.streams else 0

    def waits(self, event: tuple[str, ...]) -> bool:
        return any(one.event == event for of in self.waiting.values() for one in of.values())


class MemoryInboxStore:
    """Keeps everything in this process; a handler writes its effects into a dict.

    Transactions are carried out one after another.
    """

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._state = _State()
        self._turn = asyncio.Lock()

    @property
    def effects(self) -> Effects:
        """What handlers have written and committed."""
        return self._state.effects

    @asynccontextmanager
    async def transaction(
        self, namespace: str, group: str
    ) -> AsyncIterator["MemoryInboxTransaction"]:
        """Open a transaction (see `InboxStore`)."""
        async with self._turn:
            state = copy.deepcopy(self._state)
            yield MemoryInboxTransaction(state, (namespace, group), self._clock())
            self._state = state

    async def forget(self, namespace: str, group: str, *, older_than: timedelta) -> int:
        """Forget old ids (see `InboxStore`)."""
        async with self._turn:
            state, before = self._state, self._clock() - older_than
            old = [
                key
                for key, seen in state.events.items()
                if key[:2] == (namespace, group) and seen.at < before and not state.waits(key)
            ]
            for key in old:
                seen = state.events.pop(key)
                if seen.stream is not None:
                    stream = state.streams[seen.stream]
                    stream.forgotten = max(stream.forgotten, seen.version)
            return len(old)

    async def ready(
        self, namespace: str, group: str, topics: Collection[str]
    ) -> Sequence[tuple[str, str]]:
        """Return streams where an event waits in vain (see `InboxStore`)."""
        return [
            (stream[3], stream[4])
            for stream, waiting in self._state.waiting.items()
            if stream[:2] == (namespace, group)
            and (one := waiting.get(self._state.version(stream) + 1)) is not None
            and one.record.topic in topics
        ]

    async def gaps(self, namespace: str, group: str, *, limit: int) -> Sequence[Gap]:
        """Return the streams that wait for missing versions (see `InboxStore`)."""
        found = [
            Gap(
                source=stream[3],
                stream=stream[4],
                after=self._state.version(stream),
                before=min(waiting),
                waiting=len(waiting),
                since=min(one.since for one in waiting.values()),
            )
            for stream, waiting in self._state.waiting.items()
            if stream[:2] == (namespace, group) and min(waiting) > self._state.version(stream) + 1
        ]
        return sorted(found, key=lambda gap: (gap.since, gap.source, gap.stream))[:limit]

    async def skip(self, namespace: str, group: str, gap: Gap) -> bool:
        """Give up missing versions (see `InboxStore`)."""
        async with self._turn:
            key = (namespace, group, _EVERY_TOPIC, gap.source, gap.stream)
            waiting = self._state.waiting.get(key)
            if not waiting or (self._state.version(key), min(waiting)) != (gap.after, gap.before):
                return False
            self._state.streams.setdefault(key, _Stream()).version = gap.before - 1
            return True

    async def refusals(self, namespace: str, group: str, *, limit: int) -> Sequence[Refusal]:
        """Return the newest refused records (see `InboxStore`)."""
        mine = [
            refusal
            for its_namespace, its_group, refusal in reversed(self._state.refusals)
            if (its_namespace, its_group) == (namespace, group)
        ]
        return mine[:limit]


class MemoryInboxTransaction:
    """A transaction of `MemoryInboxStore`."""

    def __init__(self, state: _State, owner: tuple[str, str], now: datetime) -> None:
        self._state = state
        self._owner = owner
        self._now = now

    @property
    def effects(self) -> Effects:
        """The dict a handler writes into."""
        return self._state.effects

    async def admit(self, arrival: Arrival, *, gapless: bool) -> Admission:
        """Note an event (see `InboxTransaction`)."""
        key = self._event(arrival)
        seen = self._state.events.get(key)
        if seen is not None:
            return Admission.DUPLICATE if seen.digest == arrival.digest else Admission.CONFLICT
        stream_key = self._stream_of(arrival, gapless=gapless)
        self._note(key, arrival, stream_key)
        if stream_key is None or arrival.version is None:
            return Admission.NEW
        last = self._state.version(stream_key)
        if gapless and arrival.version > last + 1:
            return Admission.EARLY
        stream = self._state.streams.setdefault(stream_key, _Stream())
        if arrival.version > last:
            stream.version = arrival.version
            return Admission.NEW
        known = arrival.version <= stream.forgotten
        return Admission.DUPLICATE if known else Admission.OUT_OF_ORDER

    async def admit_copy(self, arrival: Arrival) -> Admission:
        """Note a republished copy (see `InboxTransaction`)."""
        original = self._event(arrival)
        copied = (*original[:-1], arrival.republish_id or "")
        if copied in self._state.events or self._state.waits(original):
            return Admission.DUPLICATE
        self._note(copied, arrival, None)
        return Admission.NEW

    async def put_aside(self, arrival: Arrival, record: Record) -> bool:
        """Let an early event wait (see `InboxTransaction`)."""
        stream = self._stream_of(arrival, gapless=True)
        if stream is None or arrival.version is None:
            raise ValueError("an event without a stream waits for nothing")
        waiting = self._state.waiting.setdefault(stream, {})
        if arrival.version in waiting:
            return False
        waiting[arrival.version] = _Waiting(self._event(arrival), record, self._now)
        return True

    async def take_next(self, source: str, stream: str, topics: Collection[str]) -> Record | None:
        """Take the waiting event whose turn it is (see `InboxTransaction`)."""
        key = (*self._owner, _EVERY_TOPIC, source, stream)
        waiting = self._state.waiting.get(key, {})
        turn = self._state.version(key) + 1
        if turn not in waiting or waiting[turn].record.topic not in topics:
            return None
        taken = waiting.pop(turn)
        if not waiting:
            del self._state.waiting[key]
        self._state.streams.setdefault(key, _Stream()).version = turn
        return taken.record

    async def next_waits(self, source: str, stream: str) -> bool:
        """Whether an event waits whose turn it is (see `InboxTransaction`)."""
        key = (*self._owner, _EVERY_TOPIC, source, stream)
        return self._state.version(key) + 1 in self._state.waiting.get(key, {})

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo the effects of a block that raises (see `InboxTransaction`)."""
        before = copy.deepcopy(self._state.effects)
        try:
            yield
        except BaseException:
            self._state.effects = before
            raise

    async def refuse(self, refusal: Refusal) -> None:
        """Keep a refused record (see `InboxTransaction`)."""
        row = (*self._owner, refusal)
        if row not in self._state.refusals:
            self._state.refusals.append(row)

    def _event(self, arrival: Arrival) -> tuple[str, ...]:
        return (*self._owner, arrival.event.source, arrival.event.event_id, "")

    def _stream_of(self, arrival: Arrival, *, gapless: bool) -> tuple[str, ...] | None:
        if arrival.stream is None:
            return None
        topic = _EVERY_TOPIC if gapless else arrival.topic
        return (*self._owner, topic, arrival.event.source, arrival.stream)

    def _note(self, key: tuple[str, ...], arrival: Arrival, stream: tuple[str, ...] | None) -> None:
        self._state.events[key] = _Seen(arrival.digest, self._now, stream, arrival.version or 0)
