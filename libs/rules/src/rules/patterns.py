"""EventBridge's pattern language over a JSON document.

A pattern is an object shaped like the document. A leaf is a list of alternatives: values and
matchers, of which one has to hold. All fields of a pattern have to match. Where the document holds
an array, one element has to match; fields of one object pattern are looked for in the same element.

The compiled form is plain data, so that an index over many patterns can be built from it
(`rules.matching`).

What a pattern means is what Amazon's documentation and its open-source engine say, with these
exceptions, each on purpose:

- An element of an array that lacks a field has it absent: `exists: false` looks at the element that
  the other fields are looked for in. Amazon's engine looks at the element or at the whole event,
  depending on the names of the fields.
- Numbers are compared exactly, whole ones beyond 2^53 included; there they are doubles.
- A text is a text: one that reads as an IP address equals no other spelling of it. `cidr` takes
  what Python's `ipaddress` takes: an address alone, lengths up to 32 and 128, no leading zeros; a
  network holds addresses of its own family only.
- Where case is ignored, texts are folded as Unicode says, so that `straße` equals `STRASSE`.
- A name with a dot is a name; it is no path.
- A field beside `$or` and one of the same name within have to match both, and within `$or` a field
  may have the name of a matcher.
- `anything-but` takes a prefix or a suffix that ignores case too.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any

from rules import kinds
from rules.errors import PatternError

MAX_ALTERNATIVES = 1000
"""Values and matchers in one pattern."""
MAX_DEPTH = 32

MISSING: tuple[Any, ...] = ()
"""Stands for a field that is not there; like an empty array, it has no leaves."""


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


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two bounds, either of which may be open or missing."""

    low: float | None = None
    high: float | None = None
    low_included: bool = False
    high_included: bool = False

    def holds(self, number: float) -> bool:
        """Say whether `number` lies within."""
        low, high = self.low, self.high
        # Said so that NaN, which no comparison holds for, lies nowhere.
        return (low is None or number > low or (self.low_included and number == low)) and (
            high is None or number < high or (self.high_included and number == high)
        )


@dataclass(frozen=True, slots=True)
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

    @property
    def test(self) -> Callable[[Any], bool]:
        """`holds` as a function, for whoever asks often."""
        return partial(_HOLDS[self.kind], self.operand)


@dataclass(frozen=True, slots=True)
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
            found(expected, document.get(name, MISSING)) for name, expected in self.fields
        ) and all(any(pattern.matches(document) for pattern in group) for group in self.either)


def compile(pattern: Mapping[str, Any]) -> Pattern:  # noqa: A001 - the verb, as in re.compile
    """Compile a pattern.

    Raises:
        PatternError: it is not one, with the path to the part that is wrong.
    """
    return _Compiler().pattern(pattern, "", 0)


def found(expected: "tuple[Matcher, ...] | Pattern", value: Any) -> bool:
    """Say whether a field's value, or `MISSING`, is what a pattern expects of the field."""
    if isinstance(expected, Pattern):
        objects = [item for item in elements(value) if isinstance(item, Mapping)]
        # Without an object below, every field of the pattern is absent.
        return any(map(expected.matches, objects or [{}]))
    leaves = [item for item in elements(value) if not isinstance(item, Mapping)]
    return any(
        bool(leaves) is matcher.operand
        if matcher.kind is Kind.EXISTS
        else any(map(matcher.holds, leaves))
        for matcher in expected
    )


def elements(value: Any) -> Iterator[Any]:
    """Return what is in an array, and in the arrays within it; a value that is none is its own."""
    if not isinstance(value, list | tuple):
        yield value
        return
    # Not by recursion: arrays can be nested deeper than Python calls.
    open_ = [iter(value)]
    while open_:
        for item in open_[-1]:
            if isinstance(item, list | tuple):
                open_.append(iter(item))
                break
            yield item
        else:
            open_.pop()


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
    within = network(operand)
    return address.version == within.version and address in within


@lru_cache(maxsize=1024)
def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network that the text of a cidr matcher names.

    Raises:
        ValueError: it names none.
    """
    return ipaddress.ip_network(text, strict=False)


def literals(text: str) -> tuple[str, ...]:
    """Return the literal parts of a wildcard, before, between and after its stars."""
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
    first, middle, last = _split(operand)
    if last is None:
        return value == first
    position, end = len(first), len(value) - len(last)
    if end < position or not (value.startswith(first) and value.endswith(last)):
        return False
    for part in middle:
        position = value.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


@lru_cache(maxsize=1024)
def _split(text: str) -> tuple[str, tuple[str, ...], str | None]:
    first, *rest = literals(text)
    return first, tuple(rest[:-1]), rest[-1] if rest else None


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
            if not isinstance(name, str):
                raise PatternError(path, f"the name of a field is a text, found {kinds.of(name)}")
            below = f"{path}.{name}" if path else name
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
    if item != item:  # noqa: PLR0124 - NaN differs from itself
        raise PatternError(path, "NaN is no number")
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
                network(text)
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
            return (_refused_text(name, texts, path),)
        if not texts:
            raise PatternError(path, "an empty list refuses nothing; name at least one value")
        return tuple(_refused_text(name, text, f"{path}[{i}]") for i, text in enumerate(texts))
    values = operand if isinstance(operand, list | tuple) else [operand]
    if not values:
        raise PatternError(path, "an empty list refuses nothing; name at least one value")
    if not (all(isinstance(v, str) for v in values) or all(map(kinds.is_number, values))):
        raise PatternError(path, "expected a text, a number, or a list of only texts or numbers")
    return tuple(Matcher(Kind.EXACT, value) for value in values)


def _refused_text(name: str, text: Any, path: str) -> Matcher:
    if text == "" and name in ("prefix", "suffix"):
        raise PatternError(path, f"every text has an empty {name}; write one that is not empty")
    return _text_matcher(name, text, path)


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
    if not isinstance(operand, str):
        raise PatternError(path, f"expected a text, found {kinds.of(operand)}")
    return operand
