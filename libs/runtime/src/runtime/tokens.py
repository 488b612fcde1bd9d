"""People's tokens: a JWT of one issuer, for us, in time, says who somebody is and what they may.

A token that is shown has to be good. It is never passed over for another way to know the caller.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import jwt

from contracts.roles import Role
from runtime.identity import OIDC_PREFIX, Identity
from runtime.issuerhttp import IssuerUnavailableError
from runtime.jwks import ALGORITHMS, IssuerKeys
from runtime.rpcerrors import RpcError, UnauthenticatedError, UnavailableError

MAX_TOKEN_CHARACTERS = 8192
"""What gRPC lets all metadata have is not much more."""
ALL_NAMESPACES = "*"

_SCHEME = "bearer"
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})  # RFC 9068, 2.1
_MAX_KEY_ID = 256
_MAX_ENTRIES = 256
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._|-]{0,99}")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._-]{0,99}")
_NAMESPACE = re.compile(r"[a-z0-9-]{1,63}")
# `service` is for services alone, which have certificates.
_ROLES = {role.value: role for role in Role if role is not Role.SERVICE}
# Whatever a stranger's bytes make the library and the JSON parser raise.
_MALFORMED = (jwt.PyJWTError, ValueError, TypeError, OverflowError)


@dataclass(frozen=True)
class Claims:
    """Where a token says what; a dot leads into an object unless a claim has that whole name."""

    name: str = "sub"
    roles: str = "backbone_roles"
    namespaces: str = "backbone_namespaces"
    groups: str = "groups"


@dataclass(frozen=True)
class Expected:
    """What a token has to be: whose, for whom, how old at most."""

    issuer: str
    audience: str
    leeway: timedelta = timedelta(seconds=30)
    max_lifetime: timedelta = timedelta(days=1)
    claims: Claims = field(default_factory=Claims)


class TokenAuthenticator:
    """Finds out who is calling by the token they show."""

    def __init__(self, expected: Expected, keys: IssuerKeys) -> None:
        self._expected = expected
        self._keys = keys

    async def authenticate(self, authorization: str) -> Identity:
        """Return whom the value of an `authorization` header speaks of.

        Raises:
            UnauthenticatedError: it is no token, or none for us and now; the reason says which.
            UnavailableError: the issuer's keys cannot be had now.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != _SCHEME:
            raise _refused("TOKEN_INVALID", "the authorization header holds no bearer token")
        claims = await self.claims(token)
        until = int(claims["exp"]) + self._expected.leeway.total_seconds()
        return replace(identity_of(claims, self._expected.claims), until=until)

    async def claims(self, token: str) -> dict[str, Any]:
        """Return what a token says, whoever it speaks of. Raises as `authenticate`."""
        algorithm, key_id = _header(token)
        try:
            key = await self._keys.key(key_id)
        except IssuerUnavailableError as exc:
            raise UnavailableError(str(exc), reason="TOKEN_ISSUER_UNAVAILABLE") from exc
        if key is None:
            raise _refused("TOKEN_KEY_UNKNOWN", "the issuer does not have the token's key")
        # What the token says it is signed with counts only as far as the key allows it.
        if algorithm not in key.algorithms:
            raise _refused("TOKEN_INVALID", "the token's algorithm is not that of its key")
        return self._verified(token, key.key, algorithm)

    def _verified(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        expected = self._expected
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=expected.issuer,
                audience=expected.audience,
                leeway=expected.leeway,
                options={"require": ["iss", "aud", "exp", "iat", "sub"]},
            )
            lifetime = int(claims["exp"]) - int(claims["iat"])
        except _MALFORMED as exc:
            raise _as_refusal(exc) from exc
        if lifetime > expected.max_lifetime.total_seconds():
            raise _refused("TOKEN_INVALID", "the token lives longer than is taken here")
        return claims


def identity_of(claims: Mapping[str, Any], where: Claims) -> Identity:
    """Return whom the claims of a verified token speak of.

    Roles and groups that are not ours are the issuer's for somebody else; without a namespace
    nothing may be asked for, and `*` alone is all of them.

    Raises:
        UnauthenticatedError: it does not say a usable name, or its lists are none.
    """
    name = _claim(claims, where.name)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _refused(
            "TOKEN_NAME_UNUSABLE",
            f"the token's claim {where.name!r} is no name of letters, digits and @._|- in 100 "
            "characters at most (BACKBONE_OIDC_NAME_CLAIM says which claim it is)",
        )
    namespaces = frozenset(_texts(claims, where.namespaces))
    return Identity(
        f"{OIDC_PREFIX}{name}",
        frozenset(_ROLES[text] for text in _texts(claims, where.roles) if text in _ROLES),
        None
        if namespaces == {ALL_NAMESPACES}
        else frozenset(text for text in namespaces if _NAMESPACE.fullmatch(text)),
        frozenset(text for text in _texts(claims, where.groups) if _GROUP.fullmatch(text)),
    )


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(claims: Mapping[str, Any], path: str) -> list[str]:
    found = _claim(claims, path)
    if found is None:
        return []
    if isinstance(found, list) and len(found) <= _MAX_ENTRIES:
        return [one for one in found if isinstance(one, str)]
    raise _refused(
        "TOKEN_INVALID", f"the token's claim {path!r} is no list of {_MAX_ENTRIES} texts at most"
    )


def _header(token: str) -> tuple[str, str]:
    """Return a token's algorithm and key id, before anything of it is believed."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise _refused("TOKEN_INVALID", f"the token is over {MAX_TOKEN_CHARACTERS} characters long")
    try:
        header = jwt.get_unverified_header(token)
    except _MALFORMED as exc:
        raise _as_refusal(exc) from exc
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise _refused("TOKEN_INVALID", "the token's algorithm is none that is taken here")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= _MAX_KEY_ID:
        raise _refused("TOKEN_INVALID", "the token does not name its key (kid)")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise _refused("TOKEN_INVALID", "the token is of a kind that is not taken here")
    return algorithm, key_id


_SAID: tuple[tuple[type[Exception], str, str], ...] = (
    (jwt.ExpiredSignatureError, "TOKEN_EXPIRED", "the token has expired"),
    (jwt.ImmatureSignatureError, "TOKEN_NOT_YET_VALID", "the token is not valid yet"),
    (jwt.InvalidAudienceError, "TOKEN_AUDIENCE", "the token is meant for somebody else"),
    (jwt.InvalidIssuerError, "TOKEN_ISSUER", "the token is another issuer's"),
    (jwt.MissingRequiredClaimError, "TOKEN_INVALID", "the token lacks a claim"),
)


def _as_refusal(error: Exception) -> RpcError:
    for kind, reason, message in _SAID:
        if isinstance(error, kind):
            detail = error.claim if isinstance(error, jwt.MissingRequiredClaimError) else ""
            return _refused(reason, f"{message}: {detail}" if detail else message)
    return _refused("TOKEN_INVALID", "the token is none, or its signature is not its key's")


def _refused(reason: str, message: str) -> RpcError:
    return UnauthenticatedError(message, reason=reason)
