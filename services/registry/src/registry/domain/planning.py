"""What applying a set of documents would do: one step for each resource, and a name for it all.

A plan follows from the documents and the present state alone. Two plans have one hash when they
would do the same to the same state.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from contracts import canonical
from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.domain import resources
from registry.domain.resources import Key, Resource
from registry.domain.validation import Parsed
from registry.errors import EtagMismatchError


class Action(StrEnum):
    """What is done to a resource."""

    UNCHANGED = "unchanged"
    CREATE = "create"
    UPDATE = "update"
    RESTORE = "restore"
    PRUNE = "prune"


@dataclass(frozen=True, slots=True)
class Prune:
    """Retire what is not among the documents; with an owner, only what that team owns."""

    owner: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One resource of a plan: `before` is what it is now, `content` what it shall be.

    A pruned resource has neither a document nor content.
    """

    action: Action
    key: Key
    document: str
    content: bytes
    content_sha256: str
    before: Resource | None

    @property
    def in_use(self) -> Resource | None:
        """The resource as it is used now: None when it does not exist or is retired."""
        if self.before is None or self.before.state is ResourceState.RETIRED:
            return None
        return self.before

    def would_be(self, namespace: str, *, at: datetime, actor: str, reason: str) -> Resource:
        """Return the resource after this step; revision 0 says that it was not carried out."""
        if self.action is Action.UNCHANGED and self.before is not None:
            return self.before
        if self.action is Action.PRUNE and self.before is not None:
            return resources.altered(
                self.before,
                ChangeKind.RETIRED,
                state=ResourceState.RETIRED,
                revision=0,
                at=at,
                actor=actor,
                reason=reason,
            )
        return resources.applied(
            self.before,
            namespace=namespace,
            key=self.key,
            content=self.content,
            revision=0,
            at=at,
            actor=actor,
            reason=reason,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in the order of the documents, then what is pruned by kind and id."""

    steps: tuple[Step, ...]
    sha256: str

    @property
    def changes(self) -> list[Step]:
        """The steps that change something, in an order in which each finds what it refers to.

        Event types come before those that name them, and go after them.
        """
        rank = {kind: place for place, kind in enumerate(_REFERRED_TO_FIRST)}
        changes = [step for step in self.steps if step.action is not Action.UNCHANGED]
        stored = [step for step in changes if step.action is not Action.PRUNE]
        pruned = [step for step in changes if step.action is Action.PRUNE]
        return [
            *sorted(stored, key=lambda step: rank[step.key.kind]),
            *sorted(pruned, key=lambda step: -rank[step.key.kind]),
        ]

    @property
    def pruned(self) -> list[Step]:
        """The steps that retire what is not among the documents."""
        return [step for step in self.steps if step.action is Action.PRUNE]

    @property
    def growth(self) -> int:
        """By how many there would be more resources in use."""
        more = sum(step.action in (Action.CREATE, Action.RESTORE) for step in self.steps)
        return more - len(self.pruned)


_REFERRED_TO_FIRST = (
    ResourceKind.EVENT_TYPE,
    ResourceKind.PRODUCER,
    ResourceKind.ACTIVITY_DEFINITION,
)


def plan(
    parsed: Sequence[Parsed],
    current: Mapping[Key, Resource],
    *,
    namespace: str,
    pruned: Collection[Resource] = (),
) -> Plan:
    """Return what applying `parsed` to the `current` resources does, and pruning `pruned`.

    Raises:
        EtagMismatchError: a document's etag is not its resource's.
    """
    steps = [_step(item, current.get(item.key)) for item in parsed]
    steps += [
        Step(Action.PRUNE, resource.key, "", b"", "", resource)
        for resource in sorted(pruned, key=lambda resource: resource.key)
    ]
    return Plan(tuple(steps), _sha256(namespace, steps))


def prune_scope(
    prune: Prune | None, in_use: Collection[Resource], *, keep: Collection[Key]
) -> list[Resource]:
    """Return what pruning retires of the resources `in_use`: what is not to be kept."""
    if prune is None:
        return []
    return [
        resource
        for resource in in_use
        if resource.key not in keep and (not prune.owner or resource.owner == prune.owner)
    ]


def _step(parsed: Parsed, before: Resource | None) -> Step:
    etag = parsed.source.etag
    if etag and (before is None or before.etag != etag):
        raise EtagMismatchError(parsed.key.resource_id, _told(before))
    sha256 = canonical.digest(parsed.content)
    if before is None:
        action = Action.CREATE
    elif before.state is ResourceState.RETIRED:
        action = Action.RESTORE
    elif before.content_sha256 == sha256:
        action = Action.UNCHANGED
    else:
        action = Action.UPDATE
    return Step(action, parsed.key, parsed.source.name, parsed.content, sha256, before)


def _told(before: Resource | None) -> str:
    return "it does not exist" if before is None else current_state(before)


def current_state(resource: Resource) -> str:
    """Return what is current, for whoever saw something else."""
    latest = resource.latest
    return f"version {latest.version} is current, {latest.change} by {latest.actor}"


def _sha256(namespace: str, steps: Sequence[Step]) -> str:
    done = sorted(
        [
            step.key.kind,
            step.key.resource_id,
            step.action,
            step.content_sha256,
            "" if step.before is None else step.before.etag,
        ]
        for step in steps
    )
    return canonical.digest(canonical.render([namespace, done]))
