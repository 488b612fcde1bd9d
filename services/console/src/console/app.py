"""Puts the console together: settings, the services it asks, its areas, process."""

import functools
from collections.abc import Sequence
from urllib.parse import urlsplit

import grpc

from console.adapters import rendering, web
from console.adapters.areas import Area, Desk
from console.adapters.forms import Forms, Limits
from console.adapters.issuer import Client, Issuer, Judges
from console.adapters.neighbours import Ledger, Registry, Router
from console.adapters.pages import (
    definitions,
    events,
    inbox,
    operations,
    overview,
    runs,
    search,
    session,
    tasks,
)
from console.adapters.sessions import Sessions
from console.adapters.signing_in import SigningIn
from console.adapters.visitors import LocalVisitors, TokenVisitors, Visitors, current_token
from console.settings import Settings
from runtime import commands, grpcclient, grpcserving, logs, secretfiles, telemetry
from runtime.errors import ConfigurationError
from runtime.httpserver import Health, HttpServer, WebServer
from runtime.issuerhttp import IssuerHttp
from runtime.jwks import IssuerKeys
from runtime.lifecycle import Closing, Component, Process
from runtime.tls import TlsFiles
from runtime.vitals import Vitals

SERVICE = "console"

AREAS: tuple[Area, ...] = (
    overview.AREA,
    inbox.AREA,
    runs.AREA,
    tasks.AREA,
    events.AREA,
    definitions.AREA,
    operations.AREA,
    search.AREA,
    session.AREA,
)
"""In the order of the navigation; an area is added here and nowhere else."""


async def serve() -> None:
    """Serve the pages until SIGTERM."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    tls = TlsFiles.required(settings)
    provider = telemetry.Telemetry(
        service=SERVICE,
        otlp_endpoint=settings.otlp_endpoint,
        sample_ratio=settings.trace_sample_ratio,
    )
    health = Health()
    channels = {name: _channel(settings, address) for name, address in _addresses(settings).items()}
    components: list[Component] = [
        *(Closing(name, channel.close) for name, channel in channels.items()),
        HttpServer(listen=settings.http_listen, health=health),
        Vitals(tls),
        WebServer(
            pages(settings, channels, secure=_is_secure(settings, tls)).application(),
            listen=settings.console_listen,
            name="pages",
            setting="BACKBONE_CONSOLE_LISTEN",
            tls=tls,
        ),
    ]
    try:
        await Process(components, health=health, grace=settings.shutdown_grace).run()
    finally:
        provider.shutdown()


def _addresses(settings: Settings) -> dict[str, str]:
    return {
        "registry": settings.registry_address,
        "ledger": settings.ledger_address,
        "router": settings.router_address,
    }


def _channel(settings: Settings, address: str) -> grpc.aio.Channel:
    """Return a channel that calls as whoever visits; a certificate of ours would be a service's.

    Raises ConfigurationError when tokens would go in the clear.
    """
    return grpcclient.channel(
        address,
        actor=settings.actor,
        trusted=settings.tls_client_ca,
        token=current_token if settings.signs_in else None,
        timeout_s=settings.call_timeout.total_seconds(),
    )


def _is_secure(settings: Settings, tls: TlsFiles | None) -> bool:
    """Say whether visitors come by https: to us, or to what stands before us."""
    return tls is not None or urlsplit(settings.console_origin or "").scheme == "https"


def pages(settings: Settings, channels: dict[str, grpc.aio.Channel], *, secure: bool) -> web.Web:
    """Return the pages, which ask the services by `channels`; `secure`: visitors come by https."""
    sessions = Sessions(secure=secure)
    who: Visitors = (
        TokenVisitors(sessions.token_cookie) if settings.signs_in else LocalVisitors(settings.actor)
    )
    desk = Desk(
        templates=rendering.environment(),
        ledger=Ledger(channels["ledger"]),
        registry=Registry(channels["registry"]),
        router=Router(channels["router"]),
        areas=AREAS,
        namespaces=settings.namespaces,
        assets=web.assets(),
        temporal_ui=settings.temporal_ui_url,
        signs_in=who.signs_in,
        sessions=sessions,
        signing_in=_signing_in(settings, sessions),
    )
    forms = Forms(
        cookie=f"{sessions.prefix}backbone_form",
        limits=Limits(bytes=settings.max_body_bytes, time=settings.body_timeout),
        origin=settings.console_origin,
    )
    return web.Web(
        desk, who=who, forms=forms, request_timeout=settings.request_timeout, secure=secure
    )


def _signing_in(settings: Settings, sessions: Sessions) -> SigningIn | None:
    """Return how visitors sign in at the issuer, None where they bring a token along.

    Raises:
        ConfigurationError, SecretUnreadableError: a file that it needs cannot be read.
    """
    client_id, url = settings.console_client_id, settings.oidc_jwks_url
    if client_id is None or url is None:
        return None
    http = IssuerHttp(settings.oidc_ca)
    keys = IssuerKeys(functools.partial(http.get, url))
    services = grpcserving.token_authenticator(settings, keys=keys)
    ours = grpcserving.token_authenticator(settings, keys=keys, audience=client_id)
    if services is None or ours is None or settings.oidc_issuer is None:
        return None
    issuer = Issuer(
        settings.oidc_issuer,
        discovery_url=settings.discovery_url,
        http=http,
        client=Client(
            id=client_id,
            redirect_url=f"{settings.console_origin}/{session.CALLBACK}",
            signed_out_url=f"{settings.console_origin}/{session.SIGNED_OUT}",
            scopes=settings.console_scopes,
            secret=secretfiles.reader(settings.console_client_secret_file),
            forwards=settings.console_forwards,
            ends_session=settings.console_ends_issuer_session,
        ),
        judges=Judges(services=services, ours=ours),
        local=settings.environment == "local",
    )
    return SigningIn(issuer, sessions, namespaces=settings.namespaces, leeway=settings.oidc_leeway)


async def check() -> Sequence[commands.Check]:
    """Look whether the services that pages ask can be reached."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    TlsFiles.required(settings)
    if settings.signs_in and settings.tls_client_ca is None:
        raise ConfigurationError(
            "the tokens of visitors would go in the clear: set BACKBONE_TLS_CLIENT_CA to the file "
            "of the services' authority"
        )
    return [
        await commands.probe(name, functools.partial(_reached, settings, address))
        for name, address in _addresses(settings).items()
    ]


async def _reached(settings: Settings, address: str) -> str:
    channel = _channel(settings, address)
    try:
        await channel.channel_ready()
    finally:
        await channel.close()
    return address
