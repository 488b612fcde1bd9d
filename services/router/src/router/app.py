"""Puts the router together: settings, adapters, use cases, process."""

import asyncio
import functools
import gc
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from opentelemetry.metrics import Observation
from starlette.routing import BaseRoute
from temporalio.client import Client

from contracts import names
from contracts.names import Topic
from contracts.telemetry import Attribute, Metric
from router.adapters import grpc_router, kafka_topics
from router.adapters.dead_letter_calls import DeadLetterCalls
from router.adapters.dead_letter_seal import DeadLetterSeal
from router.adapters.explanation_calls import ExplanationCalls
from router.adapters.grpc_resolutions import GrpcResolutions
from router.adapters.http_events import HttpEvents
from router.adapters.kafka_consumer import KafkaConsumer
from router.adapters.kafka_dead_letter_topic import KafkaDeadLetterTopic
from router.adapters.kafka_dead_letters import KafkaDeadLetters
from router.adapters.kafka_event_publisher import KafkaEventPublisher
from router.adapters.kafka_records import KafkaRecords
from router.adapters.kafka_topics import KafkaTopics
from router.adapters.ledger_pending import LedgerPendingStarts
from router.adapters.ledger_replays import LedgerReplays
from router.adapters.ledger_routing import LedgerDecisionLog
from router.adapters.ledger_subjects import LedgerSensitiveValues
from router.adapters.ledger_switches import LedgerKillSwitchSelections
from router.adapters.otel_observer import OtelObserver
from router.adapters.redis_seen import RedisSeenEvents
from router.adapters.registry_history import RegistryHistory
from router.adapters.registry_resources import RegistryResources
from router.adapters.replay_calls import ReplayCalls
from router.adapters.simulation_calls import SimulationCalls
from router.adapters.temporal_simulations import TemporalRunSimulator
from router.adapters.temporal_starter import TemporalWorkflowStarter
from router.domain.authentication import Authentication
from router.domain.ingress import Ingress
from router.domain.instances import Directory
from router.errors import TransientError
from router.ports import DeadLetters, DecisionLog, Observer
from router.service.dead_letters import DeadLetterReview
from router.service.dispatching import Dispatcher
from router.service.explaining import EventExplainer
from router.service.kill_switches import KillSwitches
from router.service.manual import ManualTrigger
from router.service.receiving import EventDoor, Inlet
from router.service.replaying import ReplayPlanner
from router.service.rerouting import Rerouting, UncountedObserver
from router.service.routing import Router
from router.service.simulating import SimulationDesk
from router.settings import Settings
from runtime import (
    commands,
    encryption,
    grpcclient,
    grpcserving,
    kafka,
    logs,
    secretfiles,
    signingkeys,
    telemetry,
    temporal,
)
from runtime.encryption import AtRest
from runtime.httpserver import Health, HttpServer
from runtime.kafka import Brokers
from runtime.lifecycle import Background, Closing, Component, Process
from runtime.tls import TlsFiles
from runtime.vitals import Vitals
from signing.verification import ReplayWindow

SERVICE = "router"

_log = logs.get_logger(__name__)


class _Consumption(Background):
    """Consumes one namespace as soon as its definitions are known.

    A consumer whose certificate was replaced leaves the group, and another one takes its place.
    """

    def __init__(
        self,
        namespace: str,
        definitions: RegistryResources,
        make_consumer: Callable[[], KafkaConsumer],
    ) -> None:
        self.name = f"consumer-{namespace}"
        self._namespace = namespace
        self._definitions = definitions
        self._make = make_consumer
        self._consumer: KafkaConsumer | None = None

    def lag(self) -> list[Observation]:
        """Return how far each topic is behind."""
        lag = {} if self._consumer is None else self._consumer.lag()
        return [
            Observation(records, {Attribute.NAMESPACE: self._namespace, Attribute.TOPIC: topic})
            for topic, records in lag.items()
        ]

    async def _run(self) -> None:
        await self._definitions.complete(self._namespace)
        while True:
            self._consumer = self._make()
            await self._consumer.start()
            await self._consumer.outdated()
            await self._consumer.stop()
            self._consumer = None
            # FastStream's own clients end when they are collected, which those among what was kept
            # for good would not be.
            _keep_for_good()
            _log.info("consumer_renewed", namespace=self._namespace)

    async def stop(self) -> None:
        await super().stop()
        if self._consumer is not None:
            await self._consumer.stop()


