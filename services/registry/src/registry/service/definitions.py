"""The use cases of the registry: apply, get, list and watch definitions."""

import asyncio
import base64
import binascii
import re
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from contracts import canonical, identifiers
from contracts.definitions import ActivityDefinition
from registry.domain import documents, validation, versioning
from registry.domain.versioning import DefinitionVersion
from registry.errors import (
    DefinitionNotFoundError,
    EtagMismatchError,
    InvalidRequestError,
    NamespaceNotServedError,
    RequestIdReusedError,
)
from registry.ports import DefinitionChange, DefinitionStore, Request
from registry.service.changes import Changes
from runtime.faultpoints import faultpoint

MAX_REASON = 500
DEFAULT_PAGE = 100
MAX_PAGE = 1000
# Under the 4 MiB that a gRPC message may have, with room for one more definition.
MAX_PAGE_BYTES = 2 * 1024 * 1024

_WATCH_PAGE = 200


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a document came to; `changed` is False when nothing had to be stored."""

    version: DefinitionVersion
    changed: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some active definitions; `next_token` is empty on the last page."""

    versions: Sequence[DefinitionVersion]
    next_token: str


@dataclass(frozen=True, slots=True)
class SnapshotStart:
    """All active definitions follow: what was known before is to be forgotten."""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to this revision has been told."""

    revision: int


Change = DefinitionVersion | SnapshotStart | Bookmark


class DefinitionService:
    """Versioned definitions of the namespaces served here."""

    def __init__(
        self,
        store: DefinitionStore,
        changes: Changes,
        *,
        namespaces: Sequence[str],
        bookmark_interval: timedelta = timedelta(seconds=10),
    ) -> None:
        self._store = store
        self._changes = changes
        self._namespaces = tuple(namespaces)
        self._bookmark_interval = bookmark_interval.total_seconds()

    async def apply(
        self,
        document: bytes,
        *,
        actor: str,
        reason: str,
        etag: str = "",
        request_id: str = "",
        validate_only: bool = False,
    ) -> Applied:
        """Store a document as the next version, unless its content is active already.

        With `validate_only` nothing is stored and the version is the one that would be.

        Raises:
            InvalidRequestError: the reason or the request id cannot be used.
            InvalidDefinitionError: the document has problems; it carries all of them.
            EtagMismatchError: `etag` is not the current one.
            RequestIdReusedError: another request had this id.
        """
        reason = _usable_reason(reason)
        if request_id and not re.fullmatch(identifiers.REQUEST_ID_PATTERN, request_id):
            raise InvalidRequestError(
                "request_id is not usable: letters, digits, '.', '_' and '-', at most 100"
            )
        # Expressions are compiled here: too long for the event loop when a document is large.
        definition = await asyncio.to_thread(self._define, document)
        namespace = definition.metadata.namespace
        if validate_only:
            active = await self._store.active(namespace, definition.metadata.id)
            return _outcome(definition, active, actor=actor, reason=reason, etag=etag, dry=True)

        request_sha256 = canonical.digest(
            canonical.render([canonical.digest(document), etag, reason])
        )

        async def work(change: DefinitionChange) -> Applied:
            if request_id and (earlier := await change.request(request_id)) is not None:
                return await _replayed(change, earlier, request_sha256)
            active = await change.active(definition.metadata.id)
            applied = _outcome(definition, active, actor=actor, reason=reason, etag=etag, dry=False)
            if applied.changed:
                version = versioning.commit(
                    applied.version, active=active, revision=change.next_revision, now=change.now
                )
                await change.append(version)
                applied = Applied(version, changed=True)
            if request_id:
                await change.remember(
                    Request(
                        request_id=request_id,
                        sha256=request_sha256,
                        definition_id=applied.version.definition_id,
                        version=applied.version.version,
                        changed=applied.changed,
                    )
                )
            return applied

        faultpoint("registry.before_apply")
        applied = await self._store.change(namespace, work)
        faultpoint("registry.after_apply")
        self._changes.publish(namespace, applied.version.revision)
        return applied

    async def get(self, namespace: str, definition_id: str, version: int = 0) -> DefinitionVersion:
        """Return a version of a definition; 0 is the active one.

        Raises:
            InvalidRequestError: a negative version.
            NamespaceNotServedError: the namespace is not one of ours.
            DefinitionNotFoundError: no such definition or version.
        """
        self._require_served(namespace)
        if not 0 <= version < 2**63:
            raise InvalidRequestError("version is 0 for the active one, or counted from 1")
        found = None
        # What cannot be an id is not sent to the database.
        if re.fullmatch(identifiers.DEFINITION_ID_PATTERN, definition_id):
            found = (
                await self._store.version(namespace, definition_id, version)
                if version
                else await self._store.active(namespace, definition_id)
            )
        if found is None:
            raise DefinitionNotFoundError(namespace, definition_id, version or None)
        return found

    async def list(self, namespace: str, *, page_size: int = 0, page_token: str = "") -> Page:
        """Return active definitions by id. A page may be shorter than asked for.

        Raises:
            InvalidRequestError: a negative size, or a token that is not from here.
            NamespaceNotServedError: the namespace is not one of ours.
        """
        self._require_served(namespace)
        if page_size < 0:
            raise InvalidRequestError("page_size cannot be negative")
        limit = min(page_size or DEFAULT_PAGE, MAX_PAGE)
        after_id = _read_token(page_token)
        versions = await self._store.page(
            namespace, after_id=after_id, limit=limit, max_bytes=MAX_PAGE_BYTES
        )
        if not versions:
            return Page([], "")
        last = versions[-1].definition_id
        more = await self._store.page(namespace, after_id=last, limit=1, max_bytes=0)
        return Page(versions, _write_token(last) if more else "")

    async def watch(
        self, namespace: str, *, after_revision: int = 0
    ) -> AsyncGenerator[Change, None]:
        """Tell the active definitions, then every change, until the registry stops.

        A definition that changes several times while the watcher is busy is told once, as it is by
        then. Resumes after `after_revision`; a revision that is not known here starts afresh.

        Raises:
            InvalidRequestError: a negative revision.
            NamespaceNotServedError: the namespace is not one of ours.
        """
        self._require_served(namespace)
        if after_revision < 0:
            raise InvalidRequestError("after_revision cannot be negative")
        seen = after_revision
        if seen == 0 or seen > await self._store.revision(namespace):
            yield SnapshotStart()
            seen = 0
        bookmark_due = time.monotonic()
        caught_up = False
        while not self._changes.closed:
            known = self._changes.newest(namespace)
            versions = await self._store.changed(
                namespace, after_revision=seen, limit=_WATCH_PAGE, max_bytes=MAX_PAGE_BYTES
            )
            for version in versions:
                yield version
                seen = version.revision
            caught_up = caught_up or not versions
            # Before the first bookmark comes the whole snapshot.
            if caught_up and time.monotonic() >= bookmark_due:
                yield Bookmark(seen)
                bookmark_due = time.monotonic() + self._bookmark_interval
            if not versions:
                await self._changes.wait(
                    namespace, beyond=max(seen, known), timeout_s=bookmark_due - time.monotonic()
                )

    def _define(self, document: bytes) -> ActivityDefinition:
        return validation.define(documents.read(document), namespaces=self._namespaces)

    def _require_served(self, namespace: str) -> None:
        if namespace not in self._namespaces:
            raise NamespaceNotServedError(namespace, self._namespaces)


def _usable_reason(reason: str) -> str:
    reason = reason.strip()
    if not reason:
        raise InvalidRequestError("a reason is required: say why, in a few words")
    if len(reason) > MAX_REASON:
        raise InvalidRequestError(f"the reason is longer than {MAX_REASON} characters")
    if not reason.replace("\n", " ").isprintable():
        raise InvalidRequestError("the reason holds characters that cannot be printed")
    return reason


def _outcome(
    definition: ActivityDefinition,
    active: DefinitionVersion | None,
    *,
    actor: str,
    reason: str,
    etag: str,
    dry: bool,
) -> Applied:
    if etag and (active is None or active.etag != etag):
        raise EtagMismatchError(definition.metadata.id, active.version if active else None)
    candidate = versioning.candidate(definition, active=active, actor=actor, reason=reason)
    if active is not None and active.content_sha256 == candidate.content_sha256:
        return Applied(active, changed=False)
    return Applied(candidate, changed=not dry)


async def _replayed(change: DefinitionChange, earlier: Request, request_sha256: str) -> Applied:
    if earlier.sha256 != request_sha256:
        raise RequestIdReusedError(earlier.request_id)
    version = await change.version(earlier.definition_id, earlier.version)
    if version is None:
        raise DefinitionNotFoundError("", earlier.definition_id, earlier.version)
    return Applied(version, changed=earlier.changed)


def _write_token(definition_id: str) -> str:
    return base64.urlsafe_b64encode(definition_id.encode()).decode().rstrip("=")


def _read_token(token: str) -> str:
    if not token:
        return ""
    try:
        after_id = base64.b64decode(
            token + "=" * (-len(token) % 4), altchars=b"-_", validate=True
        ).decode("ascii")
    except (binascii.Error, ValueError):
        after_id = ""
    if not re.fullmatch(identifiers.DEFINITION_ID_PATTERN, after_id):
        raise InvalidRequestError("page_token is not one that was given out here")
    return after_id
