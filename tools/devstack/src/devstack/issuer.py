"""A secure stack's own issuer of tokens: what an identity provider is elsewhere.

    python -m devstack.issuer [HOST:]PORT FOLDER CERTIFICATE KEY

serves its public keys, to this machine unless a host is said. Where its folder has more than those,
it signs people in to the console, and keeps fresh the tokens that processes show Temporal, each in
a file. Tokens are got by who may read the folder: they are made there, or for the password in it.
"""

import base64
import dataclasses
import hashlib
import json
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
TEMPORAL_AUDIENCE = "temporal"
"""For whom the tokens are that Temporal takes; it takes no others, and nobody else takes those."""
KEYS = "jwks.json"
CLIENT = "backbone-console"
SECRET = "console.secret"  # noqa: S105 - the name of a file

_PRIVATE = "key.pem"
_PASSWORD = "password"  # noqa: S105 - the name of a file
_PEOPLE = "people.json"
_CONSOLE = "console"
_HOLDERS = "temporal.json"
_TEMPORAL_LIFETIME = timedelta(hours=1)
_LOOK_S = 15.0  # the machine may have slept meanwhile
_ALGORITHM = "ES256"


@dataclass(frozen=True)
class Person:
    """Whom a token is to speak of."""

    name: str
    roles: Sequence[Role] = ()
    namespaces: Sequence[str] = ()
    groups: Sequence[str] = ()


PEOPLE = tuple(
    Person(name, roles, ("*",), (name,))
    for name, roles in (
        ("viewer", (Role.VIEWER,)),
        ("operator", (Role.OPERATOR, Role.VIEWER, Role.ASSIGNEE)),
        ("author", (Role.AUTHOR, Role.VIEWER)),
        ("assignee", (Role.ASSIGNEE,)),
    )
)
"""Who can be chosen at its page until somebody says otherwise: named for what they may."""


