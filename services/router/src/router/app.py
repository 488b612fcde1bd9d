"""Puts the router together: settings, adapters, use cases, process."""

import asyncio
import functools
from collections.abc import Sequence
from datetime import timedelta

from temporalio.client import Client

from contracts import names
from contracts.names import Topic
from router.adapters import grpc_router, kafka_topics
from router.adapters.kafka_consumer import KafkaConsumer
from router.adapters.kafka_dead_letters import KafkaDeadLetters
from router.adapters.kafka_topics import KafkaTopics
from router.adapters.otel_observer import OtelObserver
from router.adapters.redis_seen import RedisSeenEvents
from router.adapters.registry_definitions import RegistryDefinitions
from router.adapters.temporal_starter import TemporalWorkflowStarter
from router.service import ManualTrigger, Router
from router.settings import Settings
from runtime import commands, grpcclient, identity, kafka, logs, telemetry, temporal
from runtime.grpcserver import GrpcServer
from runtime.httpserver import Health, HttpServer
from runtime.lifecycle import Background, Closing, Component, Process
from runtime.tls import TlsFiles

SERVICE = "router"


class _Consumption(Background):
    """Consumes one namespace as soon as its definitions are known."""

    def __init__(
        self, namespace: str, definitions: RegistryDefinitions, consumer: KafkaConsumer
    ) -> None:
        self.name = f"consumer-{namespace}"
        self._namespace = namespace
        self._definitions = definitions
        self._consumer = consumer

    async def _run(self) -> None:
        await self._definitions.complete(self._namespace)
        await self._consumer.start()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        await super().stop()
        await self._consumer.stop()


async def serve() -> None:
    """Route until SIGTERM."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    provider = telemetry.Telemetry(service=SERVICE, otlp_endpoint=settings.otlp_endpoint)
    try:
        health = Health()
        components = await _components(settings, health)
        await Process(components, health=health, grace=settings.shutdown_grace).run()
    finally:
        provider.shutdown()


async def _components(settings: Settings, health: Health) -> list[Component]:
    tls = TlsFiles.of(settings)
    observer = OtelObserver()
    channel = grpcclient.channel(settings.registry_address, actor=SERVICE, tls=tls)
    definitions = RegistryDefinitions(channel, namespaces=settings.namespaces)
    seen = RedisSeenEvents(settings.redis_url, keep=settings.seen_for, on_miss=observer.seen_missed)
    dead_letters = KafkaDeadLetters(
        functools.partial(
            kafka.KafkaProducer,
            settings.kafka_bootstrap_servers,
            client_id=f"{SERVICE}-dead-letters",
            delivery_timeout_s=settings.dead_letter_timeout.total_seconds(),
        )
    )
    starter = TemporalWorkflowStarter(
        {namespace: await _client(settings, namespace) for namespace in settings.namespaces},
        timeout=settings.start_timeout,
        concurrency=settings.concurrency,
    )
    router = Router(
        definitions=definitions,
        starter=starter,
        seen=seen,
        dead_letters=dead_letters,
        observer=observer,
    )
    topics = KafkaTopics(settings.kafka_bootstrap_servers, _needed_topics(settings))
    health.add_check("definitions", definitions.ready)
    health.add_check("topics", topics.ready)
    server = GrpcServer(
        listen=settings.grpc_listen,
        services=[grpc_router.service(ManualTrigger(definitions=definitions, starter=starter))],
        authenticator=identity.authenticator(environment=settings.environment, tls=tls is not None),
        tls=tls,
        reflection_enabled=settings.environment != "prod",
        grace=settings.shutdown_grace / 2,
    )
    return [
        HttpServer(listen=settings.http_listen, health=health),
        Closing("registry-channel", functools.partial(channel.close, None)),
        Closing("redis", seen.close),
        Closing("dead-letters", dead_letters.close),
        definitions,
        server,
        topics,
        *(
            _Consumption(namespace, definitions, _consumer(settings, namespace, router))
            for namespace in settings.namespaces
            if settings.topics_of(namespace)
        ),
    ]


def _consumer(settings: Settings, namespace: str, router: Router) -> KafkaConsumer:
    return KafkaConsumer(
        settings.kafka_bootstrap_servers,
        topics=settings.topics_of(namespace),
        group=names.router_group(namespace),
        settle=functools.partial(router.settle, namespace=namespace),
        concurrency=settings.concurrency,
        batch_records=settings.batch_records,
        # What is left of the grace commits and leaves the group.
        drain=settings.shutdown_grace * 0.8,
    )


async def _client(settings: Settings, namespace: str, *, lazy: bool = True) -> Client:
    return await temporal.connect(
        settings.temporal_address, namespace=namespace, identity=SERVICE, lazy=lazy
    )


def _needed_topics(settings: Settings) -> list[str]:
    dead_letters = [names.topic(namespace, Topic.DEAD_LETTERS) for namespace in settings.namespaces]
    return [*settings.topics, *dead_letters]


async def check() -> Sequence[commands.Check]:
    """Look at Kafka with its topics, the registry, Temporal and Redis (which may be away)."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)

    async def brokers() -> str:
        problem = await kafka_topics.missing(
            settings.kafka_bootstrap_servers, needed := _needed_topics(settings)
        )
        if problem is not None:
            raise RuntimeError(problem)
        return f"{settings.kafka_bootstrap_servers}, topics {', '.join(needed)}"

    async def registry() -> str:
        tls = TlsFiles.of(settings)
        channel = grpcclient.channel(settings.registry_address, actor=SERVICE, tls=tls)
        definitions = RegistryDefinitions(channel, namespaces=settings.namespaces)
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

    async def workflows() -> str:
        for namespace in settings.namespaces:
            client = await _client(settings, namespace, lazy=False)
            await client.count_workflows(rpc_timeout=timedelta(seconds=5))
        return f"{settings.temporal_address}, namespaces {', '.join(settings.namespaces)}"

    async def cache() -> str:
        seen = RedisSeenEvents(settings.redis_url, keep=settings.seen_for)
        try:
            await seen.ping()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the router runs without
            return f"warning: away ({exc or type(exc).__name__}); routing works, repeats cost more"
        finally:
            await seen.close()
        return "answers"

    return [
        await commands.probe("kafka", brokers),
        await commands.probe("registry", registry),
        await commands.probe("temporal", workflows),
        await commands.probe("redis", cache),
    ]
