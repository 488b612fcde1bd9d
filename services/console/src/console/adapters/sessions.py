"""What a browser keeps for its visitor: the token, what renews it, and sign-ins under way.

All of it is in cookies that no script can read. Those of a session are sent by no other site; that
of a sign-in comes along when the issuer sends the browser back, which is another site.
"""

from dataclasses import dataclass, field
from typing import Literal

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from console.adapters import visitors
from console.domain import sign_ins
from console.domain.sign_ins import SignIn

TOKEN = "backbone_token"  # noqa: S105 - the name of a cookie
REFRESH = "backbone_refresh"
SIGN_IN = "backbone_sign_in_"
MAX_SIGN_INS = 4
"""How many sign-ins a browser has under way: those of as many windows."""
SIGN_IN_S = 10 * 60
_EIGHT_HOURS_S = 8 * 60 * 60


@dataclass(frozen=True)
class Session:
    """Whoever has signed in: the token, and what may renew it."""

    token: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)


class Sessions:
    """Reads and writes the cookies."""

    def __init__(self, *, secure: bool) -> None:
        """`secure`: visitors come by https, and cookies go no other way."""
        # A cookie of this prefix comes from this host alone, and by https; others set it nowhere.
        self.prefix = "__Host-" if secure else ""
        self._secure = secure

    @property
    def token_cookie(self) -> str:
        """The name of the cookie with a visitor's token."""
        return self.prefix + TOKEN

    def of(self, request: HTTPConnection) -> Session | None:
        """Return the session that a browser shows; nobody has judged its token."""
        token = request.cookies.get(self.prefix + TOKEN, "")
        refresh = request.cookies.get(self.prefix + REFRESH, "")
        if not visitors.is_token(token) and not refresh:
            return None
        return Session(
            token if visitors.is_token(token) else "",
            refresh if visitors.is_token(refresh) else None,
        )

    def keep(self, response: Response, session: Session) -> None:
        """Have the browser keep a session, for eight hours at most."""
        self._set(response, TOKEN, session.token, seconds=_EIGHT_HOURS_S, to="strict")
        if session.refresh is not None and visitors.is_token(session.refresh):
            self._set(response, REFRESH, session.refresh, seconds=_EIGHT_HOURS_S, to="strict")

    def end(self, response: Response) -> None:
        """Have the browser forget the session."""
        for name in (TOKEN, REFRESH):
            self._forget(response, name, to="strict")

    def begin(self, request: Request, response: Response, begun: SignIn) -> None:
        """Have the browser keep a sign-in; with too many under way it forgets the others."""
        under_way = [name for name in request.cookies if name.startswith(self.prefix + SIGN_IN)]
        if len(under_way) >= MAX_SIGN_INS:
            for name in under_way:
                self._forget(response, name.removeprefix(self.prefix), to="lax")
        self._set(response, SIGN_IN + begun.id, begun.kept(), seconds=SIGN_IN_S, to="lax")

    def begun(self, request: Request, state: str) -> SignIn | None:
        """Return the sign-in with a state, None when this browser has none."""
        found = request.cookies.get(f"{self.prefix}{SIGN_IN}{sign_ins.id_in(state)}", "")
        begun = sign_ins.parsed(found)
        # Of what is 43 characters and random, nobody learns a part by how long this takes.
        return begun if begun is not None and begun.state == state else None

    def finish(self, response: Response, begun: SignIn) -> None:
        """Have the browser forget a sign-in: it is taken up once."""
        self._forget(response, SIGN_IN + begun.id, to="lax")

    def _set(
        self, response: Response, name: str, value: str, *, seconds: int, to: "_SameSite"
    ) -> None:
        response.set_cookie(
            self.prefix + name,
            value,
            max_age=seconds,
            httponly=True,
            samesite=to,
            secure=self._secure,
        )

    def _forget(self, response: Response, name: str, *, to: "_SameSite") -> None:
        response.delete_cookie(self.prefix + name, httponly=True, samesite=to, secure=self._secure)


_SameSite = Literal["strict", "lax"]
