"""Two tenants, `dev` and `rival`: what one tries against the other is refused or finds nothing.

The rival holds every role that a member can have, in its own namespace. Each refusal stands beside
the same attempt by whom it is allowed. What a service's role may do in the database is shown table
by table in tests/contract/test_row_security.py; what is tried in Temporal is in test_temporal.py.
"""

import asyncio
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
import typer.main
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner
from waiting import until

import backbone
import cli.__main__ as command
from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts import names
from contracts.names import Topic
from devstack.infrastructure import Endpoints, certificates
from devstack.infrastructure.certificates import StackCertificates
from devstack.suite import Suite
from runtime import databases, grpcclient, kafka
from runtime.tls import TlsFiles

OURS, THEIRS = "rival", "dev"
SECONDS = 20.0
DEFINITIONS = Path(__file__).parents[1] / "chaos" / "definitions"
ORDERS = DEFINITIONS / "orders.yaml"


@pytest.fixture(scope="module")
def rival(certified: StackCertificates) -> TlsFiles:
    return certified.files("rival.developer")


@pytest.fixture(scope="module")
def theirs(certified: StackCertificates) -> TlsFiles:
    return certified.files("dev.developer")


# --- RPCs -----------------------------------------------------------------------------------------

SERVERS = {
    "backbone.ledger.v1": ("ledger",),
    "backbone.registry.v1": ("registry",),
    "backbone.router.v1": ("router",),
    "backbone.audit.v1": ("ledger", "registry"),
    "backbone.outbox.v1": ("ledger", "registry"),
}
"""Who serves the services of a package."""

NOT_OF_A_ROLE = "may not call"
NOT_OF_A_NAMESPACE = "may not ask for this namespace"


def methods() -> Iterator[tuple[str, str, Any]]:
    """Yield (server, full name, descriptor) of every RPC there is."""
    for package in pkgutil.walk_packages(backbone.__path__, "backbone."):
        if not package.name.endswith("_pb2"):
            continue
        for service in importlib.import_module(package.name).DESCRIPTOR.services_by_name.values():
            for server in SERVERS[service.file.package]:
                for method in service.methods:
                    yield server, f"/{service.full_name}/{method.name}", method


RPCS = sorted(methods(), key=lambda one: one[:2])


async def answered(channel: grpc.aio.Channel, name: str, method: Any, **fields: str) -> str:
    """Return the status of a call and what it says, "OK" for what it answers."""
    request = method.input_type._concrete_class(**fields)
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    call = kind(
        name,
        request_serializer=method.input_type._concrete_class.SerializeToString,
        response_deserializer=method.output_type._concrete_class.FromString,
    )(request, timeout=SECONDS)
    try:
        if method.server_streaming:
            await call.read()
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name} {error.details()}"
    finally:
        call.cancel()
    return "OK"


def test_every_rpc_names_the_namespace_it_is_about() -> None:
    assert len(RPCS) > 80
    nameless = [
        name for _, name, method in RPCS if "namespace" not in method.input_type.fields_by_name
    ]
    assert nameless == []


@pytest.mark.parametrize("server", ["ledger", "registry", "router"])
async def test_no_rpc_answers_for_another_namespace(
    suite: Suite, rival: TlsFiles, theirs: TlsFiles, server: str
) -> None:
    address = suite.addresses[server].grpc  # type: ignore[index]
    asked = by_role = 0
    async with (
        grpcclient.channel(address, actor="rival", tls=rival) as channel,
        grpcclient.channel(address, actor="them", tls=theirs) as their_channel,
    ):
        for name, method in [(name, method) for at, name, method in RPCS if at == server]:
            for fields in ({"namespace": THEIRS}, {"namespace": "nowhere"}, {}):
                said = await answered(channel, name, method, **fields)
                assert said.startswith("PERMISSION_DENIED "), (name, fields, said)
                # A service's own calls are refused for the role, all others for the namespace.
                assert (NOT_OF_A_NAMESPACE in said) != (NOT_OF_A_ROLE in said), (name, said)
            if NOT_OF_A_ROLE in said:
                by_role += 1
                continue
            asked += 1
            if not method.server_streaming:
                answer = await answered(their_channel, name, method, namespace=THEIRS)
                assert NOT_OF_A_NAMESPACE not in answer, (name, answer)
    assert asked >= 3
    assert asked > by_role / 3


