"""Values on their way into a statement or a path: each of the type that its parameter declares."""

from datetime import date, datetime
from typing import Any

from contracts.catalogue import Parameter, ParameterType


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
