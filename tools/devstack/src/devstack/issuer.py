"""A secure stack's own issuer of tokens: what an identity provider is elsewhere.

    python -m devstack.issuer [HOST:]PORT FOLDER CERTIFICATE KEY

serves its public keys, to this machine unless a host is said. Nobody can ask it for a token: tokens
are made by who may read its folder.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from contracts.roles import Role
from devstack.errors import DevstackError

NAME = "issuer"
ISSUER = "https://issuer.localhost"
"""What its tokens say; where its keys are is another thing, and changes with its port."""
AUDIENCE = "backbone"
KEYS = "jwks.json"

_PRIVATE = "key.pem"
_ALGORITHM = "ES256"


@dataclass(frozen=True)
class Person:
    """Whom a token is to speak of."""

    name: str
    roles: Sequence[Role] = ()
    namespaces: Sequence[str] = ()
    groups: Sequence[str] = ()


class Issuer:
    """The issuer whose files are in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def bring(self) -> None:
        """Make its key, where there is none."""
        if (self._folder / _PRIVATE).exists() and (self._folder / KEYS).exists():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        private = self._folder / _PRIVATE
        private.touch(mode=0o600)
        private.write_bytes(pem)
        public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        listed = {**public, "kid": _key_id(key), "alg": _ALGORITHM, "use": "sig"}
        (self._folder / KEYS).write_text(json.dumps({"keys": [listed]}))

    def public_keys(self) -> bytes:
        """Return what it serves: the keys that its tokens are verified by."""
        return (self._folder / KEYS).read_bytes()

    def token(self, person: Person, *, now: datetime, lifetime: timedelta) -> str:
        """Return a token for `person`.

        Raises:
            DevstackError: there is no key, since the stack was never started with certificates.
        """
        try:
            key = serialization.load_pem_private_key(
                (self._folder / _PRIVATE).read_bytes(), password=None
            )
        except (OSError, ValueError) as exc:
            message = f"{self._folder} has no key to sign tokens with: run `devstack up --secure`"
            raise DevstackError(message) from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            message = f"{self._folder / _PRIVATE} is no key of this issuer: remove {self._folder}"
            raise DevstackError(message)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": person.name,
            "iat": now,
            "exp": now + lifetime,
            "backbone_roles": [role.value for role in person.roles],
            "backbone_namespaces": list(person.namespaces),
            "groups": list(person.groups),
        }
        headers = {"kid": _key_id(key), "typ": "at+jwt"}
        return jwt.encode(claims, key, algorithm=_ALGORITHM, headers=headers)


def settings(url: str, *, authority: Path) -> dict[str, str]:
    """Return the variables by which a service believes the issuer whose keys are below `url`."""
    return {
        "BACKBONE_OIDC_ISSUER": ISSUER,
        "BACKBONE_OIDC_AUDIENCE": AUDIENCE,
        "BACKBONE_OIDC_JWKS_URL": f"{url}/{KEYS}",
        "BACKBONE_OIDC_CA": str(authority),
    }


def _key_id(key: ec.EllipticCurvePrivateKey) -> str:
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()[:16]


def main(arguments: list[str]) -> None:
    """Serve the public keys until the process is ended."""
    import uvicorn  # noqa: PLC0415 - of the process alone, not of who makes a token
    from starlette.applications import Starlette  # noqa: PLC0415 - as above
    from starlette.requests import Request  # noqa: PLC0415 - as above
    from starlette.responses import Response  # noqa: PLC0415 - as above
    from starlette.routing import Route  # noqa: PLC0415 - as above

    address, folder, certificate, key = arguments
    host, _, port = address.rpartition(":")

    def keys(_request: Request) -> Response:
        return Response((Path(folder) / KEYS).read_bytes(), media_type="application/json")

    uvicorn.run(
        Starlette(routes=[Route(f"/{KEYS}", keys)]),
        host=host or "127.0.0.1",
        port=int(port),
        ssl_certfile=certificate,
        ssl_keyfile=key,
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
