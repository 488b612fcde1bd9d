"""Expressions of a definition in a decision: what is wrong with one fails it, with its path."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from contracts import sensitive
from rules import expressions
from rules.errors import DecisionError, ExpressionError, SensitiveUnknownError
from rules.expressions import Expression, Inputs


def compiled(text: str, variables: Collection[str], rule: str | None, path: str) -> Expression:
    """Compile an expression of a rule, or of the definition itself.

    Raises:
        DecisionError: it does not compile.
    """
    try:
        return expressions.compile(text, variables=variables)
    except ExpressionError as exc:
        raise DecisionError(rule, path, str(exc)) from exc


def value(expression: Expression, known: Inputs, rule: str | None, path: str) -> Any:
    """Return what an expression gives.

    Raises:
        DecisionError: it gives an error.
    """
    try:
        return expression.evaluate(known)
    except ExpressionError as exc:
        raise DecisionError(rule, path, str(exc)) from exc


def truth(expression: Expression, known: Inputs, rule: str | None, path: str) -> bool:
    """Return whether a condition holds.

    Raises:
        DecisionError: it gives an error, or something else.
    """
    try:
        return expression.evaluate_bool(known)
    except ExpressionError as exc:
        raise DecisionError(rule, path, str(exc)) from exc


@dataclass(frozen=True)
class Views:
    """What expressions read, twice: with the values of sensitive fields, and as it is kept.

    Conditions read `plain`. What is written is made from `kept`, so that only references get
    there; it has to come to the same. Where nothing is sensitive, both are one.
    """

    plain: Inputs
    kept: Inputs
    revealed: Mapping[str, Any]

    @property
    def differ(self) -> bool:
        """Whether anything is sensitive."""
        return self.plain is not self.kept

    def also(self, name: str, plain: Any, kept: Any) -> "Views":
        """Return the views with a further variable."""
        known = Inputs({**self.plain, name: plain})
        return Views(
            known, Inputs({**self.kept, name: kept}) if self.differ else known, self.revealed
        )


def views(
    kept: Mapping[str, Any], revealed: Mapping[str, Any] | None, *, beside: Mapping[str, Any] = {}
) -> Views:
    """Return values as expressions read them, `revealed` by blob id; `beside` holds no references.

    Raises:
        DecisionError: they cannot be read, or a sensitive value among them is not given.
    """
    wanted = sensitive.references(kept)
    if missing := sorted(one.blob_id for one in wanted if one.blob_id not in (revealed or {})):
        raise SensitiveUnknownError(missing)
    known = inputs({**kept, **beside})
    if not wanted:
        return Views(known, known, {})
    values = dict(revealed or {})
    return Views(inputs({**sensitive.revealed(kept, values), **beside}), known, values)


def written(expression: Expression, known: Views, rule: str | None, path: str) -> tuple[Any, Any]:
    """Return what an expression gives by the values, and as it is kept.

    Raises:
        DecisionError: it gives an error, or is made from what is sensitive otherwise than by
            handing it on.
    """
    plain = value(expression, known.plain, rule, path)
    if not known.differ:
        return plain, plain
    try:
        kept = expression.evaluate(known.kept)
    except ExpressionError:
        kept = ...
    if kept is ... or sensitive.revealed(kept, known.revealed) != plain:
        raise DecisionError(
            rule,
            path,
            "it is made from a sensitive field, which is kept as a reference alone: hand the field "
            "on as it is, and have who carries it out make something of it",
        )
    return plain, kept


def inputs(values: Mapping[str, Any]) -> Inputs:
    """Return values as expressions read them.

    Raises:
        DecisionError: they cannot be read.
    """
    try:
        return expressions.inputs(values)
    except ExpressionError as exc:
        raise DecisionError(None, "inputs", str(exc)) from exc
