"""Puts the registry together: settings, adapters, use cases, process."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources

from eventstore import store as eventstore
from eventstore.partitions import PartitionKeeper
from eventstore.store import EventStore
from registry.adapters import grpc_registry
from registry.adapters.grpc_ledger import GrpcScheduleLedger
from registry.adapters.postgres_definitions import (
    PostgresDefinitionStore,
    PostgresMaterialisations,
)
from registry.adapters.postgres_leadership import PostgresLeadership
from registry.adapters.temporal_schedules import TemporalWakeupClock
from registry.service.changes import Changes, RevisionPoll
from registry.service.definitions import DefinitionService
from registry.service.reconciler import Reconciler
from registry.settings import Settings
from runtime import commands, grpcclient, identity, logs, migrations, telemetry, temporal
from runtime.commands import Check
from runtime.errors import ConfigurationError
from runtime.grpcserver import GrpcServer
from runtime.httpserver import Health, HttpServer
from runtime.lifecycle import Closing, Component, Process
from runtime.postgres import Postgres
from runtime.tls import TlsFiles

SERVICE = "registry"
SCHEMA = "registry"
MIGRATIONS = (
    eventstore.migrations(),
    resources.files("registry").joinpath("sql", "migrations"),
)

# Other replicas' changes are seen within a second.
_REVISION_POLL = timedelta(milliseconds=500)


async def serve() -> None:
    """Serve definitions and keep their schedules materialised until SIGTERM."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    tls = TlsFiles.of(settings)
    authenticator = identity.authenticator(environment=settings.environment, tls=tls is not None)
    provider = telemetry.Telemetry(service=SERVICE, otlp_endpoint=settings.otlp_endpoint)
    health = Health()
    try:
        dsn = settings.postgres_dsn.get_secret_value()
        postgres = await Postgres.connect(
            dsn, application=SERVICE, schema=SCHEMA, size=settings.postgres_pool_size
        )
        health.add_check("postgres", postgres.ping)
        store = PostgresDefinitionStore(postgres)
        changes = Changes()
        channel = grpcclient.channel(settings.ledger_address, actor=SERVICE, tls=tls)
        service = DefinitionService(store, changes, namespaces=settings.namespaces)
        # They stop in reverse: first nothing is materialised, then the watches end, so that the
        # server has no call left to wait for.
        components: list[Component] = [
            HttpServer(listen=settings.http_listen, health=health),
            Closing("postgres", postgres.close),
            Closing("ledger", channel.close),
            PartitionKeeper(
                postgres, EventStore(service=SERVICE), namespace=settings.namespaces[0]
            ),
            GrpcServer(
                listen=settings.grpc_listen,
                services=[grpc_registry.grpc_service(service)],
                authenticator=authenticator,
                tls=tls,
                reflection_enabled=settings.environment != "prod",
            ),
            RevisionPoll(store, changes, namespaces=settings.namespaces, interval=_REVISION_POLL),
        ]
        for namespace in settings.namespaces:
            client = await temporal.connect(
                settings.temporal_address, namespace=namespace, identity=SERVICE, lazy=True
            )
            components.append(
                Reconciler(
                    namespace=namespace,
                    store=store,
                    materialisations=PostgresMaterialisations(postgres),
                    ledger=GrpcScheduleLedger(channel),
                    clock=TemporalWakeupClock(client),
                    leadership=PostgresLeadership(dsn, subject=f"reconciler.{namespace}"),
                    changes=changes,
                    now=lambda: datetime.now(UTC),
                    interval=settings.reconcile_interval,
                )
            )
        await Process(components, health=health, grace=settings.shutdown_grace).run()
    finally:
        provider.shutdown()


def migrate() -> Sequence[str]:
    """Bring the schema up to date; return what was applied."""
    dsn = Settings().postgres_dsn.get_secret_value()
    return migrations.apply(dsn, schema=SCHEMA, sources=MIGRATIONS)


async def check() -> Sequence[Check]:
    """Look at the database, its schema, the ledger and Temporal."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    tls = TlsFiles.of(settings)
    identity.authenticator(environment=settings.environment, tls=tls is not None)
    return await asyncio.gather(
        commands.probe("postgres", _database(settings)),
        commands.probe("ledger", _ledger(settings, tls)),
        *(
            commands.probe(f"temporal {namespace}", _temporal(settings, namespace))
            for namespace in settings.namespaces
        ),
    )


def _database(settings: Settings) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        dsn = settings.postgres_dsn.get_secret_value()
        missing = await asyncio.to_thread(
            migrations.pending, dsn, schema=SCHEMA, sources=MIGRATIONS
        )
        if missing:
            raise ConfigurationError(
                f"migrations are missing: {', '.join(missing)}; run `python -m registry migrate`"
            )
        return "reachable, migrated"

    return question


def _ledger(settings: Settings, tls: TlsFiles | None) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        channel = grpcclient.channel(settings.ledger_address, actor=SERVICE, tls=tls)
        try:
            await channel.channel_ready()
        finally:
            await channel.close()
        return settings.ledger_address

    return question


def _temporal(settings: Settings, namespace: str) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        client = await temporal.connect(
            settings.temporal_address, namespace=namespace, identity=SERVICE
        )
        async for _ in await client.list_schedules(page_size=1):
            break
        return settings.temporal_address

    return question
