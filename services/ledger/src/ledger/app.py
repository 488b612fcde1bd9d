"""Puts the ledger together: settings, adapters, use cases, process."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from importlib import resources

from backbone.ledger.v1 import (
    backfills_pb2_grpc,
    control_pb2_grpc,
    instances_pb2_grpc,
    ledger_pb2_grpc,
    replay_pb2_grpc,
    routing_pb2_grpc,
    schedules_pb2_grpc,
    shadows_pb2_grpc,
    subjects_pb2_grpc,
    switches_pb2_grpc,
)
from eventstore import grpc_audit, grpc_outbox
from eventstore import store as eventstore
from eventstore.partitions import PartitionKeeper
from eventstore.sealing import CheckpointSigner, Sealer
from eventstore.store import EventStore
from eventstore.wakeup import RelayWakeup
from ledger.adapters import (
    grpc_backfills,
    grpc_control,
    grpc_instances,
    grpc_ledger,
    grpc_replays,
    grpc_routing,
    grpc_schedules,
    grpc_shadows,
    grpc_subjects,
    grpc_switches,
    grpc_tasks,
    projections,
)
from ledger.adapters.dead_letter_calls import DeadLetterCalls
from ledger.adapters.decision_calls import DecisionCalls
from ledger.adapters.grpc_backfills import BackfillServicer
from ledger.adapters.grpc_control import ControlServicer
from ledger.adapters.grpc_instances import InstanceServicer
from ledger.adapters.grpc_ledger import LedgerServicer
from ledger.adapters.grpc_replays import ReplayServicer
from ledger.adapters.grpc_routing import RoutingServicer
from ledger.adapters.grpc_schedules import ScheduleServicer
from ledger.adapters.grpc_shadows import ShadowServicer
from ledger.adapters.grpc_subjects import SubjectServicer
from ledger.adapters.grpc_switches import KillSwitchServicer
from ledger.adapters.grpc_tasks import TaskServicer
from ledger.adapters.instance_backlog import InstanceBacklog
from ledger.adapters.instance_projection import InstanceProjection
from ledger.adapters.pending_calls import PendingCalls
from ledger.adapters.postgres_backfills import PostgresBackfillStore
from ledger.adapters.postgres_control import PostgresControlStore, PostgresOperationStore
from ledger.adapters.postgres_dead_letters import PostgresDeadLetterStore
from ledger.adapters.postgres_instances import PostgresInstanceEventStore, PostgresInstanceStore
from ledger.adapters.postgres_overview import PostgresOverviewStore
from ledger.adapters.postgres_pending import PostgresPendingStore
from ledger.adapters.postgres_replays import PostgresReplayStore
from ledger.adapters.postgres_routing import PostgresRoutingStore, RoutingMonths
from ledger.adapters.postgres_runs import PostgresRunStore
from ledger.adapters.postgres_schedules import PostgresScheduleStore
from ledger.adapters.postgres_shadows import PostgresShadowStore
from ledger.adapters.postgres_subjects import PostgresSubjectStore
from ledger.adapters.postgres_switches import PostgresKillSwitchStore
from ledger.adapters.postgres_tasks import PostgresTaskStore
from ledger.adapters.projections import RunProjection
from ledger.adapters.replay_calls import ReplayCalls
from ledger.adapters.requests import RequestReader
from ledger.domain.instances import DEFAULT_MAX_WAITING
from ledger.service.appending import RunAppender
from ledger.service.backfills import BackfillLedger
from ledger.service.control import ControlLedger
from ledger.service.dead_letters import DeadLetterLedger
from ledger.service.inbox_watch import InboxWatch
from ledger.service.instance_events import InstanceEvents
from ledger.service.instances import InstanceLedger
from ledger.service.operations import OperationLedger
from ledger.service.overviews import Overviews
from ledger.service.pending import PendingLedger
from ledger.service.redactions import Redactions
from ledger.service.replays import ReplayLedger
from ledger.service.routing import RoutingLedger
from ledger.service.runs import RunLedger
from ledger.service.schedule_control import ScheduleControl
from ledger.service.schedule_explaining import ScheduleExplaining
from ledger.service.schedule_watch import ScheduleWatch
from ledger.service.schedules import ScheduleLedger
from ledger.service.shadows import ShadowLedger
from ledger.service.subject_keys import SubjectKeys
from ledger.service.subjects import SubjectLedger
from ledger.service.switches import SwitchLedger
from ledger.service.tasks import TaskLedger
from ledger.service.telling import FailureTelling
from ledger.settings import DECISION_RETENTION, PENDING_MAX_AGE, Settings
from runtime import (
    commands,
    databases,
    encryption,
    grpcserving,
    logs,
    migrations,
    secretfiles,
    signingkeys,
    telemetry,
)
from runtime.commands import Check
from runtime.datakeys import DataKeyFile
from runtime.errors import ConfigurationError
from runtime.grpcserver import Service
from runtime.httpserver import Health, HttpServer
from runtime.lifecycle import Closing, Component, Process
from runtime.postgres import Postgres
from runtime.signingkeys import SigningKeys
from runtime.tls import TlsFiles
from runtime.vitals import Vitals

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
    tls = TlsFiles.required(settings)
    keys = signingkeys.load(settings, service=SERVICE, environment=settings.environment)
    at_rest = encryption.load(settings, environment=settings.environment)
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
        events = event_store(appended=wakeup.wake, keys=keys)
        components: list[Component] = [
            HttpServer(listen=settings.http_listen, health=health),
            Vitals(tls),
            Closing("postgres", postgres.close),
            wakeup,
            ScheduleWatch(
                database=postgres,
                schedules=PostgresScheduleStore(),
                namespaces=settings.namespaces,
            ),
            Sealer(
                postgres,
                signer=CheckpointSigner(SERVICE, keys),
            ),
            PartitionKeeper(
                postgres,
                events,
                retention=settings.event_retention,
            ),
            PartitionKeeper(
                postgres,
                RoutingMonths(),
                retention=settings.decision_retention,
            ),
            InboxWatch(
                database=postgres, tasks=PostgresTaskStore(), namespaces=settings.namespaces
            ),
            InstanceBacklog(postgres, PostgresInstanceEventStore(), namespaces=settings.namespaces),
            *grpcserving.servers(
                settings,
                services=grpc_services(
                    postgres,
                    events,
                    namespaces=settings.namespaces,
                    pending_max_age=settings.pending_max_age,
                    instance_max_waiting=settings.instance_max_waiting,
                    decision_retention=settings.decision_retention,
                    data_keys=at_rest.keys,
                ),
                tls=tls,
            ),
        ]
        await Process(components, health=health, grace=settings.shutdown_grace).run()
    finally:
        provider.shutdown()


def event_store(
    *,
    appended: Callable[[], None] | None = None,
    keys: SigningKeys = SigningKeys(),  # noqa: B008 - a value
) -> EventStore:
    """Return the ledger's event store with its read models; `appended` hears of commits."""
    return EventStore(
        service=SERVICE,
        projections=[RunProjection(), InstanceProjection()],
        appended=appended,
        keys=keys,
    )


