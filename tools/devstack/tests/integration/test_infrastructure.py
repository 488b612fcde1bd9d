"""The local infrastructure: real servers asked by real clients."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis
from confluent_kafka import Consumer, Producer
from kafka_wire import advertised
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from devstack.errors import StackRunningError
from devstack.infrastructure import (
    Endpoints,
    Infrastructure,
    create_database,
    drop_database,
    ensure_topics,
    provide,
)
from devstack.infrastructure.databases import bootstrap, bootstrap_sql
from devstack.state import StateFolder
from devstack.supervision import read_status


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def infrastructure(folder: Path) -> Iterator[Infrastructure]:
    infrastructure = provide(
        folder,
        namespaces=("dev", "stage"),
        durable=False,
        kafka_advertised={"router": "127.0.0.1:2", "relay": "127.0.0.1:3"},
        provider="local",
        tell=print,
    )
    yield infrastructure
    infrastructure.stop()


@pytest.fixture(scope="module")
def endpoints(infrastructure: Infrastructure) -> Endpoints:
    return infrastructure.start()


def produce(endpoints: Endpoints, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": endpoints.kafka_bootstrap_servers})
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def consume(endpoints: Endpoints, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer(
        {
            "bootstrap.servers": endpoints.kafka_bootstrap_servers,
            "group.id": f"test-{topic}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    try:
        return [message.value() for message in consumer.consume(count, timeout=30)]
    finally:
        consumer.close()


async def start_workflow(endpoints: Endpoints, name: str) -> None:
    client = await Client.connect(endpoints.temporal_address, namespace="dev")
    await client.start_workflow("Nothing", id=name, task_queue="nobody-tq")


async def test_postgresql_answers_each_role_by_its_password_only(endpoints: Endpoints) -> None:
    for role in ("registry", "ledger", "relay"):
        connection = await asyncpg.connect(endpoints.postgres.dsn(role))
        assert await connection.fetchval("SELECT current_user") == role
        await connection.close()

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(endpoints.postgres.dsn("ledger"), password="guessed")


def test_redis_answers(endpoints: Endpoints) -> None:
    with redis.Redis.from_url(endpoints.redis_url) as client:
        client.set("seen", "1")
        assert client.get("seen") == b"1"


def test_kafka_carries_records_and_makes_no_topic_by_itself(endpoints: Endpoints) -> None:
    ensure_topics(endpoints.kafka_bootstrap_servers, {"dev.answers": 3})
    ensure_topics(endpoints.kafka_bootstrap_servers, {"dev.answers": 3})
    produce(endpoints, "dev.answers", b"one")

    assert consume(endpoints, "dev.answers", 1) == [b"one"]
    producer = Producer(
        {"bootstrap.servers": endpoints.kafka_bootstrap_servers, "message.timeout.ms": 2000}
    )
    errors: list[object] = []
    producer.produce("dev.unknown", b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(10)
    assert errors[0] is not None


def test_kafka_sends_the_clients_of_a_further_listener_where_it_was_told_to(
    endpoints: Endpoints,
) -> None:
    assert advertised(endpoints.kafka_listeners["router"]) == "127.0.0.1:2"
    assert advertised(endpoints.kafka_listeners["relay"]) == "127.0.0.1:3"
    assert advertised(endpoints.kafka_bootstrap_servers) == endpoints.kafka_bootstrap_servers


async def test_temporal_answers_in_every_namespace(endpoints: Endpoints) -> None:
    client = await Client.connect(endpoints.temporal_address)
    for namespace in ("dev", "stage"):
        described = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=namespace)
        )
        assert described.namespace_info.name == namespace


@pytest.mark.usefixtures("endpoints")
def test_servers_listen_on_the_loopback_only(folder: Path) -> None:
    addresses: set[str] = set()
    for status in read_status(StateFolder(folder)):
        server = psutil.Process(status.pid)
        for process in (server, *server.children(recursive=True)):
            addresses |= {
                connection.laddr.ip
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }

    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


async def test_a_schema_is_its_owners_and_nobody_elses(endpoints: Endpoints) -> None:
    fresh = create_database(endpoints, "owners")
    owner = await asyncpg.connect(fresh.dsn("ledger_owner"))
    await owner.execute("CREATE TABLE ledger.runs (id text)")
    await owner.execute("CREATE FUNCTION ledger.one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    await owner.close()
    ledger = await asyncpg.connect(fresh.dsn("ledger"))
    assert await ledger.fetchval("SELECT ledger.one()") == 1
    relay = await asyncpg.connect(fresh.dsn("relay"))
    registry = await asyncpg.connect(fresh.dsn("registry"))

    assert await relay.fetchval("SELECT has_schema_privilege('ledger', 'USAGE')")
    for refused, sql in (
        (relay, "SELECT * FROM ledger.runs"),
        (relay, "SELECT ledger.one()"),
        (relay, "CREATE TABLE ledger.mine (id text)"),
        (relay, "CREATE TEMPORARY TABLE mine (id text)"),
        (relay, "CREATE TABLE public.mine (id text)"),
        (registry, "SELECT * FROM ledger.runs"),
        (registry, "CREATE TABLE ledger.mine (id text)"),
        (ledger, "SELECT * FROM ledger.runs"),
        (ledger, "CREATE TABLE ledger.mine (id text)"),
        (ledger, "SET ROLE ledger_owner"),
        (ledger, "SET ROLE registry_across"),
        (ledger, "CREATE SCHEMA mine"),
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await refused.execute(sql)
    for connection in (ledger, relay, registry):
        await connection.close()
    drop_database(endpoints, "owners")


async def test_a_schema_that_its_service_owned_is_handed_over_while_it_runs(
    endpoints: Endpoints,
) -> None:
    before = create_database(endpoints, "handed")
    superuser = await asyncpg.connect(before.dsn())
    await superuser.execute("ALTER SCHEMA ledger OWNER TO ledger")
    ledger = await asyncpg.connect(before.dsn("ledger"))
    await ledger.execute("CREATE TABLE ledger.runs (id text)")
    await superuser.execute(bootstrap_sql())

    assert await ledger.execute("INSERT INTO ledger.runs VALUES ('1')") == "INSERT 0 1"
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="must be owner"):
        await ledger.execute("DROP TABLE ledger.runs")
    await superuser.execute("REVOKE UPDATE ON ledger.runs FROM ledger")
    await superuser.execute(bootstrap_sql())
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ledger.execute("UPDATE ledger.runs SET id = '2'")
    for connection in (ledger, superuser):
        await connection.close()
    drop_database(endpoints, "handed")


async def test_nobody_else_may_connect(endpoints: Endpoints) -> None:
    superuser = await asyncpg.connect(endpoints.postgres.dsn())
    await superuser.execute("CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(endpoints.postgres.dsn(), user="stranger", password="stranger")
    await superuser.execute("DROP ROLE stranger")
    await superuser.close()


async def test_bootstrapping_again_keeps_data_and_passwords(endpoints: Endpoints) -> None:
    connection = await asyncpg.connect(endpoints.postgres.dsn("ledger_owner"))
    await connection.execute("CREATE TABLE ledger.kept AS SELECT 1 AS one")
    bootstrap(endpoints.postgres)

    assert await connection.fetchval("SELECT one FROM ledger.kept") == 1
    await connection.execute("DROP TABLE ledger.kept")
    await connection.close()
    connection = await asyncpg.connect(endpoints.postgres.dsn("ledger_owner"))
    await connection.close()


def test_a_fresh_database_is_made_and_dropped(endpoints: Endpoints) -> None:
    create_database(endpoints, "fresh")
    with pytest.raises(asyncpg.DuplicateDatabaseError):
        create_database(endpoints, "fresh")
    drop_database(endpoints, "fresh")
    drop_database(endpoints, "fresh")


async def test_a_copied_database_has_what_its_template_has_and_its_own_rights(
    endpoints: Endpoints,
) -> None:
    original = await asyncpg.connect(create_database(endpoints, "original").dsn("ledger_owner"))
    await original.execute("CREATE TABLE ledger.kept AS SELECT 7 AS number")
    await original.close()
    copy = create_database(endpoints, "copy", template="original")
    ledger = await asyncpg.connect(copy.dsn("ledger_owner"))
    assert await ledger.fetchval("SELECT number FROM ledger.kept") == 7
    # What a template does not hand on.
    public = "SELECT has_database_privilege('public', current_database(), 'CONNECT')"
    assert not await ledger.fetchval(public)
    await ledger.close()
    drop_database(endpoints, "copy")
    drop_database(endpoints, "original")


def test_a_folder_in_use_is_refused(endpoints: Endpoints, folder: Path) -> None:
    with pytest.raises(StackRunningError, match="already running"):
        provide(folder, provider="local").start()


async def test_postgresql_returns_with_its_data_after_a_kill(
    infrastructure: Infrastructure, endpoints: Endpoints
) -> None:
    connection = await asyncpg.connect(endpoints.postgres.dsn("ledger_owner"))
    await connection.execute("CREATE TABLE ledger.survivors AS SELECT 7 AS one")
    connection.terminate()
    infrastructure.kill("postgres")
    infrastructure.wait_ready("postgres")

    connection = await asyncpg.connect(endpoints.postgres.dsn("ledger_owner"))
    assert await connection.fetchval("SELECT one FROM ledger.survivors") == 7
    await connection.close()


def test_redis_returns_with_its_data_after_a_kill(
    infrastructure: Infrastructure, endpoints: Endpoints
) -> None:
    with redis.Redis.from_url(endpoints.redis_url) as client:
        client.set("survivor", "7")
    infrastructure.kill("redis")
    infrastructure.wait_ready("redis")

    with redis.Redis.from_url(endpoints.redis_url) as client:
        assert client.get("survivor") == b"7"


def test_kafka_returns_with_its_data_after_a_kill(
    infrastructure: Infrastructure, endpoints: Endpoints
) -> None:
    ensure_topics(endpoints.kafka_bootstrap_servers, {"dev.survivors": 1})
    produce(endpoints, "dev.survivors", b"before")
    infrastructure.kill("kafka")
    infrastructure.wait_ready("kafka")
    produce(endpoints, "dev.survivors", b"after")

    assert consume(endpoints, "dev.survivors", 2) == [b"before", b"after"]


async def test_temporal_returns_with_its_data_after_a_kill(
    infrastructure: Infrastructure, endpoints: Endpoints
) -> None:
    await start_workflow(endpoints, "survivor")
    infrastructure.kill("temporal")
    infrastructure.wait_ready("temporal")

    client = await Client.connect(endpoints.temporal_address, namespace="dev")
    assert (await client.get_workflow_handle("survivor").describe()).id == "survivor"


def test_a_halted_server_is_away_until_it_is_restarted(
    infrastructure: Infrastructure, endpoints: Endpoints
) -> None:
    infrastructure.halt("redis")
    with redis.Redis.from_url(endpoints.redis_url) as client:
        with pytest.raises(redis.ConnectionError):
            client.ping()
        infrastructure.restart("redis")
        assert client.ping()


@pytest.mark.usefixtures("endpoints")
def test_a_crash_of_a_server_is_seen_and_a_restart_is_none(
    infrastructure: Infrastructure, folder: Path
) -> None:
    before = len(infrastructure.crashes())
    infrastructure.restart("redis")
    [redis_status] = [s for s in read_status(StateFolder(folder)) if s.name == "redis"]
    assert redis_status.pid is not None
    os.kill(redis_status.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while len(infrastructure.crashes()) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    infrastructure.wait_ready("redis")

    [crash] = infrastructure.crashes()[before:]
    assert (crash.name, crash.signal) == ("redis", "SIGKILL")


OWNER = """
import sys, time
from pathlib import Path
from devstack.infrastructure import provide
endpoints = provide(Path(sys.argv[1]), provider="local").start()
print(endpoints.postgres.port, endpoints.redis_url, flush=True)
time.sleep(600)
"""


async def test_after_a_killed_owner_the_next_start_has_the_data_and_the_ports(
    tmp_path: Path,
) -> None:
    owner = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
        [sys.executable, "-c", OWNER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    port = int(owner.stdout.readline().split()[0])
    infrastructure = provide(tmp_path, provider="local")
    with pytest.raises(StackRunningError):
        infrastructure.start()
    password = StateFolder(tmp_path).secret("ledger_owner")
    dsn = f"postgresql://ledger_owner:{password}@127.0.0.1:{port}/backbone"
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE ledger.survivors AS SELECT 7 AS one")
    owner.kill()
    owner.wait()
    owner.stdout.close()
    connection.terminate()
    told: list[str] = []

    infrastructure = provide(tmp_path, provider="local", tell=told.append)
    endpoints = infrastructure.start()
    try:
        connection = await asyncpg.connect(endpoints.postgres.dsn("ledger_owner"))
        assert await connection.fetchval("SELECT one FROM ledger.survivors") == 7
        await connection.close()
        assert endpoints.postgres.port == port
        redis_port = endpoints.redis_url.split(":")[-1].split("/")[0]
    finally:
        infrastructure.stop()
    assert not [line for line in told if "exited" in line or "killed" in line]

    # The same folder once more, a stranger on one of its ports.
    with socket.create_server(("127.0.0.1", int(redis_port))):
        endpoints = infrastructure.start()
        try:
            assert endpoints.redis_url != f"redis://127.0.0.1:{redis_port}/0"
            assert endpoints.postgres.port == port
            with redis.Redis.from_url(endpoints.redis_url) as client:
                assert client.ping()
        finally:
            infrastructure.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL changes its user for root only")
@pytest.mark.usefixtures("endpoints")
def test_run_by_root_postgresql_is_somebody_else_below_a_private_folder(
    folder: Path,
) -> None:
    [postgres] = [s for s in read_status(StateFolder(folder)) if s.name == "postgres"]

    assert psutil.Process(postgres.pid).uids().real != 0
    assert Path(folder).stat().st_mode & 0o077 == 0
