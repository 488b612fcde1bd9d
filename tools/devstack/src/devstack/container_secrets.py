"""Hands out what the secure suite of containers needs, to each container what is its own.

    python -m devstack.container_secrets FOLDER

Below the folder each holder has a folder of its own, which its container mounts and no other. What
is there stays, but for certificates that end soon, so that it can be done again at every start. It
stands on libraries alone, since it is carried out in the image of a service; who may do what with
these names is `devstack.infrastructure.access`.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from contracts.roles import Role
from contracts.services import Service
from devstack import data_keys, issuer, signing_keys
from devstack.errors import DevstackError
from devstack.issuer import Issuer, Person
from runtime import authority, identity
from runtime.authority import Authority, AuthorityError, Request
from signing.checkpoints import CHECKPOINTS

KEPT = "authority"
"""The folder of the authority itself and of everything that is handed out."""
NAMESPACE = "dev"
DEVELOPER = f"{NAMESPACE}.developer"
ADMIN = "devstack"
REDIS: Mapping[str, str] = {
    Service.ROUTER: "~backbone:* +ping +get +set +mget +eval +client|setinfo +hello",
    ADMIN: "+ping +flushall",
}
"""What Redis's users may do."""

_LIFETIME = timedelta(days=7)
_TOKEN_LIFETIME = timedelta(hours=23)
_OURS = 10001  # the user of every image of Backbone's


@dataclass(frozen=True)
class Holder:
    """Who is given a certificate: its folder, its container's user, what the certificate says."""

    folder: str
    user: int
    request: Request


def holders() -> Sequence[Holder]:
    """Return everybody who is given something."""

    def server(name: str, host: str, user: int, *, calls: bool = True) -> Holder:
        hosts = (host, *authority.LOCAL_HOSTS)
        return Holder(host, user, Request(name=name, hosts=hosts, calls=calls))

    developer = tuple(
        identity.member_uri(
            identity.DEFAULT_TRUST_DOMAIN, namespace=NAMESPACE, role=role, name="developer"
        )
        for role in sorted(set(Role) - {Role.SERVICE})
    )
    return [
        *(Holder(one.value, _OURS, authority.service_request(one)) for one in Service),
        server("postgres-server", "postgres", 999, calls=False),
        # Its health check calls it.
        server("redis-server", "redis", 999),
        server("kafka-broker", "kafka", 1000),
        server("temporal-server", "temporal", 1000),
        server("token-issuer", "issuer", _OURS, calls=False),
        Holder("temporal-ui", 5000, Request(name="temporal-ui")),
        Holder(ADMIN, _OURS, Request(name=ADMIN)),
        Holder("developer", _OURS, Request(name=DEVELOPER, uris=developer)),
    ]


def hand_out(folder: Path, *, now: datetime) -> list[str]:
    """Make what is missing, give each holder its files, and return the holders' folders.

    Files belong to the holder's user if this process may give them away.

    Raises:
        DevstackError: the folder cannot be used, or what is there cannot.
    """
    kept = folder / KEPT
    try:
        made = (
            Authority.load(kept) if (kept / "ca.key").exists() else Authority.create(kept, now=now)
        )
        for holder in holders():
            made.renew(holder.request, now=now, lifetime=_LIFETIME)
            for name, content in _certified(kept, holder.request.name).items():
                _give(folder, holder, name, content)
        for holder in holders():
            for name, content in _own(kept, holder.folder, now=now).items():
                _give(folder, holder, name, content)
    except (AuthorityError, OSError) as exc:
        raise DevstackError(f"the secrets in {folder} cannot be made: {exc}") from exc
    return [holder.folder for holder in holders()]


def _certified(kept: Path, name: str) -> dict[str, bytes]:
    chain, key = (kept / f"{name}.crt").read_bytes(), (kept / f"{name}.key").read_bytes()
    return {"ca.crt": (kept / "ca.crt").read_bytes(), "tls.crt": chain, "tls.key": key}


