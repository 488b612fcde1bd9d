"""Says whether a document matches what is left of a pattern, quickly.

The same as `Pattern.matches`, as functions made once for the pattern; what is out of the ordinary,
arrays above all, they leave to it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rules.patterns import MISSING, Kind, Matcher, Pattern, found

Condition = Callable[[Mapping[str, Any]], bool]

_PLAIN = frozenset({str, int, float, bool, type(None)})


def condition(pattern: Pattern | None) -> Condition | None:
    """Return the function for a pattern, or None for one that holds for every document."""
    if pattern is None:
        return None
    if pattern.either:
        return pattern.matches
    parts = [
        _below(name, expected) if isinstance(expected, Pattern) else _leaf(name, expected)
        for name, expected in pattern.fields
    ]
    return parts[0] if len(parts) == 1 else partial(_all, parts)


def _all(conditions: list[Condition], document: Mapping[str, Any]) -> bool:
    for holds in conditions:  # noqa: SIM110 - a generator for each event costs more than the rest
        if not holds(document):
            return False
    return True


def _below(name: str, pattern: Pattern) -> Condition:
    if len(pattern.fields) == 1 and not pattern.either:
        [(leaf, matchers)] = pattern.fields
        if not isinstance(matchers, Pattern) and _are_texts(matchers):
            return _one_of_below(name, leaf, pattern, frozenset(m.operand for m in matchers))
    holds = condition(pattern)
    assert holds is not None  # noqa: S101 - for the type checker

    def below(document: Mapping[str, Any]) -> bool:
        value = document.get(name, MISSING)
        return holds(value) if type(value) is dict else found(pattern, value)

    return below


def _one_of_below(name: str, leaf: str, pattern: Pattern, texts: frozenset[str]) -> Condition:
    # By far the commonest, `{"payload": {"currency": ["EUR"]}}`, with one call less.
    def one_of_below(document: Mapping[str, Any]) -> bool:
        below = document.get(name, MISSING)
        if type(below) is dict:
            value = below.get(leaf, MISSING)
            if type(value) is str:
                return value in texts
        return found(pattern, below)

    return one_of_below


def _are_texts(matchers: tuple[Matcher, ...]) -> bool:
    return all(
        matcher.kind is Kind.EXACT and isinstance(matcher.operand, str) for matcher in matchers
    )


def _leaf(name: str, matchers: tuple[Matcher, ...]) -> Condition:
    if _are_texts(matchers):
        texts = frozenset(matcher.operand for matcher in matchers)

        def one_of(document: Mapping[str, Any]) -> bool:
            value = document.get(name, MISSING)
            return value in texts if type(value) is str else found(matchers, value)

        return one_of
    if len(matchers) == 1 and matchers[0].kind is Kind.NUMERIC:
        in_range = matchers[0].operand.holds

        def number(document: Mapping[str, Any]) -> bool:
            value = document.get(name, MISSING)
            kind = type(value)
            return in_range(value) if kind is float or kind is int else found(matchers, value)

        return number
    # `exists: false` never holds for a plain value, and every other matcher can be asked for one.
    tests = [matcher.test for matcher in matchers]
    if len(tests) == 1:
        [test] = tests

        def is_it(document: Mapping[str, Any]) -> bool:
            value = document.get(name, MISSING)
            return test(value) if type(value) in _PLAIN else found(matchers, value)

        return is_it

    def any_of(document: Mapping[str, Any]) -> bool:
        value = document.get(name, MISSING)
        if type(value) not in _PLAIN:
            return found(matchers, value)
        for test in tests:  # noqa: SIM110 - as above
            if test(value):
                return True
        return False

    return any_of
