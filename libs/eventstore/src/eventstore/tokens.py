"""Page tokens: where a list goes on, bound to what it is a list of."""

import base64
import binascii
import json
from typing import Any

from contracts import identifiers
from runtime.rpcerrors import InvalidArgumentError


def write(filters: list[Any], values: list[Any]) -> str:
    """Return the token of `values`, good for the same `filters` only."""
    content = json.dumps([identifiers.short_hash(json.dumps(filters)), *values])
    return base64.urlsafe_b64encode(content.encode()).decode()


def read(token: str, filters: list[Any], *, count: int) -> list[Any]:
    """Return the `count` values of a token.

    Raises:
        InvalidArgumentError: it is none, or belongs to another list.
    """
    try:
        mark, *values = list(json.loads(base64.urlsafe_b64decode(token.encode())))
    except (binascii.Error, ValueError, TypeError, RecursionError) as exc:
        raise malformed() from exc
    if mark != identifiers.short_hash(json.dumps(filters)):
        raise InvalidArgumentError("page_token: it belongs to another list")
    if len(values) != count:
        raise malformed()
    return values


def is_text(value: Any) -> bool:
    """Say whether a value is a text that PostgreSQL takes: no NUL, no half of a surrogate pair."""
    return isinstance(value, str) and "\x00" not in value and identifiers.is_encodable(value)


def malformed() -> InvalidArgumentError:
    """Return the error of a token that is none."""
    return InvalidArgumentError("page_token: it is not one of this service")