def grpc_services(
    postgres: Postgres,
    events: EventStore,
    *,
    namespaces: Collection[str],
    pending_max_age: timedelta = PENDING_MAX_AGE,
    instance_max_waiting: int = DEFAULT_MAX_WAITING,
    decision_retention: timedelta = DECISION_RETENTION,
    data_keys: DataKeyFile | None = None,
) -> list[Service]:
    """Return the gRPC services on top of a database.

    An event waits so long at most, and for one instance so many at most. Without `data_keys`
    nothing sensitive is kept.
    """
    routing_store, replay_store, run_store = (
        PostgresRoutingStore(),
        PostgresReplayStore(),
        PostgresRunStore(),
    )
    switch_store = PostgresKillSwitchStore()
    instance_store, instance_event_store = PostgresInstanceStore(), PostgresInstanceEventStore()
    instance_events = InstanceEvents(
        store=instance_event_store,
        instances=instance_store,
        runs=run_store,
        decisions=routing_store,
        max_waiting=instance_max_waiting,
        max_age=pending_max_age,
    )
    pending = PendingLedger(
        database=postgres,
        store=PostgresPendingStore(),
        decisions=routing_store,
        replays=replay_store,
        instance_events=instance_events,
        switches=switch_store,
        max_age=pending_max_age,
    )
    routing = RoutingLedger(
        database=postgres, routing=routing_store, pending=pending, instance_events=instance_events
    )
    replays = ReplayLedger(
        database=postgres,
        store=replay_store,
        routing=routing,
        requests=run_store,
        keep=decision_retention,
    )
    schedules = PostgresScheduleStore()
    control_store = PostgresControlStore()
    appender = RunAppender(events=events, schedules=schedules, control=control_store)
    telling = FailureTelling(runs=run_store, control=control_store)
    runs = RunLedger(
        database=postgres,
        runs=run_store,
        appender=appender,
        telling=telling,
        halts=switch_store,
    )
    task_store = PostgresTaskStore()
    tasks = TaskLedger(database=postgres, tasks=task_store, runs=run_store, appender=appender)
    control = ControlLedger(
        database=postgres,
        ledger=runs,
        appender=appender,
        runs=run_store,
        tasks=task_store,
        control=control_store,
        telling=telling,
    )
    due = ScheduleLedger(
        database=postgres, schedules=schedules, control=control, halts=switch_store
    )
    backfill_store = PostgresBackfillStore()
    backfills = BackfillLedger(
        database=postgres,
        store=backfill_store,
        schedules=schedules,
        control=control,
        operations=control_store,
        requests=run_store,
        keep=decision_retention,
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
                schedules=due,
                overviews=Overviews(
                    database=postgres, store=PostgresOverviewStore(), schedules=schedules
                ),
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
                backfills=backfills,
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
            name=grpc_schedules.NAME,
            add=schedules_pb2_grpc.add_ScheduleServiceServicer_to_server,
            servicer=ScheduleServicer(
                ScheduleControl(
                    database=postgres,
                    schedules=schedules,
                    ledger=due,
                    control=control_store,
                    requests=run_store,
                ),
                ScheduleExplaining(
                    database=postgres, schedules=schedules, backfills=backfill_store
                ),
                reader=reader,
            ),
            policy=grpc_schedules.POLICY,
        ),
        Service(
            name=grpc_backfills.NAME,
            add=backfills_pb2_grpc.add_BackfillServiceServicer_to_server,
            servicer=BackfillServicer(backfills, reader=reader),
            policy=grpc_backfills.POLICY,
        ),
        Service(
            name=grpc_instances.NAME,
            add=instances_pb2_grpc.add_InstanceServiceServicer_to_server,
            servicer=InstanceServicer(
                InstanceLedger(
                    database=postgres,
                    runs=runs,
                    store=run_store,
                    instances=instance_store,
                    events=instance_events,
                    waiting=instance_event_store,
                    halts=switch_store,
                ),
                reader=reader,
            ),
            policy=grpc_instances.POLICY,
        ),
        Service(
            name=grpc_shadows.NAME,
            add=shadows_pb2_grpc.add_ShadowServiceServicer_to_server,
            servicer=ShadowServicer(
                ShadowLedger(database=postgres, shadows=PostgresShadowStore()), reader=reader
            ),
            policy=grpc_shadows.POLICY,
        ),
        Service(
            name=grpc_subjects.NAME,
            add=subjects_pb2_grpc.add_SubjectServiceServicer_to_server,
            servicer=SubjectServicer(
                SubjectLedger(
                    database=postgres,
                    subjects=PostgresSubjectStore(),
                    requests=run_store,
                    events=events,
                    keys=SubjectKeys(data_keys),
                ),
                reader=reader,
            ),
            policy=grpc_subjects.POLICY,
        ),
        Service(
            name=grpc_switches.NAME,
            add=switches_pb2_grpc.add_KillSwitchServiceServicer_to_server,
            servicer=KillSwitchServicer(
                SwitchLedger(
                    database=postgres,
                    switches=switch_store,
                    schedules=schedules,
                    control=control_store,
                    requests=run_store,
                    events=events,
                ),
                reader=reader,
            ),
            policy=grpc_switches.POLICY,
        ),
        grpc_outbox.grpc_service(postgres, namespaces=namespaces),
        grpc_audit.grpc_service(postgres, namespaces=namespaces),
    ]


