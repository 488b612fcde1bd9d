"""A router on real servers: a registry of the test's own over gRPC, and proxies that can fail."""

import asyncio
import contextlib
import dataclasses
import json
import os
import struct
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg
import grpc
import kafka_wire
import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from temporalio.client import Client
from temporalio.service import RPCError

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from contracts import identifiers, names
from contracts.roles import Role
from devstack.infrastructure import ensure_topics
from devstack.infrastructure.endpoints import PostgresEndpoint
from ledger import app as ledger_app
from router.adapters.kafka_consumer import KafkaConsumer
from router.adapters.kafka_dead_letters import KafkaDeadLetters
from router.adapters.ledger_pending import LedgerPendingStarts
from router.adapters.ledger_routing import LedgerDecisionLog
from router.adapters.otel_observer import OtelObserver
from router.adapters.redis_seen import RedisSeenEvents
from router.adapters.registry_resources import RegistryResources
from router.adapters.temporal_starter import TemporalWorkflowStarter
from router.domain.authentication import Authentication
from router.domain.instances import Directory
from router.service.kill_switches import KillSwitches
from router.service.routing import Router
from runtime import grpcclient, temporal
from runtime.grpcserver import GrpcServer
from runtime.identity import LocalAuthenticator
from runtime.kafka import KafkaProducer
from runtime.postgres import Postgres


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

    def __init__(self, target: str, *, is_kafka: bool = False) -> None:
        """`is_kafka`: the broker tells its clients to come through the proxy, too."""
        self._host, _, self._port = target.rpartition(":")
        self._is_kafka = is_kafka
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
        await asyncio.gather(
            _copy(reader, far_writer), _copy(far_reader, writer, change=self._told)
        )

    def _told(self, data: bytes) -> bytes:
        if not self._is_kafka:
            return data
        # In metadata an address is its host and 32 bits of port: a proxy's is as long.
        port = int(self.address.rpartition(":")[2])
        ports = [struct.pack(">i", number) for number in (int(self._port), port)]
        host = self._host.encode()
        return data.replace(host + ports[0], host + ports[1])


