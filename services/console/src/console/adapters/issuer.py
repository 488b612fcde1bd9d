"""The issuer of people's tokens, asked for them: OpenID Connect's code flow with PKCE.

Authlib makes and reads the messages. What comes back is believed by the rules of the services, so
that nobody is let in here who is refused there.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError

from console.adapters import visitors
from console.adapters.sessions import Session
from console.domain.sign_ins import SignIn
from console.errors import BadRequestError, ConsoleError, ServiceError, SignedOutError
from contracts import strictjson
from contracts.rejections import EventRejectedError
from runtime import logs
from runtime.errors import SecretUnreadableError
from runtime.issuerhttp import IssuerHttp, IssuerUnavailableError
from runtime.rpcerrors import RpcError, UnavailableError
from runtime.tokens import TokenAuthenticator

FRESH_S = 600.0
"""So long what the issuer says of itself is not asked for again."""
ASK_AGAIN_S = 10.0
REMEMBERED_S = 30.0
"""So long a renewal answers for the same refresh token: pages ask side by side."""
MAX_RENEWALS = 20
"""How many go on at once: what renews is a stranger's to send."""

_FORM = "application/x-www-form-urlencoded"
_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Client:
    """Who we are to the issuer, and what we ask of it.

    `secret` reads the client's secret, None where it has none. `forwards` is the token that goes to
    the services.
    """

    id: str
    redirect_url: str
    signed_out_url: str
    scopes: tuple[str, ...]
    secret: Callable[[], str] | None = None
    forwards: Literal["access_token", "id_token"] = "access_token"
    ends_session: bool = True


@dataclass(frozen=True)
class Judges:
    """Who judges tokens: those that are meant for the services, and those meant for us."""

    services: TokenAuthenticator
    ours: TokenAuthenticator


@dataclass(frozen=True)
class Provider:
    """What the issuer says of itself."""

    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str | None
    takes_basic: bool