class Issuer:
    """The issuer whose files are in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def bring(self) -> None:
        """Make its key, where there is none."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (SECRET, _PASSWORD):
            if not (self._folder / name).exists():
                self._write(name, secrets.token_urlsafe(16))
        if not (self._folder / _PEOPLE).exists():
            self.admit(PEOPLE)
        if (self._folder / _PRIVATE).exists() and (self._folder / KEYS).exists():
            return
        self._make_key(trusted=[])

    def rotate(self) -> None:
        """Sign by a new key from now on; what the old ones signed is believed until `retire`."""
        self._make_key(trusted=self._trusted())

    def retire(self) -> None:
        """Trust the newest key only."""
        self._trust(self._trusted()[-1:])

    def _make_key(self, *, trusted: Sequence[Mapping[str, object]]) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        listed = {**public, "kid": _key_id(key), "alg": _ALGORITHM, "use": "sig"}
        self._trust([*trusted, listed])
        self._write(_PRIVATE, pem.decode())

    def _trusted(self) -> list[Mapping[str, object]]:
        listed: list[Mapping[str, object]] = json.loads((self._folder / KEYS).read_text())["keys"]
        return listed

    def _trust(self, listed: Sequence[Mapping[str, object]]) -> None:
        self._write(KEYS, json.dumps({"keys": list(listed)}))

    def _write(self, name: str, text: str) -> None:
        """Replace a file at once, readable by its user only."""
        target = self._folder / name
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(temporary).replace(target)

    def keys(self) -> bytes:
        """Return its public keys, as a JWKS."""
        return (self._folder / KEYS).read_bytes()

    def password(self) -> str:
        """Return what is asked for at its page."""
        return (self._folder / _PASSWORD).read_text()

    def secret(self) -> str:
        """Return by what it knows the console."""
        return (self._folder / SECRET).read_text()

    def people(self) -> dict[str, Person]:
        """Return who can be chosen at its page, by name."""
        listed = json.loads((self._folder / _PEOPLE).read_text())
        return {
            one["name"]: Person(
                one["name"],
                [Role(role) for role in one["roles"]],
                one["namespaces"],
                one["groups"],
            )
            for one in listed
        }

    def admit(self, people: Iterable[Person]) -> None:
        """Let these be chosen at its page, in the place of all others."""
        listed = [dataclasses.asdict(person) for person in people]
        self._write(_PEOPLE, json.dumps(listed, indent=2))

    def is_whole(self) -> bool:
        """Say whether there is more in its folder than the public keys."""
        return (self._folder / _PRIVATE).exists()

    def serve(self, console: str) -> None:
        """Send people back to the console at the origin `console` from now on, and to no other."""
        self._write(_CONSOLE, console)

    def console(self) -> str:
        """Return the origin to which it sends people back; empty before it is said."""
        file = self._folder / _CONSOLE
        return file.read_text() if file.exists() else ""

    def token(self, person: Person, *, now: datetime, lifetime: timedelta) -> str:
        """Return a token by which services know `person`. Raises DevstackError without a key."""
        claims = {
            "aud": AUDIENCE,
            "sub": person.name,
            "backbone_roles": [role.value for role in person.roles],
            "backbone_namespaces": list(person.namespaces),
            "groups": list(person.groups),
        }
        return self.signed(claims, now=now, lifetime=lifetime, kind="at+jwt")

    def id_token(
        self,
        person: Person,
        *,
        now: datetime,
        lifetime: timedelta,
        access: str,
        nonce: str | None = None,
        audience: str = CLIENT,
    ) -> str:
        """Return what tells a client who signed in, beside the token `access`.

        Raises DevstackError without a key.
        """
        half = hashlib.sha256(access.encode()).digest()[:16]
        claims = {
            "aud": audience,
            "sub": person.name,
            "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
            **({} if nonce is None else {"nonce": nonce}),
        }
        return self.signed(claims, now=now, lifetime=lifetime, kind="JWT")

    def signed(
        self, claims: Mapping[str, object], *, now: datetime, lifetime: timedelta, kind: str
    ) -> str:
        """Return a token with `claims`, of this issuer unless they say another.

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
        told = {"iss": ISSUER, "iat": now, "exp": now + lifetime, **claims}
        headers = {"kid": _key_id(key), "typ": kind}
        return jwt.encode(told, key, algorithm=_ALGORITHM, headers=headers)

    def temporal_token(
        self, holder: str, permissions: Sequence[str], *, now: datetime, lifetime: timedelta
    ) -> str:
        """Return a token by which Temporal lets `holder` do what `permissions` say.

        Raises:
            DevstackError: as `token`.
        """
        claims = {"aud": TEMPORAL_AUDIENCE, "sub": holder, "permissions": list(permissions)}
        return self.signed(claims, now=now, lifetime=lifetime, kind="at+jwt")

    def grant(self, permissions: Mapping[str, Sequence[str]], *, now: datetime) -> None:
        """Keep a token for Temporal fresh for each of these, from now on; nobody else has one.

        Raises:
            DevstackError: as `token`.
        """
        self._write(_HOLDERS, json.dumps({who: list(may) for who, may in permissions.items()}))
        folder = self._folder / "temporal"
        folder.mkdir(mode=0o700, exist_ok=True)
        for stale in folder.glob("*.token"):
            if stale.stem not in permissions:
                stale.unlink()
        self.renew(now=now)

    def renew(self, *, now: datetime) -> None:
        """Write the token of each of those whom something was granted anew."""
        granted: Mapping[str, Sequence[str]] = json.loads((self._folder / _HOLDERS).read_text())
        for holder, permissions in granted.items():
            made = self.temporal_token(holder, permissions, now=now, lifetime=_TEMPORAL_LIFETIME)
            self._write(f"temporal/{holder}.token", f"{made}\n")

    def token_file(self, holder: str) -> Path:
        """Return the file in which the token is that `holder` shows Temporal."""
        return self._folder / "temporal" / f"{holder}.token"


def settings(url: str, *, authority: Path) -> dict[str, str]:
    """Return the variables by which a service believes the issuer whose keys are below `url`."""
    return {
        "BACKBONE_OIDC_ISSUER": ISSUER,
        "BACKBONE_OIDC_AUDIENCE": AUDIENCE,
        "BACKBONE_OIDC_JWKS_URL": f"{url}/{KEYS}",
        "BACKBONE_OIDC_CA": str(authority),
    }


def console_settings(url: str, *, folder: Path, origin: str) -> dict[str, str]:
    """Return the variables by which the console at `origin` has people sign in at `url`."""
    return {
        "BACKBONE_CONSOLE_ORIGIN": origin,
        "BACKBONE_CONSOLE_CLIENT_ID": CLIENT,
        "BACKBONE_CONSOLE_CLIENT_SECRET_FILE": str((folder / SECRET).absolute()),
        "BACKBONE_CONSOLE_DISCOVERY_URL": f"{url}/.well-known/openid-configuration",
        "BACKBONE_CONSOLE_SCOPES": json.dumps(["openid", "offline_access"]),
    }


def _key_id(key: ec.EllipticCurvePrivateKey) -> str:
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()[:16]


def main(arguments: list[str]) -> None:
    """Serve, and keep the tokens for Temporal fresh, until the process is ended."""
    import uvicorn  # noqa: PLC0415 - of the process alone, not of who makes a token

    from devstack.identity_provider import IdentityProvider, keys_alone  # noqa: PLC0415 - as above

    address, folder, certificate, key = arguments
    host, _, port = address.rpartition(":")
    issuer = Issuer(Path(folder))
    if issuer.is_whole():
        threading.Thread(target=_keep_fresh, args=(issuer,), daemon=True).start()
        # To a browser another host than the console's 127.0.0.1, as elsewhere.
        url = f"https://localhost:{port}"
        application = IdentityProvider(issuer, url=url).application()
    else:
        application = keys_alone(issuer)
    uvicorn.run(
        application,
        host=host or "127.0.0.1",
        port=int(port),
        ssl_certfile=certificate,
        ssl_keyfile=key,
        access_log=False,
        log_level="warning",
    )


def _keep_fresh(issuer: Issuer) -> None:
    waiting = threading.Event()
    renew_at = datetime.min.replace(tzinfo=UTC)
    while True:
        now = datetime.now(UTC)
        if now >= renew_at:
            issuer.renew(now=now)
            renew_at = now + _TEMPORAL_LIFETIME / 2
        waiting.wait(_LOOK_S)


if __name__ == "__main__":
    main(sys.argv[1:])
