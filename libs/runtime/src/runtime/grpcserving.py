"""A service's gRPC servers, put together from its settings: the one place for whom we believe.

Services show certificates at `BACKBONE_GRPC_LISTEN`. People may show a token there as well, or have
no certificate at all and come in at `BACKBONE_PEOPLE_LISTEN`. Calls are counted apart there, so
that strangers, who reach no further, cannot take the services' places.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import grpc

from runtime import identity, jwks
from runtime.grpcserver import GrpcServer, Service
from runtime.identity import Identity
from runtime.jwks import IssuerKeys
from runtime.settings import GrpcServerSettings, TokenSettings
from runtime.tls import TlsFiles
from runtime.tokens import Claims, Expected, TokenAuthenticator

MAX_CALLS_OF_PEOPLE = 200


def servers(
    settings: GrpcServerSettings,
    *,
    services: Sequence[Service],
    tls: TlsFiles | None,
    grace: timedelta = timedelta(seconds=10),
) -> list[GrpcServer]:
    """Return what serves `services`: to whom a certificate names, and to people with tokens.

    Raises:
        ConfigurationError: there is no TLS outside of the local environment, or the authority of
            the issuer of tokens cannot be read.
    """
    tokens = token_authenticator(settings)
    found = [
        GrpcServer(
            listen=settings.grpc_listen,
            services=services,
            authenticator=identity.authenticator(
                environment=settings.environment,
                tls=tls is not None,
                trust_domain=settings.trust_domain,
            ),
            tokens=tokens,
            tls=tls,
            reflection_enabled=settings.environment != "prod",
            grace=grace,
        )
    ]
    if settings.people_listen is not None:
        people = GrpcServer(
            listen=settings.people_listen,
            services=services,
            authenticator=_Nobody(),
            tokens=tokens,
            tls=tls,
            client_certificates=False,
            max_calls=MAX_CALLS_OF_PEOPLE,
            setting="BACKBONE_PEOPLE_LISTEN",
            grace=grace,
        )
        found.append(people)
    return found


def token_authenticator(
    settings: TokenSettings, *, audience: str | None = None, keys: IssuerKeys | None = None
) -> TokenAuthenticator | None:
    """Return who knows people by their tokens, None where none are taken.

    With `audience` it takes those that are meant for that one, and with `keys` asks nobody else's.

    Raises:
        ConfigurationError: the authority of the issuer of tokens cannot be read.
    """
    issuer, ours, url = settings.oidc_issuer, settings.oidc_audience, settings.oidc_jwks_url
    if issuer is None or ours is None or url is None:
        return None
    expected = Expected(
        issuer=issuer,
        audience=audience or ours,
        leeway=settings.oidc_leeway,
        max_lifetime=settings.oidc_max_lifetime,
        claims=Claims(
            name=settings.oidc_name_claim,
            roles=settings.oidc_roles_claim,
            namespaces=settings.oidc_namespaces_claim,
            groups=settings.oidc_groups_claim,
        ),
    )
    keys = keys or IssuerKeys(jwks.fetching(url, authority=settings.oidc_ca))
    return TokenAuthenticator(expected, keys)


class _Nobody:
    """Knows nobody: who shows no token stays unknown."""

    def authenticate(
        self,
        context: grpc.aio.ServicerContext[object, object],  # noqa: ARG002 - the port's signature
        metadata: Mapping[str, str],  # noqa: ARG002 - the port's signature
    ) -> Identity | None:
        """Return None."""
        return None
