"""A memory of settled events in Redis. It saves work and decides nothing.

Every call has 50 ms. A Redis that fails is a memory that forgets: it is left alone for some
seconds, so that a dead one costs 50 ms now and then and not on every record. Calls made in the
same turn of the event loop go out as one command.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from contracts import identifiers
from runtime import logs
from runtime.faultpoints import faultpoint

CALL_BUDGET_S = 0.05
REST_S = 5.0
MAX_UNWRITTEN = 10_000

_log = logs.get_logger(__name__)


class RedisSeenEvents:
    """Remembers the digest of each settled event for some time."""

    def __init__(
        self,
        url: str,
        *,
        keep: timedelta,
        on_miss: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use the Redis at `url`; `on_miss` is called for each command that it did not answer."""
        self._redis = Redis.from_url(
            url,
            socket_timeout=CALL_BUDGET_S,
            socket_connect_timeout=CALL_BUDGET_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._keep_ms = int(keep.total_seconds() * 1000)
        self._on_miss = on_miss
        self._clock = clock
        self._resting_until = 0.0
        self._asked: dict[str, asyncio.Future[str | None]] = {}
        self._unwritten: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._read_due = self._write_due = False

    async def digest(self, namespace: str, source: str, event_id: str) -> str | None:
        """Return the digest that was remembered, None for an unknown event or without Redis."""
        key = _key(namespace, source, event_id)
        if (unwritten := self._unwritten.get(key)) is not None:
            return unwritten
        if self._resting():
            return None
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = asyncio.get_running_loop().create_future()
            if not self._read_due:
                self._read_due = True
                self._spawn(self._read())
        return await asyncio.shield(future)

    def remember(self, namespace: str, source: str, event_id: str, digest: str) -> None:
        """Keep a digest with the next command; forgotten when Redis does not take it."""
        if self._resting() or len(self._unwritten) >= MAX_UNWRITTEN:
            return
        self._unwritten[_key(namespace, source, event_id)] = digest
        if not self._write_due:
            self._write_due = True
            self._spawn(self._write())

    async def ping(self) -> None:
        """Ask Redis whether it is there. Raises RedisError, OSError or TimeoutError."""
        async with asyncio.timeout(2.0):
            await self._redis.get("backbone:ping")

    async def close(self) -> None:
        """Write what is left and disconnect."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        await self._redis.aclose()

    async def _read(self) -> None:
        await asyncio.sleep(0)  # Let the other records of the batch ask too.
        self._read_due = False
        asked, self._asked = self._asked, {}
        found: list[bytes | str | None] | None = None
        try:
            async with asyncio.timeout(CALL_BUDGET_S):
                faultpoint("router.before_recall")
                found = await self._redis.mget(list(asked))
                faultpoint("router.after_recall")
        except (RedisError, OSError, TimeoutError) as exc:
            self._rest(exc)
        finally:
            values = found if found is not None else [None] * len(asked)
            for future, value in zip(asked.values(), values, strict=True):
                if not future.done():
                    future.set_result(None if value is None else str(value))

    async def _write(self) -> None:
        await asyncio.sleep(0)
        self._write_due = False
        batch = dict(self._unwritten)
        try:
            async with asyncio.timeout(CALL_BUDGET_S):
                pipeline = self._redis.pipeline(transaction=False)
                for key, digest in batch.items():
                    pipeline.set(key, digest, px=self._keep_ms)
                faultpoint("router.before_remember")
                await pipeline.execute()
                faultpoint("router.after_remember")
        except (RedisError, OSError, TimeoutError) as exc:
            self._rest(exc)
        finally:
            for key in batch:
                self._unwritten.pop(key, None)

    def _resting(self) -> bool:
        return self._clock() < self._resting_until

    def _rest(self, exc: Exception) -> None:
        self._on_miss()
        if not self._resting():
            self._resting_until = self._clock() + REST_S
            _log.warning("redis_away", error=str(exc) or type(exc).__name__, rest_s=REST_S)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _key(namespace: str, source: str, event_id: str) -> str:
    return f"backbone:{namespace}:seen:{identifiers.event_trigger_key(source, event_id)}"
