"""The current resources of each namespace in this replica's memory, and how current they are.

What is answered from here is no more than `LONGEST_STALE` behind: when the database has not
confirmed it for so long, it is asked first.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

from registry.domain.heads import Heads, View
from registry.domain.resources import Resource
from registry.ports import ResourceChanges, ResourceStore
from registry.service.changes import Changes
from runtime import logs
from runtime.errors import DatabaseUnavailableError
from runtime.lifecycle import Background

LONGEST_STALE = timedelta(seconds=2)

_READ_PAGE = 500
_READ_BYTES = 8 * 1024 * 1024

_log = logs.get_logger(__name__)


class Mirrors:
    """The heads of every namespace served here."""

    def __init__(
        self, store: ResourceStore, changes: Changes, *, namespaces: Sequence[str]
    ) -> None:
        self.changes = changes
        self.namespaces = tuple(namespaces)
        self._store = store
        self._heads = {namespace: Heads() for namespace in namespaces}
        # When the database was last asked, of the questions that it answered.
        self._confirmed: dict[str, float] = {}
        self._questions: dict[str, asyncio.Task[None]] = {}
        self._longest = LONGEST_STALE.total_seconds()

    async def heads(self, namespace: str) -> Heads:
        """Return the heads, as they are or were less than `LONGEST_STALE` ago.

        Raises:
            DatabaseUnavailableError: they may be older, and the database does not answer.
        """
        confirmed = self._confirmed.get(namespace)
        if confirmed is None or time.monotonic() - confirmed > self._longest:
            await self.refresh(namespace)
        return self._heads[namespace]

    def known(self, namespace: str) -> Heads:
        """Return the heads, however old they are. Another object has nothing in common with it."""
        return self._heads[namespace]

    async def refresh(self, namespace: str) -> Heads:
        """Ask the database what has changed, once for all who ask meanwhile; return the heads.

        Raises:
            DatabaseUnavailableError: it does not answer.
        """
        running = self._questions.get(namespace)
        if running is not None and not running.done():
            # It may have been answered already, before what the caller wants to see.
            await asyncio.wait({running})
        question = self._questions.get(namespace)
        if question is None or question is running:
            question = asyncio.create_task(self._ask(namespace), name=f"mirror.{namespace}")
            # An error is for those who wait; there may be none left.
            question.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._questions[namespace] = question
        await asyncio.shield(question)
        return self._heads[namespace]

    async def catch_up(self, namespace: str, changes: ResourceChanges) -> View:
        """Return the state that `changes` begins with, while nothing else can change."""
        heads = self._since(namespace, changes.revision)
        while heads.revision < changes.revision:
            heads.absorb(
                await changes.changed(
                    after_revision=heads.revision, limit=_READ_PAGE, max_bytes=_READ_BYTES
                )
            )
        self.changes.publish(namespace, heads.revision)
        return heads.view()

    def absorb(self, namespace: str, committed: Sequence[Resource]) -> None:
        """Take note of this replica's own changes, which are committed."""
        heads = self._heads[namespace]
        # What lies between is not known: the next question will tell.
        if committed and heads.revision >= committed[0].revision - 1:
            heads.absorb(committed)
            self.changes.publish(namespace, heads.revision)

    async def _ask(self, namespace: str) -> None:
        asked = time.monotonic()
        known = self._heads[namespace].revision
        newest = await self._store.revision(namespace)
        heads = self._since(namespace, newest) if newest < known else self._heads[namespace]
        if newest > heads.revision:
            # One step, for who looks: pages that are read while something changes lack what moved.
            heads.absorb(await self._changed(namespace, heads.revision, newest))
        self._confirmed[namespace] = asked
        self.changes.publish(namespace, heads.revision)

    async def _changed(self, namespace: str, seen: int, newest: int) -> list[Resource]:
        changed: list[Resource] = []
        while True:
            page = await self._store.changed(
                namespace, after_revision=seen, limit=_READ_PAGE, max_bytes=_READ_BYTES
            )
            whole = not changed and page and page[-1].revision >= newest
            changed += page
            if not page or whole:
                return changed
            seen = page[-1].revision

    def _since(self, namespace: str, newest: int) -> Heads:
        """Return the heads, empty ones if they hold what the database has never heard of."""
        if self._heads[namespace].revision > newest:
            _log.error("revisions_lost", namespace=namespace, newest=newest)
            self._heads[namespace] = Heads()
            self.changes.restart(namespace)
        return self._heads[namespace]


class RevisionPoll(Background):
    """Keeps the mirrors confirmed; ends the news when it stops."""

    name = "changes"

    def __init__(self, mirrors: Mirrors, *, interval: timedelta) -> None:
        self._mirrors = mirrors
        self._interval = interval.total_seconds()

    async def stop(self) -> None:
        """Ask no more; everybody who waits for news is let go."""
        self._mirrors.changes.close()
        await super().stop()

    async def _run(self) -> None:
        away = False
        while True:
            try:
                for namespace in self._mirrors.namespaces:
                    await self._mirrors.refresh(namespace)
            except DatabaseUnavailableError as exc:
                if not away:
                    _log.warning("revisions_unknown", error=str(exc))
                away = True
            else:
                if away:
                    _log.info("revisions_known")
                away = False
            await asyncio.sleep(self._interval)
