"""Values on their way into a statement and out of it: typed parameters in, JSON out."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from contracts import identifiers
from contracts.catalogue import Parameter, ParameterType

_INT64 = 2**63


def to_json(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Return a database value as JSON: times as RFC 3339, decimals as exactly as JSON can.

    A decimal becomes an integer or a float when that spells the same number, text otherwise.

    Raises:
        ValueError: JSON has no form for it that a rule could use; the message says what to do.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a JSON number")
        return value
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(
                "a timestamp without a time zone is ambiguous; select it AT TIME ZONE 'UTC'"
            )
        return identifiers.instant(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [to_json(item) for item in value]
    raise ValueError(f"a {type(value).__name__} has no form in JSON; cast it in the statement")


def _decimal(value: Decimal) -> int | float | str:
    if not value.is_finite():
        raise ValueError(f"{value} is not a JSON number")
    if value == value.to_integral_value() and -_INT64 <= value < _INT64:
        return int(value)
    nearest = float(value)
    return nearest if math.isfinite(nearest) and Decimal(repr(nearest)) == value else str(value)


def size(value: Any) -> int:
    """Return how many bytes a JSON value has in its compact form."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def bind(parameter: Parameter, value: Any) -> Any:  # noqa: PLR0911 - one for each type
    """Return what is bound for a JSON value.

    Raises:
        ValueError: the value is not of the parameter's type.
    """
    if value is None:
        if parameter.nullable:
            return None
        raise ValueError("it is null; declare it nullable if the statement expects that")
    match parameter.type:
        case ParameterType.TEXT if isinstance(value, str):
            if "\x00" in value:
                raise ValueError("a text cannot hold the character NUL")
            return value
        case ParameterType.BOOLEAN if isinstance(value, bool):
            return value
        case ParameterType.INTEGER if isinstance(value, int) and not isinstance(value, bool):
            return value
        case ParameterType.NUMBER if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        case ParameterType.TIMESTAMPTZ if isinstance(value, str):
            return _instant(value)
        case ParameterType.DATE if isinstance(value, str):
            return _date(value)
        case _:
            raise ValueError(f"expected {parameter.type}, got {_kind(value)}")


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ValueError(f"not an RFC 3339 time: {text[:40]!r}") from exc
    if moment.tzinfo is None:
        raise ValueError(f"a time without an offset: {text[:40]!r}")
    return moment


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise ValueError(f"not a date like 2026-01-31: {text[:40]!r}") from exc


def _kind(value: Any) -> str:
    return {
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "text",
        list: "a list",
        dict: "an object",
    }.get(type(value), type(value).__name__)