class _Dispatching(Background):
    """Starts what waits of one namespace as soon as its definitions are known."""

    def __init__(self, definitions: RegistryResources, dispatcher: Dispatcher) -> None:
        self.name = dispatcher.name
        self._definitions = definitions
        self._dispatcher = dispatcher

    async def _run(self) -> None:
        await self._definitions.complete(self._dispatcher.namespace)
        await self._dispatcher.run()


async def serve() -> None:
    """Route until SIGTERM."""
    settings = Settings()
    confidential = encryption.mode(settings, environment=settings.environment) != "off"
    logs.setup(service=SERVICE, level=settings.log_level, confidential=confidential)
    provider = telemetry.Telemetry(
        service=SERVICE,
        otlp_endpoint=settings.otlp_endpoint,
        sample_ratio=settings.trace_sample_ratio,
        confidential=confidential,
    )
    try:
        health = Health()
        components = await _components(settings, health)
        await Process(components, health=health, grace=settings.shutdown_grace).run()
    finally:
        provider.shutdown()


async def _components(settings: Settings, health: Health) -> list[Component]:
    tls = TlsFiles.required(settings)
    at_rest = encryption.load(settings, environment=settings.environment)
    seal = DeadLetterSeal(at_rest.keys, encrypts=at_rest.encrypts)
    observer = OtelObserver()
    channel = grpcclient.channel(settings.registry_address, actor=SERVICE, tls=tls)
    definitions = RegistryResources(
        channel, namespaces=settings.namespaces, on_snapshot=_keep_for_good
    )
    seen = RedisSeenEvents(
        settings.redis_url,
        keep=settings.seen_for,
        on_miss=observer.seen_missed,
        tls=tls,
        password=secretfiles.reader(settings.redis_password_file),
    )
    dead_letters = KafkaDeadLetters(
        _producer(settings, "dead-letters", settings.dead_letter_timeout), seal=seal
    )
    clients = {
        namespace: await _client(settings, namespace, at_rest) for namespace in settings.namespaces
    }
    starter = TemporalWorkflowStarter(
        clients,
        timeout=settings.start_timeout,
        concurrency=settings.concurrency,
    )
    directory = Directory(settings.key_secret)
    authentication = _authentication(settings)
    ledger = grpcclient.channel(settings.ledger_address, actor=SERVICE, tls=tls)
    decision_log = LedgerDecisionLog(ledger, timeout=settings.record_timeout)
    pending_starts = LedgerPendingStarts(
        ledger, holder=f"{SERVICE}@{platform.node()}", timeout=settings.record_timeout
    )
    sensitive_values = LedgerSensitiveValues(ledger, timeout=settings.record_timeout)
    selections = LedgerKillSwitchSelections(ledger, timeout=settings.record_timeout)
    switches = {
        namespace: KillSwitches(namespace, definitions=definitions, selections=selections)
        for namespace in settings.namespaces
    }
    dispatchers = {
        namespace: Dispatcher(
            namespace,
            definitions=definitions,
            pending_starts=pending_starts,
            starter=starter,
            observer=observer,
            directory=directory,
            switches=switches[namespace],
            limit=settings.concurrency,
            poll=settings.dispatch_poll,
            sensitive_values=sensitive_values,
        )
        for namespace in settings.namespaces
    }

    def router(
        namespace: str,
        dead_letters: DeadLetters,
        decision_log: DecisionLog,
        observer: Observer,
        authentication: Authentication,
    ) -> Router:
        return Router(
            namespace,
            definitions=definitions,
            starter=starter,
            seen=seen,
            dead_letters=dead_letters,
            decision_log=decision_log,
            pending_starts=pending_starts,
            observer=observer,
            directory=directory,
            authentication=authentication,
            switches=switches[namespace],
            queued=dispatchers[namespace].wake,
            concurrency=settings.concurrency,
            sensitive_values=sensitive_values,
        )

    routers = {
        namespace: router(namespace, dead_letters, decision_log, observer, authentication)
        for namespace in settings.namespaces
    }
    records = KafkaRecords(_brokers(settings))
    topics_read = {namespace: settings.topics_of(namespace) for namespace in settings.namespaces}
    planner = ReplayPlanner(
        topics=topics_read,
        definitions=definitions,
        records=records,
        replays=LedgerReplays(ledger, timeout=settings.record_timeout),
        authentication=authentication.on_request(),
        sensitive_values=sensitive_values,
    )
    explainer = EventExplainer(
        definitions=definitions,
        history=RegistryHistory(channel),
        records=records,
        topics=topics_read,
        clock=functools.partial(datetime.now, UTC),
        authentication=authentication,
    )
    review = DeadLetterReview(
        namespaces=settings.namespaces,
        topic=KafkaDeadLetterTopic(_brokers(settings), seal=seal),
        resolutions=GrpcResolutions(ledger),
        routing=Rerouting(
            functools.partial(
                router,
                observer=UncountedObserver(observer),
                authentication=authentication.on_request(),
            ),
            definitions=definitions,
            starter=starter,
            decision_log=decision_log,
            authentication=authentication.on_request(),
        ),
        observer=observer,
    )
    simulator = TemporalRunSimulator(clients)
    publisher = KafkaEventPublisher(_producer(settings, "http-events", settings.http_ack_timeout))
    topics = KafkaTopics(_brokers(settings), _needed_topics(settings))
    health.add_check("definitions", definitions.ready)
    health.add_check("topics", topics.ready)
    health.add_caution("redis", seen.ready)
    servers = grpcserving.servers(
        settings,
        services=[
            grpc_router.service(
                manual=ManualTrigger(definitions=definitions, starter=starter, switches=switches),
                explanations=ExplanationCalls(explainer),
                dead_letters=DeadLetterCalls(review),
                replays=ReplayCalls(planner),
                simulations=SimulationCalls(
                    SimulationDesk(namespaces=settings.namespaces, simulator=simulator)
                ),
            )
        ],
        tls=tls,
        grace=settings.shutdown_grace / 2,
    )
    consumptions = [
        _Consumption(namespace, definitions, functools.partial(_consumer, settings, namespace, one))
        for namespace, one in routers.items()
        if settings.topics_of(namespace)
    ]
    telemetry.meter(__name__).create_observable_gauge(
        Metric.ROUTER_LAG,
        [lambda _: [one for consumption in consumptions for one in consumption.lag()]],
        description="Records without a durable outcome, of the partitions read here, by topic.",
    )
    return [
        HttpServer(
            listen=settings.http_listen,
            health=health,
            routes=_http_routes(
                settings, definitions, publisher, observer, authentication, switches=switches
            ),
        ),
        Vitals(tls),
        Closing("registry-channel", functools.partial(channel.close, None)),
        Closing("ledger-channel", functools.partial(ledger.close, None)),
        Closing("redis", seen.close),
        Closing("dead-letters", dead_letters.close),
        Closing("records", records.close),
        Closing("http-events", publisher.close),
        Closing("simulations", simulator.close),
        definitions,
        *servers,
        topics,
        *consumptions,
        *(_Dispatching(definitions, dispatcher) for dispatcher in dispatchers.values()),
    ]


