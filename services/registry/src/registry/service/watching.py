"""Telling whoever watches: first what is there, then what changes, at the watcher's own pace.

Watchers read this replica's memory. One that is slow is told the latest of what it missed, so that
it holds nothing back and costs nothing but the snapshot it has not read yet.
"""

import time
from collections.abc import AsyncGenerator, Collection
from datetime import timedelta

from contracts.resources import ResourceKind
from registry.errors import InvalidRequestError
from registry.service import requests
from registry.service.mirror import Mirrors
from registry.service.outcomes import Bookmark, SnapshotStart, WatchItem


class Watching:
    """The use case `watch`."""

    def __init__(self, mirrors: Mirrors, *, bookmark_interval: timedelta) -> None:
        self._mirrors = mirrors
        self._bookmark_interval = bookmark_interval.total_seconds()

    async def watch(
        self, namespace: str, *, after_revision: int, kinds: Collection[ResourceKind]
    ) -> AsyncGenerator[WatchItem, None]:
        """Do what `ResourceService.watch` says."""
        requests.require_served(namespace, self._mirrors.namespaces)
        if after_revision < 0:
            raise InvalidRequestError("after_revision", "it cannot be negative")
        wanted = frozenset(kinds or ResourceKind)
        changes = self._mirrors.changes
        heads = await self._mirrors.heads(namespace)
        seen = after_revision
        if seen > heads.revision:
            # This replica may be the one that is behind.
            heads = await self._mirrors.refresh(namespace)
        afresh = seen == 0 or seen > heads.revision
        bookmark_due = time.monotonic()
        while not changes.closed:
            if afresh:
                yield SnapshotStart()
                # All of one moment: what is told as of a revision lacks nothing of it.
                seen, rest = heads.revision, heads.snapshot()[::-1]
                while rest:
                    resource = rest.pop()
                    if resource.key.kind in wanted:
                        yield resource
                afresh, bookmark_due = False, time.monotonic()
            while (changed := heads.after(seen)) is not None:
                seen = changed.revision
                if changed.key.kind in wanted:
                    yield changed
            if time.monotonic() >= bookmark_due:
                # A sign of life is one of the database's too: raises when it is away.
                await self._mirrors.heads(namespace)
                if heads.after(seen) is None:
                    yield Bookmark(seen)
                    bookmark_due = time.monotonic() + self._bookmark_interval
            else:
                await changes.wait(
                    namespace, beyond=seen, timeout_s=bookmark_due - time.monotonic()
                )
            if self._mirrors.known(namespace) is not heads:
                heads, afresh = self._mirrors.known(namespace), True
