"""Says what an event means to a definition, clause by clause, without any effect.

Routing asks an index which definitions want an event, and never learns why the others do not. Here
one definition is asked, trigger by trigger, for whoever wants to know.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from contracts.routing import MAX_EXPLANATION_LENGTH
from router.domain import decisions
from router.domain.routing import Active, EventTrigger, Index
from rules import expressions, failures
from rules.errors import ExpressionError
from rules.expressions import Expression

MAX_EVALUATED = 100
"""Definitions that are evaluated for one event."""

_LEFT_OUT = "(left out: the event has sensitive fields)"


class TriggerOutcome(StrEnum):
    """What a trigger makes of an event."""

    MATCHED = "matched"
    FILTERED = "filtered"
    ERRORED = "errored"
    OTHER_TYPE = "other_type"


class DefinitionOutcome(StrEnum):
    """What an event means to a definition; disabled, whatever its triggers make of it."""

    MATCHED = "matched"
    ERRORED = "errored"
    DISABLED = "disabled"
    FILTERED = "filtered"
    NOT_LISTENING = "not_listening"


@dataclass(frozen=True, slots=True)
class TriggerEvaluation:
    """What one trigger makes of an event.

    `clause` is what failed, as its author wrote it: a field with the alternatives of its pattern,
    or the condition. `seen` is what was there instead; `detail` tells an error, or the other type.
    """

    name: str
    outcome: TriggerOutcome
    clause: str = ""
    seen: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an event means to one version of a definition."""

    definition: Active
    outcome: DefinitionOutcome
    triggers: tuple[TriggerEvaluation, ...]


def evaluate(definition: Active, event_type: str, document: Mapping[str, Any]) -> Evaluation:
    """Hold an event, given as its document, against every trigger of a definition."""
    triggers = tuple(_trigger(one, event_type, document) for one in definition.triggers)
    outcomes = {trigger.outcome for trigger in triggers}
    if outcomes <= {TriggerOutcome.OTHER_TYPE}:
        outcome = DefinitionOutcome.NOT_LISTENING
    elif definition.disabled:
        outcome = DefinitionOutcome.DISABLED
    elif TriggerOutcome.MATCHED in outcomes:
        outcome = DefinitionOutcome.MATCHED
    elif TriggerOutcome.ERRORED in outcomes:
        outcome = DefinitionOutcome.ERRORED
    else:
        outcome = DefinitionOutcome.FILTERED
    return Evaluation(definition, outcome, triggers)


def hushed(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation without what was seen: of an event that has sensitive fields."""
    return replace(
        evaluation,
        triggers=tuple(
            replace(
                one,
                seen=one.seen and _LEFT_OUT,
                detail=_LEFT_OUT if one.outcome is TriggerOutcome.ERRORED else one.detail,
            )
            for one in evaluation.triggers
        ),
    )


def _trigger(
    trigger: EventTrigger, event_type: str, document: Mapping[str, Any]
) -> TriggerEvaluation:
    name = trigger.name
    if trigger.event_type != event_type:
        return TriggerEvaluation(
            name, TriggerOutcome.OTHER_TYPE, detail=f"it listens to {trigger.event_type!r}"
        )
    if trigger.problem is not None:
        return TriggerEvaluation(
            name, TriggerOutcome.ERRORED, detail=f"it does not compile: {trigger.problem}"
        )
    if trigger.pattern is not None:
        failure = failures.first(trigger.pattern, document)
        if failure is not None:
            return TriggerEvaluation(
                name,
                TriggerOutcome.FILTERED,
                clause=f"{failure.path}: {failure.wanted}",
                seen=failure.seen,
            )
    return _condition(name, trigger.when, document)


def _condition(
    name: str, when: Expression | None, document: Mapping[str, Any]
) -> TriggerEvaluation:
    if when is None:
        return TriggerEvaluation(name, TriggerOutcome.MATCHED)
    clause, seen = when.text[:MAX_EXPLANATION_LENGTH], decisions.seen(when, document)
    try:
        holds = when.evaluate_bool(expressions.inputs({"event": document}))
    except ExpressionError as exc:
        detail = str(exc)[: decisions.MAX_DETAIL]
        return TriggerEvaluation(name, TriggerOutcome.ERRORED, clause, seen, detail)
    if holds:
        return TriggerEvaluation(name, TriggerOutcome.MATCHED)
    return TriggerEvaluation(name, TriggerOutcome.FILTERED, clause, seen)


def listening(definitions: Iterable[Active], event_type: str) -> list[Active]:
    """Return the definitions with a trigger for events of a type."""
    return [
        active
        for active in definitions
        if any(trigger.event_type == event_type for trigger in active.triggers)
    ]


def wanting_first(
    definitions: Sequence[Active], index: Index, event_type: str, document: Mapping[str, Any]
) -> list[Active]:
    """Return definitions by id, those whose pattern matches now before the others."""
    wanting = {one.definition.definition_id for one in index.candidates(event_type, document)}
    return sorted(
        definitions,
        key=lambda active: (active.definition_id not in wanting, active.definition_id),
    )
