"""What a set of documents would come to: everything that is wrong with it, or what it would do.

A proposal is made from a view of the present state and holds for every state of which `rests_on`
says the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts.catalogue import Catalogue
from contracts.definitions import ActivityDefinition
from contracts.eventtypes import EventType
from contracts.kinds import Resource as Loaded
from contracts.resources import ResourceKind
from registry.domain import dependencies, event_types, planning, validation
from registry.domain.differences import Difference, differences
from registry.domain.due_changes import DueChange, due_changes
from registry.domain.heads import View
from registry.domain.planning import Action, Plan, Prune
from registry.domain.resources import Resource
from registry.domain.validation import Reading
from registry.errors import Located, ResourceInUseError
from rules.checks import Surroundings


@dataclass(frozen=True, slots=True)
class Consequences:
    """What a step means to people."""

    differences: Sequence[Difference]
    schedules: Sequence[DueChange]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan with its consequences, step by step; without a plan the problems say why."""

    plan: Plan | None
    consequences: tuple[Consequences, ...]
    problems: tuple[Located, ...]


def rests_on(view: View, reading: Reading, prune: Prune | None) -> object:
    """Return what a proposal depends on: it is the same for two views that agree on that."""
    heads = [view.get(parsed.key) for parsed in reading.parsed]
    changes_types = any(parsed.key.kind is ResourceKind.EVENT_TYPE for parsed in reading.parsed)
    return (
        [head and head.revision for head in heads],
        view.newest[ResourceKind.EVENT_TYPE],
        view.newest[ResourceKind.ACTIVITY_DEFINITION] if changes_types else None,
        view.revision if prune is not None else None,
    )


def propose(
    reading: Reading,
    view: View,
    *,
    namespace: str,
    past: Mapping[str, Mapping[int, Mapping[str, Any]]],
    catalogue: Catalogue | None,
    prune: Prune | None,
    now: datetime,
) -> Proposal:
    """Return what applying a set to the state that is viewed would come to.

    `past` holds every schema that the event types of the set ever had.

    Raises:
        EtagMismatchError: a document's etag is not its resource's.
        ResourceInUseError: an event type that would be pruned is listened to.
    """
    # What a set would prune is known only if all of it could be read.
    pruned = [] if reading.problems else _prune_scope(reading, view, prune)
    surroundings = validation.surroundings(
        reading,
        event_types=_by_id(view.in_use(ResourceKind.EVENT_TYPE)),
        catalogue=catalogue,
        pruned=[resource.key for resource in pruned],
    )
    problems = [
        *validation.check(reading, surroundings),
        *_schema_problems(reading, view, past),
    ]
    if not problems:
        problems += _listener_problems(reading, view, pruned, surroundings)
    if problems:
        return Proposal(None, (), tuple(_in_order(reading, problems)[: validation.MAX_PROBLEMS]))
    plan = planning.plan(
        reading.parsed,
        {parsed.key: head for parsed in reading.parsed if (head := view.get(parsed.key))},
        namespace=namespace,
        pruned=pruned,
    )
    _refuse_used(reading, view, pruned)
    after: list[Loaded | None] = [parsed.resource for parsed in reading.parsed]
    after += [None] * len(pruned)
    return Proposal(
        plan,
        tuple(
            consequences(step.action, step.in_use, loaded, now=now)
            for step, loaded in zip(plan.steps, after, strict=True)
        ),
        (),
    )


def consequences(
    action: Action, before: Resource | None, after: Loaded | None, *, now: datetime
) -> Consequences:
    """Return what a step means: `before` is what was in use, `after` what will be."""
    if action is Action.UNCHANGED:
        return Consequences((), ())
    loaded = None if before is None else before.load()
    return Consequences(
        differences(loaded, after),
        due_changes(_definition(loaded), _definition(after), now=now),
    )


def stored_problems(stored: Sequence[Resource], surroundings: Surroundings) -> list[Located]:
    """Return what would be wrong with what was applied before, each checked again."""
    problems: list[Located] = []
    for resource in stored:
        problems += validation.check_stored(resource, surroundings)
        if len(problems) >= validation.MAX_PROBLEMS:
            break
    return problems


def _prune_scope(reading: Reading, view: View, prune: Prune | None) -> list[Resource]:
    if prune is None:
        return []
    in_use = [resource for kind in ResourceKind for resource in view.in_use(kind)]
    return planning.prune_scope(prune, in_use, keep={parsed.key for parsed in reading.parsed})


def _schema_problems(
    reading: Reading, view: View, past: Mapping[str, Mapping[int, Mapping[str, Any]]]
) -> list[Located]:
    problems: list[Located] = []
    for parsed in reading.parsed:
        if parsed.key.kind is ResourceKind.EVENT_TYPE:
            head = view.get(parsed.key)
            current = head.load() if head is not None and head.content else None
            problems += event_types.history_problems(
                parsed,
                past=past.get(parsed.key.resource_id, {}),
                current=current if isinstance(current, EventType) else None,
            )
    return problems


def _listener_problems(
    reading: Reading,
    view: View,
    pruned: Sequence[Resource],
    surroundings: Surroundings,
) -> list[Located]:
    """Return what would be wrong with the stored definitions that the set leaves alone."""
    changed = [
        parsed.key.resource_id
        for parsed in reading.parsed
        if parsed.key.kind is ResourceKind.EVENT_TYPE
        and (head := view.get(parsed.key)) is not None
        and head.content not in (b"", parsed.content)
    ]
    return stored_problems(_left_alone(reading, view, pruned, changed), surroundings)


def _refuse_used(reading: Reading, view: View, pruned: Sequence[Resource]) -> None:
    for resource in pruned:
        if resource.key.kind is ResourceKind.EVENT_TYPE:
            event_type = resource.key.resource_id
            users = _left_alone(reading, view, pruned, [event_type])
            if users:
                raise ResourceInUseError(event_type, sorted(u.key.resource_id for u in users))


def _left_alone(
    reading: Reading, view: View, pruned: Sequence[Resource], event_types_: Sequence[str]
) -> list[Resource]:
    if not event_types_:
        return []
    touched = {parsed.key for parsed in reading.parsed} | {resource.key for resource in pruned}
    definitions = view.in_use(ResourceKind.ACTIVITY_DEFINITION)
    return [
        resource
        for resource in dependencies.listeners(definitions, event_types_)
        if resource.key not in touched
    ]


def _in_order(reading: Reading, problems: Sequence[Located]) -> list[Located]:
    place = {draft.source.name: number for number, draft in enumerate(reading.drafts)}
    return sorted(
        problems,
        key=lambda problem: (place.get(problem.document, -1), problem.line, problem.column),
    )


def _by_id(resources: Sequence[Resource]) -> dict[str, Resource]:
    return {resource.key.resource_id: resource for resource in resources}


def _definition(loaded: Loaded | None) -> ActivityDefinition | None:
    return loaded if isinstance(loaded, ActivityDefinition) else None
