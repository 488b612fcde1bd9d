"""Who is calling: an identity with roles, known inside every RPC.

Locally everybody is the one fixed identity that may do everything (its name comes from the
caller). Elsewhere the client certificate says it, by a SPIFFE-style URI SAN:
`spiffe://<trust domain>/<service>`.
"""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import grpc

from contracts.names import Metadata
from contracts.roles import Role
from runtime.errors import ConfigurationError

_ACTOR = re.compile(r"^[A-Za-z0-9][A-Za-z0-9@._:/-]{0,127}$")
_SPIFFE = re.compile(r"^spiffe://[a-z0-9.-]+/([a-z0-9][a-z0-9/-]{0,126})$")


@dataclass(frozen=True)
class Identity:
    """A caller: `subject` is what the audit shows."""

    subject: str
    roles: frozenset[Role]


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

    def authenticate(
        self,
        context: grpc.aio.ServicerContext[object, object],  # noqa: ARG002 - the port's signature
        metadata: Mapping[str, str],
    ) -> Identity | None:
        """Return the local identity under the name the caller gives itself."""
        actor = metadata.get(Metadata.ACTOR, "somebody")
        return Identity(f"local/{actor}" if _ACTOR.match(actor) else "local/somebody", self._roles)


class CertificateAuthenticator:
    """Reads the caller from the URI SAN of its client certificate; services get `service`."""

    def authenticate(
        self,
        context: grpc.aio.ServicerContext[object, object],
        metadata: Mapping[str, str],  # noqa: ARG002 - the port's signature
    ) -> Identity | None:
        """Return the service that the certificate names, or None without such a certificate."""
        names = context.auth_context().get("x509_subject_alternative_name", ())
        for name in names:
            if match := _SPIFFE.match(name.decode("ascii", "replace")):
                return Identity(match.group(1), frozenset({Role.SERVICE}))
        return None


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
