"""Puts the orchestrator-worker together: settings, adapters, use cases, process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from temporalio.client import Client

from contracts import names
from contracts.catalogue import Catalogue
from orchestrator_worker.activities.control import FailureActivities, SweepActivities
from orchestrator_worker.activities.instances import InstanceActivities
from orchestrator_worker.activities.runs import RunActivities
from orchestrator_worker.activities.simulations import SimulationActivities
from orchestrator_worker.activities.task_timers import TaskTimerActivities
from orchestrator_worker.activities.ticks import TickActivities
from orchestrator_worker.adapters.catalogue_context import CatalogueContext
from orchestrator_worker.adapters.grpc_control import GrpcControl
from orchestrator_worker.adapters.grpc_instances import GrpcInstances
from orchestrator_worker.adapters.grpc_ledger import GrpcLedger
from orchestrator_worker.adapters.grpc_registry import GrpcDefinitionSource
from orchestrator_worker.adapters.grpc_shadows import GrpcShadowRecords
from orchestrator_worker.adapters.grpc_subjects import GrpcSensitiveValues
from orchestrator_worker.adapters.http_context import HttpContextSource
from orchestrator_worker.adapters.postgres_context import PostgresContextSource
from orchestrator_worker.adapters.temporal_builds import BuildError, BuildStatus, TemporalBuild
from orchestrator_worker.adapters.temporal_executions import TemporalExecutions
from orchestrator_worker.adapters.temporal_sweep_clock import SweepClock
from orchestrator_worker.adapters.temporal_worker import Capacity, queue_server
from orchestrator_worker.service.applying import Applier
from orchestrator_worker.service.failures import FailureTeller
from orchestrator_worker.service.lookout import Lookout
from orchestrator_worker.service.operating import Operator
from orchestrator_worker.service.runs import Decider, Recorder
from orchestrator_worker.service.shadows import Shadows
from orchestrator_worker.service.simulating import Simulations
from orchestrator_worker.service.sweeping import Sweeper
from orchestrator_worker.service.ticking import Ticker
from orchestrator_worker.settings import Settings
from orchestrator_worker.workflows.instance import Instance, RoutedInstance
from orchestrator_worker.workflows.retry_task import RetryTask
from orchestrator_worker.workflows.run_activity import RunActivity
from orchestrator_worker.workflows.scheduled_tick import ScheduledTick
from orchestrator_worker.workflows.simulate import Simulate
from orchestrator_worker.workflows.sweep import Sweep
from orchestrator_worker.workflows.task_timers import TaskTimers
from orchestrator_worker.workflows.tell_failure import TellFailure
from runtime import (
    catalogue,
    commands,
    connectorsecrets,
    encryption,
    grpcclient,
    logs,
    telemetry,
    temporal,
    temporalworker,
)
from runtime.encryption import AtRest
from runtime.errors import ConfigurationError
from runtime.httpconnectors import HttpConnectors
from runtime.httpserver import Health, HttpServer
from runtime.lifecycle import Background, Closing, Component, Process
from runtime.temporalworker import QueueServer, QueueServers
from runtime.tls import TlsFiles
from runtime.vitals import Vitals

SERVICE = "orchestrator-worker"


async def serve() -> None:
    """Serve every configured pair of namespace and task queue until SIGTERM, then drain."""
    settings = Settings()
    own = settings.serve_ticks or settings.serve_task_timers or settings.serve_system
    if not settings.task_queues and not own:
        raise ConfigurationError(
            "nothing to serve: list task queues in BACKBONE_TASK_QUEUES, or set "
            "BACKBONE_SERVE_TICKS, BACKBONE_SERVE_TASK_TIMERS or BACKBONE_SERVE_SYSTEM"
        )
    known = _catalogue(settings)
    confidential = encryption.mode(settings, environment=settings.environment) != "off"
    logs.setup(service=SERVICE, level=settings.log_level, confidential=confidential)
    provider = telemetry.Telemetry(
        service=SERVICE,
        otlp_endpoint=settings.otlp_endpoint,
        sample_ratio=settings.trace_sample_ratio,
        confidential=confidential,
    )
    temporalworker.offer_metrics(settings.temporal_metrics_listen)
    health = Health()
    components: list[Component] = [
        HttpServer(listen=settings.http_listen, health=health),
        Vitals(TlsFiles.required(settings)),
        *composed(settings, known),
    ]
    try:
        await Process(components, health=health, grace=settings.shutdown_grace).run()
    finally:
        provider.shutdown()


def _catalogue(settings: Settings) -> Catalogue:
    known = catalogue.load(settings.catalogue)
    connectorsecrets.check(known, environment=settings.environment)
    return known


def composed(settings: Settings, known: Catalogue) -> list[Component]:
    """Return what works, in the order it starts: neighbours and context, then the workers."""
    tls = TlsFiles.required(settings)
    ledger_channel = grpcclient.channel(settings.ledger_address, actor=SERVICE, tls=tls)
    registry_channel = grpcclient.channel(settings.registry_address, actor=SERVICE, tls=tls)
    ledger = GrpcLedger(ledger_channel)
    control = GrpcControl(ledger_channel)
    definitions = GrpcDefinitionSource(registry_channel)
    at_rest = encryption.load(settings, environment=settings.environment)
    connects = {
        namespace: _connector(settings, namespace, at_rest) for namespace in settings.namespaces
    }
    executions = TemporalExecutions(connects)
    context = _context(known)
    lookout = Lookout(
        context=context,
        ledger=ledger,
        redaction_key=connectorsecrets.redaction_key(settings.redaction_key_file),
    )
    shadows = Shadows(records=GrpcShadowRecords(ledger_channel), lookout=lookout)
    instances = GrpcInstances(ledger_channel)
    decider = Decider(
        definitions=definitions,
        lookout=lookout,
        ledger=ledger,
        instances=instances,
        sensitive_values=GrpcSensitiveValues(ledger_channel),
        cached_definitions=settings.definition_cache,
        shadows=shadows,
    )
    activities = Activities(
        runs=RunActivities(decider=decider, recorder=Recorder(ledger=ledger)),
        instances=InstanceActivities(
            applier=Applier(
                decider=decider,
                ledger=ledger,
                instances=instances,
                cached_definitions=settings.definition_cache,
            )
        ),
        failures=FailureActivities(
            teller=FailureTeller(
                definitions=definitions,
                catalogue=known,
                control=control,
                cached_definitions=settings.definition_cache,
            )
        ),
        ticks=TickActivities(ticker=Ticker(ledger=ledger, executions=executions)),
        timers=TaskTimerActivities(ledger=ledger),
        simulations=SimulationActivities(simulations=Simulations(decider=decider)),
        sweeps=SweepActivities(
            sweeper=Sweeper(
                control=control,
                ledger=ledger,
                definitions=definitions,
                executions=executions,
                instances=instances,
                min_age=settings.sweep_min_age,
            )
        ),
    )
    system: list[Component] = []
    if settings.serve_system:
        for namespace, connect in connects.items():
            operator = Operator(
                namespace,
                control=control,
                definitions=definitions,
                executions=executions,
                poll=settings.operations_poll,
            )
            system += [
                _Operating(operator),
                SweepClock(namespace, connect=connect, interval=settings.sweep_interval),
            ]
    return [
        Closing("ledger", ledger_channel.close),
        Closing("registry", registry_channel.close),
        Closing("context", context.close),
        shadows,
        QueueServers(_workers(settings, activities, connects)),
        *system,
    ]


def _context(known: Catalogue) -> CatalogueContext:
    connectors = known.connectors.items()
    return CatalogueContext(
        known,
        postgres=PostgresContextSource(
            {name: one.postgres for name, one in connectors if one.postgres is not None},
            dsn=connectorsecrets.dsn,
        ),
        http=HttpContextSource(
            HttpConnectors(
                {name: one.http for name, one in connectors if one.http and one.http.paths},
                token=connectorsecrets.token,
                agent=f"backbone-{SERVICE}",
            )
        ),
    )


class _Operating(Background):
    """The operations of one namespace, carried out in the background."""

    def __init__(self, operator: Operator) -> None:
        self.name = f"operator:{operator.namespace}"
        self._operator = operator

    async def _run(self) -> None:
        await self._operator.run()


@dataclass(frozen=True)
class Activities:
    """The Temporal activities, by the task queues that they are on."""

    runs: RunActivities
    instances: InstanceActivities
    failures: FailureActivities
    ticks: TickActivities
    timers: TaskTimerActivities
    sweeps: SweepActivities
    simulations: SimulationActivities


def _workers(
    settings: Settings,
    activities: Activities,
    connects: Mapping[str, Callable[[], Awaitable[Client]]],
) -> list[QueueServer]:
    runs, failures, ticks = activities.runs, activities.failures, activities.ticks
    timers = activities.timers
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
    instance = RoutedInstance if settings.worker_versioning else Instance
    made = []
    for namespace, connect in connects.items():
        made += [
            queue_server(
                task_queue=queue,
                connect=connect,
                workflows=[RunActivity, RetryTask, TellFailure, instance, Simulate],
                activities=[
                    runs.decide,
                    runs.record_run_failure,
                    runs.record_task_outcome,
                    failures.find_failure_handler,
                    failures.await_effects,
                    failures.record_failure_handled,
                    activities.instances.apply_next,
                    activities.simulations.simulate,
                ],
                capacity=capacity,
            )
            for served_in, queue in settings.served
            if served_in == namespace
        ]
        if settings.serve_ticks:
            made.append(
                queue_server(
                    task_queue=names.TICK_TASK_QUEUE,
                    connect=connect,
                    workflows=[ScheduledTick],
                    activities=[ticks.advance_schedule],
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
        if settings.serve_system:
            made.append(
                queue_server(
                    task_queue=names.SYSTEM_TASK_QUEUE,
                    connect=connect,
                    workflows=[Sweep],
                    activities=[activities.sweeps.sweep_page],
                    capacity=capacity,
                )
            )
    return made


def _connector(
    settings: Settings, namespace: str, at_rest: AtRest
) -> Callable[[], Awaitable[Client]]:
    async def connect() -> Client:
        return await temporal.connect(
            settings.temporal_address,
            namespace=namespace,
            identity=f"{SERVICE}/{settings.build_id}",
            tls=TlsFiles.required(settings),
            token_file=settings.temporal_token_file,
            at_rest=at_rest,
        )

    return connect


async def check() -> Sequence[commands.Check]:
    """Look at the configuration, Temporal, the ledger, the registry and every connector."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    known = _catalogue(settings)
    context = _context(known)
    at_rest = encryption.load(settings, environment=settings.environment)
    tls = TlsFiles.required(settings)
    neighbours = {"ledger": settings.ledger_address, "registry": settings.registry_address}
    found = await asyncio.gather(
        *(
            commands.probe(f"temporal {namespace}", _temporal(settings, namespace, at_rest))
            for namespace in settings.namespaces
        ),
        *(
            commands.probe(f"{name} at {address}", _answers(address, tls))
            for name, address in neighbours.items()
        ),
        *(
            commands.probe(f"connector {name}", _reached(context, name))
            for name, one in known.connectors.items()
            if one.postgres or (one.http and one.http.paths)
        ),
    )
    await context.close()
    return found


