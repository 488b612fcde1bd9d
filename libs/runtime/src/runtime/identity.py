"""Who is calling: an identity with roles and namespaces, known inside every RPC.

Locally everybody is the one fixed identity that may do everything (its name comes from the
caller). Elsewhere the client certificate says it, by a SPIFFE-style URI SAN:
`spiffe://<trust domain>/<service>` is a service, which works in every namespace, and
`spiffe://<trust domain>/ns/<namespace>/<role>/<name>` holds one role in one namespace (a
certificate may carry several).
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
from runtime.errors import ConfigurationError

_ACTOR = re.compile(r"^[A-Za-z0-9][A-Za-z0-9@._:/-]{0,127}$")
_SPIFFE_SERVICE = re.compile(r"^spiffe://[a-z0-9.-]+/([a-z0-9][a-z0-9-]{0,126})$")
_SPIFFE_MEMBER = re.compile(
    r"^spiffe://[a-z0-9.-]+/ns/(?P<namespace>[a-z0-9-]{1,63})/(?P<role>[a-z-]{1,32})"
    r"/(?P<name>[A-Za-z0-9][A-Za-z0-9@._-]{0,99})$"
)


@dataclass(frozen=True)
class Identity:
    """A caller: `subject` is what the audit shows; `namespaces` are all of them when None."""

    subject: str
    roles: frozenset[Role]
    namespaces: frozenset[str] | None = None


class Authenticator(Protocol):
    """Finds out who is calling."""

    def authenticate(
        self, context: grpc.aio.ServicerContext[object, object], metadata: Mapping[str, str]
    ) -> Identity | None:
        """Return the caller, or None when it cannot be told."""
        ...


class LocalAuthenticator:
    """Trusts everybody on this machine: one fixed identity with all roles (or those given)."""

    def __init__(self, roles: frozenset[Role] = frozenset(Role)) -> None:
        self._roles = roles
        self._identity = functools.lru_cache(maxsize=256)(self._named)

    def authenticate(
        self,
        context: grpc.aio.ServicerContext[object, object],  # noqa: ARG002 - the port's signature
        metadata: Mapping[str, str],
    ) -> Identity | None:
        """Return the local identity under the name the caller gives itself."""
        return self._identity(metadata.get(Metadata.ACTOR, "somebody"))

    def _named(self, actor: str) -> Identity:
        return Identity(f"local/{actor}" if _ACTOR.match(actor) else "local/somebody", self._roles)


class CertificateAuthenticator:
    """Reads the caller from the URI SANs of its client certificate."""

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
        for name in names:
            if match := _SPIFFE_SERVICE.match(name):
                return Identity(match.group(1), frozenset({Role.SERVICE}))
        return _member([match for name in names if (match := _SPIFFE_MEMBER.match(name))])


def _member(matches: Sequence[re.Match[str]]) -> Identity | None:
    # All of one namespace: roles of several would each count in all of them.
    # `service` is for services alone.
    roles = frozenset(
        Role(match["role"])
        for match in matches
        if match["role"] in set(Role) - {Role.SERVICE}
        and match["namespace"] == matches[0]["namespace"]
    )
    if not roles:
        return None
    namespace, name = matches[0]["namespace"], matches[0]["name"]
    return Identity(f"{namespace}/{name}", roles, frozenset({namespace}))


def authenticator(*, environment: str, tls: bool) -> Authenticator:
    """Return how callers are told apart: by certificate, or locally not at all.

    Raises:
        ConfigurationError: there is no TLS outside of the local environment.
    """
    if tls:
        return CertificateAuthenticator()
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
