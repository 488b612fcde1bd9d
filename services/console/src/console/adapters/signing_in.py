"""Signing in at the issuer: a browser is sent there, comes back with a code, and has a session.

A session goes on by what renews it, for as long as the issuer lets it; then it is signed in again.
"""

import re
import secrets
import time
from collections.abc import Callable, Collection
from datetime import timedelta
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.adapters import visitors
from console.adapters.issuer import Issuer
from console.adapters.sessions import Session, Sessions
from console.domain import sign_ins
from console.domain.sign_ins import SignIn
from console.errors import BadRequestError, ServiceError, SignedOutError

_MAX_CODE = 2048
_ERROR = re.compile(r"[a-z_]{1,64}")
_STATUSES = {
    "access_denied": HTTPStatus.FORBIDDEN,
    "temporarily_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}


class SigningIn:
    """Sends visitors to the issuer, takes them back, and keeps their sessions going."""

    def __init__(
        self,
        issuer: Issuer,
        sessions: Sessions,
        *,
        namespaces: Collection[str],
        leeway: timedelta,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`leeway` is how long after its end the services take a token; `clock` is in seconds."""
        self._issuer = issuer
        self._sessions = sessions
        self._namespaces = namespaces
        self._leeway_s = leeway.total_seconds()
        self._clock = clock

    async def session(self, request: Request) -> Session | None:
        """Return the session of a browser, renewed where its token ends; None where there is none.

        Raises ServiceError: it has to be renewed now, and the issuer is away.
        """
        found = self._sessions.of(request)
        if found is None:
            return None
        left_s = _ends_at(found.token) - self._clock()
        if left_s > 0:
            return found
        if found.refresh is not None:
            try:
                return await self._issuer.renew(found)
            except (BadRequestError, SignedOutError):
                return None
            except ServiceError:
                if left_s + self._leeway_s <= 0:
                    raise
        return found if left_s + self._leeway_s > 0 else None

    async def begin(self, request: Request, *, where: str, otherwise: str) -> Response:
        """Send a browser to the issuer. It comes back to `where`, if that is a page of ours.

        Raises ServiceError: the issuer is away.
        """
        begun = sign_ins.begin(
            self.local(where, otherwise=otherwise), secret=lambda: secrets.token_urlsafe(32)
        )
        response = RedirectResponse(await self._issuer.authorize_url(begun), HTTPStatus.SEE_OTHER)
        self._sessions.begin(request, response, begun)
        return response

    async def finish(self, request: Request, begun: SignIn) -> Session:
        """Return the session of a browser that the issuer sent back.

        Raises:
            BadRequestError, SignedOutError: it is not signed in, by what it brings.
            ServiceError: the issuer refuses, or is away.
        """
        told = request.query_params
        self._issuer.check_sender(told.get("iss", ""))
        if "error" in told:
            raise _refused(told["error"])
        code = told.get("code", "")
        if not 0 < len(code) <= _MAX_CODE:
            raise BadRequestError("The identity provider sent no code: sign in again.")
        return await self._issuer.redeem(code, begun)

    async def end_session_url(self) -> str | None:
        """Return where the issuer's own session is ended, None for nowhere."""
        return await self._issuer.end_session_url()

    def local(self, where: str, *, otherwise: str) -> str:
        """Return an address if it is that of a page of ours, and `otherwise` if not."""
        return sign_ins.local(where, namespaces=self._namespaces, otherwise=otherwise)


def _ends_at(token: str) -> float:
    """Return when a token ends, by its own word: who lies is told so by the services."""
    ends = visitors.claims_in(token).get("exp")
    return float(ends) if isinstance(ends, int | float) else 0.0


def _refused(said: str) -> ServiceError:
    # What stands in an address is anybody's to write: a code is told, and no sentence.
    code = said if _ERROR.fullmatch(said) else "an error"
    return ServiceError(
        f"The identity provider did not sign you in ({code}): ask who runs it, or sign in again.",
        status=_STATUSES.get(code, HTTPStatus.BAD_GATEWAY),
    )
