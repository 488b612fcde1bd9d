"""Who is calling: an identity with roles and namespaces, known inside every RPC.

Locally everybody is the one fixed identity that may do everything (its name comes from the
caller). Elsewhere the client certificate says it, by a SPIFFE-style URI SAN:
`spiffe://<trust domain>/<service>` is one of our services, which works in every namespace, and
`spiffe://<trust domain>/ns/<namespace>/<role>/<name>` holds one role in one namespace (a
certificate may carry several), and `spiffe://<trust domain>/ns/<namespace>/group/<group>` makes
a member one of a group. People may show a token instead, see `runtime.tokens`.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import grpc

from contracts.names import Metadata
from contracts.roles import Role
from contracts.services import Service
from runtime.errors import ConfigurationError

_ACTOR = re.compile(r"^[A-Za-z0-9][A-Za-z0-9@._:/-]{0,127}$")
_SCHEME = "spiffe://"
_MEMBER = re.compile(
    r"ns/(?P<namespace>[a-z0-9-]{1,63})/(?P<role>[a-z-]{1,32})"
    r"/(?P<name>[A-Za-z0-9][A-Za-z0-9@._-]{0,99})"
)
_GROUP = "group"
# The console calls as its visitors do, and never as itself.
_SERVICES = frozenset(Service) - {Service.CONSOLE}

DEFAULT_TRUST_DOMAIN = "backbone"
OIDC_PREFIX = "oidc:"
"""How the subject of whom a token speaks of begins: no namespace's name has a colon."""


@dataclass(frozen=True)
class Identity:
    """A caller: `subject` is what the audit shows; `namespaces` are all of them when None.

    `groups` are those that human tasks are assigned to; `until` is when a token ends (seconds since
    the epoch), None where nothing does.
    """

    subject: str
    roles: frozenset[Role]
    namespaces: frozenset[str] | None = None
    groups: frozenset[str] = frozenset()
    until: float | None = None

    @property
    def user(self) -> str:
        """The name that human tasks are assigned to; empty for a service, which is no person."""
        if self.subject.startswith(OIDC_PREFIX):
            return self.subject.removeprefix(OIDC_PREFIX)
        return self.subject.partition("/")[2]


class Authenticator(Protocol):
    """Finds out who is calling."""

    def authenticate(
        self, context: grpc.aio.ServicerContext[object, object], metadata: Mapping[str, str]
    ) -> Identity | None:
        """Return the caller, or None when it cannot be told."""
        ...


class LocalAuthenticator:
    """Trusts everybody on this machine: one fixed identity with all roles (or those given)."""

    def __init__(
        self, roles: frozenset[Role] = frozenset(Role), groups: frozenset[str] = frozenset()
    ) -> None:
        self._roles = roles
        self._groups = groups
        self._identity = functools.lru_cache(maxsize=256)(self._named)

    def authenticate(
        self,
        context: grpc.aio.ServicerContext[object, object],  # noqa: ARG002 - the port's signature
        metadata: Mapping[str, str],
    ) -> Identity | None:
        """Return the local identity under the name the caller gives itself."""
        return self._identity(metadata.get(Metadata.ACTOR, "somebody"))

    def _named(self, actor: str) -> Identity:
        subject = f"local/{actor}" if _ACTOR.fullmatch(actor) else "local/somebody"
        return Identity(subject, self._roles, groups=self._groups)


def service_uri(trust_domain: str, service: Service) -> str:
    """Return the URI SAN of a service's certificate."""
    return f"{_SCHEME}{trust_domain}/{service.value}"


def member_uri(trust_domain: str, *, namespace: str, role: Role, name: str) -> str:
    """Return a URI SAN that gives a member a role in a namespace.

    Raises:
        ValueError: the role is a service's, or the namespace or the name is malformed.
    """
    return _within(trust_domain, namespace, role.value, name)


def group_uri(trust_domain: str, *, namespace: str, group: str) -> str:
    """Return a URI SAN that makes a member one of a group. Raises ValueError as `member_uri`."""
    return _within(trust_domain, namespace, _GROUP, group)


def _within(trust_domain: str, namespace: str, role: str, name: str) -> str:
    path = f"ns/{namespace}/{role}/{name}"
    if role == Role.SERVICE or not _MEMBER.fullmatch(path):
        raise ValueError(f"no identity: {path}")
    return f"{_SCHEME}{trust_domain}/{path}"


class CertificateAuthenticator:
    """Reads the caller from the URI SANs of its client certificate.

    Names of other trust domains count for nothing, nor do services that are not ours.
    """

    def __init__(self, trust_domain: str = DEFAULT_TRUST_DOMAIN) -> None:
        self._prefix = f"{_SCHEME}{trust_domain}/"

    def authenticate(
        self,
        context: grpc.aio.ServicerContext[object, object],
        metadata: Mapping[str, str],  # noqa: ARG002 - the port's signature
    ) -> Identity | None:
        """Return the service or the member that the certificate names, or None without one."""
        names = [
            name.decode("ascii", "replace")
            for name in context.auth_context().get("x509_subject_alternative_name", ())
        ]
        paths = [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]
        for path in paths:
            if path in _SERVICES:
                return Identity(path, frozenset({Role.SERVICE}))
        return _member([match for path in paths if (match := _MEMBER.fullmatch(path))])


def _member(matches: Sequence[re.Match[str]]) -> Identity | None:
    # All of one namespace: roles of several would each count in all of them.
    ours = [match for match in matches if match["namespace"] == matches[0]["namespace"]]
    # `service` is for services alone.
    roles = [match for match in ours if match["role"] in set(Role) - {Role.SERVICE}]
    if not roles:
        return None
    namespace, name = roles[0]["namespace"], roles[0]["name"]
    return Identity(
        f"{namespace}/{name}",
        frozenset(Role(match["role"]) for match in roles),
        frozenset({namespace}),
        frozenset(match["name"] for match in ours if match["role"] == _GROUP),
    )


def authenticator(
    *, environment: str, tls: bool, trust_domain: str = DEFAULT_TRUST_DOMAIN
) -> Authenticator:
    """Return how callers are told apart: by certificate, or locally not at all.

    Raises:
        ConfigurationError: there is no TLS outside of the local environment.
    """
    if tls:
        return CertificateAuthenticator(trust_domain)
    if environment == "local":
        return LocalAuthenticator()
    raise ConfigurationError(
        "without TLS nobody can be told apart: set BACKBONE_TLS_CERTIFICATE and its companions, or "
        "BACKBONE_ENVIRONMENT=local on a machine of your own"
    )


_CURRENT: ContextVar[Identity] = ContextVar("backbone_identity")


def current_identity() -> Identity:
    """Return who is calling. Raises LookupError outside of an RPC."""
    return _CURRENT.get()


def set_current(identity: Identity) -> None:
    """Say who is calling, for the task that serves the RPC (and for tests of use cases)."""
    _CURRENT.set(identity)