async def promote() -> Sequence[str]:
    """Make this build the current one, as `promoted` does."""
    return await promoted(_told())


async def drained() -> Sequence[str]:
    """Say that this build may be removed, as `removable` does."""
    return await removable(_told())


def _told() -> Settings:
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    return settings


async def promoted(settings: Settings) -> list[str]:
    """Make this build the current one of its deployment, in each namespace that it serves.

    Raises:
        BuildError: Temporal refuses it somewhere; namespaces before that one have it.
        ConfigurationError: builds are not routed here.
    """
    said = []
    for build in _builds(settings):
        before = await build.promote()
        said.append(f"{build} is the current build" + (f", after {before}" if before else ""))
    return said


async def removable(settings: Settings) -> list[str]:
    """Say that this build may be removed: it gets nothing, and no run is left to it.

    Raises:
        BuildError: it may not be removed yet, or nobody knows.
        ConfigurationError: builds are not routed here.
    """
    found = [(build, await build.status()) for build in _builds(settings)]
    kept = {BuildStatus.CURRENT, BuildStatus.RAMPING, BuildStatus.DRAINING}
    if holding := [f"{build} is {status}" for build, status in found if status in kept]:
        raise BuildError(f"{', '.join(holding)}: leave its workers where they are")
    return [f"{build} is {status}: its workers may be removed" for build, status in found]


def _builds(settings: Settings) -> list[TemporalBuild]:
    if not settings.worker_versioning:
        raise ConfigurationError(
            "builds are not routed here: BACKBONE_WORKER_VERSIONING is not true, and any build "
            "serves any run"
        )
    at_rest = encryption.load(settings, environment=settings.environment)
    return [
        TemporalBuild(
            namespace,
            connect=_connector(settings, namespace, at_rest),
            deployment_name=settings.deployment_name,
            build_id=settings.build_id,
        )
        for namespace in settings.namespaces
    ]


def _temporal(settings: Settings, namespace: str, at_rest: AtRest) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        client = await _connector(settings, namespace, at_rest)()
        async for _ in client.list_workflows(page_size=1, limit=1):
            pass
        return settings.temporal_address

    return question


def _answers(address: str, tls: TlsFiles | None) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        await grpcclient.reach(address, actor=SERVICE, tls=tls)
        return "answers"

    return question


def _reached(context: CatalogueContext, name: str) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        return await context.check(name)

    return question