# --- The command ----------------------------------------------------------------------------------

REASON = ("--reason", "because")
SPAN = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z")
RUN, TASK, DEFINITION = "e2e.orders:manual:1", "4b7c3d80-0f5e-5a1c-9a52-6a3b4e1d2f10", "e2e.orders"
HOUR = "2026-01-01T00:00:00Z"

ATTEMPTS: dict[str, tuple[str, ...]] = {
    "plan": ("-f", str(ORDERS)),
    "apply": ("-f", str(ORDERS), *REASON),
    "get": (),
    "diff": (DEFINITION,),
    "history": (),
    "activate": (DEFINITION, "--version", "1", *REASON),
    "disable": (DEFINITION, *REASON),
    "enable": (DEFINITION, *REASON),
    "retire": (DEFINITION, *REASON),
    "watch": (),
    "trigger": (DEFINITION,),
    "inbox": (),
    "ticks": (DEFINITION,),
    "pending": (),
    "queues": (),
    "operations": (),
    "decisions": (),
    "backtest": (DEFINITION, "--to", "1"),
    "runs list": (),
    "runs cancel": (RUN, *REASON),
    "runs retry": (RUN, *REASON),
    "runs show": (RUN,),
    "run show": (RUN,),
    "run redact": (RUN, "event.payload.amount", *REASON),
    "tasks list": (),
    "tasks show": (TASK,),
    "tasks history": (TASK,),
    "tasks claim": (TASK,),
    "tasks release": (TASK,),
    "tasks complete": (TASK, "--answer", "{}"),
    "tasks cancel": (TASK, *REASON),
    "tasks retry": (TASK, *REASON),
    "tasks reassign": (TASK, "--user", "rival", *REASON),
    "tasks comment": (TASK, "hello"),
    "schedules list": (),
    "schedules show": (DEFINITION,),
    "schedules drift": (),
    "schedules pause": (DEFINITION, *REASON),
    "schedules resume": (DEFINITION, *REASON),
    "schedules trigger": (DEFINITION, "--overlap", "allowAll", *REASON),
    "schedules skip-next": (DEFINITION, *REASON),
    "instances list": (),
    "instances show": ("i",),
    "instances waiting": (),
    "explain run": (RUN,),
    "explain task": (TASK,),
    "explain tick": (DEFINITION, HOUR),
    "explain event": ("e",),
    "shadow start": (DEFINITION, "--version", "1", *REASON),
    "shadow stop": (DEFINITION, *REASON),
    "shadow list": (),
    "shadow report": (DEFINITION,),
    "keys list": ("shop",),
    "keys revoke": ("shop", "1", *REASON),
    "outbox status": (),
    "outbox republish": (*SPAN, *REASON),
    "outbox parked": (),
    "outbox retry": ("1", "--service", "ledger", *REASON),
    "outbox discard": ("1", "--service", "ledger", *REASON),
    "dlq list": (),
    "dlq show": ("0:0",),
    "dlq openings": (),
    "dlq redrive": ("0:0", *REASON),
    "dlq discard": ("0:0", *REASON),
    "replay plan": ("--topic", "orders", *SPAN, *REASON),
    "replay show": ("r",),
    "replay list": (),
    "replay starts": ("r",),
    "replay pause": ("r", *REASON),
    "replay resume": ("r", *REASON),
    "replay cancel": ("r", *REASON),
    "backfill plan": (DEFINITION, *SPAN, *REASON),
    "backfill show": ("b",),
    "backfill list": (),
    "backfill pause": ("b", *REASON),
    "backfill resume": ("b", *REASON),
    "backfill cancel": ("b", *REASON),
    "subjects show": ("somebody",),
    "subjects erase": ("somebody", "--yes", *REASON),
    "subjects reveals": (),
    "subjects rewrap": (),
    "switches throw": ("--at", "run", *REASON),
    "switches reset": ("--at", "run", *REASON),
    "switches list": (),
    "audit verify": (),
    "audit checkpoint": (),
    "doctor": (),
    "events tail": ("--count", "1", "--timeout", "20"),
}
"""Each command with its words, of which every one asks for the namespace of somebody else."""

