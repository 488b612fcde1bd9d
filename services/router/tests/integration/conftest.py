"""A router on real servers: a registry of the test's own over gRPC, and proxies that can fail."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import grpc
import kafka_wire
import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from temporalio.client import Client
from temporalio.service import RPCError

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from contracts import identifiers, names
from devstack.infrastructure import ensure_topics
from router.adapters.kafka_consumer import KafkaConsumer
from router.adapters.kafka_dead_letters import KafkaDeadLetters
from router.adapters.otel_observer import OtelObserver
from router.adapters.redis_seen import RedisSeenEvents
from router.adapters.registry_definitions import RegistryDefinitions
from router.adapters.temporal_starter import TemporalWorkflowStarter
from router.service import Router
from runtime import grpcclient, temporal
from runtime.kafka import KafkaProducer


async def eventually(condition: Callable[[], Any], *, within_s: float = 60.0) -> Any:
    """Return the first true value of `condition` (which may be async); fail after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within_s} s: {condition}"
        await asyncio.sleep(0.05)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Awaitable[Any]]:
    return eventually


class Proxy:
    """A TCP proxy that can refuse (`cut`), be silent (`hush`) and come back (`mend`)."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent = False
        self.address = ""

    async def mend(self) -> None:
        self._silent = False
        if self._server is None:
            port = int(self.address.rpartition(":")[2] or 0)
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
            self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def hush(self) -> None:
        self._silent = True
        self._drop()

    def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._drop()

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self._silent:
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, int(self._port))
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@pytest.fixture
async def proxy() -> AsyncIterator[Callable[[str], Awaitable[Proxy]]]:
    proxies = []

    async def proxy(target: str) -> Proxy:
        subject = Proxy(target)
        await subject.mend()
        proxies.append(subject)
        return subject

    yield proxy
    for subject in proxies:
        subject.cut()


class Registry(registry_pb2_grpc.RegistryServiceServicer):
    """A registry that says what the test wants: the stream, and single definitions."""

    def __init__(self) -> None:
        self.resources: dict[str, registry_pb2.Resource] = {}
        self.revision = 0
        self.asked_after: list[int] = []
        self.resumable = True
        self._changed = asyncio.Event()
        self._server: grpc.aio.Server | None = None
        self.address = ""

    def apply(self, namespace: str, definition_id: str, content: bytes) -> None:
        known = self.resources.get(definition_id)
        self._put(
            registry_pb2.Resource(
                namespace=namespace,
                kind=registry_pb2.RESOURCE_KIND_ACTIVITY_DEFINITION,
                resource_id=definition_id,
                version=(known.version if known else 0) + 1,
                content=content,
                state=known.state if known else registry_pb2.RESOURCE_STATE_ACTIVE,
            )
        )

    def turn(self, definition_id: str, state: "registry_pb2.ResourceState.ValueType") -> None:
        """Enable, disable or retire a definition."""
        resource = registry_pb2.Resource()
        resource.CopyFrom(self.resources[definition_id])
        resource.state = state
        self._put(resource)

    def _put(self, resource: registry_pb2.Resource) -> None:
        self.revision += 1
        resource.latest.revision = self.revision
        self.resources[resource.resource_id] = resource
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def GetResource(self, request: Any, context: Any) -> Any:
        assert request.kind == registry_pb2.RESOURCE_KIND_ACTIVITY_DEFINITION
        found = self.resources.get(request.resource_id)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such definition")
        return registry_pb2.GetResourceResponse(resource=found)

    async def WatchResources(self, request: Any, context: Any) -> AsyncIterator[Any]:
        assert request.kinds == [registry_pb2.RESOURCE_KIND_ACTIVITY_DEFINITION]
        self.asked_after.append(request.after_revision)
        sent = request.after_revision
        snapshot = not sent or not self.resumable
        if snapshot:
            sent = 0
            yield registry_pb2.WatchResourcesResponse(snapshot_start=registry_pb2.SnapshotStart())
        while True:
            changed = self._changed
            for resource in sorted(self.resources.values(), key=lambda r: r.latest.revision):
                if resource.latest.revision > sent:
                    retired = resource.state == registry_pb2.RESOURCE_STATE_RETIRED
                    if retired and snapshot:
                        continue
                    told = registry_pb2.WatchResourcesResponse(resource=resource)
                    if retired:
                        told.resource.content = b""
                    yield told
            sent, snapshot = self.revision, False
            yield registry_pb2.WatchResourcesResponse(bookmark=registry_pb2.Bookmark(revision=sent))
            await changed.wait()


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    subject = Registry()
    await subject.start()
    yield subject
    await subject.stop()


class Kafka:
    """Topics of one namespace: produce, look at dead letters and at committed offsets."""

    def __init__(self, bootstrap: str, namespace: str) -> None:
        self.bootstrap = bootstrap
        self.namespace = namespace
        self.topic = f"{namespace}.events"
        self.dead_letter_topic = names.topic(namespace, names.Topic.DEAD_LETTERS)
        self._producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 4_000_000})
        self._admin = AdminClient({"bootstrap.servers": bootstrap})

    def create(self, *topics: str, partitions: int = 1) -> None:
        ensure_topics(self.bootstrap, dict.fromkeys(topics, partitions))

    def produce(self, value: bytes | None, **kwargs: Any) -> None:
        self._producer.produce(kwargs.pop("topic", self.topic), value, **kwargs)

    def flush(self) -> None:
        assert self._producer.flush(30) == 0

    async def committed(self) -> dict[tuple[str, int], int]:
        group = names.router_group(self.namespace)
        futures = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        answer = await asyncio.to_thread(futures[group].result)
        return {(tp.topic, tp.partition): tp.offset for tp in answer.topic_partitions}

    async def dead_letters(self) -> list[Any]:
        return await asyncio.to_thread(self._read, self.dead_letter_topic)

    def end(self, topic: str, partition: int) -> int:
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "watermarks"})
        _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        consumer.close()
        return int(high)

    def _read(self, topic: str) -> list[Any]:
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "reader",
                "enable.partition.eof": False,
                "fetch.message.max.bytes": 4_000_000,
            }
        )
        _, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
        consumer.assign([TopicPartition(topic, 0, 0)])
        messages: list[Any] = []
        deadline = time.monotonic() + 20
        while len(messages) < high and time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                messages.append(message)
        consumer.close()
        return messages

    def produce_with_header_name(self, name: bytes, value: bytes) -> None:
        """Produce a record whose header's name is any bytes, which no client would send."""
        kafka_wire.produce_with_header_name(self.bootstrap, self.topic, name, value)


