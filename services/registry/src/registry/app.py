"""Puts the registry together: settings, adapters, use cases, process."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources

from contracts.catalogue import Catalogue
from eventstore import grpc_audit, grpc_outbox
from eventstore import store as eventstore
from eventstore.partitions import PartitionKeeper
from eventstore.sealing import CheckpointSigner, Sealer
from eventstore.store import EventStore
from eventstore.wakeup import RelayWakeup
from registry.adapters import (
    grpc_registry,
    grpc_schedules,
    grpc_task_queues,
    postgres_projections,
    task_queue_watch,
)
from registry.adapters.grpc_ledger import GrpcScheduleLedger
from registry.adapters.pacing import Pace
from registry.adapters.postgres_drift_log import PostgresDriftLog
from registry.adapters.postgres_leadership import PostgresLeadership, PostgresLeases
from registry.adapters.postgres_materialisations import PostgresMaterialisations
from registry.adapters.postgres_resources import PostgresResourceStore
from registry.adapters.task_queue_watch import TaskQueueWatch
from registry.adapters.temporal_schedules import TemporalWakeupClock
from registry.service.changes import Changes
from registry.service.drift import DriftService
from registry.service.mirror import Mirrors, RevisionPoll
from registry.service.reconciler import Reconciler
from registry.service.resources import ResourceService
from registry.service.schedule_views import ScheduleViews
from registry.settings import Settings
from runtime import (
    catalogue,
    commands,
    databases,
    encryption,
    grpcclient,
    grpcserving,
    logs,
    migrations,
    secretfiles,
    signingkeys,
    telemetry,
    temporal,
)
from runtime.commands import Check
from runtime.errors import ConfigurationError
from runtime.grpcserver import Service
from runtime.httpserver import Health, HttpServer
from runtime.lifecycle import Closing, Component, Process
from runtime.postgres import Postgres
from runtime.tls import TlsFiles
from runtime.vitals import Vitals

SERVICE = "registry"
SCHEMA = "registry"
MIGRATIONS = (
    eventstore.migrations(),
    resources.files("registry").joinpath("sql", "migrations"),
)

# Other replicas' changes are seen within a second.
_REVISION_POLL = timedelta(milliseconds=500)


async def serve() -> None:
    """Serve resources and keep the schedules of definitions materialised until SIGTERM."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    tls = TlsFiles.required(settings)
    keys = signingkeys.load(settings, service=SERVICE, environment=settings.environment)
    at_rest = encryption.load(settings, environment=settings.environment)
    known = _catalogue(settings)
    provider = telemetry.Telemetry(
        service=SERVICE,
        otlp_endpoint=settings.otlp_endpoint,
        sample_ratio=settings.trace_sample_ratio,
    )
    health = Health()
    try:
        dsn = databases.secured(settings.postgres_dsn.get_secret_value(), tls)
        password = secretfiles.reader(settings.postgres_password_file)
        postgres = await Postgres.connect(
            dsn,
            application=SERVICE,
            schema=SCHEMA,
            size=settings.postgres_pool_size,
            password=password,
        )
        health.add_check("postgres", postgres.ping)
        wakeup = RelayWakeup(dsn, schema=SCHEMA, application=SERVICE, password=password)
        store = PostgresResourceStore(postgres, appended=wakeup.wake, keys=keys)
        materialisations = PostgresMaterialisations(postgres)
        changes = Changes()
        mirrors = Mirrors(store, changes, namespaces=settings.namespaces)
        clients = {
            namespace: await temporal.connect(
                settings.temporal_address,
                namespace=namespace,
                identity=SERVICE,
                tls=tls,
                token_file=settings.temporal_token_file,
                at_rest=at_rest,
                lazy=True,
            )
            for namespace in settings.namespaces
        }
        clocks = {
            namespace: TemporalWakeupClock(client, Pace(settings.schedule_calls_per_s))
            for namespace, client in clients.items()
        }
        watches = [
            TaskQueueWatch(namespace, mirrors=mirrors, client=client)
            for namespace, client in clients.items()
        ]
        task_queue_watch.observe(watches)
        channel = grpcclient.channel(settings.ledger_address, actor=SERVICE, tls=tls)
        service = ResourceService(store, mirrors, catalogue=known)
        drift = DriftService(store, materialisations, clocks, now=_now)
        drifts = PostgresDriftLog(postgres)
        views = ScheduleViews(
            store, materialisations, drifts, PostgresLeases(postgres), clocks, now=_now
        )
        # They stop in reverse: first nothing is materialised, then the watches end, so that the
        # server has no call left to wait for.
        components: list[Component] = [
            HttpServer(listen=settings.http_listen, health=health),
            Vitals(tls),
            Closing("postgres", postgres.close),
            Closing("ledger", channel.close),
            wakeup,
            Sealer(
                postgres,
                signer=CheckpointSigner(SERVICE, keys),
            ),
            # Events are what the tables of resources are made from: they are kept for ever.
            PartitionKeeper(postgres, EventStore(service=SERVICE, keys=keys)),
            *grpcserving.servers(
                settings,
                services=grpc_services(
                    service,
                    drift,
                    views,
                    postgres=postgres,
                    namespaces=settings.namespaces,
                    queues={one.namespace: one.found for one in watches},
                ),
                tls=tls,
            ),
            RevisionPoll(mirrors, interval=_REVISION_POLL),
            *watches,
            *(
                Reconciler(
                    namespace=namespace,
                    store=store,
                    materialisations=materialisations,
                    drifts=drifts,
                    ledger=GrpcScheduleLedger(channel),
                    clock=clock,
                    leadership=PostgresLeadership(
                        postgres, namespace=namespace, duration=settings.reconciler_lease
                    ),
                    changes=changes,
                    now=_now,
                    interval=settings.reconcile_interval,
                    inspection_interval=settings.inspection_interval,
                )
                for namespace, clock in clocks.items()
            ),
        ]
        await Process(components, health=health, grace=settings.shutdown_grace).run()
    finally:
        provider.shutdown()


