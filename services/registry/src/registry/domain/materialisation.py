"""What a definition's schedules ask for, and how far that is from what is there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from contracts import identifiers
from contracts.definitions import Schedule
from registry.domain.versioning import DefinitionVersion
from rules import schedules as evaluation
from rules.schedules import WakeSpec


@dataclass(frozen=True, slots=True)
class Desired:
    """The schedules that are to count from `effective_from` on; none is an answer too."""

    namespace: str
    definition_id: str
    version: int
    schedules: Mapping[str, Schedule]
    task_queue: str
    effective_from: datetime
    enabled: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Wakeup:
    """When to wake a definition; two with one fingerprint are the same."""

    namespace: str
    definition_id: str
    specs: Sequence[WakeSpec]
    enabled: bool
    fingerprint: str


def desired(version: DefinitionVersion) -> Desired:
    """Return what an active version asks for.

    Raises:
        ValueError: it was never applied.
    """
    if version.applied_at is None:
        raise ValueError(f"{version.definition_id} was not applied")
    definition = version.load()
    return Desired(
        namespace=version.namespace,
        definition_id=version.definition_id,
        version=version.version,
        schedules=definition.schedules,
        task_queue=definition.spec.task_queue,
        effective_from=version.applied_at,
        enabled=version.enabled,
        reason=version.reason,
    )


def wakeup(wanted: Desired) -> Wakeup | None:
    """Return when to wake a definition, None when nothing of it is ever due by a clock."""
    if not wanted.schedules:
        return None
    specs = [evaluation.wake_spec(wanted.schedules[name]) for name in sorted(wanted.schedules)]
    return Wakeup(
        namespace=wanted.namespace,
        definition_id=wanted.definition_id,
        specs=specs,
        enabled=wanted.enabled,
        fingerprint=_fingerprint(wanted, specs),
    )


def overdue(wanted: Desired, *, now: datetime) -> bool:
    """Say whether something was due before now: a clock that is set now would not wake for it."""
    return wanted.enabled and any(
        (due := evaluation.next_due(schedule, wanted.effective_from)) is not None and due <= now
        for schedule in wanted.schedules.values()
    )


def _fingerprint(wanted: Desired, specs: Sequence[WakeSpec]) -> str:
    # To be raised when what is written from the same wake-up changes.
    layout = 1
    return identifiers.short_hash(
        json.dumps([layout, wanted.version, wanted.enabled]), *(repr(spec) for spec in specs)
    )
