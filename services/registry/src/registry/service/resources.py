"""The use cases of the registry: the one front of what can be done with resources."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta

from contracts.catalogue import Catalogue
from contracts.resources import HeldEvents, ResourceKind
from registry.domain.planning import Prune
from registry.domain.resources import Key, Resource
from registry.domain.validation import Source
from registry.ports import ResourceStore
from registry.service import lifecycle
from registry.service.applying import Applying, Rules
from registry.service.lifecycle import Lifecycle
from registry.service.mirror import Mirrors
from registry.service.outcomes import (
    Altered,
    ApplyOutcome,
    Diff,
    HistoryPage,
    Page,
    WatchItem,
)
from registry.service.reading import Reading
from registry.service.turns import Turns
from registry.service.watching import Watching

MAX_RESOURCES = 20_000


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ResourceService:
    """Versioned resources of the namespaces served here.

    Everything raises NamespaceNotServedError for other namespaces, InvalidRequestError for fields
    that cannot be used, and DatabaseUnavailableError while the database is away.
    """

    def __init__(
        self,
        store: ResourceStore,
        mirrors: Mirrors,
        *,
        catalogue: Catalogue | None = None,
        bookmark_interval: timedelta = timedelta(seconds=10),
        max_resources: int = MAX_RESOURCES,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        turns = Turns(store, mirrors)
        rules = Rules(catalogue=catalogue, max_resources=max_resources)
        self._applying = Applying(store, mirrors, turns, rules=rules, now=now)
        self._lifecycle = Lifecycle(store, mirrors, turns, catalogue=catalogue)
        self._reading = Reading(store, mirrors)
        self._watching = Watching(mirrors, bookmark_interval=bookmark_interval)

    async def apply(
        self,
        sources: Sequence[Source],
        *,
        namespace: str = "",
        actor: str,
        reason: str,
        validate_only: bool = False,
        prune: Prune | None = None,
        plan_sha256: str = "",
        request_id: str = "",
    ) -> ApplyOutcome:
        """Store what documents change, all of it or nothing; what is so already costs nothing.

        With `validate_only` nothing is stored: problems are returned, or what would be.

        Raises:
            InvalidDocumentsError: something is wrong with the documents, or would be with what was
                applied before; it carries everything.
            EtagMismatchError: the etag of a document is not the current one.
            PlanMismatchError: `plan_sha256` does not name what would be done.
            ResourceInUseError: an event type that would be pruned is listened to.
            LimitReachedError: there would be too many resources.
            RequestIdReusedError: another request had this id.
        """
        return await self._applying.apply(
            sources,
            namespace=namespace,
            actor=actor,
            reason=reason,
            validate_only=validate_only,
            prune=prune,
            plan_sha256=plan_sha256,
            request_id=request_id,
        )

    async def get(
        self,
        namespace: str,
        kind: ResourceKind,
        resource_id: str,
        *,
        version: int = 0,
        as_of: datetime | None = None,
    ) -> Resource:
        """Return a version of a resource, the current one for 0, or a resource as it was at a time.

        Raises:
            ResourceNotFoundError: no such resource or version, or not yet at that time.
        """
        key = Key(kind, resource_id)
        return await self._reading.get(namespace, key, version=version, as_of=as_of)

    async def list(
        self,
        namespace: str,
        kind: ResourceKind,
        *,
        page_size: int = 0,
        page_token: str = "",
        as_of: datetime | None = None,
        show_retired: bool = False,
        owner: str = "",
    ) -> Page:
        """Return current versions by id, or those at a time; a page may be shorter than asked."""
        return await self._reading.list(
            namespace,
            kind,
            page_size=page_size,
            page_token=page_token,
            as_of=as_of,
            show_retired=show_retired,
            owner=owner,
        )

    async def history(
        self,
        namespace: str,
        kind: ResourceKind | None,
        resource_id: str,
        *,
        page_size: int = 0,
        page_token: str = "",
    ) -> HistoryPage:
        """Return what happened to a resource, or to all without a kind and an id, newest first.

        Raises:
            ResourceNotFoundError: there is no such resource.
        """
        return await self._reading.history(
            namespace, kind, resource_id, page_size=page_size, page_token=page_token
        )

    async def diff(
        self,
        namespace: str,
        kind: ResourceKind,
        resource_id: str,
        *,
        from_version: int = 0,
        to_version: int = 0,
    ) -> Diff:
        """Return what differs in meaning: 0 to the current version, 0 from the one before that.

        Raises:
            ResourceNotFoundError: there is no such resource or version.
        """
        key = Key(kind, resource_id)
        return await self._reading.diff(
            namespace, key, from_version=from_version, to_version=to_version
        )

    async def activate(
        self,
        namespace: str,
        kind: ResourceKind,
        resource_id: str,
        *,
        version: int,
        etag: str = "",
        request_id: str = "",
        actor: str,
        reason: str,
    ) -> Altered:
        """Make a stored version the current one again, if it is valid as things are now.

        Raises:
            ResourceNotFoundError: there is no such resource or version.
            StateError: it is retired.
            InvalidDocumentsError: the version, or what depends on it, would not be valid.
            EtagMismatchError: `etag` is not the current one.
            RequestIdReusedError: another request had this id.
        """
        asking = lifecycle.asking(
            "activate", namespace, Key(kind, resource_id), version,
            etag=etag, request_id=request_id, actor=actor, reason=reason,
        )  # fmt: skip
        return await self._lifecycle.activate(asking, version)

    async def disable(
        self,
        namespace: str,
        definition_id: str,
        *,
        etag: str = "",
        request_id: str = "",
        actor: str,
        reason: str,
    ) -> Altered:
        """Let a definition start no runs until it is enabled.

        Raises:
            ResourceNotFoundError: there is no such definition.
            StateError: it is retired.
            EtagMismatchError: `etag` is not the current one.
            RequestIdReusedError: another request had this id.
        """
        asking = lifecycle.asking(
            "disable", namespace, Key(ResourceKind.ACTIVITY_DEFINITION, definition_id),
            etag=etag, request_id=request_id, actor=actor, reason=reason,
        )  # fmt: skip
        return await self._lifecycle.disable(asking)

    async def enable(
        self,
        namespace: str,
        definition_id: str,
        *,
        etag: str = "",
        request_id: str = "",
        actor: str,
        reason: str,
        held: HeldEvents | None = None,
    ) -> Altered:
        """Let a disabled definition start runs again, and say what becomes of events that it held.

        Raises what `disable` does, and InvalidRequestError when its version holds events and
        nothing is said of them.
        """
        asking = lifecycle.asking(
            "enable", namespace, Key(ResourceKind.ACTIVITY_DEFINITION, definition_id), held or "",
            etag=etag, request_id=request_id, actor=actor, reason=reason,
        )  # fmt: skip
        return await self._lifecycle.enable(asking, held)

    async def retire(
        self,
        namespace: str,
        kind: ResourceKind,
        resource_id: str,
        *,
        etag: str = "",
        request_id: str = "",
        actor: str,
        reason: str,
    ) -> Altered:
        """Take a resource out of use; its history stays, and applying it brings it back.

        Raises:
            ResourceNotFoundError: there is no such resource.
            ResourceInUseError: definitions in use listen to the event type.
            EtagMismatchError: `etag` is not the current one.
            RequestIdReusedError: another request had this id.
        """
        asking = lifecycle.asking(
            "retire", namespace, Key(kind, resource_id),
            etag=etag, request_id=request_id, actor=actor, reason=reason,
        )  # fmt: skip
        return await self._lifecycle.retire(asking)

    def watch(
        self,
        namespace: str,
        *,
        after_revision: int = 0,
        kinds: Collection[ResourceKind] = (),
    ) -> AsyncGenerator[WatchItem, None]:
        """Tell the resources in use of these kinds, or of all, then every change, until the end.

        A resource that changes several times while the watcher is busy is told once, as it is by
        then; a retired one has no content. Resumes after `after_revision`; a revision that is not
        known here starts afresh.
        """
        return self._watching.watch(namespace, after_revision=after_revision, kinds=kinds)
