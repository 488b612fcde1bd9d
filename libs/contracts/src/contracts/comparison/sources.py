"""Whole schemas: where their references lead, and whether parts of two of them are the same."""

from collections.abc import Mapping
from typing import Any

from contracts.comparison.kinds import key

Schema = Mapping[str, Any] | bool
Part = Mapping[str, Any]

ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "examples", "example", "$comment", "deprecated"),
        *("readOnly", "writeOnly", "discriminator", "$defs", "definitions"),
    }
)
DYNAMIC = frozenset({"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"})
"""Keywords that make references depend on where they are followed from."""

# What keywords hold: a schema, a list of them, schemas by name, values whose order is nothing.
_SCHEMA = frozenset(
    {
        *("additionalProperties", "propertyNames", "items", "contains", "not", "if", "then"),
        *("else", "unevaluatedProperties", "unevaluatedItems", "contentSchema"),
    }
)
_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_SETS = frozenset({"required", "enum"})
_MAX_STEPS = 20_000
_MAX_DEPTH = 64


class NotComparableError(Exception):
    """A schema cannot be compared; the message is a clause that says why."""


class TooLargeError(NotComparableError):
    """A comparison is more work than one may be."""


class Budget:
    """Bounds how much work one comparison is; with `within`, also that of several together."""

    def __init__(self, steps: int = _MAX_STEPS, *, within: "Budget | None" = None) -> None:
        self._left = steps
        self._within = within

    def spend(self, depth: int, *, work: int = 1) -> None:
        """Count some work.

        Raises:
            NotComparableError: it was too much, or it nests too deeply.
        """
        self._left -= work
        if self._left < 0:
            raise TooLargeError("the schemas are too large")
        if self._within is not None:
            self._within.spend(depth, work=work)
        if depth > _MAX_DEPTH:
            raise NotComparableError(f"it is nested deeper than {_MAX_DEPTH} levels")


class Source:
    """A whole schema: where the local references of its parts lead."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        # What names the schema as a whole says nothing of the documents.
        self.root = {key: value for key, value in root.items() if key not in {"$schema", "$id"}}

    def resolve(self, reference: Any) -> Schema:
        """Return what a `$ref` leads to.

        Raises:
            NotComparableError: it leads nowhere within the schema.
        """
        if reference == "#":
            return self.root
        found: Any = self.root
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise NotComparableError(f"{reference} leads out of the schema")
        for token in reference[2:].split("/"):
            name = token.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                raise NotComparableError(f"{reference} leads nowhere")
        if not isinstance(found, Mapping | bool):
            raise NotComparableError(f"{reference} is no schema")
        return found


def constraints(schema: Part) -> set[str]:
    """Return the keywords of a schema that say something of the documents."""
    return {name for name in schema if name not in ANNOTATIONS and not name.startswith("x-")}


class Sameness:
    """Says whether parts of two schemas are the same but for annotations and where they stand."""

    def __init__(self, one: Source, other: Source, budget: Budget) -> None:
        self._one = one
        self._other = other
        self._budget = budget
        # With the schemas themselves, which keeps their identities theirs.
        self._known: dict[tuple[int, int], tuple[Schema, Schema, bool]] = {}

    def schemas(self, one: Schema, other: Schema) -> bool:
        """Say whether a schema of the one and a schema of the other are the same."""
        pair = (id(one), id(other))
        if pair not in self._known:
            self._known[pair] = (one, other, self._schemas(one, other, frozenset(), 0))
        return self._known[pair][-1]

    def keyword(self, name: str, one: Any, other: Any) -> bool:
        """Say whether a keyword's values are the same."""
        return self._keyword(name, one, other, frozenset(), 0)

    def _schemas(
        self, one: Schema, other: Schema, assumed: frozenset[tuple[int, int]], depth: int
    ) -> bool:
        self._budget.spend(depth)
        if isinstance(one, bool) or isinstance(other, bool):
            return one is other
        pair = (id(one), id(other))
        if pair in assumed:
            return True
        assumed |= {pair}
        names = constraints(one)
        return names == constraints(other) and all(
            self._keyword(name, one[name], other[name], assumed, depth + 1)
            for name in sorted(names)
        )

    def _keyword(
        self, name: str, one: Any, other: Any, assumed: frozenset[tuple[int, int]], depth: int
    ) -> bool:
        def same(first: Schema, second: Schema) -> bool:
            return self._schemas(first, second, assumed, depth)

        if name in DYNAMIC:
            found = False
        elif name == "$ref":
            found = same(self._one.resolve(one), self._other.resolve(other))
        elif name in _SCHEMA:
            found = same(one, other)
        elif name in _SCHEMAS:
            found = len(one) == len(other) and all(map(same, one, other))
        elif name in _NAMED_SCHEMAS:
            found = one.keys() == other.keys() and all(same(one[part], other[part]) for part in one)
        elif name in _SETS:
            found = {key(item) for item in one} == {key(item) for item in other}
        else:
            found = bool(key(one) == key(other))
        return found
