"""What the use cases answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.domain.differences import Difference
from registry.domain.due_changes import DueChange
from registry.domain.planning import Action
from registry.domain.resources import Change, Resource
from registry.errors import Located


@dataclass(frozen=True, slots=True)
class ResultRow:
    """What applying came to for one resource, which is as it is afterwards, or would be.

    `document` is empty for what was pruned.
    """

    document: str
    action: Action
    resource: Resource
    differences: Sequence[Difference]
    schedules: Sequence[DueChange]


@dataclass(frozen=True, slots=True)
class ApplyOutcome:
    """What applying a set came to: results in the order of the documents, then what was pruned.

    Where there are problems, which only a request that validates returns, there are no results.
    """

    results: Sequence[ResultRow]
    problems: Sequence[Located]
    plan_sha256: str
    revision: int


@dataclass(frozen=True, slots=True)
class Altered:
    """A resource after a change; `changed` is False when it was so already."""

    resource: Resource
    changed: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some resources; `next_token` is empty on the last page."""

    resources: Sequence[Resource]
    next_token: str


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some changes, newest first; `next_token` is empty on the last page."""

    changes: Sequence[Change]
    next_token: str


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs in meaning between two versions; from version 0 everything is new."""

    from_version: int
    to_version: int
    differences: Sequence[Difference]


@dataclass(frozen=True, slots=True)
class SnapshotStart:
    """All resources in use follow: what was known before is to be forgotten."""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to this revision has been told."""

    revision: int


WatchItem = Resource | SnapshotStart | Bookmark
