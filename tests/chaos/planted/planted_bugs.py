"""Known bugs of systems like this one, each the replacement of one thing in one process.

The product knows nothing of them. What is to be replaced has to be there and be called the same
way, or planting fails.
"""

import asyncio
import functools
import importlib
import inspect
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True)
class Bug:
    """What is replaced, as `module:name` or `module:Class.method`, and by what made of it."""

    target: str
    make: Callable[[Any], Any]


def commit_first(handle):
    """Commit what was read, then work on it."""

    async def _handle(self, records):
        ends = {(one.topic(), one.partition()): one.offset() + 1 for one in records}
        await self._commit(ends)
        await handle(self, records)

    return _handle


def mark_first(recall):
    """Mark an event as seen by SET NX, then work on it."""

    async def _recall(self, tasks, cause):
        from router.adapters import redis_seen

        await recall(self, tasks, cause)
        for task in tasks:
            if task.event is None:
                continue
            document = task.event.document
            key = redis_seen._key(self._namespace, document["source"], document["event_id"])
            mark = functools.partial(self._seen._redis.set, key, f"{task.digest}:{task.revision}")
            while True:
                try:
                    task.is_known = not await mark(nx=True)
                    break
                except redis_seen.RedisError:  # Its calls have 50 ms, which is not what is tested.
                    await asyncio.sleep(0.1)

    return _recall


def allow_duplicate(policy):
    """Start a workflow again once it has ended, as Temporal does unless it is told not to."""
    return SimpleNamespace(REJECT_DUPLICATE=policy.ALLOW_DUPLICATE)


def random_ids(_derived):
    """Give each emitted event a random id."""

    def emitted_event_id(namespace, source, stream, version):
        return str(uuid.uuid4())

    return emitted_event_id


def no_end(_next_turn):
    """Go on with an instance that has ended, as if nobody had left."""

    def next_turn(newest, status):
        return newest._replace(sequence=newest.sequence + 1)

    return next_turn


def cursor(horizon):
    """Read the outbox by a cursor on the position, which never goes back."""

    class Cursor(horizon):
        def read(self, *, running, last, complete):
            super().read(running=(), last=last, complete=complete)

        def rewind(self, position=0):
            """Never."""

    return Cursor


BUGS = {
    "commit_first": Bug("router.adapters.kafka_consumer:KafkaConsumer._handle", commit_first),
    "mark_first": Bug("router.service.routing:Router._recall", mark_first),
    "allow_duplicate": Bug(
        "router.adapters.temporal_starter:WorkflowIDReusePolicy", allow_duplicate
    ),
    "random_ids": Bug("contracts.identifiers:emitted_event_id", random_ids),
    "no_end": Bug("ledger.domain.instances:next_turn", no_end),
    "cursor": Bug("outbox_relay.domain.horizon:Horizon", cursor),
}


def plant(name: str) -> None:
    """Plant a bug in this process.

    Raises:
        LookupError: there is no such bug.
        ImportError, AttributeError, TypeError: what it replaces is not there, or not the same.
    """
    bug = BUGS[name]
    module, _, path = bug.target.partition(":")
    owner = importlib.import_module(module)
    *outer, last = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original = vars(owner).get(last)
    if original is None:
        raise AttributeError(f"{bug.target} is not there")
    replacement = bug.make(original)
    for sound, planted in _calls(original, replacement):
        if sound != planted:
            raise TypeError(f"{bug.target} is called as {sound} now, not as {planted}")
    setattr(owner, last, replacement)


def _calls(original, replacement):
    """Yield how each function of the one and of the other is called."""
    if inspect.isfunction(original):
        yield _parameters(original), _parameters(replacement)
    elif inspect.isclass(replacement):
        for name, method in vars(replacement).items():
            if inspect.isfunction(method):
                yield _parameters(getattr(original, name)), _parameters(method)


def _parameters(function):
    return [(one.name, one.kind) for one in inspect.signature(function).parameters.values()]
