"""The current version of every resource of one namespace, ordered by id and by revision."""

import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from contracts.resources import ResourceKind, ResourceState
from registry.domain.resources import Key, Resource


@dataclass(frozen=True, slots=True)
class View:
    """The resources of a namespace as they are at one revision.

    `newest` is the revision of the last change of each kind, `count` how many resources are in use;
    the retired have no content.
    """

    revision: int
    count: int
    newest: Mapping[ResourceKind, int]
    current: Mapping[ResourceKind, Mapping[str, Resource]]

    def get(self, key: Key) -> Resource | None:
        """Return the current version of a resource, retired or not."""
        return self.current[key.kind].get(key.resource_id)

    def in_use(self, kind: ResourceKind) -> list[Resource]:
        """Return the current versions of a kind that are not retired."""
        return [
            resource
            for resource in self.current[kind].values()
            if resource.state is not ResourceState.RETIRED
        ]


class Heads:
    """The current versions as far as they are known here; of the retired everything but content."""

    def __init__(self) -> None:
        self.revision = 0
        self.count = 0
        self._current: dict[ResourceKind, dict[str, Resource]] = {kind: {} for kind in ResourceKind}
        self._newest: dict[ResourceKind, int] = dict.fromkeys(ResourceKind, 0)
        self._ids: dict[ResourceKind, list[str]] = defaultdict(list)
        self._revisions: list[int] = []
        self._by_revision: dict[int, Resource] = {}
        self._view: View | None = None

    def absorb(self, resources: Iterable[Resource]) -> None:
        """Take note of changes; what is known already, or newer here, makes no difference."""
        for resource in resources:
            before = self.get(resource.key)
            if before is None or before.revision < resource.revision:
                self._replace(before, resource)

    def get(self, key: Key) -> Resource | None:
        """Return the current version of a resource, retired or not."""
        return self._current[key.kind].get(key.resource_id)

    def page(
        self, kind: ResourceKind, *, after_id: str, limit: int, max_bytes: int
    ) -> list[Resource]:
        """Return resources in use by id, those after `after_id`, bounded by count and content."""
        ids = self._ids[kind]
        start = bisect.bisect_right(ids, after_id)
        current = self._current[kind]
        return bounded(
            [current[resource_id] for resource_id in ids[start : start + limit]],
            max_bytes=max_bytes,
        )

    def after(self, revision: int) -> Resource | None:
        """Return the resource whose last change is the first one after `revision`."""
        place = bisect.bisect_right(self._revisions, revision)
        return self._by_revision[self._revisions[place]] if place < len(self._revisions) else None

    def snapshot(self) -> list[Resource]:
        """Return every resource in use, by revision."""
        return [
            resource
            for revision in self._revisions
            if (resource := self._by_revision[revision]).state is not ResourceState.RETIRED
        ]

    def view(self) -> View:
        """Return the present state, which later changes leave as it is."""
        if self._view is None:
            self._view = View(
                self.revision,
                self.count,
                dict(self._newest),
                {kind: dict(current) for kind, current in self._current.items()},
            )
        return self._view

    def _replace(self, before: Resource | None, resource: Resource) -> None:
        kind, resource_id = resource.key
        if before is not None:
            del self._revisions[bisect.bisect_left(self._revisions, before.revision)]
            del self._by_revision[before.revision]
        retired = resource.state is ResourceState.RETIRED
        kept = replace(resource, content=b"") if retired else resource
        self._count(before, kept)
        self._current[kind][resource_id] = kept
        self._by_revision[kept.revision] = kept
        # Nearly always the last: only what was read while newer ones came is not.
        bisect.insort(self._revisions, kept.revision)
        self._newest[kind] = max(self._newest[kind], kept.revision)
        self.revision = max(self.revision, kept.revision)
        self._view = None

    def _count(self, before: Resource | None, after: Resource) -> None:
        was = before is not None and before.state is not ResourceState.RETIRED
        is_now = after.state is not ResourceState.RETIRED
        self.count += is_now - was
        ids = self._ids[after.key.kind]
        if is_now and not was:
            bisect.insort(ids, after.key.resource_id)
        elif was and not is_now:
            del ids[bisect.bisect_left(ids, after.key.resource_id)]


def bounded(resources: Sequence[Resource], *, max_bytes: int) -> list[Resource]:
    """Return as many of the first ones as have at most `max_bytes` of content, and at least one."""
    size = 0
    for count, resource in enumerate(resources):
        size += len(resource.content)
        if count and size > max_bytes:
            return list(resources[:count])
    return list(resources)
