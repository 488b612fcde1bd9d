"""News that definitions have changed: who waits is woken, and asks nobody meanwhile.

A replica hears of its own commits at once, and of the other replicas' by one slow question for all
its waiters. What changed is not part of the news: a waiter reads that at its own pace, so that a
slow one costs no memory.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from registry.ports import DefinitionStore
from runtime import logs
from runtime.errors import DatabaseUnavailableError
from runtime.lifecycle import Background

_log = logs.get_logger(__name__)


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


class RevisionPoll(Background):
    """Asks for the newest revisions and publishes them; ends the news when it stops."""

    name = "changes"

    def __init__(
        self,
        store: DefinitionStore,
        changes: Changes,
        *,
        namespaces: Sequence[str],
        interval: timedelta,
    ) -> None:
        self._store = store
        self._changes = changes
        self._namespaces = namespaces
        self._interval = interval.total_seconds()

    async def stop(self) -> None:
        """Ask no more; everybody who waits for news is let go."""
        self._changes.close()
        await super().stop()

    async def _run(self) -> None:
        away = False
        while True:
            try:
                for namespace in self._namespaces:
                    self._changes.publish(namespace, await self._store.revision(namespace))
            except DatabaseUnavailableError as exc:
                if not away:
                    _log.warning("revisions_unknown", error=str(exc))
                away = True
            else:
                if away:
                    _log.info("revisions_known")
                away = False
            await asyncio.sleep(self._interval)
