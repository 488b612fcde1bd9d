"""An issuer's public keys, asked for when they are needed and remembered.

A key id that nobody has heard of makes us ask again, and so do keys that have grown old, but never
more often than every few seconds: key ids are a stranger's to choose.
"""

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from contracts import strictjson
from contracts.rejections import EventRejectedError
from runtime import logs
from runtime.issuerhttp import TIMEOUT_S, IssuerHttp, IssuerUnavailableError

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
Fetch = Callable[[], Awaitable[bytes]]

MAX_KEYS = 100
FRESH_S = 600.0
"""So long a key that the issuer withdrew may still be believed while the issuer answers."""
KEPT_S = 3600.0
"""So long keys serve while the issuer does not answer."""
ASK_AGAIN_S = 10.0

_RSA_BITS = range(2048, 8193)
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_READERS: Mapping[str, Callable[[dict[str, object]], Any]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}
ALGORITHMS = frozenset({*_RSA_ALGORITHMS, *_CURVES.values(), "EdDSA"})
"""Those with a public key alone: what verifies cannot sign."""

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class VerifyingKey:
    """A public key, and the algorithms that signatures by it may have."""

    key: PublicKey
    algorithms: frozenset[str]


class IssuerKeys:
    """The keys of one issuer, by key id; for one event loop."""

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask with `fetch`, which returns a JWKS; `clock` is in seconds."""
        self._fetch = fetch
        self._clock = clock
        self._asking: asyncio.Task[None] | None = None
        self._keys: Mapping[str, VerifyingKey] = {}
        self._fetched_at: float | None = None
        self._failed = False
        self._ask_again_at = clock()

    async def key(self, key_id: str) -> VerifyingKey | None:
        """Return a key, None for one that the issuer does not have.

        Raises:
            IssuerUnavailableError: the issuer does not answer, and what it said is too old or does
                not hold the key.
        """
        if self._asking is None and self._wanting(key_id):
            # Whoever gives up waiting, as a stranger may again and again, does not end the asking.
            self._asking = asyncio.ensure_future(self._ask())
            self._asking.add_done_callback(self._asked)
        if self._asking is not None and (key_id not in self._keys or self._age() >= FRESH_S):
            await asyncio.shield(self._asking)
        found = self._keys.get(key_id) if self._age() < KEPT_S else None
        if found is None and self._failed:
            raise IssuerUnavailableError("the issuer of tokens does not answer")
        return found

    def _wanting(self, key_id: str) -> bool:
        stale = self._age() >= FRESH_S or key_id not in self._keys
        return stale and self._clock() >= self._ask_again_at

    def _asked(self, _: asyncio.Task[None]) -> None:
        self._asking = None

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    async def _ask(self) -> None:
        try:
            keys = parsed(await self._fetch())
        except IssuerUnavailableError as exc:
            self._failed = True
            _log.warning("issuer_keys_kept", error=str(exc), keys=len(self._keys))
            return
        finally:
            self._ask_again_at = self._clock() + ASK_AGAIN_S
        self._keys, self._failed = keys, False
        self._fetched_at = self._clock()
        _log.info("issuer_keys_read", keys=len(keys))


def fetching(url: str, *, authority: Path | None = None, timeout_s: float = TIMEOUT_S) -> Fetch:
    """Return what asks for the document at `url`, once a call, as `IssuerHttp.get`.

    Raises:
        ConfigurationError: `authority` cannot be read.
    """
    return functools.partial(IssuerHttp(authority, timeout_s=timeout_s).get, url)


def parsed(document: bytes) -> dict[str, VerifyingKey]:
    """Return the keys of a JWKS (RFC 7517) that can verify tokens, by key id.

    Keys for other uses, of other kinds, too short, private, or without an id of their own are left
    out.

    Raises:
        IssuerUnavailableError: it is no JWKS, or has too many keys.
    """
    try:
        content = strictjson.parse(document)
    except EventRejectedError as exc:
        raise IssuerUnavailableError(f"the issuer's keys are no JSON: {exc.detail}") from exc
    listed = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise IssuerUnavailableError(f"the issuer's keys are no JWKS of {MAX_KEYS} keys at most")
    found = [one for one in listed if isinstance(one, dict) and isinstance(one.get("kid"), str)]
    times = Counter(one["kid"] for one in found)
    usable = {one["kid"]: key for one in found if (key := _key(one)) and times[one["kid"]] == 1}
    if len(usable) < len(listed):
        _log.info("issuer_keys_left_out", keys=len(listed) - len(usable))
    return usable


def _key(document: Mapping[str, object]) -> VerifyingKey | None:
    if document.get("use", "sig") != "sig":
        return None
    operations = document.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    read = _READERS.get(str(document.get("kty")))
    if read is None:
        return None
    try:
        key = read(dict(document))
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    algorithms = _algorithms(key)
    if "alg" in document:
        algorithms &= {str(document["alg"])}
    return VerifyingKey(key, algorithms) if algorithms else None


def _algorithms(key: object) -> frozenset[str]:
    """Return what a key may sign with, by its kind and not by what anybody says."""
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS:
        return frozenset(_RSA_ALGORITHMS)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return frozenset({_CURVES[key.curve.name]})
    if isinstance(key, ed25519.Ed25519PublicKey):
        return frozenset({"EdDSA"})
    return frozenset()
