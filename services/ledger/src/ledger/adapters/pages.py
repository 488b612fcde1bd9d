"""Page tokens: opaque to callers, and good only for the list they came from."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from contracts import identifiers
from ledger.errors import InvalidRequestError

T = TypeVar("T")

DEFAULT_SIZE = 100
MAX_SIZE = 1000

MAX_BYTES = 2 * 1024 * 1024
"""A page is cut here, far below what one gRPC message may hold."""

_POSITIONS = range(2**63)


def size(asked: int) -> int:
    """Return how many items a page holds; 0 asks for the default.

    Raises:
        InvalidRequestError: it is negative or too large.
    """
    if not 0 <= asked <= MAX_SIZE:
        raise InvalidRequestError(f"page_size is {asked}, but has to be from 0 to {MAX_SIZE}")
    return asked or DEFAULT_SIZE


def split(
    rows: Sequence[T], page_size: int, *, weigh: Callable[[T], int] = lambda _: 0
) -> tuple[Sequence[T], T | None]:
    """Return the rows of a page and its last one if more follow; `rows` holds one row more.

    `weigh` tells the bytes of a row: a page of heavy rows holds fewer, at least one.
    """
    weight = 0
    for index, row in enumerate(rows):
        weight += weigh(row)
        if index and (index == page_size or weight > MAX_BYTES):
            return rows[:index], rows[index - 1]
    return rows, None


def token(key: str, *filters: str) -> str:
    """Return the token of the page that begins after `key` in the list with these filters."""
    content = json.dumps([identifiers.short_hash(*filters), key]).encode()
    return base64.urlsafe_b64encode(content).decode()


def position(page_token: str, *filters: str) -> int | None:
    """Return the position that a token says, None for the first page.

    Raises:
        InvalidRequestError: the token is not one, or belongs to a list with other filters.
    """
    key = _key(page_token, filters)
    if key is None:
        return None
    try:
        found = int(key)
    except ValueError as exc:
        raise _malformed() from exc
    if found not in _POSITIONS:
        raise _malformed()
    return found


def name(page_token: str, *filters: str) -> str:
    """Return the name that a token says, empty for the first page. Raises as `position`."""
    return _key(page_token, filters) or ""


def instant(page_token: str, *filters: str) -> datetime | None:
    """Return the instant that a token says, None for the first page. Raises as `position`."""
    key = _key(page_token, filters)
    if key is None:
        return None
    try:
        return _moment(key)
    except ValueError as exc:
        raise _malformed() from exc


def moment_and_id(page_token: str, *filters: str) -> tuple[datetime, int] | None:
    """Return the instant and the id that a token says (`token(f"{instant} {id}")`).

    None for the first page. Raises as `position`.
    """
    key = _key(page_token, filters)
    if key is None:
        return None
    moment, _, number = key.rpartition(" ")
    try:
        found = _moment(moment), int(number)
    except ValueError as exc:
        raise _malformed() from exc
    if found[1] not in _POSITIONS:
        raise _malformed()
    return found


def moment_and_names(page_token: str, *filters: str) -> tuple[datetime, str, str] | None:
    """Return the instant and the two names that a token says (`token(f"{instant} {a} {b}")`).

    The first name has no space. None for the first page. Raises as `position`.
    """
    key = _key(page_token, filters)
    if key is None:
        return None
    try:
        moment, first, second = key.split(" ", 2)
        return _moment(moment), first, second
    except ValueError as exc:
        raise _malformed() from exc


def _key(page_token: str, filters: Sequence[str]) -> str | None:
    if not page_token:
        return None
    try:
        mark, key = json.loads(base64.urlsafe_b64decode(page_token.encode()))
    except (binascii.Error, ValueError, TypeError, RecursionError) as exc:
        raise _malformed() from exc
    if mark != identifiers.short_hash(*filters):
        raise InvalidRequestError("page_token belongs to a list with other filters")
    found = str(key)
    # Anybody can write a token; these the database does not take.
    if "\x00" in found or not identifiers.is_encodable(found):
        raise _malformed()
    return found


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("a time without its zone")
    return found


def _malformed() -> InvalidRequestError:
    return InvalidRequestError("page_token is not one of this service")
