"""EventBridge's pattern language over a JSON document.

A pattern is an object shaped like the document. A leaf is a list of alternatives: values and
matchers, of which one has to hold. All fields of a pattern have to match. Where the document holds
an array, one element has to match; fields of one object pattern are looked for in the same element.

The compiled form is plain data, so that an index over many patterns can be built from it.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from rules import kinds
from rules.errors import PatternError

MAX_ALTERNATIVES = 1000
"""Values and matchers in one pattern."""
MAX_DEPTH = 32

_MISSING: tuple[Any, ...] = ()


class Kind(StrEnum):
    """What a matcher looks at; the values are EventBridge's words."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    EQUALS_IGNORE_CASE = "equals-ignore-case"
    PREFIX_IGNORE_CASE = "prefix-ignore-case"
    SUFFIX_IGNORE_CASE = "suffix-ignore-case"
    WILDCARD = "wildcard"
    NUMERIC = "numeric"
    CIDR = "cidr"
    EXISTS = "exists"
    ANYTHING_BUT = "anything-but"


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, either of which may be open or missing."""

    low: float | None = None
    high: float | None = None
    low_included: bool = False
    high_included: bool = False

    def holds(self, number: float) -> bool:
        """Say whether `number` lies within."""
        if self.low is not None and (
            number < self.low or (number == self.low and not self.low_included)
        ):
            return False
        return self.high is None or not (
            number > self.high or (number == self.high and not self.high_included)
        )


@dataclass(frozen=True)
class Matcher:
    """One alternative of a leaf: a kind with its operand, as plain data.

    The operand is the value of `exact`, the text of the text kinds (folded where case is ignored),
    a `Range`, a network in text, the bool of `exists`, or the refused matchers of `anything-but`.
    """

    kind: Kind
    operand: Any

    def holds(self, value: Any) -> bool:
        """Say whether a value that is present, and neither object nor array, matches."""
        return _HOLDS[self.kind](self.operand, value)


@dataclass(frozen=True)
class Pattern:
    """A compiled pattern: what each field has to be, and the groups of `$or`.

    `fields` are pairs of a name and either the alternatives of a leaf or a pattern below it. Of
    each group in `either` at least one pattern has to match, besides all fields.
    """

    fields: tuple[tuple[str, "tuple[Matcher, ...] | Pattern"], ...]
    either: tuple[tuple["Pattern", ...], ...] = ()

    def matches(self, document: Mapping[str, Any]) -> bool:
        """Say whether the document matches. It never fails: what does not fit does not match."""
        return all(
            _found(expected, document.get(name, _MISSING)) for name, expected in self.fields
        ) and all(any(pattern.matches(document) for pattern in group) for group in self.either)


def compile(pattern: Mapping[str, Any]) -> Pattern:  # noqa: A001 - the verb, as in re.compile
    """Compile a pattern.

    Raises:
        PatternError: it is not one, with the path to the part that is wrong.
    """
    return _Compiler().pattern(pattern, "", 0)


def _found(expected: "tuple[Matcher, ...] | Pattern", value: Any) -> bool:
    if isinstance(expected, Pattern):
        objects = [item for item in _elements(value) if isinstance(item, Mapping)]
        # Without an object below, every field of the pattern is absent.
        return any(map(expected.matches, objects or [{}]))
    leaves = [item for item in _elements(value) if not isinstance(item, Mapping)]
    return any(
        bool(leaves) is matcher.operand
        if matcher.kind is Kind.EXISTS
        else any(map(matcher.holds, leaves))
        for matcher in expected
    )


def _elements(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _elements(item)
    else:
        yield value


def _exactly(operand: Any, value: Any) -> bool:
    if kinds.is_number(operand):
        return kinds.is_number(value) and bool(value == operand)
    return type(value) is type(operand) and bool(value == operand)


def _in_network(operand: str, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    network = _network(operand)
    return address.version == network.version and address in network


@lru_cache(maxsize=1024)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


@lru_cache(maxsize=1024)
def _wildcard(text: str) -> tuple[str, ...]:
    """Return the literal parts between the stars."""
    parts = [""]
    escaped = False
    for character in text:
        if escaped:
            parts[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == "*":
            parts.append("")
        else:
            parts[-1] += character
    return tuple(parts)


def _like(operand: str, value: Any) -> bool:
    # Each part is looked for after the one before it: linear, where a regular expression with many
    # stars can take time that grows with a power of the text's length.
    if not isinstance(value, str):
        return False
    first, *rest = _wildcard(operand)
    if not rest:
        return value == first
    *middle, last = rest
    if len(value) < len(first) + len(last) or not value.startswith(first):
        return False
    position, end = len(first), len(value) - len(last)
    for part in middle:
        found = value.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return value.endswith(last)


_HOLDS: dict[Kind, Callable[[Any, Any], bool]] = {
    Kind.EXACT: _exactly,
    Kind.PREFIX: lambda o, v: isinstance(v, str) and v.startswith(o),
    Kind.SUFFIX: lambda o, v: isinstance(v, str) and v.endswith(o),
    Kind.EQUALS_IGNORE_CASE: lambda o, v: isinstance(v, str) and v.casefold() == o,
    Kind.PREFIX_IGNORE_CASE: lambda o, v: isinstance(v, str) and v.casefold().startswith(o),
    Kind.SUFFIX_IGNORE_CASE: lambda o, v: isinstance(v, str) and v.casefold().endswith(o),
    Kind.WILDCARD: _like,
    Kind.NUMERIC: lambda o, v: kinds.is_number(v) and o.holds(v),
    Kind.CIDR: _in_network,
    Kind.EXISTS: lambda o, _: bool(o),
    Kind.ANYTHING_BUT: lambda o, v: not any(refused.holds(v) for refused in o),
}


class _Compiler:
    def __init__(self) -> None:
        self._alternatives = 0

    def pattern(self, pattern: Any, path: str, depth: int) -> Pattern:
        if not isinstance(pattern, Mapping):
            raise PatternError(path, f"expected an object, found {kinds.of(pattern)}")
        if not pattern:
            raise PatternError(path, "an empty object matches nothing; name at least one field")
        if depth > MAX_DEPTH:
            raise PatternError(path, f"nested deeper than {MAX_DEPTH} levels")
        fields: list[tuple[str, tuple[Matcher, ...] | Pattern]] = []
        either: list[tuple[Pattern, ...]] = []
        for name, expected in pattern.items():
            below = f"{path}.{name}" if path else str(name)
            if name == "$or":
                either.append(self._either(expected, below, depth))
            elif isinstance(expected, Mapping):
                fields.append((name, self.pattern(expected, below, depth + 1)))
            elif isinstance(expected, list | tuple):
                fields.append((name, self._leaf(expected, below)))
            else:
                raise PatternError(
                    below, f"expected a list of alternatives or an object; write [{expected!r}]"
                )
        return Pattern(tuple(fields), tuple(either))

    def _either(self, patterns: Any, path: str, depth: int) -> tuple[Pattern, ...]:
        if not isinstance(patterns, list | tuple) or len(patterns) < 2:
            raise PatternError(path, "expected a list of at least two patterns")
        return tuple(
            self.pattern(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(patterns)
        )

    def _leaf(self, alternatives: Any, path: str) -> tuple[Matcher, ...]:
        if not alternatives:
            raise PatternError(path, "an empty list matches nothing; name at least one value")
        self._alternatives += len(alternatives)
        if self._alternatives > MAX_ALTERNATIVES:
            raise PatternError(path, f"more than {MAX_ALTERNATIVES} alternatives in one pattern")
        return tuple(_alternative(item, f"{path}[{i}]") for i, item in enumerate(alternatives))


def _alternative(item: Any, path: str) -> Matcher:
    if item is None or isinstance(item, str | bool | int | float):
        return Matcher(Kind.EXACT, item)
    if not isinstance(item, Mapping):
        raise PatternError(path, f"expected a value or a matcher, found {kinds.of(item)}")
    name, operand = _only(item, path)
    path = f"{path}.{name}"
    match name:
        case "exists":
            if not isinstance(operand, bool):
                raise PatternError(path, "expected true or false")
            return Matcher(Kind.EXISTS, operand)
        case "numeric":
            return Matcher(Kind.NUMERIC, _range(operand, path))
        case "anything-but":
            return Matcher(Kind.ANYTHING_BUT, _refused(operand, path))
        case _:
            return _text_matcher(name, operand, path)


def _text_matcher(name: str, operand: Any, path: str) -> Matcher:
    match name:
        case "prefix" | "suffix" if isinstance(operand, Mapping):
            inner, text = _only(operand, path)
            if inner != "equals-ignore-case":
                raise PatternError(f"{path}.{inner}", "only equals-ignore-case can stand here")
            return Matcher(Kind(f"{name}-ignore-case"), _text(text, f"{path}.{inner}").casefold())
        case "prefix" | "suffix":
            return Matcher(Kind(name), _text(operand, path))
        case "equals-ignore-case":
            return Matcher(Kind.EQUALS_IGNORE_CASE, _text(operand, path).casefold())
        case "wildcard":
            text = _text(operand, path)
            if re.search(r"(?<!\\)(\\\\)*\*\*", text):
                raise PatternError(path, "two stars in a row mean one; write one")
            if re.fullmatch(r"(?s)(?:[^\\]|\\[\\*])*", text) is None:
                raise PatternError(path, r"a backslash stands before * or \ only")
            return Matcher(Kind.WILDCARD, text)
        case "cidr":
            text = _text(operand, path)
            try:
                _network(text)
            except ValueError as exc:
                raise PatternError(path, f"not a network: {exc}") from exc
            return Matcher(Kind.CIDR, text)
        case _:
            known = (
                "prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, cidr, exists"
            )
            raise PatternError(path, f"unknown matcher {name!r}; there is: {known}")


def _refused(operand: Any, path: str) -> tuple[Matcher, ...]:
    if isinstance(operand, Mapping):
        name, texts = _only(operand, path)
        path = f"{path}.{name}"
        if name not in ("prefix", "suffix", "equals-ignore-case", "wildcard"):
            raise PatternError(
                path, "only prefix, suffix, equals-ignore-case and wildcard can stand here"
            )
        if not isinstance(texts, list | tuple):
            return (_text_matcher(name, texts, path),)
        if not texts:
            raise PatternError(path, "an empty list refuses nothing; name at least one value")
        return tuple(_text_matcher(name, text, f"{path}[{i}]") for i, text in enumerate(texts))
    values = operand if isinstance(operand, list | tuple) else [operand]
    if not values:
        raise PatternError(path, "an empty list refuses nothing; name at least one value")
    if not (all(isinstance(v, str) for v in values) or all(map(kinds.is_number, values))):
        raise PatternError(path, "expected a text, a number, or a list of only texts or numbers")
    return tuple(Matcher(Kind.EXACT, value) for value in values)


def _range(operand: Any, path: str) -> Range:
    if not isinstance(operand, list | tuple) or len(operand) not in (2, 4):
        raise PatternError(path, 'expected [">", 1] or [">", 1, "<=", 5]')
    pairs = [(operand[i], operand[i + 1]) for i in range(0, len(operand), 2)]
    for comparison, number in pairs:
        if comparison not in ("=", "<", "<=", ">", ">="):
            raise PatternError(path, f"unknown comparison {comparison!r}; there is: = < <= > >=")
        if not kinds.is_number(number) or number != number:  # noqa: PLR0124 - NaN differs from itself
            raise PatternError(path, f"expected a number after {comparison!r}, found {number!r}")
    (first, low) = pairs[0]
    if len(pairs) == 1:
        match first:
            case "=":
                return Range(low, low, low_included=True, high_included=True)
            case ">" | ">=":
                return Range(low=low, low_included=first == ">=")
            case _:
                return Range(high=low, high_included=first == "<=")
    (second, high) = pairs[1]
    if first not in (">", ">=") or second not in ("<", "<="):
        raise PatternError(path, "a range is > or >= first, then < or <=")
    if not low < high:
        raise PatternError(path, f"no number lies between {low} and {high}")
    return Range(low, high, low_included=first == ">=", high_included=second == "<=")


def _only(item: Mapping[str, Any], path: str) -> tuple[str, Any]:
    if len(item) != 1:
        raise PatternError(path, f"a matcher has exactly one key, this has {len(item)}")
    [(name, operand)] = item.items()
    return name, operand


def _text(operand: Any, path: str) -> str:
    if not isinstance(operand, str) or not operand:
        raise PatternError(path, f"expected a text that is not empty, found {operand!r}")
    return operand
