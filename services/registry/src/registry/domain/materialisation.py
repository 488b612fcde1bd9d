"""What a definition's schedules ask for, and how far that is from what is there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import ValidationError

from contracts import identifiers
from contracts.definitions import ActivityDefinition, Schedule
from contracts.resources import ChangeKind, HeldEvents, ResourceState
from registry.domain.resources import Change, Resource
from registry.errors import MaterialisationError
from rules import schedules as evaluation
from rules import wakeups
from rules.wakeups import WakeSpec

LAYOUT = 4
"""To be raised when what is written from the same wake-up changes, or how it is sealed."""


class Tampered(StrEnum):
    """What stands where a fingerprint would, when a clock is no longer as it was written."""

    PAUSED = "paused"
    EDITED = "edited"


@dataclass(frozen=True, slots=True)
class Desired:
    """The schedules that are to count from `effective_from` on; none is an answer too.

    `resumed` says that it was enabled by its last change: what was due before waits to be judged.
    """

    namespace: str
    definition_id: str
    version: int
    revision: int
    schedules: Mapping[str, Schedule]
    task_queue: str
    effective_from: datetime
    enabled: bool
    resumed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """What becomes of the events that a definition held before a revision that enabled it."""

    namespace: str
    definition_id: str
    revision: int
    held: HeldEvents
    actor: str
    reason: str


def release(namespace: str, enabled: Change) -> Release | None:
    """Return what a change says of held events, None when it says nothing."""
    if enabled.held is None:
        return None
    return Release(
        namespace=namespace,
        definition_id=enabled.key.resource_id,
        revision=enabled.revision,
        held=enabled.held,
        actor=enabled.actor,
        reason=enabled.reason,
    )


@dataclass(frozen=True, slots=True)
class Wakeup:
    """When to wake a definition; two with one fingerprint are the same."""

    namespace: str
    definition_id: str
    spec: WakeSpec
    enabled: bool
    fingerprint: str


def desired(resource: Resource) -> Desired:
    """Return what a definition asks for as of its last change: of a retired one, no schedules.

    Raises:
        MaterialisationError: this release cannot read it.
    """
    try:
        definition = resource.load()
    except ValidationError as exc:
        raise MaterialisationError(
            f"version {resource.version} cannot be read by this release"
        ) from exc
    if not isinstance(definition, ActivityDefinition):
        raise MaterialisationError(f"a {resource.key.kind} has no schedules")
    retired = resource.state is ResourceState.RETIRED
    return Desired(
        namespace=resource.namespace,
        definition_id=resource.key.resource_id,
        version=resource.version,
        revision=resource.revision,
        schedules={} if retired else definition.schedules,
        task_queue=definition.spec.task_queue,
        effective_from=resource.latest.at,
        enabled=resource.state is ResourceState.ACTIVE,
        resumed=resource.latest.change is ChangeKind.ENABLED,
        reason=resource.latest.reason,
    )


def wakeup(wanted: Desired) -> Wakeup | None:
    """Return when to wake a definition, None when nothing of it is ever due by a clock."""
    if not wanted.schedules:
        return None
    spec = wakeups.wake_spec(*(wanted.schedules[name] for name in sorted(wanted.schedules)))
    return Wakeup(
        namespace=wanted.namespace,
        definition_id=wanted.definition_id,
        spec=spec,
        enabled=wanted.enabled,
        fingerprint=_fingerprint(wanted, spec),
    )


def overdue(wanted: Desired, *, now: datetime) -> bool:
    """Say whether something may have been due before now: a clock set now would not wake for it."""
    if not wanted.enabled:
        return False
    if wanted.resumed:
        return True
    due = evaluation.next_due_of(wanted.schedules.values(), wanted.effective_from)
    return due is not None and due <= now


_WAITS = " does not answer"


def waits_for(neighbour: str) -> str:
    """Return what is recorded of a definition while a neighbour is away."""
    return f"{neighbour}{_WAITS}"


def is_waiting(error: str) -> bool:
    """Say whether a recorded error is a neighbour's absence: what passes by itself."""
    return error.endswith(_WAITS)


def _fingerprint(wanted: Desired, spec: WakeSpec) -> str:
    return identifiers.short_hash(json.dumps([LAYOUT, wanted.version, wanted.enabled]), repr(spec))
