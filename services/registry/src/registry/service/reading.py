"""Looking at resources: as they are, as they were, what happened to them and what differs."""

import asyncio
import re
from datetime import datetime

from contracts import identifiers
from contracts.resources import ResourceKind, ResourceState
from registry.domain.differences import differences
from registry.domain.resources import Key, Resource
from registry.errors import InvalidRequestError, ResourceNotFoundError
from registry.ports import ResourceStore
from registry.service import pages, requests
from registry.service.mirror import Mirrors
from registry.service.outcomes import Diff, HistoryPage, Page

# Under the 4 MiB that a gRPC message may have, with room for one more resource.
MAX_PAGE_BYTES = 2 * 1024 * 1024


class Reading:
    """The use cases that change nothing."""

    def __init__(self, store: ResourceStore, mirrors: Mirrors) -> None:
        self._store = store
        self._mirrors = mirrors

    async def get(
        self, namespace: str, key: Key, *, version: int, as_of: datetime | None
    ) -> Resource:
        """Do what `ResourceService.get` says."""
        requests.require_served(namespace, self._mirrors.namespaces)
        requests.require_version("version", version)
        if version and as_of is not None:
            raise InvalidRequestError("as_of", "not together with a version")
        head = (await self._mirrors.heads(namespace)).get(key)
        found: Resource | None = head
        # What never was there is not sent to the database; of what is retired it has the content.
        if head is None:
            found = None
        elif as_of is not None:
            found = await self._store.resource_at(namespace, key, as_of)
        elif version not in (0, head.version) or head.state is ResourceState.RETIRED:
            found = await self._store.resource(namespace, key, version)
        if found is None:
            raise ResourceNotFoundError(namespace, key.resource_id, _detail(version, as_of))
        return found

    async def list(
        self,
        namespace: str,
        kind: ResourceKind,
        *,
        page_size: int,
        page_token: str,
        as_of: datetime | None,
        show_retired: bool,
        owner: str,
    ) -> Page:
        """Do what `ResourceService.list` says."""
        requests.require_served(namespace, self._mirrors.namespaces)
        if owner and not re.fullmatch(identifiers.NAME_PATTERN, owner):
            raise InvalidRequestError("owner", "it is not the name of a team")
        limit = pages.limit(page_size)
        after_id = pages.read_token(page_token, pages.ID)
        heads = await self._mirrors.heads(namespace)
        from_memory = as_of is None and not show_retired and not owner

        async def page(after_id: str, limit: int) -> list[Resource]:
            if from_memory:
                return heads.page(kind, after_id=after_id, limit=limit, max_bytes=MAX_PAGE_BYTES)
            return await self._store.page(
                namespace,
                kind,
                after_id=after_id,
                limit=limit,
                max_bytes=MAX_PAGE_BYTES,
                at=as_of,
                owner=owner,
                show_retired=show_retired,
            )

        resources = await page(after_id, limit)
        if not resources:
            return Page([], "")
        last = resources[-1].key.resource_id
        return Page(resources, pages.token(last) if await page(last, 1) else "")

    async def history(
        self,
        namespace: str,
        kind: ResourceKind | None,
        resource_id: str,
        *,
        page_size: int,
        page_token: str,
    ) -> HistoryPage:
        """Do what `ResourceService.history` says."""
        requests.require_served(namespace, self._mirrors.namespaces)
        if (kind is None) != (not resource_id):
            raise InvalidRequestError("resource_id", "a kind and an id go together, or neither")
        limit = pages.limit(page_size)
        before = pages.read_token(page_token, pages.NUMBER)
        key = None if kind is None else Key(kind, resource_id)
        if key is not None and (await self._mirrors.heads(namespace)).get(key) is None:
            raise ResourceNotFoundError(namespace, resource_id)
        changes = await self._store.history(
            namespace, key, before_revision=int(before) if before else None, limit=limit + 1
        )
        more = len(changes) > limit
        changes = changes[:limit]
        return HistoryPage(changes, pages.token(str(changes[-1].revision)) if more else "")

    async def diff(self, namespace: str, key: Key, *, from_version: int, to_version: int) -> Diff:
        """Do what `ResourceService.diff` says."""
        requests.require_version("from_version", from_version)
        requests.require_version("to_version", to_version)
        after = await self.get(namespace, key, version=to_version, as_of=None)
        from_version = from_version or after.version - 1
        before = None
        if from_version:
            before = await self.get(namespace, key, version=from_version, as_of=None)
        found = await asyncio.to_thread(
            differences, None if before is None else before.load(), after.load()
        )
        return Diff(from_version, after.version, found)


def _detail(version: int, as_of: datetime | None) -> str:
    if as_of is not None:
        return f" as of {identifiers.instant(as_of)}"
    return f" at version {version}" if version else ""
