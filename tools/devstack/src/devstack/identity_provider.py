"""What a secure stack's issuer answers to browsers and to the console: sign-ins, tokens for codes.

A page to choose one of the people in its folder, for who knows the password there: nobody else can
ask it for a token. What it remembers ends with its process.
"""

import base64
import hashlib
import hmac
import html
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import parse_qsl, unquote_plus, urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from devstack.issuer import CLIENT, ISSUER, KEYS, Issuer, Person

LIFETIME = timedelta(minutes=15)
"""Of tokens: who stays longer has them renewed, as at an identity provider."""
CODE_LIFETIME = timedelta(minutes=1)
SESSION = "__Host-issuer_session"
_MAX_FORM_BYTES = 16 * 1024
_MAX_REMEMBERED = 1000
_T = TypeVar("_T")


@dataclass(frozen=True)
class Grant:
    """What somebody allowed: who, at whose request, and by what the code is bound to it."""

    person: Person
    request: Mapping[str, str]
    until: datetime


@dataclass
class _Memory:
    codes: dict[str, Grant] = field(default_factory=dict)
    refreshes: dict[str, Grant] = field(default_factory=dict)
    sessions: dict[str, Person] = field(default_factory=dict)


def keys_alone(issuer: Issuer) -> Starlette:
    """Return what serves the issuer's public keys, and signs nobody in."""
    return Starlette(routes=[_keys_of(issuer)])


def _keys_of(issuer: Issuer) -> Route:
    async def keys(_request: Request) -> Response:
        return Response(issuer.keys(), media_type="application/json")

    return Route(f"/{KEYS}", keys)