def _http_routes(
    settings: Settings,
    definitions: RegistryResources,
    publisher: KafkaEventPublisher,
    observer: Observer,
    authentication: Authentication,
    *,
    switches: Mapping[str, KillSwitches],
) -> list[BaseRoute]:
    if not settings.takes_http_events:
        return []
    if settings.environment != "local":
        _log.warning("http_events_unauthenticated", listen=settings.http_listen)

    def inlet(namespace: str, topic: str) -> Inlet:
        ingress = Ingress(namespace, authentication)
        return Inlet(
            topic=topic,
            admit=lambda record: ingress.admit(record, definitions.policy(namespace)).document,
            refuse_halted=switches[namespace].refuse_halted_ingress,
        )

    door = EventDoor(
        {
            namespace: inlet(namespace, topic)
            for namespace in settings.namespaces
            if (topic := settings.http_topic_of(namespace)) is not None
        },
        publisher=publisher,
        observer=observer,
    )
    events = HttpEvents(
        door,
        known=definitions.known,
        observer=observer,
        in_flight=settings.http_in_flight,
        body_timeout=settings.http_body_timeout,
    )
    return [events.route]


def _authentication(settings: Settings) -> Authentication:
    own_keys = None
    if settings.trusted_keys is not None:
        own_keys = signingkeys.trusted("BACKBONE_TRUSTED_KEYS", settings.trusted_keys).newest
    return Authentication(
        clock=lambda: time.time_ns() // 1_000_000,
        own_keys=own_keys,
        window=ReplayWindow(settings.replay_window, settings.clock_skew),
        is_open=settings.is_open,
    )


