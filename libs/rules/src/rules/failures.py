"""Says for people why a pattern does not match a document: the first clause that fails."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rules.patterns import MISSING, Kind, Matcher, Pattern, Range, elements, found

LONGEST = 200
"""Characters of each text of a failure; what is longer is cut, and ends with `…`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A clause of a pattern that does not hold.

    `path` leads to the field, in the document: `payload.items[1].count`. `wanted` are its
    alternatives as a pattern writes them: `[{"numeric":[">",1000]}]`. `seen` is the value as
    JSON, or `absent`.
    """

    path: str
    wanted: str
    seen: str

    def __str__(self) -> str:
        return f"{self.path}: wanted {self.wanted}, saw {self.seen}"


def first(pattern: Pattern, document: Mapping[str, Any]) -> Failure | None:
    """Return the first clause of a pattern that fails for a document, None when it matches.

    Of several objects in an array, it is about the one that satisfies most clauses before it fails.
    """
    found_first = _first(pattern, document, "")
    return found_first[1] if found_first is not None else None


def _first(pattern: Pattern, document: Any, path: str) -> tuple[int, Failure] | None:
    """Return how many clauses hold before the first that fails, and that one."""
    held = 0
    for name, expected in pattern.fields:
        value = document.get(name, MISSING) if isinstance(document, Mapping) else MISSING
        below = f"{path}.{name}" if path else name
        if not found(expected, value):
            if isinstance(expected, Pattern):
                further, failure = _below(expected, value, below)
                return held + further, failure
            wanted = [_written(matcher) for matcher in expected]
            return held, Failure(_cut(below), _json(wanted), _seen(value))
        held += 1
    for group in pattern.either:
        failures = [_first(branch, document, path) for branch in group]
        if None not in failures:
            wanted = [_written_pattern(branch) for branch in group]
            saw = "; ".join(f"{one[1].path}: {one[1].seen}" for one in failures if one is not None)
            below = f"{path}.$or" if path else "$or"
            return held, Failure(_cut(below), _json(wanted), _cut(saw))
        held += 1
    return None


def _below(pattern: Pattern, value: Any, path: str) -> tuple[int, Failure]:
    objects = [
        (place, item) for place, item in _places(value, path) if isinstance(item, Mapping)
    ] or [(path, {})]
    failures = [_first(pattern, item, place) for place, item in objects]
    return max((one for one in failures if one is not None), key=lambda one: one[0])


def _places(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, list | tuple):
        yield path, value
        return
    # Not by recursion, as in `patterns.elements`.
    open_ = [(path, enumerate(value))]
    while open_:
        path, items = open_[-1]
        for number, item in items:
            if isinstance(item, list | tuple):
                open_.append((f"{path}[{number}]", enumerate(item)))
                break
            yield f"{path}[{number}]", item
        else:
            open_.pop()


def _written_pattern(pattern: Pattern) -> dict[str, Any]:
    written: dict[str, Any] = {
        name: _written_pattern(expected)
        if isinstance(expected, Pattern)
        else [_written(matcher) for matcher in expected]
        for name, expected in pattern.fields
    }
    for group in pattern.either:
        written["$or"] = [_written_pattern(branch) for branch in group]
    return written


def _written(matcher: Matcher) -> Any:
    operand = matcher.operand
    match matcher.kind:
        case Kind.EXACT:
            return operand
        case Kind.NUMERIC:
            return {"numeric": _written_range(operand)}
        case Kind.PREFIX_IGNORE_CASE:
            return {"prefix": {"equals-ignore-case": operand}}
        case Kind.SUFFIX_IGNORE_CASE:
            return {"suffix": {"equals-ignore-case": operand}}
        case Kind.ANYTHING_BUT:
            return {"anything-but": _written_refused(operand)}
        case kind:
            return {kind.value: operand}


def _written_range(range_: Range) -> list[Any]:
    if range_.low is not None and range_.low == range_.high:
        return ["=", range_.low]
    written: list[Any] = []
    if range_.low is not None:
        written += [">=" if range_.low_included else ">", range_.low]
    if range_.high is not None:
        written += ["<=" if range_.high_included else "<", range_.high]
    return written


def _written_refused(refused: tuple[Matcher, ...]) -> Any:
    written = [_written(matcher) for matcher in refused]
    if refused[0].kind is Kind.EXACT:
        return written if len(written) > 1 else written[0]
    # All are of one kind, and written as one matcher: `{"prefix": ["a", "b"]}`.
    [name] = written[0]
    values = [value for one in written for value in one.values()]
    return {name: values if len(values) > 1 else values[0]}


def _seen(value: Any) -> str:
    if value is MISSING:
        return "absent"
    leaves = [item for item in elements(value) if not isinstance(item, Mapping)]
    if leaves:
        return _json(value)
    return f"absent (an object or an empty list: {_json(value)})"


def _json(value: Any) -> str:
    try:
        return _cut(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))
    except (RecursionError, ValueError):
        return "a value that is too deep or too long to be written"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
