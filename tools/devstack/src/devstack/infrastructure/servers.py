"""How each server is prepared, started and asked whether it answers."""

import contextlib
import functools
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import psutil
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    DescribeWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, WorkflowService

from devstack import issuer as tokens
from devstack import loops, supervision
from devstack.errors import DevstackError
from devstack.infrastructure import certificates, databases, secured, topics
from devstack.infrastructure.certificates import StackCertificates
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint
from devstack.state import StateFolder
from devstack.supervision import Program
from devstack.tools import find_kafka, find_postgresql, find_redis, find_temporal
from runtime import kafka as runtime_kafka
from runtime.temporalrenewal import Renewal
from runtime.tls import TlsFiles

Server = Literal["postgres", "redis", "kafka", "temporal"]
SERVERS: tuple[Server, ...] = ("postgres", "redis", "kafka", "temporal")
PORTS = (
    *("postgres", "redis", "kafka", "kafka-controller"),
    *("temporal", "temporal-ui", "temporal-metrics"),
)

SHORT_LIVED: Mapping[Server, Mapping[str, str]] = {
    "kafka": {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1"},
}
"""Variables of servers that start often and carry little: the virtual machine compiles once.

Kafka then starts in half of the processor's time, and is slower at its best: not for benchmarks.
"""

# Off, a commit outlives the death of the server but not that of the machine.
_DURABILITY = ("fsync", "full_page_writes")
_IN_HASTE = ("journal_mode=wal", "synchronous=off")  # SQLite's, to the same end
# That a build is drained is found within seconds. By itself Temporal waits for three minutes first,
# and looks every three minutes.
TEMPORAL_IN_HASTE = tuple(
    part
    for key in (
        "VersionDrainageStatusVisibilityGracePeriod",
        "VersionDrainageStatusRefreshInterval",
    )
    for part in ("--dynamic-config-value", f'matching.wv.{key}="1s"')
)
_ORPHAN_WAIT = 10.0  # seconds that PostgreSQL's processes take to notice their parent's death


@dataclass(frozen=True)
class Launch:
    """A server ready to be started, and the question whether it answers."""

    program: Program
    answers: Callable[[], bool]

    def with_env(self, env: Mapping[str, str]) -> Self:
        """Return it with variables of the caller's."""
        return replace(self, program=replace(self.program, env={**self.program.env, **env}))


def postgres(
    state: StateFolder,
    endpoint: PostgresEndpoint,
    *,
    durable: bool,
    certified: StackCertificates | None = None,
) -> Launch:
    """Prepare PostgreSQL: TCP only, SCRAM, durable unless a test says otherwise.

    With certificates there is nothing but TLS, and nobody is asked for a password.
    """
    data = state.path / "postgres"
    version = data / "PG_VERSION"
    major = int(version.read_text()) if version.is_file() else None
    installation = find_postgresql(major)
    user = _unprivileged_owner(data)
    if major is None:
        _initdb(state, installation.bin / "initdb", data, user=user, password=endpoint.password)
    settings = {
        "listen_addresses": endpoint.host,
        "port": str(endpoint.port),
        # No sockets: their paths may be at most a hundred characters long.
        "unix_socket_directories": "",
        "max_connections": "200",
        "timezone": "UTC",
        "log_timezone": "UTC",
        **({} if durable else dict.fromkeys(_DURABILITY, "off")),
        **({} if certified is None else secured.postgres(state, certified)),
    }
    program = Program(
        name="postgres",
        argv=(
            *(str(installation.bin / "postgres"), "-D", str(data)),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ),
        env=environment(state),
        address=f"{endpoint.host}:{endpoint.port}",
        cwd=data,
        user=user,
        # Both "fast": clients are cut off, what is committed is kept.
        stop_signal=signal.SIGINT,
        orphan_signal=signal.SIGINT,
        grace=30.0,
        prepare=lambda: _clear_stale_postmaster(data),
    )
    return Launch(program, lambda: databases.answers(endpoint))


def redis(
    state: StateFolder, ports: Mapping[str, int], *, certified: StackCertificates | None = None
) -> Launch:
    """Prepare Redis: what it was told is in its append-only file.

    With certificates its port is its front's, see `redis_front`.
    """
    data = _folder(state, "redis")
    port = ports["redis"]
    listen: tuple[str, ...] = ("--bind", "127.0.0.1", "--port", str(port))
    answers = functools.partial(redis_answers, port)
    if certified is not None:
        listen = secured.redis(state)
        files = certified.files(certificates.ADMIN)
        password = secured.redis_password(state, certificates.ADMIN)
        answers = functools.partial(secure_redis_answers, port, files, password)
    program = Program(
        name="redis",
        argv=(
            *(str(find_redis()), *listen),
            *("--dir", str(data), "--appendonly", "yes", "--save", ""),
        ),
        env=environment(state),
        address=f"127.0.0.1:{port}",
        orphan_signal=signal.SIGTERM,
        cwd=data,
    )
    return Launch(program, answers)


REDIS_FRONT = "redis-front"


def redis_front(
    state: StateFolder, ports: Mapping[str, int], certified: StackCertificates
) -> Program:
    """Return what speaks TLS for Redis."""
    return Program(
        name=REDIS_FRONT,
        argv=(
            *(sys.executable, "-m", "devstack.tls_front"),
            *secured.front(certified, ports["redis"]),
        ),
        env=environment(state),
        address=f"127.0.0.1:{ports['redis']}",
        cwd=_folder(state, "redis"),
    )


def issuer(state: StateFolder, port: int, certified: StackCertificates) -> Program:
    """Return the stack's issuer, of whose tokens everybody here asks it for the keys."""
    files = certified.files(certificates.ISSUER)
    folder = str(state.path / tokens.NAME)
    return Program(
        name=tokens.NAME,
        argv=(
            *(sys.executable, "-m", "devstack.issuer"),
            *(str(port), folder, str(files.certificate), str(files.private_key)),
        ),
        env=environment(state),
        address=f"127.0.0.1:{port}",
    )


def listens(port: int) -> bool:
    """Return whether somebody takes connections on `port` of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2.0).close()
    except OSError:
        return False
    return True


def kafka(
    state: StateFolder,
    ports: Mapping[str, int],
    *,
    advertised: Mapping[str, str],
    certified: StackCertificates | None = None,
) -> Launch:
    """Prepare Kafka: one node that is broker and controller.

    Args:
        state: Where its data goes.
        ports: Those of the stack, with that of each further listener as `kafka-<name>`.
        advertised: Further listeners by name, each with the host:port its clients are sent to.
        certified: With certificates every listener asks for one, and nothing is allowed unless
            it is granted.
    """
    installation = find_kafka()
    data = _folder(state, "kafka")
    address = f"127.0.0.1:{ports['kafka']}"
    controller = f"127.0.0.1:{ports['kafka-controller']}"
    listeners = {"CLIENTS": (address, address)}
    for number, (name, sent_to) in enumerate(advertised.items(), start=1):
        # A listener's name has a syntax of its own.
        listeners[f"PROXIED{number}"] = (f"127.0.0.1:{ports[f'kafka-{name}']}", sent_to)
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENTS",
        "listeners": ",".join(
            [f"CONTROLLER://{controller}", *(f"{n}://{at}" for n, (at, _) in listeners.items())]
        ),
        "advertised.listeners": ",".join(f"{n}://{to}" for n, (_, to) in listeners.items()),
        "listener.security.protocol.map": ",".join(
            f"{name}:{'PLAINTEXT' if certified is None else 'SSL'}"
            for name in ("CONTROLLER", *listeners)
        ),
        "log.dirs": str(data / "log"),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # One broker; and few partitions, each of which is a folder made at the first commit.
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        **({} if certified is None else secured.kafka(state, certified)),
    }
    configuration = data / "server.properties"
    configuration.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    logging = data / "log4j2.properties"
    logging.write_text(_KAFKA_LOGGING)
    java = (
        *(str(installation.java), "-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData"),
        *("-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true"),
        *(f"-Dlog4j2.configurationFile={logging}", "-cp", installation.classpath),
    )
    if not (data / "log" / "meta.properties").is_file():
        shutil.rmtree(data / "log", ignore_errors=True)
        identifier = state.secret("kafka-cluster")[:22]
        checked(
            [
                *java,
                "-XX:TieredStopAtLevel=1",
                *("kafka.tools.StorageTool", "format", "--cluster-id", identifier),
                *("--config", str(configuration)),
            ],
            state,
            failure="Kafka's storage cannot be formatted",
        )
    program = Program(
        name="kafka",
        argv=(*java, "kafka.Kafka", str(configuration)),
        env=environment(state),
        address=address,
        orphan_signal=signal.SIGTERM,
        grace=20.0,
    )
    admin = None if certified is None else certified.files(certificates.ADMIN)
    return Launch(program, lambda: topics.answers(runtime_kafka.brokers(address, admin)))


def temporal(
    state: StateFolder, ports: Mapping[str, int], *, namespaces: Sequence[str], durable: bool
) -> Launch:
    """Prepare Temporal's development server on a SQLite file, durable as PostgreSQL is."""
    data = _folder(state, "temporal")
    address = f"127.0.0.1:{ports['temporal']}"
    program = Program(
        name="temporal",
        argv=(
            *(str(find_temporal()), "server", "start-dev", "--ip", "127.0.0.1"),
            *("--port", str(ports["temporal"]), "--ui-port", str(ports["temporal-ui"])),
            *("--metrics-port", str(ports["temporal-metrics"])),
            *("--db-filename", str(data / "temporal.db"), "--log-level", "warn"),
            *(part for name in namespaces for part in ("--namespace", name)),
            *TEMPORAL_IN_HASTE,
            *(part for one in (() if durable else _IN_HASTE) for part in ("--sqlite-pragma", one)),
        ),
        env=environment(state, home=data),
        address=address,
        orphan_signal=signal.SIGTERM,
    )
    return Launch(program, lambda: temporal_answers(address, namespaces))


_KAFKA_LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.stdout.ref = STDOUT
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
"""


def environment(state: StateFolder, *, home: Path | None = None) -> dict[str, str]:
    """Return a server's environment: nothing of the caller's that could change it."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home or state.path),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "TEMPORAL_VERSION_CHECK_DISABLED": "1",
    }


