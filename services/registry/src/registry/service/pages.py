"""Pages of a list: how many there may be on one, and the token that leads to the next."""

import base64
import binascii
import re

from registry.errors import InvalidRequestError

DEFAULT_PAGE = 100
MAX_PAGE = 1000

ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
NUMBER = re.compile(r"[1-9][0-9]{0,17}")


def limit(page_size: int) -> int:
    """Return how many are wanted.

    Raises:
        InvalidRequestError: fewer than none.
    """
    if page_size < 0:
        raise InvalidRequestError("page_size", "it cannot be negative")
    return min(page_size or DEFAULT_PAGE, MAX_PAGE)


def token(last: str) -> str:
    """Return the token of the page after `last`."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def read_token(given: str, shape: re.Pattern[str]) -> str:
    """Return what the page before ended with; empty for the first page.

    Raises:
        InvalidRequestError: it was not given out here.
    """
    if not given:
        return ""
    try:
        last = base64.b64decode(
            given + "=" * (-len(given) % 4), altchars=b"-_", validate=True
        ).decode("ascii")
    except (binascii.Error, ValueError):
        last = ""
    if not shape.fullmatch(last):
        raise InvalidRequestError("page_token", "it is not one that was given out here")
    return last
