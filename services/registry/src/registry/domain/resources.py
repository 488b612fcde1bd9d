"""How a resource changes: versions count from 1, and what was stored is never rewritten."""

import functools
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from contracts import canonical, identifiers, kinds
from contracts.resources import ChangeKind, HeldEvents, ResourceKind, ResourceState


class Key(NamedTuple):
    """What identifies a resource within its namespace."""

    kind: ResourceKind
    resource_id: str


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a resource: `version` and `state` are those after it.

    `held` says what becomes of events that were held until then, if it says anything.
    """

    revision: int
    key: Key
    change: ChangeKind
    version: int
    state: ResourceState
    at: datetime
    actor: str
    reason: str
    held: HeldEvents | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """One immutable version of a resource, with the state that the resource is in.

    `applied` is the change that stored this version, `latest` the last one of the resource, which
    has `versions` versions; `etag` changes with every change of the resource.
    """

    namespace: str
    key: Key
    version: int
    content: bytes
    content_sha256: str
    applied: Change
    latest: Change
    versions: int
    etag: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once, as every reader is told it: it would be the most expensive part of an answer.
        object.__setattr__(self, "etag", etag(self.namespace, self.key, self.revision))

    @property
    def revision(self) -> int:
        """The revision of the resource's last change."""
        return self.latest.revision

    @property
    def state(self) -> ResourceState:
        """The state that the resource is in."""
        return self.latest.state

    @property
    def owner(self) -> str:
        """The team that answers for it, by what `content` says."""
        return str(json.loads(self.content)["metadata"]["owner"])

    def load(self) -> kinds.Resource:
        """Return the definition, event type or producer that `content` holds."""
        return _load(self.key.kind, self.content)


# Event types are looked at by every apply, each time the same few.
@functools.lru_cache(maxsize=2048)
def _load(kind: ResourceKind, content: bytes) -> kinds.Resource:
    return kinds.load(kind, content)


def etag(namespace: str, key: Key, revision: int) -> str:
    """Return the etag of a resource as of `revision`: as unique as the revision is."""
    return identifiers.short_hash(namespace, key.kind, key.resource_id, str(revision))


def change_time(newest: datetime | None, *, now: datetime) -> datetime:
    """Return the time of the change after the namespace's newest one.

    It is later than that one's, even if the clock was set back: times rise with revisions, so that
    the state at a time is the state at a revision, of a set of changes all or nothing.
    """
    if newest is None:
        return now
    return max(now, newest + timedelta(microseconds=1))


def applied(
    before: Resource | None,
    *,
    namespace: str,
    key: Key,
    content: bytes,
    revision: int,
    at: datetime,
    actor: str,
    reason: str,
) -> Resource:
    """Return the version after those of `before`, which is the current one from then on.

    A retired resource is active again; a disabled one stays as it is.
    """
    version = 1 if before is None else before.versions + 1
    state = ResourceState.ACTIVE
    if before is not None and before.state is ResourceState.DISABLED:
        state = before.state
    change = Change(revision, key, ChangeKind.APPLIED, version, state, at, actor, reason)
    return Resource(
        namespace=namespace,
        key=key,
        version=version,
        content=content,
        content_sha256=canonical.digest(content),
        applied=change,
        latest=change,
        versions=version,
    )


def altered(
    target: Resource,
    change: ChangeKind,
    *,
    state: ResourceState,
    revision: int,
    at: datetime,
    actor: str,
    reason: str,
    held: HeldEvents | None = None,
) -> Resource:
    """Return `target` as the current version after a change that stores none."""
    latest = Change(revision, target.key, change, target.version, state, at, actor, reason, held)
    return replace(target, latest=latest)