def _folder(state: StateFolder, name: str) -> Path:
    folder = state.path / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _unprivileged_owner(data: Path) -> str | None:
    """Return the user PostgreSQL must run as, None for this one; it refuses to be root."""
    if os.geteuid() != 0:
        return None
    if data.is_dir() and (owner := data.stat().st_uid) != 0:
        return pwd.getpwuid(owner).pw_name
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    message = "PostgreSQL refuses to run as root and there is no user postgres or nobody"
    raise DevstackError(message)


def _initdb(
    state: StateFolder, initdb: Path, data: Path, *, user: str | None, password: str
) -> None:
    for leftover in state.path.glob(".postgres-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=".postgres-", dir=state.path))
    try:
        password_file = temporary / "password"
        password_file.write_text(password)
        if user:
            entry = pwd.getpwnam(user)
            for path in (temporary, password_file):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        checked(
            [
                *(str(initdb), "--pgdata", str(temporary / "data"), "--username", "postgres"),
                *("--auth", "scram-sha-256", "--pwfile", str(password_file)),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
            ],
            state,
            user=user,
            failure=(
                f"PostgreSQL's data folder cannot be made as user {user}; put the state folder "
                "where that user can reach it"
                if user
                else "PostgreSQL's data folder cannot be made"
            ),
        )
        (temporary / "data").rename(data)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _clear_stale_postmaster(data: Path) -> None:
    """Remove a pid file whose pid meanwhile belongs to somebody else.

    PostgreSQL does not start while that pid exists, and a reused pid may live long. A dead pid it
    handles itself, and more carefully: children of a killed server may still be ending. They all
    stand in the data folder, and are waited for here.
    """
    deadline = time.monotonic() + _ORPHAN_WAIT
    while any(_stands_in(data, process) for process in psutil.process_iter()):
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
    pid_file = data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, ValueError, psutil.Error):
        pid = int(pid_file.read_text().split()[0])
        # Where the folder it stands in cannot be read, the name decides, on the safe side.
        if psutil.Process(pid).name() != "postgres":
            pid_file.unlink()


