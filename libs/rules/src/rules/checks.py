"""Everything that can be found wrong in a document before it is kept, all at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contracts import names, resources, sensitive
from contracts.catalogue import Catalogue
from contracts.definitions import ActivityDefinition
from contracts.eventtypes import EventType
from contracts.producers import Producer
from rules import (
    carried_out,
    context_checks,
    expressions,
    instance_checks,
    jsonschemas,
    kinds,
    subschemas,
    trigger_checks,
)
from rules.environment import Environment
from rules.expression_checks import ExpressionChecks
from rules.problems import Problem
from rules.rule_checks import RuleChecks

__all__ = ["Problem", "Surroundings", "event_type_problems", "problems", "producer_problems"]


@dataclass(frozen=True)
class Surroundings:
    """What a resource is checked against, besides itself; None is not known, and not checked.

    `event_types` holds the payload's JSON Schema by type and schema version. Backbone's own types
    are known without it.
    """

    event_types: Mapping[str, Mapping[int, Mapping[str, Any]]] | None = None
    catalogue: Catalogue | None = None


_UNKNOWN = Surroundings()


def problems(
    definition: ActivityDefinition, surroundings: Surroundings = _UNKNOWN
) -> list[Problem]:
    """Return everything that is wrong with a definition, in the order of its text.

    A definition without problems can still fail to decide: what the context holds is known only
    when it runs.
    """
    catalogue = surroundings.catalogue
    environment = Environment(definition, event_types=surroundings.event_types, catalogue=catalogue)
    checks, schemas = ExpressionChecks(), jsonschemas.Checker()
    trigger_checks.check(
        definition, environment, checks, schemas, event_types=surroundings.event_types
    )
    instance_checks.check(definition, environment, checks)
    context_checks.check(definition, environment, checks, catalogue=catalogue)
    RuleChecks(definition, environment, checks, schemas, catalogue=catalogue).check()
    found = [*checks.problems, *carried_out.not_carried_out(definition)]
    return sorted(found, key=lambda problem: _place(problem.path))


_SECTIONS = (
    *("mode", "triggers", "instance", "whileDisabled", "onFailure", "limits", "context", "rules"),
)


def _place(path: str) -> tuple[int, int]:
    section, _, rest = path.removeprefix("spec.").partition("[")
    index, closed, _ = rest.partition("]")
    name = section.partition(".")[0]
    return (
        _SECTIONS.index(name) if name in _SECTIONS else len(_SECTIONS),
        int(index) if closed and index.isdecimal() else 0,
    )


def event_type_problems(event_type: EventType) -> list[Problem]:
    """Return everything that is wrong with an event type, in the order of its text."""
    return list(_event_type(event_type))


def _event_type(event_type: EventType) -> Iterator[Problem]:
    if event_type.metadata.id.startswith(names.RESERVED_PREFIX):
        yield Problem("metadata.id", _RESERVED)
    checker = jsonschemas.Checker()
    for i, schema in enumerate(event_type.spec.schemas):
        path = f"spec.schemas[{i}].schema"
        yield from checker.problems(schema.schema_, path=path, root_object=False)
        yield from _marks(event_type, schema.schema_, path)


def _marks(event_type: EventType, schema: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Tell what would be taken for sensitive and kept in the clear all the same."""
    reached = {id(part) for _, part in sensitive.marked(schema)}
    told = False
    for at, part in subschemas.Document(schema).parts():
        if not isinstance(part, Mapping) or sensitive.KEYWORD not in part:
            continue
        here = f"{path}{at}.{sensitive.KEYWORD}"
        if not isinstance(part[sensitive.KEYWORD], bool):
            yield Problem(here, f"expected true, found {kinds.of(part[sensitive.KEYWORD])}")
        elif part[sensitive.KEYWORD] and id(part) not in reached:
            yield Problem(
                here,
                "only a field is sensitive that properties and items lead to, from the whole "
                "payload: mark it there, or the field that holds it",
            )
        elif part[sensitive.KEYWORD] and event_type.spec.subject is None and not told:
            told = True
            yield Problem(
                "spec.subject",
                "missing: say whose the sensitive fields are, by subject or by a field of the "
                "payload as payload.customer_id",
            )


def producer_problems(producer: Producer, surroundings: Surroundings = _UNKNOWN) -> list[Problem]:
    """Return everything that is wrong with a producer, in the order of its text."""
    return list(_producer(producer, surroundings))


def _producer(producer: Producer, surroundings: Surroundings) -> Iterator[Problem]:
    for i, pattern in enumerate(producer.spec.types):
        path = f"spec.types[{i}]"
        if pattern.startswith(names.RESERVED_PREFIX):
            yield Problem(path, _RESERVED)
        elif surroundings.event_types is not None:
            known = surroundings.event_types
            if not any(resources.matches(pattern, event_type) for event_type in known):
                yield Problem(path, _unmatched(pattern, known))


_RESERVED = f"types that begin with {names.RESERVED_PREFIX} are Backbone's own; choose another name"


def _unmatched(pattern: str, known: Mapping[str, Any]) -> str:
    if not pattern.endswith("*"):
        return expressions.did_you_mean(pattern, list(known), "event type")
    # What a pattern begins with is compared with beginnings of the same length.
    begins = {event_type[: len(pattern) - 1] for event_type in known}
    near = expressions.did_you_mean(pattern[:-1], begins, "beginning")
    _, meant, name = near.partition("did you mean '")
    way = f"did you mean '{name[:-2]}*'?" if meant else "apply the EventType that it stands for"
    return f"no registered event type matches {pattern!r}; {way}"
