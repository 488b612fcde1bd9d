"""What became of a record: a decision for each candidate, and ranges of records without any.

Definitions that are no candidates are not told of: why they did not start is found by evaluating
again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts import canonical
from contracts.routing import MAX_EXPLANATION_LENGTH, RoutingOutcome
from contracts.triggers import Trigger
from router.domain import routing
from router.domain.instances import Address, Directory
from router.domain.records import Record
from router.domain.routing import Active, Candidate, Outcome
from router.domain.waiting import Wait
from rules.correlations import Correlation
from rules.expressions import Expression
from rules.syntax import Node

MAX_SEEN = 500
"""Characters that are told of the values a condition read, and of each value."""
MAX_SEEN_VALUE = 80
MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class Application:
    """What is to be applied to an instance: the canonical JSON of the trigger of a run."""

    address: Address
    trigger: bytes


@dataclass(frozen=True, slots=True)
class Decision:
    """What an event meant to one candidate: the clause that failed, and what was seen in its place.

    `run_id` is of the run that was started, or that a duplicate found; `wait` says how it waits,
    and `application` what waits for its turn in an instance.
    """

    definition: Active
    outcome: RoutingOutcome
    triggers: tuple[str, ...] = ()
    run_id: str = ""
    clause: str = ""
    seen: str = ""
    detail: str = ""
    wait: Wait | None = None
    application: Application | None = None


@dataclass(frozen=True, slots=True)
class RoutedEvent:
    """An accepted event with its decisions.

    `revision` is that of the definitions it was held against; `cause` is empty for a delivery by
    Kafka; `envelope` has its canonical bytes when a decision lets it wait.
    """

    record: Record
    source: str
    event_id: str
    type: str
    digest: str
    revision: int
    decisions: Sequence[Decision]
    cause: str = ""
    envelope: bytes = b""


@dataclass(slots=True)
class UnroutedRange:
    """Accepted records of one partition without a candidate: how many of [first, last]."""

    topic: str
    partition: int
    first: int
    last: int
    records: int
    revision: int


def application(directory: Directory, definition: Active, trigger: Trigger) -> Application:
    """Return what is to be applied to an instance of a stateful definition for one event.

    Raises:
        ExpressionError: the event has no correlation key.
        TransientError: it cannot be told now whose instance that is.
    """
    address = directory.address(
        definition.correlation or Correlation(problem="the definition is not stateful"),
        definition_id=definition.definition_id,
        task_queue=definition.task_queue,
        names=trigger.names,
        document=trigger.events[0].document(),
    )
    return Application(address, canonical.render(trigger))


def unstarted(candidate: Candidate, document: Mapping[str, Any]) -> Decision:
    """Return the decision of a candidate that starts nothing: disabled, filtered or errored."""
    definition = candidate.definition
    if candidate.outcome is Outcome.DISABLED:
        return Decision(definition, RoutingOutcome.DISABLED)
    if candidate.outcome is Outcome.ERRORED:
        return Decision(
            definition,
            RoutingOutcome.ERRORED,
            triggers=tuple(error.trigger for error in candidate.errors),
            detail=problem(candidate),
        )
    false = {filtered.trigger for filtered in candidate.filtered}
    conditions = [t.when for t in definition.triggers if t.name in false and t.when is not None]
    return Decision(
        definition,
        RoutingOutcome.FILTERED,
        triggers=tuple(filtered.trigger for filtered in candidate.filtered),
        clause="; ".join(condition.text for condition in conditions)[:MAX_EXPLANATION_LENGTH],
        seen="; ".join(seen(condition, document) for condition in conditions)[:MAX_SEEN],
    )


def waiting(candidate: Candidate, wait: Wait) -> Decision:
    """Return the decision of a candidate that waits."""
    return Decision(
        candidate.definition,
        RoutingOutcome(wait.reason),
        triggers=candidate.names,
        detail="; ".join(filter(None, (wait.detail, problem(candidate))))[:MAX_DETAIL],
        wait=wait,
    )


def listening(candidate: Candidate, document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the triggers that may match: all whose pattern does, if it is disabled.

    Whether they do so for good is looked at when it is enabled.
    """
    if candidate.outcome is not Outcome.DISABLED:
        return candidate.names
    return tuple(trigger.name for trigger in routing.listening(candidate.definition, document))


def problem(candidate: Candidate) -> str:
    """Return the errors of a candidate's triggers in a sentence, empty without any."""
    return "; ".join(f"trigger {e.trigger!r}: {e.message}" for e in candidate.errors)[:MAX_DETAIL]


def seen(expression: Expression, document: Mapping[str, Any]) -> str:
    """Return what a condition read of an event: `event.payload.amount = 5`, shortened."""
    parts = []
    for path in dict.fromkeys(_paths(expression.tree)):
        value: Any = document
        for name in path:
            value = value.get(name, ...) if isinstance(value, Mapping) else ...
        shown = "absent" if value is ... else json.dumps(value, ensure_ascii=False)
        if len(shown) > MAX_SEEN_VALUE:
            shown = f"{shown[:MAX_SEEN_VALUE]}…"
        parts.append(f"{'.'.join(('event', *path))} = {shown}")
    return ", ".join(parts)[:MAX_SEEN]


def _paths(node: Node) -> list[tuple[str, ...]]:
    """Return the longest chains of fields of `event` in a tree, in their order."""
    path = _path(node)
    if path:
        return [path]
    return [found for child in node.children for found in _paths(child)]


def _path(node: Node) -> tuple[str, ...] | None:
    if node.kind == "identifier":
        return () if node.name == "event" else None
    if node.kind != "select":
        return None
    inner = _path(node.children[0])
    return None if inner is None else (*inner, node.name)