class IdentityProvider:
    """The endpoints of one issuer, for one client: the console of the stack."""

    def __init__(
        self,
        issuer: Issuer,
        *,
        url: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lifetime: timedelta = LIFETIME,
    ) -> None:
        """`url` is where browsers find it."""
        self._issuer = issuer
        self._url = url
        self._now = now
        self._lifetime = lifetime
        self._memory = _Memory()

    @property
    def _callback(self) -> str:
        return f"{self._issuer.console()}/callback"

    @property
    def _signed_out(self) -> str:
        return f"{self._issuer.console()}/signed-out"

    def application(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                _keys_of(self._issuer),
                Route("/.well-known/openid-configuration", self._description),
                Route("/authorize", self._asked),
                Route("/authorize", self._chosen, methods=["POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/end-session", self._end_session),
            ]
        )

    async def _description(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": ISSUER,
                "jwks_uri": f"{self._url}/{KEYS}",
                "authorization_endpoint": f"{self._url}/authorize",
                "token_endpoint": f"{self._url}/token",
                "end_session_endpoint": f"{self._url}/end-session",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def _asked(self, request: Request) -> Response:
        """Answer a browser that the console sent: with a code where somebody is signed in."""
        told = dict(request.query_params)
        if problem := self._problem(told):
            return _said(problem)
        person = self._memory.sessions.get(request.cookies.get(SESSION, ""))
        return self._page(told) if person is None else self._sent_back(told, person)

    async def _chosen(self, request: Request) -> Response:
        form = await _form(request)
        told = dict(request.query_params)
        if problem := self._problem(told):
            return _said(problem)
        if form.get("choice") == "cancel":
            return self._answered(told, error="access_denied")
        if not hmac.compare_digest(form.get("password", "").encode(), self._password()):
            return self._page(told, problem="That is not the password.")
        person = self._issuer.people().get(form.get("person", ""))
        if person is None:
            return self._page(told, problem="There is nobody of that name.")
        response = self._sent_back(told, person)
        session = secrets.token_urlsafe(32)
        _remember(self._memory.sessions, session, person)
        response.set_cookie(SESSION, session, httponly=True, samesite="lax", secure=True)
        return response

    def _password(self) -> bytes:
        return self._issuer.password().encode()

    def _problem(self, told: Mapping[str, str]) -> str:
        """Return why a browser is not sent back with what it brings; empty when it is."""
        if told.get("client_id") != CLIENT or told.get("redirect_uri") != self._callback:
            return "Nobody is sent to where this asks for."
        if told.get("response_type") != "code" or "openid" not in told.get("scope", "").split():
            return "This issuer gives codes for openid."
        if told.get("code_challenge_method") != "S256" or not told.get("code_challenge"):
            return "This issuer asks for a proof of the code (PKCE, S256)."
        return ""

    def _page(self, told: Mapping[str, str], *, problem: str = "") -> Response:
        people = "".join(
            f'<option value="{html.escape(name)}">{html.escape(name)}: '
            f"{html.escape(', '.join(person.roles) or 'no role')}</option>"
            for name, person in self._issuer.people().items()
        )
        action = html.escape(f"/authorize?{urlencode(told)}")
        alert = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
        return HTMLResponse(
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Issuer of a local stack'
            "</title><h1>Issuer of a local stack</h1><p>These people are generated.</p>"
            f'{alert}<form method="post" action="{action}">'
            f'<p><label>Person <select name="person">{people}</select></label></p>'
            '<p><label>Password <input name="password" type="password"></label> It is in the file '
            "<code>issuer/password</code> of the stack's folder.</p>"
            '<button name="choice" value="sign-in">Sign in</button> '
            '<button name="choice" value="cancel">Cancel</button></form></html>',
            status_code=HTTPStatus.FORBIDDEN if problem else HTTPStatus.OK,
        )

    def _sent_back(self, told: Mapping[str, str], person: Person) -> Response:
        code = secrets.token_urlsafe(32)
        _remember(self._memory.codes, code, Grant(person, told, self._now() + CODE_LIFETIME))
        return self._answered(told, code=code)

    def _answered(self, told: Mapping[str, str], **answer: str) -> Response:
        answer |= {"state": told.get("state", ""), "iss": ISSUER}
        return RedirectResponse(f"{self._callback}?{urlencode(answer)}", HTTPStatus.SEE_OTHER)

    async def _token(self, request: Request) -> Response:
        form = await _form(request)
        if not self._is_client(request.headers.get("authorization", "")):
            return _refused("invalid_client", HTTPStatus.UNAUTHORIZED)
        if form.get("grant_type") == "authorization_code":
            # Taken up once, whatever comes of it.
            grant = self._memory.codes.pop(form.get("code", ""), None)
            if grant is None or not self._is_of(grant, form):
                return _refused("invalid_grant")
        elif form.get("grant_type") == "refresh_token":
            grant = self._memory.refreshes.pop(form.get("refresh_token", ""), None)
        else:
            return _refused("unsupported_grant_type")
        if grant is None or grant.until < self._now():
            return _refused("invalid_grant")
        return JSONResponse(self.answer(grant), headers={"Cache-Control": "no-store"})

    def _is_client(self, authorization: str) -> bool:
        scheme, _, shown = authorization.partition(" ")
        try:
            told = base64.b64decode(shown, validate=True).decode()
        except ValueError:
            return False
        client, _, secret = told.partition(":")
        right = hmac.compare_digest(unquote_plus(secret).encode(), self._issuer.secret().encode())
        return scheme.lower() == "basic" and unquote_plus(client) == CLIENT and right

    def _is_of(self, grant: Grant, form: Mapping[str, str]) -> bool:
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        shown = base64.urlsafe_b64encode(proof).decode().rstrip("=")
        return (
            form.get("redirect_uri") == grant.request["redirect_uri"]
            and shown == grant.request["code_challenge"]
        )

    def answer(self, grant: Grant) -> dict[str, object]:
        """Return what is given for a grant."""
        now = self._now()
        access = self._issuer.token(grant.person, now=now, lifetime=self._lifetime)
        answer: dict[str, object] = {
            "token_type": "Bearer",
            "access_token": access,
            "expires_in": int(self._lifetime.total_seconds()),
            "id_token": self._issuer.id_token(
                grant.person,
                now=now,
                lifetime=self._lifetime,
                access=access,
                nonce=grant.request.get("nonce"),
            ),
        }
        if "offline_access" in grant.request.get("scope", "").split():
            refresh = secrets.token_urlsafe(32)
            # It goes on without the nonce, which was of the sign-in.
            asked = {key: value for key, value in grant.request.items() if key != "nonce"}
            until = now + timedelta(hours=8)
            _remember(self._memory.refreshes, refresh, Grant(grant.person, asked, until))
            answer["refresh_token"] = refresh
        return answer

    async def _end_session(self, request: Request) -> Response:
        told = request.query_params
        self._memory.sessions.pop(request.cookies.get(SESSION, ""), None)
        is_ours = told.get("client_id") == CLIENT
        if is_ours and told.get("post_logout_redirect_uri") == self._signed_out:
            response: Response = RedirectResponse(self._signed_out, HTTPStatus.SEE_OTHER)
        else:
            response = _said("You are signed out.", HTTPStatus.OK)
        response.delete_cookie(SESSION, httponly=True, samesite="lax", secure=True)
        return response


def _remember(kept: dict[str, _T], key: str, value: _T) -> None:
    """Keep one more, and no more than so many: what is oldest goes."""
    kept[key] = value
    while len(kept) > _MAX_REMEMBERED:
        del kept[next(iter(kept))]


async def _form(request: Request) -> dict[str, str]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            return {}
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _said(text: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> Response:
    return HTMLResponse(f"<!doctype html><title>Issuer</title><p>{html.escape(text)}", status)


def _refused(error: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> Response:
    return JSONResponse({"error": error}, status)
