"""The worker that serves the built-in handlers of the operator's catalogue."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from pydantic import Field

from contracts import names
from contracts.catalogue import BuiltIn, Catalogue, TaskQueue
from runtime import (
    catalogue,
    commands,
    connectorsecrets,
    encryption,
    grpcclient,
    kafka,
    signingkeys,
    temporal,
)
from runtime.errors import ConfigurationError
from runtime.httpconnectors import HttpConnectors
from runtime.kafka import Brokers
from runtime.lifecycle import Closing, Component
from runtime.tls import TlsFiles
from sdk.builtins.calling import http_call
from sdk.builtins.publishing import publish_event
from sdk.builtins.starting import start_definition
from sdk.handlers import Handler
from sdk.publish import EventPublisher
from sdk.settings import WorkerSettings
from sdk.worker import SERVICE, TaskWorker


class BuiltInSettings(WorkerSettings):
    """Read from `BACKBONE_*`; what no served handler needs may be missing."""

    task_queues: tuple[TaskQueue, ...] = Field(
        (), description="JSON list of the queues that are served; else all of built-in handlers."
    )
    kafka_bootstrap_servers: str | None = Field(None, description="For publish_event.")
    signing_key: Path | None = Field(
        None, description="The file of the key that signs what publish_event publishes."
    )
    router_address: str | None = Field(None, description="For start_definition.")


class Neighbours:
    """What the served handlers use; each is made when the first of them asks for it."""

    def __init__(self, settings: BuiltInSettings, known: Catalogue) -> None:
        self._settings = settings
        self._known = known
        self.components: list[Component] = []
        self.http: HttpConnectors | None = None

    def handler(self, name: str) -> Handler[Any]:
        """Return a built-in handler of the catalogue.

        Raises:
            ConfigurationError: what it needs is not set, or cannot be read.
        """
        listed = (self._known.handlers or {})[name]
        limits: dict[str, Any] = {
            "max_concurrency": listed.max_concurrency,
            "rate_per_second": listed.rate_per_second,
        }
        match listed.built_in:
            case BuiltIn.HTTP_CALL:
                return http_call(self._connectors(), name=name, **limits)
            case BuiltIn.PUBLISH_EVENT:
                topics = frozenset(self._known.topics)
                return publish_event(self._publisher, topics=topics, name=name, **limits)
            case _:
                return start_definition(self._router, name=name, **limits)

    def _connectors(self) -> HttpConnectors:
        if self.http is None:
            if self._settings.environment != "local":
                connectorsecrets.in_files(self._known)
            for name, connector in self._known.calls.items():
                connectorsecrets.token(name, connector)
            self.http = HttpConnectors(
                self._known.calls, token=connectorsecrets.token, agent=f"backbone-{SERVICE}"
            )
            self.components.append(Closing("http", self.http.close))
        return self.http

    @functools.cached_property
    def _publisher(self) -> EventPublisher:
        servers = _needed("KAFKA_BOOTSTRAP_SERVERS", self._settings.kafka_bootstrap_servers)
        if self._settings.signing_key is not None:
            signingkeys.private("BACKBONE_SIGNING_KEY", self._settings.signing_key)
        publisher = EventPublisher(
            kafka.brokers(servers, TlsFiles.required(self._settings)),
            client_id=f"backbone-{SERVICE}",
            signing_key=self._settings.signing_key,
        )
        self.components.append(_Publishing(publisher))
        return publisher

    @functools.cached_property
    def _router(self) -> grpc.aio.Channel:
        channel = grpcclient.channel(
            _needed("ROUTER_ADDRESS", self._settings.router_address),
            actor=SERVICE,
            tls=TlsFiles.required(self._settings),
        )
        self.components.append(Closing("router", channel.close))
        return channel


class _Publishing:
    name = "publisher"

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher

    async def start(self) -> None:
        await self._publisher.__aenter__()

    async def stop(self) -> None:
        await self._publisher.__aexit__(None, None, None)


async def serve() -> None:
    """Serve until SIGTERM.

    Raises:
        ConfigurationError: there is nothing to serve, or something that is needed is missing.
    """
    settings = BuiltInSettings()
    queues, neighbours = composed(settings, catalogue.load(settings.catalogue))
    await TaskWorker(queues=queues, settings=settings).run(*neighbours.components)


async def check() -> Sequence[commands.Check]:
    """Look at the configuration, Temporal, the neighbours and the hosts of the calls."""
    settings = BuiltInSettings()
    known = catalogue.load(settings.catalogue)
    encryption.load(settings, environment=settings.environment)
    _, neighbours = composed(settings, known)
    tls = TlsFiles.required(settings)
    questions = {
        f"temporal {namespace}": _temporal(settings, namespace, tls)
        for namespace in settings.namespaces
    }
    addresses = {"ledger": settings.ledger_address, "router": settings.router_address}
    for name, address in addresses.items():
        if address is not None:
            questions[f"{name} at {address}"] = _answers(address, tls)
    servers = settings.kafka_bootstrap_servers
    if servers is not None:
        topics = [
            names.topic_in(namespace, topic)
            for namespace in settings.namespaces
            for topic in known.topics
        ]
        questions[f"kafka at {servers}"] = _topics(kafka.brokers(servers, tls), topics)
    http = neighbours.http
    if http is not None:
        for name in known.calls:
            questions[f"connector {name}"] = _host(http, name)
    found = await asyncio.gather(*(commands.probe(*question) for question in questions.items()))
    for component in neighbours.components:
        await component.stop()
    return found


def composed(
    settings: BuiltInSettings, known: Catalogue
) -> tuple[dict[str, list[Handler[Any]]], Neighbours]:
    """Return the handlers by queue, and what they use.

    Raises:
        ConfigurationError: there is nothing to serve, or something that is needed is missing.
    """
    built_in = {
        name: one for name, one in (known.handlers or {}).items() if one.built_in is not None
    }
    wanted = settings.task_queues or tuple(
        dict.fromkeys(one.task_queue for one in built_in.values())
    )
    if not wanted:
        raise ConfigurationError(
            "nothing to serve: the catalogue (BACKBONE_CATALOGUE) lists no handler with builtIn"
        )
    neighbours = Neighbours(settings, known)
    queues: dict[str, list[Handler[Any]]] = {}
    for queue in wanted:
        served = [name for name, one in built_in.items() if one.task_queue == queue]
        if not served:
            raise ConfigurationError(
                f"the catalogue lists no built-in handler on {queue} (BACKBONE_TASK_QUEUES)"
            )
        queues[queue] = [neighbours.handler(name) for name in served]
    return queues, neighbours


def _needed(setting: str, value: str | None) -> str:
    if value is None:
        raise ConfigurationError(
            f"setting BACKBONE_{setting} is missing: a served handler needs it"
        )
    return value


def _temporal(
    settings: BuiltInSettings, namespace: str, tls: TlsFiles | None
) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        client = await temporal.connect(
            settings.temporal_address,
            namespace=namespace,
            identity=SERVICE,
            tls=tls,
            token_file=settings.temporal_token_file,
        )
        async for _ in client.list_workflows(page_size=1, limit=1):
            pass
        return settings.temporal_address

    return question


def _answers(address: str, tls: TlsFiles | None) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        await grpcclient.reach(address, actor=SERVICE, tls=tls)
        return "answers"

    return question


def _topics(servers: Brokers, topics: Sequence[str]) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        missing = await kafka.missing_topics(servers, topics)
        if missing:
            raise ConfigurationError(f"there is no topic {', '.join(missing)}")
        return f"answers; {len(topics)} topics"

    return question


def _host(http: HttpConnectors, name: str) -> Callable[[], Awaitable[str]]:
    async def question() -> str:
        await http.check(name)
        return "answers"

    return question
