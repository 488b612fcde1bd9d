"""The schemas that a JSON Schema is made of: where they are, what they refer to, what they cost."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from rules.errors import SchemaError

_HERE_ONE = ("not", "if", "then", "else")
_HERE_MANY = ("allOf", "anyOf", "oneOf")
_HERE_NAMED = ("dependentSchemas",)
_BELOW_ONE = (
    "items",
    "contains",
    "unevaluatedItems",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "contentSchema",
)
_BELOW_MANY = ("prefixItems",)
_BELOW_NAMED = ("properties", "patternProperties")
_ASIDE_NAMED = ("$defs", "definitions")
_REFERENCES = ("$ref", "$dynamicRef")

_ONE = (*_HERE_ONE, *_BELOW_ONE)
_MANY = (*_HERE_MANY, *_BELOW_MANY)
_NAMED = (*_HERE_NAMED, *_BELOW_NAMED, *_ASIDE_NAMED)


def shallow(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with `true` in the place of each schema that it holds."""
    copy = dict(schema)
    for keyword in _ONE:
        if keyword in copy:
            copy[keyword] = True
    for keyword in _MANY:
        if isinstance(copy.get(keyword), list | tuple):
            copy[keyword] = [True for _ in copy[keyword]]
    for keyword in _NAMED:
        if isinstance(copy.get(keyword), Mapping):
            copy[keyword] = dict.fromkeys(copy[keyword], True)
    return copy


@dataclass(frozen=True)
class Weight:
    """What it takes to hold a value against a schema.

    `work` counts the schemas met when every reference is followed once around; `forks` says that
    one part of a value can lead back to the same schema twice, so that the ways to it double with
    each level.
    """

    work: int
    forks: bool