def _own(kept: Path, holder: str, *, now: datetime) -> dict[str, bytes]:
    """Return what a holder has beside its certificate."""
    keys = kept / "keys"
    makers: Mapping[str, Callable[[], dict[str, bytes]]] = {
        Service.LEDGER: lambda: {**_signer(keys, holder), **_ring(keys)},
        Service.REGISTRY: lambda: {**_signer(keys, holder), **_ring(keys)},
        Service.ROUTER: lambda: {
            "trusted.json": signing_keys.bring(keys).trusted.read_bytes(),
            "redis.password": _secret(kept, f"redis-{Service.ROUTER}"),
            "instance-key": _secret(kept, "instance-key"),
            **_ring(keys),
        },
        Service.ORCHESTRATOR_WORKER: lambda: _ring(keys),
        "redis": lambda: {
            "users.acl": _redis_users(kept),
            "admin.password": _secret(kept, f"redis-{ADMIN}"),
        },
        "kafka": lambda: _kafka_client(kept, "kafka-broker"),
        ADMIN: lambda: _kafka_client(kept, ADMIN),
        "issuer": lambda: {issuer.KEYS: _issuer(kept).keys()},
        "developer": lambda: {"token": _token(kept, now=now), **_ring(keys)},
    }
    return makers[holder]() if holder in makers else {}


def _signer(keys: Path, service: str) -> dict[str, bytes]:
    signing_keys.bring(keys)
    return {
        "signing.key": (keys / f"{service}.key").read_bytes(),
        "checkpoint.key": (keys / f"{CHECKPOINTS}.key").read_bytes(),
    }


def _issuer(kept: Path) -> Issuer:
    made = Issuer(kept / issuer.NAME)
    made.bring()
    return made


def _ring(keys: Path) -> dict[str, bytes]:
    return {data_keys.FILE: data_keys.bring(keys).read_bytes()}


def _redis_users(kept: Path) -> bytes:
    lines = ["user default off"]
    for user, rights in REDIS.items():
        digest = hashlib.sha256(_secret(kept, f"redis-{user}")).hexdigest()
        lines.append(f"user {user} on #{digest} resetchannels -@all {rights}")
    return "".join(f"{line}\n" for line in lines).encode()


def _kafka_client(kept: Path, name: str) -> dict[str, bytes]:
    """Return how Kafka's own programs are `name`: key and chain are one file to them."""
    chain, key = (kept / f"{name}.crt").read_bytes(), (kept / f"{name}.key").read_bytes()
    properties = {
        "security.protocol": "SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": "/secrets/keystore.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": "/secrets/ca.crt",
    }
    text = "".join(f"{name}={value}\n" for name, value in properties.items())
    return {"keystore.pem": key + chain, "client.properties": text.encode()}


def _token(kept: Path, *, now: datetime) -> bytes:
    """Return a token of the developer's, for the console."""
    person = Person(
        name="developer", roles=sorted(set(Role) - {Role.SERVICE}), namespaces=[NAMESPACE]
    )
    return _issuer(kept).token(person, now=now, lifetime=_TOKEN_LIFETIME).encode()


def _secret(kept: Path, name: str) -> bytes:
    """Return the secret of that name, made up when it is first asked for."""
    file = kept / "secrets.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    if name not in known:
        known[name] = secrets.token_hex(32)
        _replace(file, json.dumps(known).encode(), user=None)
    return str(known[name]).encode()


def _give(folder: Path, holder: Holder, name: str, content: bytes) -> None:
    own = folder / holder.folder
    own.mkdir(mode=0o700, exist_ok=True)
    _replace(own / name, content, user=holder.user)
    own.chmod(0o700)
    if os.geteuid() == 0:
        shutil.chown(own, holder.user, holder.user)


def _replace(file: Path, content: bytes, *, user: int | None) -> None:
    """Write a file at once, readable by its user only: who reads it meanwhile has the old one."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(content)
        if user is not None and os.geteuid() == 0:
            shutil.chown(temporary, user, user)
        Path(temporary).replace(file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def main(arguments: list[str]) -> int:
    """Hand everything out below the folder that is named, and say to whom."""
    (folder,) = arguments
    try:
        given = hand_out(Path(folder), now=datetime.now(UTC))
    except DevstackError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - a command's last word
        return 1
    print(f"certificates and secrets are there for {', '.join(given)}")  # noqa: T201 - as above
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
