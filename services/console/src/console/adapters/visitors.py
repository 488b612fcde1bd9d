"""Who is visiting, and what of that goes along with the calls that are made for them.

The console has no rights of its own and checks nobody's: locally every visitor is one fixed actor,
elsewhere each shows a token of their own, which goes with every call; the services judge it.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import HTTPConnection

from console.errors import SignedOutError

MAX_TOKEN_BYTES = 3800
"""What fits into a cookie, with its name and its attributes."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750, 2.1


@dataclass(frozen=True)
class Visitor:
    """Who asks: a name to show, and the token to show the services, None where none is needed."""

    name: str
    token: str | None = None


NOBODY = Visitor("nobody")


class Visitors(Protocol):
    """Finds out who is visiting."""

    signs_in: bool
    """Whether there is something to sign in to, and out of."""

    def of(self, request: HTTPConnection) -> Visitor | None:
        """Return who asks, or None for somebody who has not signed in."""
        ...


class LocalVisitors:
    """Everybody on this machine is the same actor, with every role."""

    signs_in = False

    def __init__(self, actor: str) -> None:
        self._visitor = Visitor(actor)

    def of(self, request: HTTPConnection) -> Visitor | None:  # noqa: ARG002 - the port's signature
        """Return the actor."""
        return self._visitor


class TokenVisitors:
    """Who has signed in has a cookie with their token, which no script can read."""

    signs_in = True

    def __init__(self, cookie: str) -> None:
        """`cookie` is its name."""
        self._cookie = cookie

    def of(self, request: HTTPConnection) -> Visitor | None:
        """Return whose token it is; not whether it is taken, which the services say."""
        token = request.cookies.get(self._cookie, "")
        return Visitor(name_in(token), token) if is_token(token) else None


def is_token(text: str) -> bool:
    """Say whether a text may be a token that fits into a cookie."""
    return len(text) <= MAX_TOKEN_BYTES and _TOKEN.fullmatch(text) is not None


def name_in(token: str) -> str:
    """Return whose token it says it is, to show its owner; nothing is decided by it."""
    return str(claims_in(token).get("sub", "somebody"))[:100]


def claims_in(token: str) -> Mapping[str, Any]:
    """Return what a token says that nobody has judged; nothing of what is none."""
    return _part(token, 1)


def header_in(token: str) -> Mapping[str, Any]:
    """Return the header of a token, as `claims_in`."""
    return _part(token, 0)


def _part(token: str, number: int) -> Mapping[str, Any]:
    try:
        body = token.split(".")[number]
        found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError, binascii.Error, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


_CURRENT: ContextVar[Visitor] = ContextVar("backbone_visitor")


@contextmanager
def visiting(visitor: Visitor) -> Iterator[None]:
    """Make the calls within be those of `visitor`."""
    before = _CURRENT.set(visitor)
    try:
        yield
    finally:
        _CURRENT.reset(before)


def current_token() -> str:
    """Return the token of whoever a call is made for. Raises SignedOutError without one."""
    visitor = _CURRENT.get(None)
    if visitor is None or visitor.token is None:
        raise SignedOutError("nobody is signed in")
    return visitor.token
