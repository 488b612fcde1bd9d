"""Puts the ledger together: settings, adapters, use cases, process."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from importlib import resources

from backbone.ledger.v1 import (
    control_pb2_grpc,
    ledger_pb2_grpc,
    replay_pb2_grpc,
    routing_pb2_grpc,
    shadows_pb2_grpc,
)
from eventstore import grpc_audit, grpc_outbox
from eventstore import store as eventstore
from eventstore.partitions import PartitionKeeper
from eventstore.sealing import Sealer
from eventstore.store import EventStore
from eventstore.wakeup import RelayWakeup
from ledger.adapters import (
    grpc_control,
    grpc_ledger,
    grpc_replays,
    grpc_routing,
    grpc_shadows,
    grpc_tasks,
    projections,
)
from ledger.adapters.dead_letter_calls import DeadLetterCalls
from ledger.adapters.decision_calls import DecisionCalls
from ledger.adapters.grpc_control import ControlServicer
from ledger.adapters.grpc_ledger import LedgerServicer
from ledger.adapters.grpc_replays import ReplayServicer
from ledger.adapters.grpc_routing import RoutingServicer
from ledger.adapters.grpc_shadows import ShadowServicer
from ledger.adapters.grpc_tasks import TaskServicer
from ledger.adapters.pending_calls import PendingCalls
from ledger.adapters.postgres_control import PostgresControlStore, PostgresOperationStore
from ledger.adapters.postgres_dead_letters import PostgresDeadLetterStore
from ledger.adapters.postgres_pending import PostgresPendingStore
from ledger.adapters.postgres_replays import PostgresReplayStore
from ledger.adapters.postgres_routing import PostgresRoutingStore, RoutingMonths
from ledger.adapters.postgres_runs import PostgresRunStore
from ledger.adapters.postgres_schedules import PostgresScheduleStore
from ledger.adapters.postgres_shadows import PostgresShadowStore
from ledger.adapters.postgres_tasks import PostgresTaskStore
from ledger.adapters.projections import RunProjection
from ledger.adapters.replay_calls import ReplayCalls
from ledger.adapters.requests import RequestReader
from ledger.service.appending import RunAppender
from ledger.service.control import ControlLedger
from ledger.service.dead_letters import DeadLetterLedger
from ledger.service.operations import OperationLedger
from ledger.service.pending import PendingLedger
from ledger.service.redactions import Redactions
from ledger.service.replays import ReplayLedger
from ledger.service.routing import RoutingLedger
from ledger.service.runs import RunLedger
from ledger.service.schedules import ScheduleLedger
from ledger.service.shadows import ShadowLedger
from ledger.service.tasks import TaskLedger
from ledger.settings import DECISION_RETENTION, PENDING_MAX_AGE, Settings
from runtime import commands, identity, logs, migrations, telemetry
from runtime.commands import Check
from runtime.errors import ConfigurationError
from runtime.grpcserver import GrpcServer, Service
from runtime.httpserver import Health, HttpServer
from runtime.lifecycle import Closing, Component, Process
from runtime.postgres import Postgres
from runtime.tls import TlsFiles

SERVICE = "ledger"
SCHEMA = "ledger"
MIGRATIONS = (
    eventstore.migrations(),
    resources.files("ledger").joinpath("sql", "migrations"),
)


async def serve() -> None:
    """Serve runs, tasks, schedules and routing decisions until SIGTERM."""
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
        wakeup = RelayWakeup(dsn, schema=SCHEMA, application=SERVICE)
        events = event_store(appended=wakeup.wake)
        components: list[Component] = [
            HttpServer(listen=settings.http_listen, health=health),
            Closing("postgres", postgres.close),
            wakeup,
            Sealer(postgres, namespace=settings.namespaces[0]),
            PartitionKeeper(
                postgres,
                events,
                namespace=settings.namespaces[0],
                retention=settings.event_retention,
            ),
            PartitionKeeper(
                postgres,
                RoutingMonths(),
                namespace=settings.namespaces[0],
                retention=settings.decision_retention,
            ),
            GrpcServer(
                listen=settings.grpc_listen,
                services=grpc_services(
                    postgres,
                    events,
                    namespaces=settings.namespaces,
                    pending_max_age=settings.pending_max_age,
                    decision_retention=settings.decision_retention,
                ),
                authenticator=authenticator,
                tls=tls,
                reflection_enabled=settings.environment != "prod",
            ),
        ]
        await Process(components, health=health, grace=settings.shutdown_grace).run()
    finally:
        provider.shutdown()


def event_store(*, appended: Callable[[], None] | None = None) -> EventStore:
    """Return the ledger's event store with its read models; `appended` hears of commits."""
    return EventStore(service=SERVICE, projections=[RunProjection()], appended=appended)


