"""Who may not: in the clear, without a certificate, by another's authority, or in a wrong role.

Each refusal stands beside the same attempt by whom it is allowed.
"""

import asyncio
import contextlib
import itertools
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import grpc
import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from temporalio.client import Client, TLSConfig
from temporalio.service import RPCError

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts import names
from contracts.names import Topic
from contracts.services import Service
from devstack.infrastructure import Endpoints
from devstack.infrastructure.certificates import BROKER, TEMPORAL, StackCertificates
from devstack.suite import SERVICES, Suite
from router.adapters.redis_seen import RedisSeenEvents
from router.errors import TransientError
from router.ports import Seen
from router.settings import Settings
from runtime import databases, grpcclient, kafka
from runtime.tls import TlsFiles

ORDERS = "dev.orders"
OUT = names.topic("dev", Topic.TASK_EVENTS)
SECONDS = 10.0


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_reaches_what_it_needs(suite: Suite, service: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", service.replace("-", "_"), "check"],
        env=suite.environment(service),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_router_can_tell_stateful_definitions_of_events(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in suite.environment("router").items():
        monkeypatch.setenv(name, value)
    assert Settings().key_secret is not None


# --- PostgreSQL -----------------------------------------------------------------------------------


def asked(dsn: str, sql: str = "SELECT session_user") -> object:
    with psycopg.connect(dsn, connect_timeout=int(SECONDS)) as connection:
        row = connection.execute(sql).fetchone()
        return None if row is None else row[0]


def bare(endpoints: Endpoints, role: str) -> str:
    return endpoints.postgres.dsn(role).partition("?")[0]


@pytest.mark.parametrize(
    ("service", "role"),
    [("ledger", "ledger"), ("registry", "registry"), ("outbox-relay", "relay")],
)
def test_postgres_knows_a_service_by_its_certificate(
    endpoints: Endpoints, certified: StackCertificates, service: str, role: str
) -> None:
    dsn = databases.secured(bare(endpoints, role), certified.files(service))
    assert asked(dsn) == role


def test_postgres_refuses_plaintext(endpoints: Endpoints) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        asked(f"{bare(endpoints, 'ledger')}?sslmode=disable")


def test_postgres_refuses_who_shows_no_certificate(
    endpoints: Endpoints, certified: StackCertificates
) -> None:
    verified = f"sslmode=verify-full&sslrootcert={certified.authority}"
    with pytest.raises(psycopg.OperationalError, match="requires a valid client certificate"):
        asked(f"{bare(endpoints, 'ledger')}?{verified}")


def test_postgres_refuses_another_authority(endpoints: Endpoints, forged: TlsFiles) -> None:
    with pytest.raises(psycopg.OperationalError, match="unknown ca"):
        asked(databases.secured(bare(endpoints, "ledger"), forged))


@pytest.mark.parametrize(
    ("service", "role"),
    [
        ("ledger", "registry"),
        ("ledger", "postgres"),
        ("router", "ledger"),
        ("orchestrator-worker", "ledger"),
        ("outbox-relay", "ledger"),
        ("dev.developer", "ledger"),
    ],
)
def test_postgres_refuses_the_role_of_another(
    endpoints: Endpoints, certified: StackCertificates, service: str, role: str
) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        asked(databases.secured(bare(endpoints, role), certified.files(service)))


@pytest.mark.parametrize(
    ("role", "sql"),
    [
        ("ledger", "SELECT count(*) FROM registry.events"),
        ("registry", "SELECT count(*) FROM ledger.runs"),
        ("relay", "SELECT count(*) FROM ledger.runs"),
        ("relay", "UPDATE ledger.events SET topic = 'x'"),
        ("relay", "DELETE FROM ledger.events"),
        ("ledger", "CREATE SCHEMA mine"),
        ("ledger", "CREATE ROLE mine"),
    ],
)
def test_a_role_may_do_no_more_than_its_own(endpoints: Endpoints, role: str, sql: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        asked(endpoints.postgres.dsn(role), sql)


# --- Kafka ----------------------------------------------------------------------------------------


def topics_seen(settings: dict[str, object]) -> set[str]:
    admin = AdminClient({**settings, "log_level": 0, "error_cb": lambda _: None})
    return set(admin.list_topics(timeout=SECONDS).topics)


def as_whom(endpoints: Endpoints, files: TlsFiles) -> dict[str, object]:
    return kafka.client_settings(kafka.brokers(endpoints.kafka_bootstrap_servers, files))


OWN = {names.topic("dev", topic) for topic in Topic}
RIVALS = {names.topic("rival", topic) for topic in Topic}
LETTERS = {names.topic(namespace, Topic.DEAD_LETTERS) for namespace in ("dev", "rival")}


@pytest.mark.parametrize(
    ("who", "topics"),
    [
        ("router", {ORDERS, "rival.orders", *LETTERS}),
        ("outbox-relay", (OWN | RIVALS) - LETTERS),
        ("dev.developer", {ORDERS, *OWN}),
        ("rival.developer", {"rival.orders", *RIVALS}),
        ("ledger", set()),
        ("registry", set()),
        ("orchestrator-worker", set()),
        ("stranger", set()),
    ],
)
@pytest.mark.usefixtures("stranger")
def test_kafka_shows_each_the_topics_that_are_granted_to_it(
    endpoints: Endpoints, certified: StackCertificates, who: str, topics: set[str]
) -> None:
    assert topics_seen(as_whom(endpoints, certified.files(who))) == topics


@pytest.mark.parametrize("who", ["in the clear", "without a certificate", "forged"])
async def test_kafka_refuses_whom_it_does_not_know(
    endpoints: Endpoints, certified: StackCertificates, forged: TlsFiles, who: str
) -> None:
    settings = as_whom(endpoints, forged)
    if who == "in the clear":
        settings = {"bootstrap.servers": endpoints.kafka_bootstrap_servers}
    elif who == "without a certificate":
        del settings["ssl.certificate.location"], settings["ssl.key.location"]
    with pytest.raises(KafkaException) as caught:
        await asyncio.to_thread(topics_seen, settings)
    assert caught.value.args[0].code() in {KafkaError._TRANSPORT, KafkaError._TIMED_OUT}
    # It is the caller: everybody else is served at the same time.
    assert await asyncio.to_thread(topics_seen, as_whom(endpoints, certified.files("router")))


def produced(settings: dict[str, object], topic: str) -> KafkaError | None:
    told: list[KafkaError | None] = []
    producer = Producer({**settings, "log_level": 0, "error_cb": lambda _: None})
    producer.produce(topic, b"{}", on_delivery=lambda error, _message: told.append(error))
    producer.flush(SECONDS)
    return told[0]


@pytest.mark.parametrize(
    ("who", "topic"),
    [
        ("stranger", ORDERS),
        ("dev.developer", OUT),
        ("router", OUT),
        ("outbox-relay", ORDERS),
        ("ledger", OUT),
        ("registry", OUT),
        ("orchestrator-worker", OUT),
    ],
)
@pytest.mark.usefixtures("stranger")
def test_kafka_takes_nothing_from_who_is_not_granted_it(
    endpoints: Endpoints, certified: StackCertificates, who: str, topic: str
) -> None:
    error = produced(as_whom(endpoints, certified.files(who)), topic)
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.mark.parametrize(
    ("who", "topic"), [("outbox-relay", OUT), ("outbox-relay", ORDERS), ("ledger", OUT)]
)
def test_kafka_gives_nothing_to_who_is_not_granted_it(
    endpoints: Endpoints, certified: StackCertificates, who: str, topic: str
) -> None:
    consumer = Consumer(
        {
            **as_whom(endpoints, certified.files(who)),
            "group.id": who,
            "log_level": 0,
            "error_cb": lambda _: None,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(SECONDS)
        assert message is not None
        error = message.error()
        assert error is not None
        assert error.code() in {
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.GROUP_AUTHORIZATION_FAILED,
        }
    finally:
        consumer.close()


# --- Redis ----------------------------------------------------------------------------------------


def redis(url: str, files: TlsFiles | None = None, **how: object) -> Redis:
    shown = (
        {}
        if files is None
        else {"ssl_certfile": str(files.certificate), "ssl_keyfile": str(files.private_key)}
    )
    return Redis.from_url(url, socket_timeout=SECONDS, **shown, **how)


@pytest.fixture
def as_router(endpoints: Endpoints, certified: StackCertificates) -> Iterator[Redis]:
    """Redis, by the router's certificate and password."""
    files = certified.files("router")
    with redis(endpoints.redis_url, files, ssl_ca_certs=str(files.client_ca)) as client:
        yield client


def test_redis_serves_the_router(as_router: Redis) -> None:
    as_router.set("backbone:test", "1")
    assert as_router.get("backbone:test") == b"1"


async def test_the_routers_memory_works_over_tls(
    endpoints: Endpoints, certified: StackCertificates
) -> None:
    parts = urlsplit(endpoints.redis_url)
    password = parts.password or ""
    # By this clock it has rested when it is asked again: a slow machine makes it forget.
    seen = RedisSeenEvents(
        endpoints.redis_url.replace(f":{password}@", "@"),
        password=lambda: password,
        keep=timedelta(minutes=1),
        clock=itertools.count(step=60).__next__,
        tls=certified.files("router"),
    )
    source = f"secure/{uuid.uuid4().hex}"
    try:
        async with asyncio.timeout(SECONDS):
            found = None
            while found is None:
                with contextlib.suppress(TransientError):
                    await seen.ready()
                seen.remember("dev", source, "1", digest="d", revision=7)
                (found,) = await seen.recall("dev", [(source, "1")])
        assert found == Seen("d", 7)
    finally:
        await seen.close()
        # What was given up half way is closed by the loop, which is not to end before.
        port = parts.port
        async with asyncio.timeout(SECONDS):
            while any(  # noqa: ASYNC110 - nobody tells
                one.raddr and one.raddr.port == port for one in psutil.Process().net_connections()
            ):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("who", ["in the clear", "without a certificate", "forged"])
def test_redis_refuses_whom_it_does_not_know(
    endpoints: Endpoints, certified: StackCertificates, forged: TlsFiles, who: str
) -> None:
    trusted = {"ssl_ca_certs": str(certified.authority)}
    client = {
        "in the clear": lambda: redis(endpoints.redis_url.replace("rediss://", "redis://")),
        "without a certificate": lambda: redis(endpoints.redis_url, **trusted),
        "forged": lambda: redis(endpoints.redis_url, forged, **trusted),
    }[who]()
    with client, pytest.raises((RedisConnectionError, RedisTimeoutError)):
        client.ping()


@pytest.mark.parametrize("user", ["router:wrong", "default:"])
def test_redis_refuses_a_wrong_password(
    endpoints: Endpoints, certified: StackCertificates, user: str
) -> None:
    files = certified.files("router")
    url = f"rediss://{user}@{endpoints.redis_url.partition('@')[2]}"
    with (
        redis(url, files, ssl_ca_certs=str(files.client_ca)) as client,
        pytest.raises(AuthenticationError),
    ):
        client.get("backbone:test")


@pytest.mark.parametrize(
    "command",
    [("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("ACL", "LIST"), ("GET", "others:key")],
)
def test_redis_does_no_more_for_the_router_than_it_needs(
    as_router: Redis, command: tuple[str, ...]
) -> None:
    with pytest.raises(NoPermissionError):
        as_router.execute_command(*command)


# --- Temporal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["frontend", "internal-frontend", "history", "matching"])
@pytest.mark.parametrize("who", ["in the clear", "without a certificate", "forged"])
async def test_temporal_refuses_whom_it_does_not_know(
    suite: Suite, certified: StackCertificates, forged: TlsFiles, part: str, who: str
) -> None:
    # Who is refused trusts the other side.
    shown = certified.files(TEMPORAL) if part == "frontend" else certified.between_parts()
    trusted = shown.client_ca.read_bytes()
    tls = {
        "in the clear": False,
        "without a certificate": TLSConfig(server_root_ca_cert=trusted),
        "forged": TLSConfig(
            server_root_ca_cert=trusted,
            client_cert=forged.certificate.read_bytes(),
            client_private_key=forged.private_key.read_bytes(),
        ),
    }[who]
    address = suite.endpoints.temporal_parts[part]
    with pytest.raises((RuntimeError, RPCError)):
        async with asyncio.timeout(SECONDS):
            await Client.connect(address, tls=tls)


# --- gRPC -----------------------------------------------------------------------------------------


async def listed(suite: Suite, files: TlsFiles | None) -> ledger_pb2.ListRunsResponse:
    async with grpcclient.channel(
        suite.addresses["ledger"].grpc, actor="nobody", tls=files
    ) as channel:
        stub = ledger_pb2_grpc.LedgerServiceStub(channel)
        request = ledger_pb2.ListRunsRequest(namespace="dev")
        return await stub.ListRuns(request, timeout=SECONDS)


async def refused(suite: Suite, files: TlsFiles | None) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await listed(suite, files)
    return caught.value.code()


async def test_the_ledger_answers_a_developer(suite: Suite, certified: StackCertificates) -> None:
    await listed(suite, certified.member())


async def test_the_ledger_refuses_whom_it_does_not_know(
    suite: Suite, certified: StackCertificates, forged: TlsFiles, stranger: TlsFiles
) -> None:
    assert await refused(suite, None) is grpc.StatusCode.UNAVAILABLE
    assert await refused(suite, forged) is grpc.StatusCode.UNAVAILABLE
    assert await refused(suite, stranger) is grpc.StatusCode.UNAUTHENTICATED
    broker = certified.files(BROKER)
    assert await refused(suite, broker) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_developer_does_not_record_runs(suite: Suite, certified: StackCertificates) -> None:
    async with grpcclient.channel(
        suite.addresses["ledger"].grpc, actor="nobody", tls=certified.member()
    ) as channel:
        stub = ledger_pb2_grpc.LedgerServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.RecordRun(ledger_pb2.RecordRunRequest(namespace="dev"), timeout=SECONDS)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_service_is_known_wherever_it_calls(
    suite: Suite, certified: StackCertificates
) -> None:
    for service in set(Service) - {Service.CONSOLE}:
        await listed(suite, certified.files(service))


async def test_the_console_is_nobody_but_its_visitors(
    suite: Suite, certified: StackCertificates
) -> None:
    code = await refused(suite, certified.files(Service.CONSOLE))
    assert code is grpc.StatusCode.UNAUTHENTICATED
