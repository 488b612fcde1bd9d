"""News that resources have changed: who waits is woken, and asks nobody meanwhile.

A replica hears of its own commits at once, and of the other replicas' by one slow question for all
its waiters. What changed is not part of the news: a waiter reads that at its own pace, so that a
slow one costs no memory.
"""

import asyncio
import contextlib
from collections import defaultdict


class Changes:
    """The newest revision of each namespace that this replica knows of."""

    def __init__(self) -> None:
        self._revisions: dict[str, int] = defaultdict(int)
        self._news: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.closed = False

    def publish(self, namespace: str, revision: int) -> None:
        """Say that `revision` is committed."""
        if revision > self._revisions[namespace]:
            self._revisions[namespace] = revision
            self._wake(namespace)

    def restart(self, namespace: str) -> None:
        """Say that revisions count from anew: the database lost some that were committed."""
        self._revisions[namespace] = 0
        self._wake(namespace)

    def newest(self, namespace: str) -> int:
        """Return the newest revision that is known of; 0 before the first news."""
        return self._revisions[namespace]

    async def wait(self, namespace: str, *, beyond: int, timeout_s: float) -> bool:
        """Return True once a revision greater than `beyond` is known, False after `timeout_s`.

        Returns at once, False, when news have ended.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._revisions[namespace] <= beyond and not self.closed:
                    await self._news[namespace].wait()
        return self._revisions[namespace] > beyond and not self.closed

    def close(self) -> None:
        """End: nobody waits any longer."""
        self.closed = True
        for namespace in list(self._news):
            self._wake(namespace)

    def _wake(self, namespace: str) -> None:
        # An event that was set stays set for those who wait on it; who comes later gets a new one.
        self._news.pop(namespace, asyncio.Event()).set()