def migrate() -> Sequence[str]:
    """Bring the schema up to date; return what was applied."""
    return migrations.apply(_dsn(Settings()), schema=SCHEMA, sources=MIGRATIONS)


async def rebuild() -> Sequence[str]:
    """Make the tables of runs and tasks again from their events; return a line for each namespace.

    Raises:
        ConfigurationError: migrations are missing.
        RebuildError: months of events were dropped, or the events do not fit together.
    """
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    dsn = _dsn(settings)
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
    signingkeys.load(settings, service=SERVICE, environment=settings.environment)
    encryption.load(settings, environment=settings.environment)
    dsn = _dsn(settings)

    async def database() -> str:
        await asyncio.to_thread(_require_migrated, dsn)
        return "reachable, migrated"

    return [await commands.probe("postgres", database)]


def _dsn(settings: Settings) -> str:
    dsn = databases.secured(settings.postgres_dsn.get_secret_value(), TlsFiles.required(settings))
    return databases.with_password(dsn, secretfiles.reader(settings.postgres_password_file))


def _require_migrated(dsn: str) -> None:
    if missing := migrations.pending(dsn, schema=SCHEMA, sources=MIGRATIONS):
        raise ConfigurationError(
            f"migrations are missing: {', '.join(missing)}; run `python -m ledger migrate`"
        )
