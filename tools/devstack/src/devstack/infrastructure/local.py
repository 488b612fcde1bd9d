"""The servers as processes of this machine, listening on 127.0.0.1 only."""

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Self

from devstack.infrastructure import databases, servers
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint
from devstack.infrastructure.servers import Launch, Server
from devstack.ports import Ports
from devstack.state import StateFolder
from devstack.supervision import Crash, Supervisor
from devstack.tools import find_kafka, find_postgresql, find_redis, find_temporal

_READY = 120.0  # seconds; a cold and busy machine takes a fifth of it


class LocalInfrastructure:
    """PostgreSQL, Redis, Kafka and Temporal under a supervisor, their data in a state folder."""

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
        self._supervisor = supervisor or Supervisor(state, tell=tell)
        self._ports = Ports(state, self._supervisor.tell)
        self._launches: dict[Server, Launch] = {}

    def start(self) -> Endpoints:
        """Start the servers, all at once, and return their addresses once each answers.

        Raises:
            DevstackError: A program is missing, the folder is in use, or a server does not start.
        """
        tools = (find_postgresql, find_redis, find_kafka, find_temporal)
        for find in tools:
            find()  # One after the other, so that progress lines do not mix.
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
            prepare: dict[Server, Callable[[], Launch]] = {
                "kafka": functools.partial(
                    servers.kafka, self._state, ports, advertised=self._kafka_advertised
                ),
                "temporal": functools.partial(
                    servers.temporal, self._state, ports, namespaces=self._namespaces
                ),
                "postgres": functools.partial(
                    servers.postgres, self._state, postgres, durable=self._durable
                ),
                "redis": functools.partial(servers.redis, self._state, ports),
            }
            self._bring_up_all(prepare)
            databases.bootstrap(postgres)
        except BaseException:
            self.stop()
            raise
        return Endpoints(
            postgres=postgres,
            redis_url=f"redis://127.0.0.1:{ports['redis']}/0",
            kafka_bootstrap_servers=f"127.0.0.1:{ports['kafka']}",
            kafka_listeners={
                name: f"127.0.0.1:{ports[f'kafka-{name}']}" for name in self._kafka_advertised
            },
            temporal_address=f"127.0.0.1:{ports['temporal']}",
            temporal_ui_url=f"http://127.0.0.1:{ports['temporal-ui']}",
        )

    def stop(self) -> None:
        """Stop the servers; their data stays."""
        with ThreadPoolExecutor(max_workers=len(servers.SERVERS)) as pool:
            list(pool.map(self._supervisor.stop, self._launches))
        self._launches.clear()
        self._ports.release()
        if self._owns_supervisor:
            self._supervisor.close()

    def halt(self, server: Server) -> None:
        """Stop a server politely and leave it so until it is restarted."""
        self._supervisor.stop(server)

    def restart(self, server: Server) -> None:
        """Stop a server politely unless it is halted, start it again, wait until it answers."""
        self._supervisor.restart(server)
        self.wait_ready(server)

    def kill(self, server: Server) -> None:
        """End a server by SIGKILL; it is started again at once, see `wait_ready`."""
        self._supervisor.kill(server)

    def wait_ready(self, server: Server | None = None, *, timeout: float = _READY) -> None:
        """Wait until a server, or each of them, answers.

        Raises:
            NotReadyError: It does not within `timeout` seconds.
        """
        for name in [server] if server else list(self._launches):
            self._supervisor.wait_until(name, self._launches[name].answers, timeout=timeout)

    def crashes(self) -> list[Crash]:
        """Return the crashes of servers that nobody asked for."""
        return [crash for name in servers.SERVERS for crash in self._supervisor.crashes(name)]

    def log(self, server: Server) -> Path:
        """Return the log file of a server."""
        return self._state.log(server)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _bring_up_all(self, prepare: Mapping[Server, Callable[[], Launch]]) -> None:
        with ThreadPoolExecutor(max_workers=len(prepare)) as pool:
            futures = [pool.submit(self._bring_up, name, work) for name, work in prepare.items()]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                # Interrupted, or one of them failed: the others are of no use.
                self._supervisor.abandon()
                raise

    def _bring_up(self, server: Server, prepare: Callable[[], Launch]) -> None:
        launch = prepare().with_env(self._server_env.get(server, {}))
        self._launches[server] = launch
        self._supervisor.add(launch.program)
        self._supervisor.start(server)
        self.wait_ready(server)
