"""Leaves out of a value what a snapshot does not keep, and says so in its place."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Any

from contracts import canonical
from contracts.runs import REDACTED


def redacted(value: Any, fields: Iterable[str], *, key: bytes | None) -> Any:
    """Return `value` with a mark in place of each of `fields`, given as `address.street`.

    A path leads through lists, and names nothing where there is no such field. With a `key` a mark
    holds the value's keyed hash, so that equal values can be told without being known.
    """
    for field in fields:
        value = _without(value, field.split("."), key)
    return value


def _without(value: Any, path: Sequence[str], key: bytes | None) -> Any:
    if isinstance(value, list):
        return [_without(item, path, key) for item in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    name, rest = path[0], path[1:]
    return {**value, name: _without(value[name], rest, key) if rest else _mark(value[name], key)}


def _mark(value: Any, key: bytes | None) -> dict[str, str | None]:
    if isinstance(value, dict) and value.keys() == {REDACTED}:
        return value
    if key is None:
        return {REDACTED: None}
    digest = hmac.digest(key, canonical.render(value), hashlib.sha256)[:16]
    return {REDACTED: base64.b32encode(digest).decode().rstrip("=").lower()}
