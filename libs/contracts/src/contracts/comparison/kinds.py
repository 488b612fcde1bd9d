"""The types of JSON values, and when two values are equal."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """The types of JSON values, so that none is part of another."""

    NULL = "null"
    BOOLEAN = "boolean"
    OBJECT = "object"
    ARRAY = "array"
    STRING = "string"
    INTEGER = "integer"
    FRACTION = "number with a fraction"


NUMBERS = frozenset({Kind.INTEGER, Kind.FRACTION})
_KINDS_OF_TYPE = {kind.value: frozenset({kind}) for kind in Kind} | {"number": NUMBERS}

# A bool is an int to Python, and so comes first.
_KINDS_OF_PYTHON: tuple[tuple[type, Kind], ...] = (
    (type(None), Kind.NULL),
    (bool, Kind.BOOLEAN),
    (int, Kind.INTEGER),
    (str, Kind.STRING),
    (Mapping, Kind.OBJECT),
    (list, Kind.ARRAY),
)


def kinds_of_types(types: str | list[str]) -> frozenset[Kind]:
    """Return the types that a schema's `type` names."""
    names = [types] if isinstance(types, str) else types
    return frozenset(kind for name in names for kind in _KINDS_OF_TYPE[name])


def kind_of(value: Any) -> Kind:
    """Return the type of a JSON value."""
    if isinstance(value, float):
        return Kind.INTEGER if value.is_integer() else Kind.FRACTION
    return next(kind for types, kind in _KINDS_OF_PYTHON if isinstance(value, types))


def key(value: Any) -> Any:
    """Return what is equal for JSON values that are: 1 and 1.0, and not 1 and true."""
    match value:
        case bool():
            return ("boolean", value)
        case Mapping():
            return ("object", frozenset((name, key(item)) for name, item in value.items()))
        case list():
            return ("array", tuple(key(item) for item in value))
        case _:
            return value
