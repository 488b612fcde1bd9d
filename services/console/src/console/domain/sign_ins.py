"""Sign-ins under way: what a browser keeps until it is back, and where it goes from there."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

MAX_WHERE = 512
"""How long an address to come back to may be, in characters."""
ID_CHARACTERS = 16

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_ADDRESS = re.compile(r"/[a-z0-9-]{1,63}/[!-~]*")
_SIGNING = ("sign-in", "sign-out")


@dataclass(frozen=True)
class SignIn:
    """One sign-in under way.

    `state` is what the issuer gives back, `nonce` what its ID token has to hold, `verifier` what
    only we can show for the code, and `where` the page that was first asked for.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    where: str

    @property
    def id(self) -> str:
        """What tells it from others of the same browser; no secret by itself."""
        return id_in(self.state)

    def kept(self) -> str:
        """Return it as a cookie has it; see `parsed`."""
        return ".".join((self.state, self.nonce, self.verifier, self.where.encode().hex()))


def begin(where: str, *, secret: Callable[[], str]) -> SignIn:
    """Return a new one; each `secret` has 43 characters of base64url."""
    return SignIn(secret(), secret(), secret(), where)


def parsed(text: str) -> SignIn | None:
    """Return the sign-in that a cookie has, None where it has none."""
    parts = text.split(".")
    if len(parts) != 4 or not all(_SECRET.fullmatch(part) for part in parts[:3]):
        return None
    try:
        where = bytes.fromhex(parts[3]).decode()
    except ValueError:
        return None
    return SignIn(parts[0], parts[1], parts[2], where)


def id_in(state: str) -> str:
    """Return the id of the sign-in with a state; empty for what is none."""
    return state[:ID_CHARACTERS] if _SECRET.fullmatch(state) else ""


def local(where: str, *, namespaces: Collection[str], otherwise: str) -> str:
    """Return an address if it is that of a page of ours, and `otherwise` if it is anything else.

    It is a path below a namespace, so that it names no other host, whatever a browser makes of it.
    """
    if len(where) > MAX_WHERE or not _ADDRESS.fullmatch(where) or "\\" in where:
        return otherwise
    parts = urlsplit(where)
    _, namespace, *page = parts.path.split("/")
    is_page = namespace in namespaces and page[0] not in _SIGNING and ".." not in page
    return where if is_page else otherwise
