"""What means the same although it is written differently."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.definitions import Schedule
from rules import cron
from rules.errors import ScheduleError

_EXPRESSION_TOKEN = re.compile(
    r"""(?P<blank>\s+|//[^\n]*)"""
    r"""|(?:[rR][bB]?|[bB][rR])(?:'{3}.*?'{3}|"{3}.*?"{3}|'[^']*'|"[^"]*")"""
    r"""|[bB]?(?:'{3}.*?'{3}|"{3}.*?"{3}|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")"""
    r"""|[A-Za-z0-9_.]+"""
    r"""|[&|=!<>]=?[&|]?"""
    r"""|.""",
    re.DOTALL,
)
# Of JSON Schema: lists without an order, and values that are no schemas.
_UNORDERED = frozenset({"required", "enum", "type"})
_VALUES = frozenset({"const", "default", "examples"})


def same_expression(before: str, after: str) -> bool:
    """Say whether two CEL expressions differ in nothing but white space and comments."""
    return before == after or _tokens(before) == _tokens(after)


def same_due_times(before: Schedule, after: Schedule) -> bool:
    """Say whether two schedules are due at the same times, as far as is seen without counting."""
    # Jitter moves no due time.
    aside = {"cron", "missed_runs", "overlap", "jitter"}
    if before.model_dump(exclude=aside) != after.model_dump(exclude=aside):
        return False
    return same_cron(before.cron, after.cron)


def same_cron(before: str | None, after: str | None) -> bool:
    """Say whether two cron expressions name the same times."""
    if before is None or after is None or before == after:
        return before == after
    try:
        return cron.parse(before) == cron.parse(after)
    except ScheduleError:
        return False


def same_schema(before: Any, after: Any) -> bool:
    """Say whether two JSON Schemas differ in nothing but the order of what has no order."""
    return written(_schema(before)) == written(_schema(after))


def same_pattern(before: Any, after: Any) -> bool:
    """Say whether two event patterns differ in nothing but the order of their alternatives."""
    return written(_pattern(before)) == written(_pattern(after))


def least(patterns: Sequence[str]) -> list[str]:
    """Return the patterns without those that another one covers, in their order."""
    kept = dict.fromkeys(patterns)
    return [p for p in kept if not any(_covers(other, p) for other in kept if other != p)]


def _covers(pattern: str, other: str) -> bool:
    return pattern.endswith("*") and other.removesuffix("*").startswith(pattern[:-1])


def _tokens(text: str) -> list[str]:
    return [
        found.group() for found in _EXPRESSION_TOKEN.finditer(text) if found.lastgroup != "blank"
    ]


def written(value: Any) -> str:
    """Return the one text of a JSON value: equal values have equal texts."""
    return json.dumps(value, sort_keys=True)


def _schema(value: Any, key: str = "") -> Any:
    if key in _VALUES:
        return value
    if isinstance(value, Mapping):
        return {name: _schema(item, name) for name, item in value.items()}
    if isinstance(value, list):
        items = value if key == "enum" else [_schema(item) for item in value]
        return sorted(items, key=written) if key in _UNORDERED else items
    return value


def _pattern(value: Any) -> Any:
    if isinstance(value, Mapping):
        # An operator's list has an order: {numeric: [">", 10]}.
        return {name: _pattern(item) if name != "numeric" else item for name, item in value.items()}
    if isinstance(value, list):
        return sorted((_pattern(item) for item in value), key=written)
    return value