def grpc_services(
    postgres: Postgres,
    events: EventStore,
    *,
    namespaces: Collection[str],
    pending_max_age: timedelta = PENDING_MAX_AGE,
    decision_retention: timedelta = DECISION_RETENTION,
) -> list[Service]:
    """Return the gRPC services on top of a database; an event waits so long at most."""
    routing_store, replay_store, run_store = (
        PostgresRoutingStore(),
        PostgresReplayStore(),
        PostgresRunStore(),
    )
    pending = PendingLedger(
        database=postgres,
        store=PostgresPendingStore(),
        decisions=routing_store,
        replays=replay_store,
        max_age=pending_max_age,
    )
    routing = RoutingLedger(database=postgres, routing=routing_store, pending=pending)
    replays = ReplayLedger(
        database=postgres,
        store=replay_store,
        routing=routing,
        requests=run_store,
        keep=decision_retention,
    )
    schedules = PostgresScheduleStore()
    appender = RunAppender(events=events, schedules=schedules)
    runs = RunLedger(database=postgres, runs=run_store, schedules=schedules, appender=appender)
    task_store = PostgresTaskStore()
    tasks = TaskLedger(database=postgres, tasks=task_store, runs=run_store, appender=appender)
    control = ControlLedger(
        database=postgres,
        ledger=runs,
        appender=appender,
        runs=run_store,
        tasks=task_store,
        control=PostgresControlStore(),
    )
    reader = RequestReader(namespaces)
    return [
        Service(
            name=grpc_ledger.NAME,
            add=ledger_pb2_grpc.add_LedgerServiceServicer_to_server,
            servicer=LedgerServicer(
                runs=runs,
                redactions=Redactions(database=postgres, runs=run_store),
                control=control,
                schedules=ScheduleLedger(database=postgres, schedules=schedules),
                reader=reader,
            ),
            policy=grpc_ledger.POLICY,
        ),
        Service(
            name=grpc_control.NAME,
            add=control_pb2_grpc.add_ControlServiceServicer_to_server,
            servicer=ControlServicer(
                control=control,
                operations=OperationLedger(database=postgres, store=PostgresOperationStore()),
                reader=reader,
            ),
            policy=grpc_control.POLICY,
        ),
        Service(
            name=grpc_tasks.NAME,
            add=ledger_pb2_grpc.add_TaskServiceServicer_to_server,
            servicer=TaskServicer(tasks=tasks, reader=reader),
            policy=grpc_tasks.POLICY,
        ),
        Service(
            name=grpc_routing.NAME,
            add=routing_pb2_grpc.add_RoutingServiceServicer_to_server,
            servicer=RoutingServicer(
                dead_letters=DeadLetterCalls(
                    DeadLetterLedger(database=postgres, dead_letters=PostgresDeadLetterStore()),
                    reader=reader,
                ),
                decisions=DecisionCalls(routing, reader=reader),
                pending=PendingCalls(pending, replays=replays, reader=reader),
            ),
            policy=grpc_routing.POLICY,
        ),
        Service(
            name=grpc_replays.NAME,
            add=replay_pb2_grpc.add_ReplayServiceServicer_to_server,
            servicer=ReplayServicer(ReplayCalls(replays, reader=reader)),
            policy=grpc_replays.POLICY,
        ),
        Service(
            name=grpc_shadows.NAME,
            add=shadows_pb2_grpc.add_ShadowServiceServicer_to_server,
            servicer=ShadowServicer(
                ShadowLedger(database=postgres, shadows=PostgresShadowStore()), reader=reader
            ),
            policy=grpc_shadows.POLICY,
        ),
        grpc_outbox.grpc_service(postgres, namespaces=namespaces),
        grpc_audit.grpc_service(postgres, namespaces=namespaces),
    ]


def migrate() -> Sequence[str]:
    """Bring the schema up to date; return what was applied."""
    return migrations.apply(
        Settings().postgres_dsn.get_secret_value(), schema=SCHEMA, sources=MIGRATIONS
    )


async def rebuild() -> Sequence[str]:
    """Make the tables of runs and tasks again from their events; return a line for each namespace.

    Raises:
        ConfigurationError: migrations are missing.
        RebuildError: months of events were dropped, or the events do not fit together.
    """
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    dsn = settings.postgres_dsn.get_secret_value()
    await asyncio.to_thread(_require_migrated, dsn)
    postgres = await Postgres.connect(dsn, application=SERVICE, schema=SCHEMA, size=1)
    try:
        counts = await projections.rebuild(postgres, event_store(), settings.namespaces)
    finally:
        await postgres.close()
    return [f"{namespace}: rebuilt from {count} events" for namespace, count in counts.items()]


async def check() -> Sequence[Check]:
    """Look at the database and its schema."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    identity.authenticator(environment=settings.environment, tls=TlsFiles.of(settings) is not None)

    async def database() -> str:
        await asyncio.to_thread(_require_migrated, settings.postgres_dsn.get_secret_value())
        return "reachable, migrated"

    return [await commands.probe("postgres", database)]


def _require_migrated(dsn: str) -> None:
    if missing := migrations.pending(dsn, schema=SCHEMA, sources=MIGRATIONS):
        raise ConfigurationError(
            f"migrations are missing: {', '.join(missing)}; run `python -m ledger migrate`"
        )
