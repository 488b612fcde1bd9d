"""The servers as processes of this machine, listening on 127.0.0.1 only."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

from devstack import issuer
from devstack.errors import UnknownProcessError
from devstack.infrastructure import access, certificates, databases, secured, servers
from devstack.infrastructure.certificates import StackCertificates
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint
from devstack.infrastructure.servers import Launch, Server
from devstack.infrastructure.temporal_server import TemporalServerInfrastructure
from devstack.issuer import Issuer
from devstack.ports import Ports
from devstack.state import StateFolder
from devstack.supervision import Crash, Supervisor
from devstack.tools import (
    find_kafka,
    find_postgresql,
    find_redis,
    find_temporal,
    find_temporal_server,
)

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
        secure: bool = False,
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
        self._certified = (
            StackCertificates(state.path / "certs", namespaces=namespaces) if secure else None
        )
        self._temporal: TemporalServerInfrastructure | None = None
        self._issuer = Issuer(state.path / issuer.NAME)
        self._issuer_url = ""

    def start(self) -> Endpoints:
        """Start the servers, all at once, and return their addresses once each answers.

        Raises:
            DevstackError: A program is missing, the folder is in use, or a server does not start.
        """
        certified = self._certified
        temporal = find_temporal if certified is None else find_temporal_server
        for find in (find_postgresql, find_redis, find_kafka, temporal):
            find()  # One after the other, so that progress lines do not mix.
        if self._owns_supervisor:
            self._supervisor.open()
        try:
            if certified is not None:
                certified.bring()
                self._start_issuer(certified)
            listeners = [f"kafka-{name}" for name in self._kafka_advertised]
            ports = {name: self._ports.port(name) for name in (*servers.PORTS, *listeners)}
            postgres = PostgresEndpoint(
                host="127.0.0.1",
                port=ports["postgres"],
                user="postgres",
                password=self._state.secret("postgres"),
                database=databases.DATABASE,
                passwords={role: self._state.secret(role) for role in databases.ROLES},
                certificates=None
                if certified is None
                else {role: certified.files(name) for role, name in access.POSTGRES.items()},
            )
            prepare: dict[Server, Callable[[], Launch]] = {
                "kafka": functools.partial(
                    servers.kafka,
                    self._state,
                    ports,
                    advertised=self._kafka_advertised,
                    certified=certified,
                ),
                "postgres": functools.partial(
                    servers.postgres,
                    self._state,
                    postgres,
                    durable=self._durable,
                    certified=certified,
                ),
                "redis": functools.partial(servers.redis, self._state, ports, certified=certified),
            }
            temporal_address = f"127.0.0.1:{ports['temporal']}"
            if certified is None:
                prepare["temporal"] = functools.partial(
                    servers.temporal,
                    self._state,
                    ports,
                    namespaces=self._namespaces,
                    durable=self._durable,
                )
                self._bring_up_all(prepare)
            else:
                front = servers.redis_front(self._state, ports, certified)
                self._supervisor.add(front)
                self._supervisor.start(front.name)
                self._bring_up_all(prepare)
                temporal_address = self._bring_up_full_temporal(postgres, certified)
            databases.bootstrap(postgres)
        except BaseException:
            self.stop()
            raise
        return Endpoints(
            postgres=postgres,
            redis_url=self._redis_url(ports["redis"], access.REDIS_USER),
            redis_admin_url=self._redis_admin_url(ports["redis"]),
            kafka_bootstrap_servers=f"127.0.0.1:{ports['kafka']}",
            kafka_listeners={
                name: f"127.0.0.1:{ports[f'kafka-{name}']}" for name in self._kafka_advertised
            },
            temporal_address=temporal_address,
            temporal_ui_url=(
                f"http://127.0.0.1:{ports['temporal-ui']}" if certified is None else ""
            ),
            temporal_metrics=(
                f"127.0.0.1:{ports['temporal-metrics']}" if certified is None else ""
            ),
            temporal_parts={} if self._temporal is None else self._temporal.parts,
            certificates=certified,
            issuer=None if certified is None else self._issuer,
            issuer_url=self._issuer_url,
        )

    def stop(self) -> None:
        """Stop the servers; their data stays."""
        if self._temporal is not None:
            self._temporal.stop()
            self._temporal = None
        with ThreadPoolExecutor(max_workers=len(servers.SERVERS)) as pool:
            list(pool.map(self._supervisor.stop, self._launches))
        self._launches.clear()
        if self._certified is not None:
            for name in (servers.REDIS_FRONT, issuer.NAME):
                with contextlib.suppress(UnknownProcessError):
                    self._supervisor.stop(name)
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
        for name in [server] if server else [*self._launches, *self._full]:
            if name in self._full and self._temporal is not None:
                self._temporal.wait_ready(timeout=timeout)
                continue
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

    @property
    def _full(self) -> tuple[Server, ...]:
        """The server that is not launched as the others are."""
        return () if self._temporal is None else ("temporal",)

    def _bring_up_full_temporal(
        self, postgres: PostgresEndpoint, certified: StackCertificates
    ) -> str:
        """Start what knows TLS, which the development server does not; return its address."""
        self._temporal = TemporalServerInfrastructure(
            self._state.path / "temporal-server",
            postgres=postgres,
            namespaces=self._namespaces,
            certified=certified,
            issuer=self._issuer,
            issuer_url=self._issuer_url,
            supervisor=self._supervisor,
            name="temporal",
        )
        return self._temporal.start()

    def _start_issuer(self, certified: StackCertificates) -> None:
        """Have tokens for Temporal, and serve the keys by which they are known."""
        self._issuer.bring()
        self._issuer.grant(access.temporal(namespaces=self._namespaces), now=datetime.now(UTC))
        port = self._ports.port(issuer.NAME)
        self._issuer_url = f"https://127.0.0.1:{port}"
        program = servers.issuer(self._state, port, certified)
        self._supervisor.add(program)
        self._supervisor.start(program.name)
        self._supervisor.wait_until(program.name, lambda: servers.listens(port), timeout=_READY)

    def _redis_url(self, port: int, user: str) -> str:
        if self._certified is None:
            return f"redis://127.0.0.1:{port}/0"
        password = secured.redis_password(self._state, user)
        return f"rediss://{user}:{password}@127.0.0.1:{port}/0"

    def _redis_admin_url(self, port: int) -> str:
        url = self._redis_url(port, certificates.ADMIN)
        if self._certified is None:
            return url
        files = self._certified.files(certificates.ADMIN)
        shown = {
            "ssl_certfile": files.certificate,
            "ssl_keyfile": files.private_key,
            "ssl_ca_certs": files.client_ca,
        }
        return f"{url}?{urlencode(shown)}"

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