def grpc_services(
    service: ResourceService,
    drift: DriftService,
    views: ScheduleViews,
    *,
    postgres: Postgres,
    namespaces: Sequence[str],
    queues: grpc_task_queues.Found,
) -> list[Service]:
    """Return the gRPC services of the registry."""
    return [
        grpc_registry.grpc_service(service, drift),
        grpc_schedules.grpc_service(views),
        grpc_task_queues.grpc_service(queues),
        grpc_outbox.grpc_service(postgres, namespaces=namespaces),
        grpc_audit.grpc_service(postgres, namespaces=namespaces),
    ]


def migrate() -> Sequence[str]:
    """Bring the schema up to date; return what was applied."""
    return migrations.apply(_dsn(Settings()), schema=SCHEMA, sources=MIGRATIONS)


async def rebuild() -> Sequence[str]:
    """Make the tables of resources again from their events; return a line for each namespace.

    Raises:
        ConfigurationError: migrations are missing.
    """
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    await asyncio.to_thread(_require_migrated, settings)
    postgres = await Postgres.connect(_dsn(settings), application=SERVICE, schema=SCHEMA, size=1)
    try:
        counts = await postgres_projections.rebuild(postgres, settings.namespaces)
    finally:
        await postgres.close()
    return [f"{namespace}: rebuilt from {count} events" for namespace, count in counts.items()]


async def check() -> Sequence[Check]:
    """Look at the database, its schema, the catalogue, the ledger and Temporal."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    tls = TlsFiles.required(settings)
    encryption.load(settings, environment=settings.environment)
    signingkeys.load(settings, service=SERVICE, environment=settings.environment)
    return await asyncio.gather(
        commands.probe("postgres", _database(settings)),
        commands.probe("catalogue", _catalogue_file(settings)),
        commands.probe("ledger", _ledger(settings, tls)),
        *(
            commands.probe(f"temporal {namespace}", _temporal(settings, namespace))
            for namespace in settings.namespaces
        ),
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _catalogue(settings: Settings) -> Catalogue | None:
    """Return what definitions may name; None when nobody has said."""
    return None if settings.catalogue is None else catalogue.load(settings.catalogue)


def _dsn(settings: Settings) -> str:
    dsn = databases.secured(settings.postgres_dsn.get_secret_value(), TlsFiles.required(settings))
    return databases.with_password(dsn, secretfiles.reader(settings.postgres_password_file))


def _require_migrated(settings: Settings) -> None:
    missing = migrations.pending(_dsn(settings), schema=SCHEMA, sources=MIGRATIONS)
    if missing:
        raise ConfigurationError(
            f"migrations are missing: {', '.join(missing)}; run `python -m registry migrate`"
        )


def _database(settings: Settings) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        await asyncio.to_thread(_require_migrated, settings)
        return "reachable, migrated"

    return question


def _catalogue_file(settings: Settings) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        known = await asyncio.to_thread(_catalogue, settings)
        if known is None:
            return "none (BACKBONE_CATALOGUE): connectors, statements and handlers go unchecked"
        handlers = "any handler" if known.handlers is None else f"{len(known.handlers)} handlers"
        return f"{settings.catalogue}: {len(known.connectors)} connectors, {handlers}"

    return question


def _ledger(settings: Settings, tls: TlsFiles | None) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        await grpcclient.reach(settings.ledger_address, actor=SERVICE, tls=tls)
        return settings.ledger_address

    return question


def _temporal(settings: Settings, namespace: str) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        client = await temporal.connect(
            settings.temporal_address,
            namespace=namespace,
            identity=SERVICE,
            tls=TlsFiles.required(settings),
            token_file=settings.temporal_token_file,
        )
        async for _ in await client.list_schedules(page_size=1):
            break
        return settings.temporal_address

    return question