async def _copy(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    change: Callable[[bytes], bytes] = lambda data: data,
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(change(data))
            await writer.drain()
    writer.transport.abort()


@pytest.fixture
async def proxy() -> AsyncIterator[Callable[..., Awaitable[Proxy]]]:
    proxies = []

    async def proxy(target: str, **kwargs: Any) -> Proxy:
        subject = Proxy(target, **kwargs)
        await subject.mend()
        proxies.append(subject)
        return subject

    yield proxy
    for subject in proxies:
        subject.cut()


DEFINITION = registry_pb2.RESOURCE_KIND_ACTIVITY_DEFINITION


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

    def apply(
        self,
        namespace: str,
        definition_id: str,
        content: bytes,
        kind: "registry_pb2.ResourceKind.ValueType" = DEFINITION,
    ) -> None:
        known = self.resources.get(definition_id)
        self._put(
            registry_pb2.Resource(
                namespace=namespace,
                kind=kind,
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
        assert request.kind == DEFINITION
        found = self.resources.get(request.resource_id)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such definition")
        return registry_pb2.GetResourceResponse(resource=found)

    async def WatchResources(self, request: Any, context: Any) -> AsyncIterator[Any]:
        assert len(request.kinds) == 3
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


class Ledger:
    """The real ledger on a database of its own, and what it has recorded."""

    def __init__(self, dsn: str, postgres: Postgres, namespaces: Sequence[str]) -> None:
        self._dsn = dsn
        self._server = GrpcServer(
            listen="127.0.0.1:0",
            services=ledger_app.grpc_services(
                postgres, ledger_app.event_store(), namespaces=namespaces
            ),
            authenticator=LocalAuthenticator(frozenset({Role.SERVICE})),
            grace=timedelta(seconds=1),
        )
        self.address = ""

    async def start(self) -> None:
        await self._server.start()
        self.address = f"127.0.0.1:{self._server.port}"

    async def stop(self) -> None:
        await self._server.stop()

    async def outcomes(self) -> Counter[tuple[str, str, str]]:
        """Return how often there is (event id, definition, outcome)."""
        rows = await self._rows("SELECT event_id, definition_id, outcome FROM routing_decisions")
        return Counter((row["event_id"], row["definition_id"], row["outcome"]) for row in rows)

    async def unrouted(self) -> int:
        """Return how many records had no candidate, a redelivery counted again."""
        rows = await self._rows("SELECT coalesce(sum(records), 0) AS n FROM unrouted_ranges")
        return int(rows[0]["n"])

    async def _rows(self, query: str) -> list[Any]:
        connection = await asyncpg.connect(
            self._dsn, server_settings={"search_path": ledger_app.SCHEMA}
        )
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    async def causes(self, topic: str) -> set[str]:
        """Return why the records of a topic were routed."""
        rows = await self._rows("SELECT topic, cause FROM routing_decisions")
        return {row["cause"] for row in rows if row["topic"] == topic}

    async def resolutions(self) -> list[tuple[str, str, str]]:
        """Return (state, actor, reason) of what was resolved."""
        rows = await self._rows("SELECT state, actor, reason FROM dead_letter_resolutions")
        return [(row["state"], row["actor"], row["reason"]) for row in rows]

    async def openings(self) -> list[tuple[int, str, str]]:
        """Return (offset, actor, reason) of dead letters that were opened."""
        rows = await self._rows("SELECT record_offset, actor, reason FROM dead_letter_openings")
        return [(row["record_offset"], row["actor"], row["reason"]) for row in rows]


@pytest.fixture(scope="session")
def template(migrated: Callable[..., str]) -> str:
    return migrated(ledger_app.SCHEMA, *ledger_app.MIGRATIONS)


@pytest.fixture
async def ledger(database: PostgresEndpoint, unique_name: str) -> AsyncIterator[Ledger]:
    dsn = database.dsn("ledger")
    postgres = await Postgres.connect(dsn, application="tests", schema=ledger_app.SCHEMA)
    subject = Ledger(database.dsn(), postgres, ["dev", unique_name])
    await subject.start()
    yield subject
    await subject.stop()
    await postgres.close()


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

    def at(self, topic: str, partition: int, offset: int) -> Message:
        """Return one record as it is kept."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "unused"})
        try:
            consumer.assign([TopicPartition(topic, partition, offset)])
            found = consumer.poll(30)
            assert found is not None
            assert found.offset() == offset
            return found
        finally:
            consumer.close()

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Take the records before an offset away, as retention does."""
        [done] = self._admin.delete_records([TopicPartition(topic, partition, offset)]).values()
        done.result(30)

    async def committed(self, namespace: str = "") -> dict[tuple[str, int], int]:
        group = names.router_group(namespace or self.namespace)
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

    definitions: RegistryResources
    consumer: KafkaConsumer
    seen: RedisSeenEvents
    starter: TemporalWorkflowStarter
    misses: list[int]


@pytest.fixture
async def route(
    kafka: Kafka, registry: Registry, ledger: "Ledger", redis_url: str, temporal_address: str
) -> AsyncIterator[Callable[..., Any]]:
    """Start routers: `await route(temporal_at=…, redis_at=…, batch_records=…)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def route(
            *,
            temporal_at: str = temporal_address,
            redis_at: str = redis_url,
            topics: tuple[str, ...] = (),
            batch_records: int = 500,
            wrap: Callable[[Any], Any] = lambda route: route,
            ledger_at: str = "",
            switches: KillSwitches | None = None,
        ) -> Routed:
            misses: list[int] = []
            channel = grpcclient.channel(registry.address, actor="router")
            stack.push_async_callback(channel.close, None)
            definitions = RegistryResources(channel, namespaces=[kafka.namespace])
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
                {kafka.namespace: client},
                timeout=timedelta(seconds=3),
                concurrency=32,
            )
            ledger_channel = grpcclient.channel(ledger_at or ledger.address, actor="router")
            stack.push_async_callback(ledger_channel.close, None)
            router = Router(
                kafka.namespace,
                definitions=definitions,
                starter=starter,
                directory=Directory(b"a secret of these tests"),
                authentication=Authentication(clock=lambda: 0, is_open=True),
                seen=seen,
                dead_letters=letters,
                decision_log=LedgerDecisionLog(ledger_channel, timeout=timedelta(seconds=3)),
                pending_starts=LedgerPendingStarts(
                    ledger_channel, holder="test", timeout=timedelta(seconds=3)
                ),
                observer=OtelObserver(),
                concurrency=32,
                switches=switches,
            )
            consumer = KafkaConsumer(
                kafka.bootstrap,
                topics=topics or (kafka.topic,),
                group=names.router_group(kafka.namespace),
                route=wrap(router.route),
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


@pytest.fixture
def process_environment(  # noqa: PLR0917 - fixtures
    kafka_bootstrap_servers, temporal_address, redis_url, ledger, registry, unique_name, unused_port
):
    ensure_topics(kafka_bootstrap_servers, {"dev.backbone.dead-letters": 1})
    return {
        "PATH": os.environ["PATH"],
        "BACKBONE_ENVIRONMENT": "local",
        "BACKBONE_KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "BACKBONE_TEMPORAL_ADDRESS": temporal_address,
        "BACKBONE_REDIS_URL": redis_url,
        "BACKBONE_LEDGER_ADDRESS": ledger.address,
        "BACKBONE_REGISTRY_ADDRESS": registry.address,
        "BACKBONE_TOPICS": json.dumps([f"dev.{unique_name}"]),
        "BACKBONE_HTTP_LISTEN": f"127.0.0.1:{unused_port()}",
        "BACKBONE_GRPC_LISTEN": f"127.0.0.1:{unused_port()}",
    }


@pytest.fixture
async def run_router(process_environment):
    started = []

    async def run(command, **changes):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router", command, env=process_environment | changes,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
        # Reading to the end lets the pipe close; what it says helps when a test fails.
        print((await process.communicate())[1].decode())  # noqa: T201