class Issuer:
    """One issuer, as one client of it sees it."""

    def __init__(
        self,
        name: str,
        *,
        discovery_url: str,
        http: IssuerHttp,
        client: Client,
        judges: Judges,
        local: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is what its tokens say; `local`: it may be asked without TLS."""
        self._name = name
        self._discovery_url = discovery_url
        self._http = http
        self._client = client
        self._judges = judges
        self._schemes = ("https", "http") if local else ("https",)
        self._clock = clock
        self._asking = asyncio.Lock()
        self._known: Provider | None = None
        self._ask_again_at = clock()
        self._renewals: dict[bytes, tuple[float, asyncio.Task[Session]]] = {}
        self._renewing = asyncio.Semaphore(MAX_RENEWALS)

    async def authorize_url(self, begun: SignIn) -> str:
        """Return where a browser is sent to sign in. Raises ServiceError: the issuer is away."""
        provider = await self._provider()
        url: str = prepare_grant_uri(
            provider.authorization_endpoint,
            self._client.id,
            "code",
            redirect_uri=self._client.redirect_url,
            scope=" ".join(self._client.scopes),
            state=begun.state,
            nonce=begun.nonce,
            code_challenge=create_s256_code_challenge(begun.verifier),
            code_challenge_method="S256",
        )
        return url

    async def end_session_url(self) -> str | None:
        """Return where a browser is sent to end the issuer's session, None for nowhere."""
        if not self._client.ends_session:
            return None
        try:
            endpoint = (await self._provider()).end_session_endpoint
        except ServiceError:
            # Who signs out here is signed out here, whoever is away.
            return None
        if endpoint is None:
            return None
        told = {
            "client_id": self._client.id,
            "post_logout_redirect_uri": self._client.signed_out_url,
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(told)}"

    def check_sender(self, said: str) -> None:
        """Raise BadRequestError when a browser says that another issuer sent it (RFC 9207)."""
        if said and said != self._name:
            raise BadRequestError("Another issuer sent you here: nobody was signed in.")

    async def redeem(self, code: str, begun: SignIn) -> Session:
        """Return the session that a code stands for.

        Raises:
            BadRequestError: it is no code of this sign-in, or what came for it is not.
            SignedOutError: the services would not take the token.
            ServiceError: the issuer is away, or does not do its part.
        """
        answer = await self._tokens(
            "authorization_code",
            code=code,
            redirect_uri=self._client.redirect_url,
            code_verifier=begun.verifier,
        )
        claims = await self._id_claims(answer, nonce=begun.nonce)
        return await self._session(answer, subject=claims["sub"])

    async def renew(self, session: Session) -> Session:
        """Return a session that goes on from one whose token ends.

        The same one asked for twice at a time is renewed once. Raises as `redeem`; a
        BadRequestError says that it cannot be renewed any more.
        """
        now = self._clock()
        self._renewals = {
            key: (until, task) for key, (until, task) in self._renewals.items() if until > now
        }
        key = hashlib.sha256((session.refresh or "").encode()).digest()
        if key not in self._renewals:
            task = asyncio.create_task(self._renewed(session))
            self._renewals[key] = (now + REMEMBERED_S, task)
            task.add_done_callback(lambda done: self._forget_failed(key, done))
        # Whoever gives up waiting does not end what others wait for.
        return await asyncio.shield(self._renewals[key][1])

    def _forget_failed(self, key: bytes, task: asyncio.Task[Session]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._renewals.pop(key, None)

    async def _renewed(self, session: Session) -> Session:
        async with self._renewing:
            answer = await self._tokens("refresh_token", refresh_token=session.refresh or "")
        subject = visitors.claims_in(session.token).get("sub")
        if "id_token" in answer:
            claims = await self._id_claims(answer, nonce=None)
            subject = subject or claims["sub"]
        renewed = await self._session(answer, subject=subject)
        return Session(renewed.token, renewed.refresh or session.refresh)

    async def _session(self, answer: Mapping[str, Any], *, subject: object) -> Session:
        """Return the session of an answer whose token is one for the services, and the visitor's.

        With a `subject` it has to be the token of that one.
        """
        token, refresh = answer.get(self._client.forwards), answer.get("refresh_token")
        if not isinstance(token, str):
            raise _broken(f"gives no {self._client.forwards}")
        try:
            await self._judges.services.authenticate(f"Bearer {token}")
        except UnavailableError as exc:
            raise _away() from exc
        except RpcError as exc:
            _log.warning("sign_in_refused", reason=exc.reason, error=str(exc))
            raise SignedOutError(
                f"What the identity provider says of you is not taken here: {exc}.",
                reason=exc.reason,
            ) from exc
        if subject is not None and visitors.claims_in(token).get("sub") != subject:
            raise BadRequestError("The identity provider's tokens are of two people.")
        if not visitors.is_token(token):
            raise _broken(
                f"gives a token of {len(token):,} characters, and {visitors.MAX_TOKEN_BYTES:,} fit "
                "into a cookie"
            )
        return Session(token, refresh if isinstance(refresh, str) else None)

    async def _id_claims(self, answer: Mapping[str, Any], *, nonce: str | None) -> dict[str, Any]:
        """Return what the ID token of an answer says, meant for us and for this sign-in."""
        token, access = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str):
            raise _broken("gives no ID token")
        try:
            claims = await self._judges.ours.claims(token)
            said = CodeIDToken(
                claims,
                visitors.header_in(token),
                params={"nonce": nonce, "client_id": self._client.id, "access_token": access},
            )
            said.validate_nonce()
            said.validate_azp()
            said.validate_at_hash()
        except UnavailableError as exc:
            raise _away() from exc
        except (RpcError, JoseError, TypeError, ValueError) as exc:
            _log.warning("sign_in_refused", error=str(exc))
            raise BadRequestError(
                "What the identity provider sent is not for this sign-in: nobody was signed in. "
                "Sign in again."
            ) from exc
        return claims

    async def _tokens(self, grant: str, **told: str) -> dict[str, Any]:
        """Ask the token endpoint; return what it gives."""
        provider = await self._provider()
        try:
            secret = self._client.secret() if self._client.secret else None
        except SecretUnreadableError as exc:
            _log.error("client_secret_unreadable", error=str(exc))
            raise _broken("cannot be asked: the console's own secret cannot be read") from exc
        method = "client_secret_basic" if provider.takes_basic else "client_secret_post"
        url, headers, body = ClientAuth(
            self._client.id, secret, method if secret else "none"
        ).prepare(
            "POST",
            provider.token_endpoint,
            {"Content-Type": _FORM},
            prepare_token_request(grant, **told),
        )
        try:
            status, content = await self._http.post(url, headers, body.encode())
        except IssuerUnavailableError as exc:
            _log.warning("issuer_away", error=str(exc))
            raise _away() from exc
        answer = _object(content)
        if status == HTTPStatus.OK and answer is not None and "error" not in answer:
            return answer
        error = None if answer is None else answer.get("error")
        _log.warning("tokens_refused", grant=grant, status=status, error=str(error)[:100])
        if error == "invalid_grant":
            raise BadRequestError(
                "The identity provider does not take this sign-in any more: sign in again."
            )
        raise _broken("does not give the console a token; the console's log says what it said")

    async def _provider(self) -> Provider:
        async with self._asking:
            if self._clock() >= self._ask_again_at:
                try:
                    content = await self._http.get(self._discovery_url)
                    self._known = self._described(content)
                    self._ask_again_at = self._clock() + FRESH_S
                except IssuerUnavailableError as exc:
                    _log.warning("issuer_away", error=str(exc))
                    self._ask_again_at = self._clock() + ASK_AGAIN_S
        if self._known is None:
            raise _away()
        return self._known

    def _described(self, content: bytes) -> Provider:
        """Return what a discovery document says. Raises IssuerUnavailableError: it is none."""
        said = _object(content) or {}
        if said.get("issuer") != self._name:
            raise IssuerUnavailableError(f"{self._discovery_url} is not of {self._name}")
        methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Provider(
            authorization_endpoint=self._endpoint(said, "authorization_endpoint"),
            token_endpoint=self._endpoint(said, "token_endpoint"),
            end_session_endpoint=(
                self._endpoint(said, "end_session_endpoint")
                if said.get("end_session_endpoint")
                else None
            ),
            takes_basic=not isinstance(methods, list) or "client_secret_basic" in methods,
        )

    def _endpoint(self, said: Mapping[str, Any], name: str) -> str:
        url = said.get(name)
        try:
            parts = urlsplit(url if isinstance(url, str) else "")
            if isinstance(url, str) and parts.scheme in self._schemes and parts.hostname:
                _ = parts.port
                return url
        except ValueError:
            pass
        raise IssuerUnavailableError(f"{self._discovery_url} has no usable {name}")


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = strictjson.parse(content)
    except EventRejectedError:
        return None
    return found if isinstance(found, dict) else None


def _away() -> ConsoleError:
    return ServiceError(
        "The identity provider cannot be reached: try again in a moment.",
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        reason="TOKEN_ISSUER_UNAVAILABLE",
    )


def _broken(what: str) -> ConsoleError:
    return ServiceError(f"The identity provider {what}.", status=HTTPStatus.BAD_GATEWAY)
