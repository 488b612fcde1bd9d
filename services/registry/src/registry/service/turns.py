"""How a namespace is changed: prepared aside, carried out in turn, and once for each request id.

What takes long, such as validation, is done on a view of the present state before the lock of the
namespace is taken. Under the lock only what it rested on is compared with what is so by then.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from registry.domain.heads import View
from registry.domain.resources import Resource
from registry.errors import RegistryError, RequestIdReusedError
from registry.ports import Request, ResourceChanges, ResourceStore
from registry.service.mirror import Mirrors
from registry.service.requests import Asked
from runtime.errors import DatabaseUnavailableError

P = TypeVar("P")
T = TypeVar("T")

_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What was done: `answer` is what `Work.answered` makes the result of again."""

    result: T
    changed: Sequence[Resource]
    answer: Any


@dataclass(frozen=True, slots=True)
class Work(Generic[P, T]):
    """A use case that changes something.

    `prepare` may take long and refuse; what it prepares from a view holds for every view of which
    `rests_on` says the same. `carry_out` is short, and `answered` repeats the answer to a request
    that was carried out before.
    """

    rests_on: Callable[[View], object]
    prepare: Callable[[View], Awaitable[P]]
    carry_out: Callable[[ResourceChanges, View, P], Awaitable[Done[T]]]
    answered: Callable[[Any], Awaitable[T]]


class _MovedError(Exception):
    """What was prepared no longer holds."""


class Turns:
    """The changes of each namespace, one after the other."""

    def __init__(self, store: ResourceStore, mirrors: Mirrors) -> None:
        self._store = store
        self._mirrors = mirrors
        # Waiting here costs nothing; waiting for the lock in the database costs a connection.
        self._mine: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def take(self, namespace: str, asked: Asked, work: Work[P, T]) -> T:
        """Do the work in its turn, or return what an earlier request of this id came to.

        Raises:
            RequestIdReusedError: another request had this id.
            DatabaseUnavailableError: the database is away, or others change the namespace without
                end. Whether the work was done is then unknown.
        """
        answer = await self._answer(namespace, asked)
        if answer is not None:
            return await work.answered(answer)
        try:
            return await self._in_turn(namespace, asked, work)
        except RegistryError:
            # It may be the same request, carried out meanwhile, that makes this one refusable.
            answer = await self._answer(namespace, asked)
            if answer is None:
                raise
            return await work.answered(answer)

    async def _answer(self, namespace: str, asked: Asked) -> Any:
        """Return the answer to this request, None when it was not carried out."""
        if not asked.request_id:
            return None
        earlier = await self._store.request(namespace, asked.request_id)
        return None if earlier is None else _answer(earlier, asked)

    async def _in_turn(self, namespace: str, asked: Asked, work: Work[P, T]) -> T:
        view = (await self._mirrors.heads(namespace)).view()
        view, prepared = await self._prepared(namespace, work, view)
        async with self._mine[namespace]:
            for _ in range(_ATTEMPTS):
                present = self._mirrors.known(namespace).view()
                if work.rests_on(present) != work.rests_on(view):
                    view, prepared = await self._prepared(namespace, work, present)
                try:
                    return await self._once(namespace, asked, work, view, prepared)
                except _MovedError:
                    continue
        raise DatabaseUnavailableError(f"others keep changing {namespace!r}: try again")

    async def _prepared(self, namespace: str, work: Work[P, T], view: View) -> tuple[View, P]:
        try:
            return view, await work.prepare(view)
        except RegistryError:
            # Nobody is refused for what was so a moment ago.
            if (present := (await self._mirrors.refresh(namespace)).view()) is view:
                raise
        return present, await work.prepare(present)

    async def _once(
        self, namespace: str, asked: Asked, work: Work[P, T], view: View, prepared: P
    ) -> T:
        async def locked(changes: ResourceChanges) -> Done[T] | Request:
            if asked.request_id:
                earlier = await changes.request(asked.request_id)
                if earlier is not None:
                    return earlier
            present = await self._mirrors.catch_up(namespace, changes)
            if work.rests_on(present) != work.rests_on(view):
                raise _MovedError
            done = await work.carry_out(changes, present, prepared)
            if asked.request_id:
                await changes.remember(Request(asked.request_id, asked.sha256, done.answer))
            return done

        done = await self._store.change(namespace, locked)
        if isinstance(done, Request):
            return await work.answered(_answer(done, asked))
        self._mirrors.absorb(namespace, done.changed)
        return done.result


def _answer(earlier: Request, asked: Asked) -> Any:
    if earlier.sha256 != asked.sha256:
        raise RequestIdReusedError(asked.request_id)
    return earlier.answer