class Document:
    """A whole schema, within which references are followed."""

    def __init__(self, root: Any) -> None:
        self.root = root

    @cached_property
    def _places(self) -> frozenset[int]:
        return frozenset(id(part) for _, part in self.parts() if isinstance(part, Mapping))

    @cached_property
    def _anchors(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for _, part in self.parts():
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(part, Mapping) and isinstance(part.get(keyword), str):
                    found.setdefault(part[keyword], part)
        return found

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Yield every schema with its path, the whole first, then in the order of the text."""
        waiting: list[tuple[str, Any]] = [("", self.root)]
        while waiting:
            path, part = waiting.pop()
            yield path, part
            if isinstance(part, Mapping):
                waiting.extend(reversed([(path + at, below) for at, below in _held(part)]))

    def target(self, reference: str) -> Any:
        """Return the schema that a local reference leads to, or None when there is none."""
        fragment = unquote(reference.removeprefix("#"))
        if not fragment:
            return self.root
        if not fragment.startswith("/"):
            return self._anchors.get(fragment)
        found: Any = self.root
        for step in fragment[1:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and name in found:
                found = found[name]
            elif isinstance(found, list | tuple) and name.isdecimal() and len(name) < 6:
                index = int(name)
                if index >= len(found):
                    return None
                found = found[index]
            else:
                return None
        known = isinstance(found, bool) or id(found) in self._places
        return found if known else None

    def targets(self) -> list[str]:
        """Return what references can well be written: named parts and anchors."""
        found = [f"#{anchor}" for anchor in self._anchors]
        if isinstance(self.root, Mapping):
            for keyword in _ASIDE_NAMED:
                named = self.root.get(keyword)
                if isinstance(named, Mapping):
                    found += [f"#/{keyword}/{name}" for name in named]
        return found

    def weigh(self) -> Weight:
        """Return what it takes to hold a value against this schema.

        Raises:
            SchemaError: a schema refers to itself without looking at a part of the value.
        """
        return _Scale(self).weight()


_ARRAY, _ANY_FIELD = "[]", "*"
"""Places of the parts of a value, besides the names of fields."""
_CEILING = 1_000_000


class _Scale:
    """Weighs a document: a graph of its schemas, walked without recursion, which could run deep."""

    def __init__(self, document: Document) -> None:
        parts = [part for _, part in document.parts() if isinstance(part, Mapping)]
        number = {id(part): i for i, part in enumerate(parts)}
        self._here: list[list[int]] = [
            [number[id(other)] for other in _in_place(document, part) if id(other) in number]
            for part in parts
        ]
        self._below: list[list[tuple[str, int]]] = [
            [(place, number[id(other)]) for place, other in _of_parts(part) if id(other) in number]
            for part in parts
        ]

    def weight(self) -> Weight:
        order(self._here)
        circle = circles(
            [
                here + [target for _, target in below]
                for here, below in zip(self._here, self._below, strict=True)
            ]
        )
        onward = [
            here + [target for _, target in below if circle[target] != circle[i]]
            for i, (here, below) in enumerate(zip(self._here, self._below, strict=True))
        ]
        works = [1] * len(onward)
        for i in order(onward):
            back = len(self._here[i]) + len(self._below[i]) - len(onward[i])
            works[i] = min(1 + back + sum(works[target] for target in onward[i]), _CEILING)
        return Weight(works[0] if works else 1, self._forks(circle))

    def _forks(self, circle: list[int]) -> bool:
        counts: list[Counter[str]] = [Counter() for _ in self._here]
        for i in order(self._here):
            counts[i].update(
                place for place, target in self._below[i] if circle[target] == circle[i]
            )
            for target in self._here[i]:
                if circle[target] == circle[i]:
                    counts[i].update(counts[target])
            any_field = counts[i][_ANY_FIELD]
            if any(
                count + (any_field if place not in (_ARRAY, _ANY_FIELD) else 0) > 1
                for place, count in counts[i].items()
            ):
                return True
        return False


def _in_place(document: Document, part: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the schemas that hold for the same value as `part`."""
    for keyword in _REFERENCES:
        if isinstance(part.get(keyword), str):
            yield document.target(part[keyword])
    for keyword in _HERE_ONE:
        yield part.get(keyword)
    for keyword in _HERE_MANY:
        yield from part.get(keyword, ())
    for keyword in _HERE_NAMED:
        yield from part.get(keyword, {}).values()


def _of_parts(part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the schemas that hold for the parts of a value, with the place of the part."""
    for keyword in _BELOW_ONE:
        place = _ARRAY if keyword in ("items", "contains", "unevaluatedItems") else _ANY_FIELD
        yield place, part.get(keyword)
    for keyword in _BELOW_MANY:
        for below in part.get(keyword, ()):
            yield _ARRAY, below
    for name, below in part.get("properties", {}).items():
        yield f".{name}", below
    for below in part.get("patternProperties", {}).values():
        yield _ANY_FIELD, below


def _held(part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the schemas that are written within `part`, each with its path from there."""
    for keyword, value in part.items():
        if keyword in _ONE:
            yield f".{keyword}", value
        elif keyword in _MANY and isinstance(value, list | tuple):
            for i, below in enumerate(value):
                yield f".{keyword}[{i}]", below
        elif keyword in _NAMED and isinstance(value, Mapping):
            for name, below in value.items():
                yield f".{keyword}.{name}", below


def order(edges: list[list[int]]) -> list[int]:
    """Return the numbers of a graph's nodes, each after those that its edges lead to.

    Raises:
        SchemaError: there is a circle.
    """
    waiting = [len(targets) for targets in edges]
    sources: list[list[int]] = [[] for _ in edges]
    for i, targets in enumerate(edges):
        for target in targets:
            sources[target].append(i)
    found = [i for i, count in enumerate(waiting) if count == 0]
    for i in found:
        for source in sources[i]:
            waiting[source] -= 1
            if waiting[source] == 0:
                found.append(source)
    if len(found) < len(edges):
        raise SchemaError(
            "a $ref leads back to itself without looking at a part of the value, which says "
            "nothing; let it go through properties or items"
        )
    return found


def circles(edges: list[list[int]]) -> list[int]:
    """Return a number for each node of a graph, the same for nodes that lead to one another."""
    index: dict[int, int] = {}
    lowest = [0] * len(edges)
    circle = [-1] * len(edges)
    stack: list[int] = []
    for root in range(len(edges)):
        if root in index:
            continue
        path: list[tuple[int, Iterator[int]]] = []
        entered: int | None = root
        while entered is not None or path:
            if entered is not None:
                index[entered] = lowest[entered] = len(index)
                stack.append(entered)
                path.append((entered, iter(edges[entered])))
                entered = None
            node, targets = path[-1]
            for target in targets:
                if target not in index:
                    entered = target
                    break
                if circle[target] < 0:
                    lowest[node] = min(lowest[node], index[target])
            if entered is not None:
                continue
            path.pop()
            if path:
                parent = path[-1][0]
                lowest[parent] = min(lowest[parent], lowest[node])
            if lowest[node] == index[node]:
                while True:
                    member = stack.pop()
                    circle[member] = node
                    if member == node:
                        break
    return circle
