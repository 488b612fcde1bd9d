"""Puts the orchestrator-worker together: settings, adapters, use cases, process."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from temporalio.client import Client

from contracts import names
from contracts.catalogue import Catalogue
from orchestrator_worker.activities.runs import RunActivities
from orchestrator_worker.activities.task_timers import TaskTimerActivities
from orchestrator_worker.activities.ticks import TickActivities
from orchestrator_worker.adapters import connector_secrets
from orchestrator_worker.adapters.catalogue_context import CatalogueContext
from orchestrator_worker.adapters.grpc_ledger import GrpcLedger
from orchestrator_worker.adapters.grpc_registry import GrpcDefinitionSource
from orchestrator_worker.adapters.grpc_shadows import GrpcShadowRecords
from orchestrator_worker.adapters.http_context import HttpContextSource
from orchestrator_worker.adapters.postgres_context import PostgresContextSource
from orchestrator_worker.adapters.temporal_worker import Capacity, queue_server
from orchestrator_worker.service import Decider, Lookout, Recorder, Shadows
from orchestrator_worker.settings import Settings
from orchestrator_worker.workflows.run_activity import RunActivity
from orchestrator_worker.workflows.scheduled_tick import ScheduledTick
from orchestrator_worker.workflows.task_timers import TaskTimers
from runtime import catalogue, commands, grpcclient, logs, telemetry, temporal
from runtime.errors import ConfigurationError
from runtime.httpserver import Health, HttpServer
from runtime.lifecycle import Closing, Component, Process
from runtime.temporalworker import QueueServer
from runtime.tls import TlsFiles

SERVICE = "orchestrator-worker"


async def serve() -> None:
    """Serve every configured namespace and task queue until SIGTERM."""
    settings = Settings()
    own = settings.serve_ticks or settings.serve_task_timers
    if not settings.task_queues and not own:
        raise ConfigurationError(
            "nothing to serve: list task queues in BACKBONE_TASK_QUEUES, or set "
            "BACKBONE_SERVE_TICKS or BACKBONE_SERVE_TASK_TIMERS"
        )
    known = _catalogue(settings)
    logs.setup(service=SERVICE, level=settings.log_level)
    provider = telemetry.Telemetry(service=SERVICE, otlp_endpoint=settings.otlp_endpoint)
    health = Health()
    components: list[Component] = [
        HttpServer(listen=settings.http_listen, health=health),
        *composed(settings, known),
    ]
    try:
        await Process(components, health=health, grace=settings.shutdown_grace).run()
    finally:
        provider.shutdown()


def _catalogue(settings: Settings) -> Catalogue:
    known = catalogue.load(settings.catalogue)
    connector_secrets.check(known)
    return known


def composed(settings: Settings, known: Catalogue) -> list[Component]:
    """Return what works, in the order it starts: neighbours and context, then the workers."""
    tls = TlsFiles.of(settings)
    ledger_channel = grpcclient.channel(settings.ledger_address, actor=SERVICE, tls=tls)
    registry_channel = grpcclient.channel(settings.registry_address, actor=SERVICE, tls=tls)
    ledger = GrpcLedger(ledger_channel)
    context = _context(known)
    lookout = Lookout(
        context=context,
        ledger=ledger,
        redaction_key=connector_secrets.redaction_key(settings.redaction_key_file),
    )
    shadows = Shadows(records=GrpcShadowRecords(ledger_channel), lookout=lookout)
    runs = RunActivities(
        decider=Decider(
            definitions=GrpcDefinitionSource(registry_channel),
            lookout=lookout,
            ledger=ledger,
            cached_definitions=settings.definition_cache,
            shadows=shadows,
        ),
        recorder=Recorder(ledger=ledger),
    )
    return [
        Closing("ledger", ledger_channel.close),
        Closing("registry", registry_channel.close),
        Closing("context", context.close),
        shadows,
        *_workers(
            settings,
            runs=runs,
            ticks=TickActivities(ledger=ledger),
            timers=TaskTimerActivities(ledger=ledger),
        ),
    ]


def _context(known: Catalogue) -> CatalogueContext:
    connectors = known.connectors.items()
    return CatalogueContext(
        known,
        postgres=PostgresContextSource(
            {name: one.postgres for name, one in connectors if one.postgres is not None},
            dsn=connector_secrets.dsn,
        ),
        http=HttpContextSource(
            {name: one.http for name, one in connectors if one.http is not None},
            token=connector_secrets.token,
        ),
    )


def _workers(
    settings: Settings,
    *,
    runs: RunActivities,
    ticks: TickActivities,
    timers: TaskTimerActivities,
) -> list[QueueServer]:
    capacity = Capacity(
        max_cached_workflows=settings.max_cached_workflows,
        max_workflow_tasks=settings.max_workflow_tasks,
        max_activities=settings.max_activities,
        max_local_activities=settings.max_local_activities,
        workflow_pollers=settings.workflow_pollers,
        activity_pollers=settings.activity_pollers,
        graceful_shutdown=settings.graceful_shutdown,
        deployment_name=settings.deployment_name,
        build_id=settings.build_id,
        worker_versioning=settings.worker_versioning,
    )
    made = []
    for namespace in settings.namespaces:
        connect = _connector(settings.temporal_address, namespace, settings.build_id)
        made += [
            queue_server(
                task_queue=queue,
                connect=connect,
                workflows=[RunActivity],
                activities=[
                    runs.decide,
                    runs.record_run_failure,
                    runs.record_task_outcome,
                ],
                capacity=capacity,
            )
            for queue in settings.task_queues
        ]
        if settings.serve_ticks:
            made.append(
                queue_server(
                    task_queue=names.TICK_TASK_QUEUE,
                    connect=connect,
                    workflows=[ScheduledTick],
                    activities=[ticks.advance_schedule, ticks.acknowledge_runs],
                    capacity=capacity,
                )
            )
        if settings.serve_task_timers:
            made.append(
                queue_server(
                    task_queue=names.TASK_TIMERS_TASK_QUEUE,
                    connect=connect,
                    workflows=[TaskTimers],
                    activities=[timers.advance_task],
                    capacity=capacity,
                    outlives_builds=True,
                )
            )
    return made


def _connector(address: str, namespace: str, build_id: str) -> Callable[[], Awaitable[Client]]:
    async def connect() -> Client:
        return await temporal.connect(
            address, namespace=namespace, identity=f"{SERVICE}/{build_id}"
        )

    return connect


async def check() -> Sequence[commands.Check]:
    """Look at the configuration, Temporal, the ledger, the registry and every connector."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    known = _catalogue(settings)
    context = _context(known)
    tls = TlsFiles.of(settings)
    neighbours = {"ledger": settings.ledger_address, "registry": settings.registry_address}
    found = await asyncio.gather(
        *(
            commands.probe(f"temporal {namespace}", _temporal(settings, namespace))
            for namespace in settings.namespaces
        ),
        *(
            commands.probe(f"{name} at {address}", _answers(address, tls))
            for name, address in neighbours.items()
        ),
        *(
            commands.probe(f"connector {name}", _reached(context, name))
            for name in known.connectors
        ),
    )
    await context.close()
    return found


def _temporal(settings: Settings, namespace: str) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        client = await _connector(settings.temporal_address, namespace, settings.build_id)()
        async for _ in client.list_workflows(page_size=1, limit=1):
            pass
        return settings.temporal_address

    return question


def _answers(address: str, tls: TlsFiles | None) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        channel = grpcclient.channel(address, actor=SERVICE, tls=tls)
        try:
            await channel.channel_ready()
        finally:
            await channel.close()
        return "answers"

    return question


def _reached(context: CatalogueContext, name: str) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        return await context.check(name)

    return question
