"""The certificates of one stack: an authority of its own, renewed at each start."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from contracts.roles import Role
from contracts.services import Service
from devstack.errors import DevstackError
from runtime import authority, identity
from runtime.authority import Authority, AuthorityError, Issued, Request
from runtime.tls import TlsFiles

ADMIN = "devstack"
"""Who prepares the servers: superuser of PostgreSQL and Kafka. It has no name in gRPC."""
BROKER = "kafka-broker"
TEMPORAL = "temporal-server"
"""Temporal's front, whom everybody calls; its parts have an authority of their own."""
POSTGRES = "postgres-server"
REDIS = "redis-server"
ISSUER = "token-issuer"

_LIFETIME = timedelta(days=7)  # a stack may run for days, and nobody renews meanwhile
_TRUST_DOMAIN = identity.DEFAULT_TRUST_DOMAIN
_MEMBER = "developer"


class StackCertificates:
    """Certificates by name, in one folder."""

    def __init__(self, folder: Path, *, namespaces: Sequence[str]) -> None:
        self._folder = folder
        self._namespaces = tuple(namespaces)
        # Who shows a certificate of it to history, matching or the internal frontend is asked for
        # nothing more.
        self._between_parts = folder / "temporal-internode"

    def bring(self) -> None:
        """Make the authority if it is absent, and every certificate that is absent or ends soon.

        Raises:
            DevstackError: the folder cannot be used, or the authority has ended.
        """
        now = datetime.now(UTC)
        try:
            made = _authority(self._folder, now=now)
            for request in self._requests():
                made.renew(request, now=now, lifetime=_LIFETIME)
            _authority(self._between_parts, now=now).renew(
                Request(name=TEMPORAL, hosts=authority.LOCAL_HOSTS), now=now, lifetime=_LIFETIME
            )
        except AuthorityError as exc:
            raise DevstackError(str(exc)) from exc

    @property
    def authority(self) -> Path:
        """Whom everybody of this stack trusts."""
        return self._folder / f"{authority.CA}.crt"

    def files(self, name: str) -> TlsFiles:
        """Return the files of a service, of a server or of the admin."""
        return TlsFiles(self._folder / f"{name}.crt", self._folder / f"{name}.key", self.authority)

    def between_parts(self) -> TlsFiles:
        """Return the files by which the parts of Temporal's server know one another."""
        folder = self._between_parts
        return TlsFiles(
            folder / f"{TEMPORAL}.crt", folder / f"{TEMPORAL}.key", folder / f"{authority.CA}.crt"
        )

    def member(self) -> TlsFiles:
        """Return the files of the developer, who may do everything in the first namespace."""
        return self.files(member_name(self._namespaces[0]))

    def issue(self, request: Request, *, lifetime: timedelta = _LIFETIME) -> Issued:
        """Issue a further one: for whom a test plays."""
        return Authority.load(self._folder).issue(request, now=datetime.now(UTC), lifetime=lifetime)

    def _requests(self) -> list[Request]:
        services = [authority.service_request(service) for service in Service]
        servers = [
            Request(name=POSTGRES, hosts=authority.LOCAL_HOSTS, calls=False),
            Request(name=REDIS, hosts=authority.LOCAL_HOSTS, calls=False),
            Request(name=ISSUER, hosts=authority.LOCAL_HOSTS, calls=False),
            # These call one another too.
            Request(name=BROKER, hosts=authority.LOCAL_HOSTS),
            Request(name=TEMPORAL, hosts=authority.LOCAL_HOSTS),
        ]
        members = [
            Request(
                name=member_name(namespace),
                uris=tuple(
                    identity.member_uri(_TRUST_DOMAIN, namespace=namespace, role=role, name=_MEMBER)
                    for role in sorted(set(Role) - {Role.SERVICE})
                ),
            )
            for namespace in self._namespaces
        ]
        return [*services, *servers, Request(name=ADMIN), *members]


def _authority(folder: Path, *, now: datetime) -> Authority:
    present = (folder / "ca.key").is_file()
    return Authority.load(folder) if present else Authority.create(folder, now=now)


def member_name(namespace: str) -> str:
    """Return the common name of the developer of a namespace."""
    return f"{namespace}.{_MEMBER}"


def settings(files: TlsFiles) -> dict[str, str]:
    """Return the variables by which a process finds its certificates."""
    return {
        "BACKBONE_TLS_CERTIFICATE": str(files.certificate),
        "BACKBONE_TLS_PRIVATE_KEY": str(files.private_key),
        "BACKBONE_TLS_CLIENT_CA": str(files.client_ca),
    }
