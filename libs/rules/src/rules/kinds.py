"""Names the kinds of JSON values, as messages for people say them."""

from collections.abc import Mapping
from typing import Any

_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "true or false",
    str: "a text",
    int: "a number",
    float: "a number",
    list: "a list",
    tuple: "a list",
}


def of(value: Any) -> str:
    """Return what `value` is, with its article: `a list`."""
    if isinstance(value, Mapping):
        return "an object"
    return _NAMES.get(type(value), type(value).__name__)


def is_number(value: Any) -> bool:
    """Say whether `value` is a JSON number; Python's bools are ints, JSON's are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
