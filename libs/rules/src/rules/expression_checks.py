"""Checks of one expression: it compiles, it fits what it reads, and it gives what is asked for."""

from collections.abc import Collection, Mapping

from rules import expressions, inference, shapes
from rules.errors import ExpressionError
from rules.inference import Budget
from rules.problems import Problem
from rules.shapes import ANYTHING, Kind, Shape

TRUTH = frozenset({Kind.BOOL})
TITLE = frozenset({Kind.TEXT})
KEY = frozenset({Kind.TEXT, Kind.INT})
LIST = frozenset({Kind.LIST})

MAX_TEXT = 100_000
"""Characters of all expressions of one definition: bounds the time that a check takes."""

_TOO_MUCH = (
    f"the expressions of one definition have at most {MAX_TEXT} characters and "
    f"{Budget().parts} operators, names and values together, and from here on they are more; "
    "write fewer or shorter ones, or several definitions"
)


class ExpressionChecks:
    """Checks the expressions of one definition, which share a budget; gathers what is wrong."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._budget = Budget()
        self._text = 0
        self._full = False

    def check(
        self,
        text: str,
        path: str,
        variables: Mapping[str, Shape],
        *,
        wanted: Collection[Kind] | None = None,
        unguarded: bool = False,
    ) -> Shape:
        """Return the shape of what an expression gives, noting what is wrong with it.

        `wanted` are the kinds it may give, None for any; `unguarded` says that every run
        evaluates it.
        """
        self._text += len(text)
        if self._text > MAX_TEXT or self._budget.parts < 0:
            if not self._full:
                self._full = True
                self.note(path, _TOO_MUCH)
            return ANYTHING
        try:
            expression = expressions.compile(text, variables=variables)
        except ExpressionError as exc:
            self.note(path, str(exc))
            return ANYTHING
        found = inference.infer(expression, variables, budget=self._budget, unguarded=unguarded)
        for finding in found.findings:
            self.note(path, finding)
        self.expect(found.shape, wanted, path)
        return found.shape

    def fails_without_event(self, text: str, variables: Mapping[str, Shape]) -> bool:
        """Say whether an expression fails whenever `event` is null, and not otherwise."""
        try:
            expression = expressions.compile(text, variables=variables)
        except ExpressionError:
            return False

        def findings(known: Mapping[str, Shape]) -> Collection[str]:
            return inference.infer(expression, known, budget=self._budget, unguarded=True).findings

        without = {**variables, "event": shapes.of(Kind.NULL)}
        return len(findings(without)) > len(findings(variables))

    def expect(self, shape: Shape, wanted: Collection[Kind] | None, path: str) -> None:
        """Note it when a value of that shape can be of none of the wanted kinds."""
        if wanted is not None and shape.kinds and shape.kinds.isdisjoint(wanted):
            self.note(path, f"expected {Shape(frozenset(wanted))}, but this gives {shape}")

    def field(self, name: str, shape: Shape, where: str) -> str | None:
        """Return what is wrong with naming a field of an object; None when it may be there."""
        return inference.unknown(name, shape, where, self._budget)

    def note(self, path: str, message: str) -> None:
        """Keep a problem."""
        self.problems.append(Problem(path, message))


_AS_JSON = {Kind.TIME: Kind.TEXT, Kind.DURATION: Kind.TEXT, Kind.BYTES: Kind.TEXT}


def as_json(shape: Shape) -> Shape:
    """Return the shape that a value has once it is JSON: times, durations and bytes are texts."""
    if shape is ANYTHING or shape.kinds.isdisjoint(_AS_JSON):
        return shape
    return shapes.join(
        [
            Shape(shape.kinds - _AS_JSON.keys(), shape.objects, shape.elements, shape.texts),
            shapes.of(Kind.TEXT),
        ]
    )
