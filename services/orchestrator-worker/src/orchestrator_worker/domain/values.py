"""Values on their way out of a database, as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from contracts import identifiers

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
