"""Whose instance an event is, where a definition is stateful."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.definitions import ActivityDefinition, Mode
from rules import expressions
from rules.errors import ExpressionError
from rules.expressions import Expression

MAX_KEY_LENGTH = 1024
_VARIABLES = frozenset({"event"})


@dataclass(frozen=True, slots=True)
class Correlation:
    """The compiled `correlate` of each event trigger. `problem` says why one is not there."""

    keys: Mapping[str, Expression] = field(default_factory=dict)
    problem: str | None = None


def correlation(definition: ActivityDefinition) -> Correlation | None:
    """Return how a stateful definition finds the instance of an event, None for any other."""
    if definition.spec.mode is not Mode.STATEFUL:
        return None
    keys = {}
    try:
        for name, event in definition.events.items():
            if event.correlate is None:
                return Correlation(problem=f"trigger {name!r} has no correlate")
            keys[name] = expressions.compile(event.correlate, variables=_VARIABLES)
    except ExpressionError as exc:
        return Correlation(problem=f"correlate does not compile: {exc}")
    return Correlation(keys)


def key(found: Correlation, names: Collection[str], document: Mapping[str, Any]) -> str:
    """Return the correlation key of an event, as the first of the matching triggers gives it.

    Raises:
        ExpressionError: it cannot be evaluated, or is neither a whole number nor a text of 1 to
            1024 characters.
    """
    if found.problem is not None:
        raise ExpressionError(found.problem)
    expression = next((found.keys[name] for name in names if name in found.keys), None)
    if expression is None:
        raise ExpressionError("no trigger of this version of the definition gives a key")
    value = expression.evaluate(expressions.inputs({"event": document}))
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ExpressionError("the correlation key is neither a text nor a whole number")
    text = str(value)
    if not 0 < len(text) <= MAX_KEY_LENGTH:
        raise ExpressionError(f"the correlation key has {len(text)} characters, not 1 to 1024")
    return text
