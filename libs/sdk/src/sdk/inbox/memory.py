"""A consumer inbox in memory, for tests of handlers: the same behaviour, gone with the process."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sdk.inbox.arrivals import Admission, Arrival, Refusal

Effects = dict[str, Any]


@dataclass(slots=True)
class _Stream:
    version: int
    forgotten: int = 0


@dataclass(slots=True)
class _Seen:
    digest: bytes
    at: datetime
    stream: tuple[str, ...] | None
    version: int


@dataclass(slots=True)
class _State:
    effects: Effects = field(default_factory=dict)
    events: dict[tuple[str, ...], _Seen] = field(default_factory=dict)
    streams: dict[tuple[str, ...], _Stream] = field(default_factory=dict)
    refusals: list[tuple[str, str, Refusal]] = field(default_factory=list)


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
                if key[:2] == (namespace, group) and seen.at < before
            ]
            for key in old:
                seen = state.events.pop(key)
                if seen.stream is not None:
                    stream = state.streams[seen.stream]
                    stream.forgotten = max(stream.forgotten, seen.version)
            return len(old)

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

    async def admit(self, arrival: Arrival) -> Admission:
        """Note an event (see `InboxTransaction`)."""
        event = arrival.event
        key = (*self._owner, event.source, event.event_id)
        seen = self._state.events.get(key)
        if seen is not None:
            return Admission.DUPLICATE if seen.digest == arrival.digest else Admission.CONFLICT
        if arrival.stream is None or arrival.version is None:
            self._state.events[key] = _Seen(arrival.digest, self._now, None, 0)
            return Admission.NEW
        stream_key = (*self._owner, arrival.topic, event.source, arrival.stream)
        self._state.events[key] = _Seen(arrival.digest, self._now, stream_key, arrival.version)
        stream = self._state.streams.setdefault(stream_key, _Stream(0))
        if arrival.version > stream.version:
            stream.version = arrival.version
            return Admission.NEW
        known = arrival.version <= stream.forgotten
        return Admission.DUPLICATE if known else Admission.OUT_OF_ORDER

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