def _producer(
    settings: Settings, purpose: str, timeout: timedelta
) -> Callable[[], kafka.KafkaProducer]:
    return functools.partial(
        kafka.KafkaProducer,
        _brokers(settings),
        client_id=f"{SERVICE}-{purpose}",
        delivery_timeout_s=timeout.total_seconds(),
    )


def _keep_for_good() -> None:
    """Take what is in memory for permanent.

    Else the garbage collector would walk through all definitions now and then, which stops the
    routing for hundreds of milliseconds when there are 10,000. What they replaced is collected.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _consumer(settings: Settings, namespace: str, router: Router) -> KafkaConsumer:
    return KafkaConsumer(
        _brokers(settings),
        topics=settings.topics_of(namespace),
        group=names.router_group(namespace),
        route=router.route,
        batch_records=settings.batch_records,
        # What is left of the grace commits and leaves the group.
        drain=settings.shutdown_grace * 0.8,
    )


async def _client(
    settings: Settings, namespace: str, at_rest: AtRest, *, lazy: bool = True
) -> Client:
    return await temporal.connect(
        settings.temporal_address,
        namespace=namespace,
        identity=SERVICE,
        tls=TlsFiles.required(settings),
        token_file=settings.temporal_token_file,
        at_rest=at_rest,
        lazy=lazy,
    )


def _brokers(settings: Settings) -> Brokers:
    return kafka.brokers(settings.kafka_bootstrap_servers, TlsFiles.required(settings))


def _needed_topics(settings: Settings) -> list[str]:
    dead_letters = [names.topic(namespace, Topic.DEAD_LETTERS) for namespace in settings.namespaces]
    return [*settings.topics, *dead_letters]


async def check() -> Sequence[commands.Check]:
    """Look at Kafka with its topics, the registry, the ledger, Temporal and Redis.

    Redis may be away.
    """
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    tls = TlsFiles.required(settings)
    _authentication(settings)
    at_rest = encryption.load(settings, environment=settings.environment)

    async def brokers() -> str:
        problem = await kafka_topics.missing(_brokers(settings), needed := _needed_topics(settings))
        if problem is not None:
            raise RuntimeError(problem)
        return f"{settings.kafka_bootstrap_servers}, topics {', '.join(needed)}"

    async def registry() -> str:
        channel = grpcclient.channel(settings.registry_address, actor=SERVICE, tls=tls)
        definitions = RegistryResources(channel, namespaces=settings.namespaces)
        try:
            await definitions.start()
            for namespace in settings.namespaces:
                try:
                    async with asyncio.timeout(5):
                        await definitions.complete(namespace)
                except TimeoutError:
                    await definitions.ready()
            known = sum(len(definitions.index(namespace)) for namespace in settings.namespaces)
            return f"{settings.registry_address}, {known} definitions"
        finally:
            await definitions.stop()
            await channel.close(None)

    async def ledger() -> str:
        channel = grpcclient.channel(settings.ledger_address, actor=SERVICE, tls=tls, timeout_s=5)
        try:
            log = LedgerDecisionLog(channel, timeout=settings.record_timeout)
            await log.ping(settings.namespaces[0])
        finally:
            await channel.close(None)
        return settings.ledger_address

    async def workflows() -> str:
        for namespace in settings.namespaces:
            client = await _client(settings, namespace, at_rest, lazy=False)
            await client.count_workflows(rpc_timeout=timedelta(seconds=5))
        return f"{settings.temporal_address}, namespaces {', '.join(settings.namespaces)}"

    async def cache() -> str:
        seen = RedisSeenEvents(
            settings.redis_url,
            keep=settings.seen_for,
            tls=tls,
            password=secretfiles.reader(settings.redis_password_file),
        )
        try:
            await seen.ready()
        except TransientError as exc:  # the router runs without
            return f"warning: {exc}"
        finally:
            await seen.close()
        return "answers"

    return [
        await commands.probe("kafka", brokers),
        await commands.probe("registry", registry),
        await commands.probe("ledger", ledger),
        await commands.probe("temporal", workflows),
        await commands.probe("redis", cache),
    ]