@pytest.fixture
def kafka(kafka_bootstrap_servers: str, unique_name: str) -> Kafka:
    """Kafka with a namespace, so topics and a consumer group, of the test's own."""
    subject = Kafka(kafka_bootstrap_servers, unique_name)
    subject.create(subject.topic, partitions=2)
    subject.create(subject.dead_letter_topic)
    return subject


class Runs:
    """What Temporal knows of runs; they stay open, since no worker serves them."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def started(self, definition_id: str, event_id: str, source: str = "shop") -> str | None:
        """Return Temporal's own id of the run, None when there is none."""
        key = identifiers.event_trigger_key(source, event_id)
        handle = self.client.get_workflow_handle(identifiers.run_id(definition_id, key))
        try:
            return (await handle.describe()).run_id
        except RPCError:
            return None

    async def all_started(self, definition_id: str, event_ids: list[str]) -> bool:
        found = await asyncio.gather(*(self.started(definition_id, e) for e in event_ids))
        return all(found)


@pytest.fixture
async def runs(temporal_address: str) -> Runs:
    return Runs(await temporal.connect(temporal_address, namespace="dev", identity="test"))


@dataclasses.dataclass
class Routed:
    """A router in this process."""

    definitions: RegistryDefinitions
    consumer: KafkaConsumer
    seen: RedisSeenEvents
    starter: TemporalWorkflowStarter
    misses: list[int]


@pytest.fixture
async def route(
    kafka: Kafka, registry: Registry, redis_url: str, temporal_address: str
) -> AsyncIterator[Callable[..., Any]]:
    """Start routers: `await route(temporal_at=…, redis_at=…, batch_records=…)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def route(
            *,
            temporal_at: str = temporal_address,
            redis_at: str = redis_url,
            topics: tuple[str, ...] = (),
            batch_records: int = 500,
            wrap: Callable[[Any], Any] = lambda settle: settle,
        ) -> Routed:
            misses: list[int] = []
            channel = grpcclient.channel(registry.address, actor="router")
            stack.push_async_callback(channel.close, None)
            definitions = RegistryDefinitions(channel, namespaces=[kafka.namespace])
            seen = RedisSeenEvents(
                redis_at, keep=timedelta(minutes=5), on_miss=lambda: misses.append(1)
            )
            stack.push_async_callback(seen.close)
            letters = KafkaDeadLetters(
                partial(KafkaProducer, kafka.bootstrap, client_id="letters", delivery_timeout_s=5.0)
            )
            stack.push_async_callback(letters.close)
            client = await temporal.connect(
                temporal_at, namespace="dev", identity="router", lazy=True
            )
            starter = TemporalWorkflowStarter(
                {kafka.namespace: client}, timeout=timedelta(seconds=3), concurrency=32
            )
            router = Router(
                definitions=definitions,
                starter=starter,
                seen=seen,
                dead_letters=letters,
                observer=OtelObserver(),
            )
            consumer = KafkaConsumer(
                kafka.bootstrap,
                topics=topics or (kafka.topic,),
                group=names.router_group(kafka.namespace),
                settle=wrap(partial(router.settle, namespace=kafka.namespace)),
                concurrency=32,
                batch_records=batch_records,
                drain=timedelta(seconds=10),
            )
            await definitions.start()
            stack.push_async_callback(definitions.stop)
            await definitions.complete(kafka.namespace)
            await consumer.start()
            stack.push_async_callback(consumer.stop)
            return Routed(definitions, consumer, seen, starter, misses)

        yield route
