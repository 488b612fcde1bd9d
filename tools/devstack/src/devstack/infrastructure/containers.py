"""The servers as containers, published on 127.0.0.1 only, their data in named volumes.

Nothing depends on testcontainers' reaper: containers carry names made of the state folder's, and
what a killed run left is removed by the next one under the same name.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import docker.errors  # type: ignore[import-untyped]  # it has no type hints
from docker.models.containers import Container  # type: ignore[import-untyped]
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from devstack.errors import NotReadyError
from devstack.infrastructure import databases, servers, topics
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint
from devstack.infrastructure.servers import Server
from devstack.ports import Ports
from devstack.state import StateFolder
from devstack.supervision import Crash, Supervisor

IMAGES: Mapping[Server, str] = {
    "postgres": "postgres:18.4",
    "redis": "redis:8.2.3",
    "kafka": "apache/kafka:4.3.1",
    "temporal": "temporalio/temporal:1.5.1",
}
_READY = 120.0  # seconds, without the time that pulling an image takes
_GRACE = 20  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True)
class _Recipe:
    """What one container is made of, and the question whether its server answers."""

    ports: Mapping[int, int]  # inside -> outside
    volume: str
    env: Mapping[str, str]
    command: Sequence[str]
    answers: Callable[[], bool]
    user: str | None = None


class ContainerInfrastructure:
    """PostgreSQL, Redis, Kafka and Temporal in containers of this machine's Docker engine."""

    def __init__(
        self,
        state: StateFolder,
        *,
        namespaces: Sequence[str],
        durable: bool,
        kafka_advertised: Mapping[str, str],
        server_env: Mapping[Server, Mapping[str, str]],
        supervisor: Supervisor | None,
        tell: Callable[[str], None] | None,
    ) -> None:
        self._state = state
        self._namespaces = tuple(namespaces)
        self._durable = durable
        self._kafka_advertised = kafka_advertised
        self._server_env = server_env
        self._owns_supervisor = supervisor is None
        # Runs no process here; it holds the state folder and the log of events.
        self._supervisor = supervisor or Supervisor(state, tell=tell)
        self._ports = Ports(state, self._supervisor.tell)
        self._recipes: dict[Server, _Recipe] = {}
        self._containers: dict[Server, DockerContainer] = {}
        digest = hashlib.sha256(str(state.path).encode()).hexdigest()[:12]
        self._prefix = f"backbone-{digest}"

    def start(self) -> Endpoints:
        """Start the containers, all at once, and return their addresses once each answers."""
        if self._owns_supervisor:
            self._supervisor.open()
        try:
            listeners = [f"kafka-{name}" for name in self._kafka_advertised]
            ports = {name: self._ports.port(name) for name in (*servers.PORTS, *listeners)}
            postgres = PostgresEndpoint(
                host="127.0.0.1",
                port=ports["postgres"],
                user="postgres",
                password=self._state.secret("postgres"),
                database=databases.DATABASE,
                passwords={role: self._state.secret(role) for role in databases.ROLES},
            )
            self._recipes = self._make_recipes(postgres, ports)
            with ThreadPoolExecutor(max_workers=len(self._recipes)) as pool:
                list(pool.map(self._bring_up, self._recipes))
            databases.bootstrap(postgres)
        except BaseException:
            self.stop()
            raise
        return Endpoints(
            postgres=postgres,
            redis_url=f"redis://127.0.0.1:{ports['redis']}/0",
            redis_admin_url=f"redis://127.0.0.1:{ports['redis']}/0",
            kafka_bootstrap_servers=f"127.0.0.1:{ports['kafka']}",
            kafka_listeners={
                name: f"127.0.0.1:{ports[f'kafka-{name}']}" for name in self._kafka_advertised
            },
            temporal_address=f"127.0.0.1:{ports['temporal']}",
            temporal_ui_url=f"http://127.0.0.1:{ports['temporal-ui']}",
        )

    def stop(self) -> None:
        """Stop and remove the containers; their volumes stay."""
        for container in reversed(self._containers.values()):
            container.get_wrapped_container().stop(timeout=_GRACE)
            container.stop()
        self._containers.clear()
        self._ports.release()
        if self._owns_supervisor:
            self._supervisor.close()

    def halt(self, server: Server) -> None:
        """Stop a server politely and leave it so until it is restarted."""
        self._container(server).stop(timeout=_GRACE)

    def restart(self, server: Server) -> None:
        """Stop a server politely unless it is halted, start it again, wait until it answers."""
        self._container(server).restart(timeout=_GRACE)
        self.wait_ready(server)

    def kill(self, server: Server) -> None:
        """End a server by SIGKILL and start it again, see `wait_ready`."""
        container = self._container(server)
        container.kill()
        container.wait()
        container.start()

    def wait_ready(self, server: Server | None = None, *, timeout: float = _READY) -> None:
        """Wait until a server, or each of them, answers.

        Raises:
            NotReadyError: It does not within `timeout` seconds.
        """
        for name in [server] if server else list(self._containers):
            deadline = time.monotonic() + timeout
            while not self._recipes[name].answers():
                if time.monotonic() > deadline:
                    said = self._container(name).logs(tail=3).decode(errors="replace").strip()
                    message = f"{name} was not ready after {timeout:.0f} s: {said}"
                    raise NotReadyError(message)
                time.sleep(0.2)

    def crashes(self) -> list[Crash]:
        """Return the last crash of each server that Docker has started again."""
        found = []
        for name in self._containers:
            container = self._container(name)
            container.reload()
            if container.attrs["RestartCount"]:
                lines = container.logs(tail=8).decode(errors="replace").splitlines()
                code = container.attrs["State"]["ExitCode"]
                found.append(Crash(name, datetime.now(UTC), code, None, tuple(lines)))
        return found

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _container(self, server: Server) -> Container:
        return self._containers[server].get_wrapped_container()

    def _bring_up(self, server: Server) -> None:
        recipe = self._recipes[server]
        name = f"{self._prefix}-{server}"
        self._remove_leftover(name)
        options: dict[str, Any] = {"restart_policy": {"Name": "on-failure"}}
        if recipe.user:
            options["user"] = recipe.user
        container = (
            DockerContainer(IMAGES[server])
            .with_name(name)
            .with_envs(**recipe.env, **self._server_env.get(server, {}))
            .with_command(list(recipe.command))
            .with_volume_mapping(name, recipe.volume, mode="rw")
            .with_kwargs(**options)
        )
        for inside, outside in recipe.ports.items():
            # `with_bind_ports` takes no address and would publish on every interface.
            ports: dict[str, Any] = container.ports
            ports[f"{inside}/tcp"] = ("127.0.0.1", outside)
        self._containers[server] = container.start()
        self.wait_ready(server)

    def _remove_leftover(self, name: str) -> None:
        client = DockerClient().client
        try:
            client.containers.get(name).remove(force=True)
        except docker.errors.NotFound:
            return
        self._supervisor.tell(f"removed the container {name}, left by an earlier run")

    def _make_recipes(
        self, postgres: PostgresEndpoint, ports: Mapping[str, int]
    ) -> dict[Server, _Recipe]:
        address = f"127.0.0.1:{ports['kafka']}"
        kafka_ports = {9092: ports["kafka"]}
        bound, sent_to, protocols = ["CLIENTS://:9092"], [f"CLIENTS://{address}"], ["CLIENTS"]
        for number, (name, advertised) in enumerate(self._kafka_advertised.items(), start=1):
            kafka_ports[9100 + number] = ports[f"kafka-{name}"]
            bound.append(f"PROXIED{number}://:{9100 + number}")
            sent_to.append(f"PROXIED{number}://{advertised}")
            protocols.append(f"PROXIED{number}")
        temporal = f"127.0.0.1:{ports['temporal']}"
        unsafe = () if self._durable else ("-c", "fsync=off", "-c", "full_page_writes=off")
        return {
            "kafka": _Recipe(
                ports=kafka_ports,
                volume="/var/lib/kafka/data",
                env={
                    "CLUSTER_ID": self._state.secret("kafka-cluster")[:22],
                    "KAFKA_HEAP_OPTS": "-Xmx512m",
                    "KAFKA_NODE_ID": "1",
                    "KAFKA_PROCESS_ROLES": "broker,controller",
                    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
                    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
                    "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
                    "KAFKA_LISTENERS": ",".join(
                        [*bound, "INTERNAL://localhost:9094", "CONTROLLER://localhost:9093"]
                    ),
                    "KAFKA_ADVERTISED_LISTENERS": ",".join([*sent_to, "INTERNAL://localhost:9094"]),
                    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": ",".join(
                        f"{name}:PLAINTEXT" for name in (*protocols, "INTERNAL", "CONTROLLER")
                    ),
                    "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
                    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
                    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
                    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
                    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
                    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
                    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
                    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
                },
                command=(),
                answers=lambda: topics.answers(address),
            ),
            "temporal": _Recipe(
                ports={7233: ports["temporal"], 8233: ports["temporal-ui"]},
                volume="/data",
                env={"TEMPORAL_VERSION_CHECK_DISABLED": "1"},
                command=(
                    *("server", "start-dev", "--ip", "0.0.0.0"),  # noqa: S104 - in the container
                    *("--db-filename", "/data/temporal.db", "--log-level", "warn"),
                    *(part for name in self._namespaces for part in ("--namespace", name)),
                    *servers.TEMPORAL_IN_HASTE,
                ),
                # A new volume belongs to root, the image's user is another.
                user="0",
                answers=lambda: servers.temporal_answers(temporal, self._namespaces),
            ),
            "postgres": _Recipe(
                ports={5432: postgres.port},
                volume="/var/lib/postgresql",
                env={"POSTGRES_PASSWORD": postgres.password},
                command=("postgres", "-c", "max_connections=200", "-c", "timezone=UTC", *unsafe),
                answers=lambda: databases.answers(postgres),
            ),
            "redis": _Recipe(
                ports={6379: ports["redis"]},
                volume="/data",
                env={},
                command=("redis-server", "--appendonly", "yes", "--save", ""),
                answers=lambda: servers.redis_answers(ports["redis"]),
            ),
        }