def _stands_in(folder: Path, process: psutil.Process) -> bool:
    try:
        return process.pid != os.getpid() and Path(process.cwd()) == folder
    except (psutil.Error, OSError):
        return False


def checked(
    argv: list[str],
    state: StateFolder,
    *,
    failure: str,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a preparing command to its end, with variables of the caller's.

    Raises:
        DevstackError: It failed; the message ends with the last thing it said.
    """
    program = Program(
        name="prepare", argv=tuple(argv), env={**environment(state), **(env or {})}, user=user
    )
    result = subprocess.run(  # noqa: S603 - this package's own argument vector
        supervision.wrapped(program),
        env=dict(program.env),
        cwd=state.path,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        message = f"{failure}: {lines[-1] if lines else f'exit code {result.returncode}'}"
        raise DevstackError(message)


def redis_answers(port: int) -> bool:
    """Return whether the Redis on `port` serves commands: not while it loads its file."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def secure_redis_answers(port: int, files: TlsFiles, password: str) -> bool:
    """Return whether the Redis behind the front on `port` serves commands."""
    context = ssl.create_default_context(cafile=files.client_ca)
    context.load_cert_chain(files.certificate, files.private_key)
    asked = f"AUTH {certificates.ADMIN} {password}\r\nPING\r\n"
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection,
            context.wrap_socket(connection, server_hostname="127.0.0.1") as secure,
        ):
            secure.sendall(asked.encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (more := secure.recv(64)):
                answer += more
            return answer == b"+OK\r\n+PONG\r\n"
    except OSError:
        return False


def temporal_answers(
    address: str, namespaces: Sequence[str], *, shown: Renewal | None = None
) -> bool:
    """Return whether each part of the Temporal server serves each of the namespaces."""
    return loops.run(_temporal_answers(address, namespaces, shown))


async def _temporal_answers(address: str, namespaces: Sequence[str], shown: Renewal | None) -> bool:
    """Ask each part of the server: the frontend, then matching and history through it."""
    try:
        service = (await connect_temporal(address, shown)).workflow_service
        for namespace in namespaces:
            await service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
            await service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace=namespace,
                    task_queue=TaskQueue(name="devstack-probe"),
                    task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
                )
            )
            await _ask_history(service, namespace)
    except (RPCError, RuntimeError):
        return False
    return True


async def connect_temporal(
    address: str, shown: Renewal | None, *, namespace: str = "default", lazy: bool = False
) -> Client:
    """Return a client of the server at `address`, to which it shows `shown`; None is in the clear.

    A lazy one connects with its first call.
    """
    plugins = [] if shown is None else [shown]
    return await Client.connect(address, namespace=namespace, lazy=lazy, tls=False, plugins=plugins)


async def temporal_client(endpoints: Endpoints, *, namespace: str, lazy: bool = False) -> Client:
    """Return a client of an infrastructure's Temporal, as who prepares it."""
    shown = None
    if endpoints.certificates is not None:
        shown = Renewal(
            endpoints.certificates.files(certificates.ADMIN),
            token=endpoints.temporal_token(certificates.ADMIN),
        )
    return await connect_temporal(endpoints.temporal_address, shown, namespace=namespace, lazy=lazy)


async def _ask_history(service: WorkflowService, namespace: str) -> None:
    try:
        await service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(
                namespace=namespace, execution=WorkflowExecution(workflow_id="devstack-probe")
            )
        )
    except RPCError as exc:
        if exc.status is not RPCStatusCode.NOT_FOUND:
            raise