ALONE = {
    "test": "a clock of its own and no server",
    "schedules next": "of a file, it asks nobody; of a definition it begins as `get` does",
    "simulate": "of files, it asks nobody; of the registry it begins as `get` does",
    "publish": "names a topic and no namespace: see the topics",
    "keys new": "makes files",
    "keys register": "changes a file",
    "keys trust": "changes a file",
    "keys data add": "changes a file",
    "keys data use": "changes a file",
    "keys data list": "reads a file",
    "keys data remove": "changes a file",
    "replay apply": "carries out a file that `replay plan` made",
    "backfill apply": "carries out a file that `backfill plan` made",
    "contract asyncapi": "prints what is promised",
    "contract examples": "prints what is promised",
    "contract verify consumer": "runs a program of one's own",
    "contract verify producer": "reads files",
    "new": "makes files",
    "dev": "runs a stack of its own on this machine",
    "certs init": "makes files",
    "certs issue": "makes files",
    "certs show": "reads files",
}
"""Commands that do not ask for a namespace, with what they do."""


def leaves(group: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the words of every command."""
    if not hasattr(group, "commands"):
        yield " ".join(words)
        return
    for name, inner in group.commands.items():
        yield from leaves(inner, (*words, name))


@pytest.fixture
def invoked(suite: Suite, rival: TlsFiles) -> Callable[..., tuple[int, str]]:
    """Run the command as the rival: returns its exit code and all that it said."""
    environment = {
        **suite.client_environment(),
        **certificates.settings(rival),
        "BACKBONE_NAMESPACE": OURS,
    }

    def invoke(*words: str) -> tuple[int, str]:
        # Words too many for a command are as good a refusal as none, so that it has to say why.
        done = CliRunner().invoke(command.app, words, env=environment)
        return done.exit_code, done.output

    return invoke


def test_every_command_is_tried() -> None:
    assert set(leaves(typer.main.get_command(command.app))) == set(ATTEMPTS) | set(ALONE)


@pytest.mark.parametrize("words", sorted(ATTEMPTS))
def test_no_command_does_anything_in_another_namespace(
    invoked: Callable[..., tuple[int, str]], words: str
) -> None:
    code, said = invoked("-n", THEIRS, *words.split(), *ATTEMPTS[words])
    assert code != 0, said
    # Kafka does not even say that the topics are there.
    refusal = "there is no topic" if words == "events tail" else NOT_OF_A_NAMESPACE
    assert refusal in said, said


def test_the_same_command_does_it_in_its_own(invoked: Callable[..., tuple[int, str]]) -> None:
    for words in ("get", "runs list", "tasks list", "outbox status", "dlq list", "replay list"):
        code, said = invoked("-n", OURS, *words.split())
        assert code == 0, said


def test_the_doctor_says_what_a_tenant_may_not_look_at(
    invoked: Callable[..., tuple[int, str]],
) -> None:
    code, said = invoked("-n", OURS, "doctor")
    assert (code, "error" in said.partition("looked at, and well")[0]) == (0, False), said
    assert "not-allowed" in said, said
    assert "not looked at: consumer group of the router\n" in said, said


# --- What is there, asked for by its name in one's own namespace ----------------------------------


@pytest.fixture
async def their_run(suite: Suite, backbone: Callable[..., str], theirs: TlsFiles) -> str:
    """The id of a run of theirs, which the ledger has recorded."""
    files = ("-f", str(ORDERS), "-f", str(DEFINITIONS / "order-placed.yaml"))
    backbone("-n", THEIRS, "apply", *files, "--reason", "two tenants")
    run_id = backbone("-n", THEIRS, "trigger", DEFINITION, "--input", "{}").strip()
    request = ledger_pb2.GetRunRequest(namespace=THEIRS, run_id=run_id)
    async with grpcclient.channel(
        suite.addresses["ledger"].grpc, actor="them", tls=theirs
    ) as channel:
        stub = ledger_pb2_grpc.LedgerServiceStub(channel)

        async def recorded() -> bool:
            try:
                return (await stub.GetRun(request, timeout=SECONDS)).run.run_id == run_id
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                return False

        assert await until(recorded, seconds=60)
    return run_id


async def test_what_is_theirs_is_not_there_by_its_name(
    their_run: str, invoked: Callable[..., tuple[int, str]]
) -> None:
    for words in (
        ("get", DEFINITION),
        ("disable", DEFINITION, *REASON),
        ("trigger", DEFINITION),
        ("run", "show", their_run),
        ("runs", "cancel", their_run, *REASON),
        ("run", "redact", their_run, "event.payload.amount", *REASON),
        ("explain", "run", their_run),
    ):
        code, said = await asyncio.to_thread(invoked, "-n", OURS, *words)
        assert code == 1, (words, said)
        assert NOT_OF_A_NAMESPACE not in said
    for words in (("get",), ("history",), ("runs", "list"), ("tasks", "list"), ("decisions",)):
        code, said = await asyncio.to_thread(invoked, "-n", OURS, *words)
        assert code == 0, (words, said)
        assert DEFINITION not in said
        assert their_run not in said


# --- Topics ---------------------------------------------------------------------------------------

THEIR_TOPICS = ["dev.orders", *(names.topic(THEIRS, topic) for topic in Topic)]


def quiet(endpoints: Endpoints, files: TlsFiles) -> dict[str, object]:
    brokers = kafka.brokers(endpoints.kafka_bootstrap_servers, files)
    return {**kafka.client_settings(brokers), "log_level": 0, "error_cb": lambda _: None}


@pytest.mark.parametrize("topic", THEIR_TOPICS)
def test_a_topic_of_another_is_neither_read_nor_written_nor_seen(
    endpoints: Endpoints, rival: TlsFiles, topic: str
) -> None:
    settings = quiet(endpoints, rival)
    assert topic not in AdminClient(settings).list_topics(timeout=SECONDS).topics
    told: list[KafkaError | None] = []
    producer = Producer(settings)
    producer.produce(topic, b"{}", on_delivery=lambda error, _message: told.append(error))
    producer.flush(SECONDS)
    assert told[0] is not None
    assert told[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    # Where its partitions are is told to nobody who may not read it.
    error = AdminClient(settings).list_topics(topic, timeout=SECONDS).topics[topic].error
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_the_group_of_their_router_is_neither_read_nor_moved(
    endpoints: Endpoints, rival: TlsFiles
) -> None:
    group = names.router_group(THEIRS)
    admin = AdminClient(quiet(endpoints, rival))
    for asked in (
        admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]),
        admin.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, [TopicPartition("dev.orders", 0, 0)])]
        ),
        admin.delete_consumer_groups([group]),
    ):
        with pytest.raises(KafkaException) as caught:
            asked[group].result(SECONDS)
        assert caught.value.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED


# --- Rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["ledger", "registry"])
@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE events DISABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON events USING (true)",
        "DROP POLICY one_namespace ON events",
        "SET row_security = off; SELECT count(*) FROM events",
        "UPDATE events SET topic = 'rival.orders'",
        "DELETE FROM events",
        "TRUNCATE stream_heads",
        "INSERT INTO outbox_pending (position, recorded_at, namespace, stream, version)"
        " VALUES (-1, now(), 'dev', 's', 1)",
        "SELECT count(*) FROM events_default",
    ],
)
def test_the_services_role_does_not_go_round_the_policies(
    endpoints: Endpoints, role: str, sql: str
) -> None:
    with psycopg.connect(endpoints.postgres.dsn(role), autocommit=True) as connection:
        connection.execute(f"SET search_path = {role}")
        connection.execute(f"SET backbone.namespace = '{OURS}'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql)


@pytest.mark.parametrize("service", ["ledger", "registry", "outbox-relay"])
def test_no_service_is_an_owner(
    endpoints: Endpoints, certified: StackCertificates, service: str
) -> None:
    for owner in ("ledger_owner", "registry_owner"):
        address = f"postgresql://{owner}@{endpoints.postgres.host}:{endpoints.postgres.port}"
        dsn = databases.secured(f"{address}/backbone", certified.files(service))
        with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
            psycopg.connect(dsn, connect_timeout=int(SECONDS))
