"""Temporal's full server on PostgreSQL: for what the development server does not show.

The development server keeps its data in SQLite, starts tasks on a grid of 50 ms and knows no TLS.
This one is what people run. It stands beside the other servers, whoever runs those, with two
databases and a role of its own on their PostgreSQL.
"""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import asyncpg
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.service import RPCError, RPCStatusCode

from devstack import loops
from devstack.errors import UnknownProcessError
from devstack.infrastructure import certificates, secured, servers
from devstack.infrastructure.certificates import StackCertificates
from devstack.infrastructure.endpoints import PostgresEndpoint
from devstack.issuer import KEYS, Issuer
from devstack.ports import Ports
from devstack.state import StateFolder
from devstack.supervision import Crash, Program, Supervisor
from devstack.tools import TemporalServer, find_temporal_server
from runtime.temporalrenewal import Renewal

NAME = "temporal-server"
_ROLE = "temporal"
# Database -> the schema in it, by the name that the SQL tool has for it.
_SCHEMAS = {
    "temporal": "postgresql/v12/temporal",
    "temporal_visibility": "postgresql/v12/visibility",
}
_PARTS = ("frontend", "history", "matching", "worker")
# By which the worker's own workflows go where the frontend asks for a token.
_INTERNAL = "internal-frontend"
_SHARDS = 4  # of histories, as in the server's own examples; fixed by the first start
_CONNECTIONS = {"temporal": 20, "temporal_visibility": 5}
_RETENTION = timedelta(days=1)
_READY = 120.0  # seconds


class TemporalServerInfrastructure:
    """The full server as one process under a supervisor, its files in a state folder."""

    def __init__(
        self,
        state_dir: Path,
        *,
        postgres: PostgresEndpoint,
        namespaces: Sequence[str] = ("dev",),
        certified: StackCertificates | None = None,
        issuer: Issuer | None = None,
        issuer_url: str = "",
        supervisor: Supervisor | None = None,
        name: str = NAME,
    ) -> None:
        """Keep files, ports and passwords in `state_dir`; a folder that no stack has.

        Args:
            state_dir: Where they are kept.
            postgres: A PostgreSQL that is up, as its superuser: of `provide`, for example.
            namespaces: Temporal namespaces to create.
            certified: With certificates frontend and internode ask for one, and the server has
                one for PostgreSQL.
            issuer: Of the tokens that say what each may do; there is one where there are
                certificates.
            issuer_url: Below which its keys are.
            supervisor: One that is open already, to share; else there is one of its own.
            name: The server's, for the supervisor.
        """
        self._state = StateFolder(state_dir)
        self._postgres = postgres
        self._namespaces = tuple(namespaces)
        self._name = name
        self._certified = certified
        self._issuer_url = issuer_url
        self._admin: Renewal | None = None
        self._admin_token = None if issuer is None else issuer.token_file(certificates.ADMIN)
        self._own = None if certified is None else certified.files(certificates.TEMPORAL)
        self._owns_supervisor = supervisor is None
        self._supervisor = supervisor or Supervisor(self._state)
        self._ports = Ports(self._state, self._supervisor.tell)
        self._parts: dict[str, str] = {}
        self._address = ""

    @property
    def address(self) -> str:
        """The frontend, as host:port."""
        return self._address

    @property
    def parts(self) -> Mapping[str, str]:
        """Each part of the server, as host:port."""
        return self._parts

    @property
    def pid(self) -> int | None:
        """The server's process, None while it is down."""
        return next(status.pid for status in self._supervisor.status() if status.name == self._name)

    def start(self) -> str:
        """Make databases, schema and namespaces where they are absent; start; return the address.

        Raises:
            DevstackError: A program is missing, the folder is in use, or the server does not start.
        """
        programs = find_temporal_server()
        if self._owns_supervisor:
            self._supervisor.open()
        else:
            self._state.create()
        try:
            ports = {
                part: (self._ports.port(f"{part}-grpc"), self._ports.port(f"{part}-membership"))
                for part in (*_PARTS, *(() if self._certified is None else (_INTERNAL,)))
            }
            self._parts = {part: f"127.0.0.1:{grpc}" for part, (grpc, _) in ports.items()}
            self._address = self._parts["frontend"]
            password = self._state.secret("postgres")
            if self._certified is not None:
                self._admin = Renewal(
                    self._certified.files(certificates.ADMIN), token=self._admin_token
                )
            loops.run(_make_databases(self._postgres, password))
            self._bring_schema(programs, password)
            self._supervisor.add(self._program(programs, ports, password))
            self._supervisor.start(self._name)
            self._supervisor.wait_until(
                self._name,
                lambda: servers.temporal_answers(self._address, (), shown=self._admin),
                timeout=_READY,
            )
            loops.run(_register(self._address, self._namespaces, self._admin))
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self._address

    def stop(self) -> None:
        """Stop the server; its data stays, in PostgreSQL."""
        if self._owns_supervisor:
            self._supervisor.close()
        else:
            # It may not have come so far as to be known.
            with contextlib.suppress(UnknownProcessError):
                self._supervisor.stop(self._name)
        self._ports.release()

    def restart(self) -> None:
        """Stop the server politely, start it again, wait until it answers."""
        self._supervisor.restart(self._name)
        self.wait_ready()

    def kill(self) -> None:
        """End the server by SIGKILL; it is started again at once, see `wait_ready`."""
        self._supervisor.kill(self._name)

    def wait_ready(self, *, timeout: float = _READY) -> None:
        """Wait until every part of the server serves every namespace.

        Raises:
            NotReadyError: It does not within `timeout` seconds.
        """
        self._supervisor.wait_until(
            self._name,
            lambda: servers.temporal_answers(self._address, self._namespaces, shown=self._admin),
            timeout=timeout,
        )

    def crashes(self) -> list[Crash]:
        """Return the crashes that nobody asked for."""
        return self._supervisor.crashes(self._name)

    def log(self) -> Path:
        """Return the log file."""
        return self._state.log(self._name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _bring_schema(self, programs: TemporalServer, password: str) -> None:
        for database, schema in _SCHEMAS.items():
            env = {
                "SQL_PLUGIN": "postgres12_pgx",
                "SQL_HOST": self._postgres.host,
                "SQL_PORT": str(self._postgres.port),
                "SQL_USER": _ROLE,
                # Not an argument: those are seen by everybody on the machine.
                "SQL_PASSWORD": password,
                "SQL_DATABASE": database,
                **({} if self._own is None else secured.temporal_sql_tool(self._own)),
            }
            # The first only makes the tables of versions, where there are none yet.
            for arguments in (
                ("setup-schema", "--version", "0.0"),
                ("update-schema", "--schema-name", schema),
            ):
                servers.checked(
                    [str(programs.sql_tool), *arguments],
                    self._state,
                    env=env,
                    failure=f"the schema {schema} cannot be brought into {database}",
                )

    def _program(
        self, programs: TemporalServer, ports: dict[str, tuple[int, int]], password: str
    ) -> Program:
        # JSON is YAML, and quotes what a password may hold.
        self._state.write("dynamic-config", _DYNAMIC)
        self._state.write("server", self._configuration(ports, password))
        return Program(
            name=self._name,
            argv=(
                str(programs.server),
                *(("--allow-no-auth",) if self._certified is None else ()),
                *("--config-file", str(self._state.path / "server.json"), "start"),
                *(part for name in ports for part in ("--service", name)),
            ),
            env={
                **servers.environment(self._state),
                # Whom it trusts where the issuer's keys are: there is no setting for it.
                **({} if self._own is None else {"SSL_CERT_FILE": str(self._own.client_ca)}),
            },
            address=self._address,
            grace=20.0,
        )

    def _configuration(self, ports: dict[str, tuple[int, int]], password: str) -> dict[str, Any]:
        def store(database: str) -> dict[str, Any]:
            return {
                "sql": {
                    "pluginName": "postgres12_pgx",
                    "databaseName": database,
                    "connectAddr": f"{self._postgres.host}:{self._postgres.port}",
                    "connectProtocol": "tcp",
                    "user": _ROLE,
                    "password": password,
                    "maxConns": _CONNECTIONS[database],
                    "maxIdleConns": _CONNECTIONS[database],
                    "maxConnLifetime": "1h",
                    **({} if self._own is None else {"tls": secured.temporal_store(self._own)}),
                }
            }

        return {
            "log": {"stdout": True, "level": "warn"},
            "persistence": {
                "defaultStore": "default",
                "visibilityStore": "visibility",
                "numHistoryShards": _SHARDS,
                "datastores": {
                    "default": store("temporal"),
                    "visibility": store("temporal_visibility"),
                },
            },
            "global": {
                "membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"},
                **self._secured(),
            },
            "services": {
                part: {
                    "rpc": {
                        "grpcPort": grpc,
                        "membershipPort": membership,
                        "bindOnIP": "127.0.0.1",
                    }
                }
                for part, (grpc, membership) in ports.items()
            },
            "clusterMetadata": {
                "enableGlobalNamespace": False,
                "failoverVersionIncrement": 10,
                "masterClusterName": "active",
                "currentClusterName": "active",
                "clusterInformation": {
                    "active": {
                        "enabled": True,
                        "initialFailoverVersion": 1,
                        "rpcName": "frontend",
                        "rpcAddress": self._address,
                    }
                },
            },
            "dcRedirectionPolicy": {"policy": "noop"},
            # With an internal frontend it is that one, and may not be said.
            **({"publicClient": {"hostPort": self._address}} if self._certified is None else {}),
            "dynamicConfigClient": {
                "filepath": str(self._state.path / "dynamic-config.json"),
                "pollInterval": "60s",
            },
        }

    def _secured(self) -> dict[str, Any]:
        if self._certified is None:
            return {}
        return {
            "tls": secured.temporal(self._certified),
            "authorization": secured.temporal_authorization(f"{self._issuer_url}/{KEYS}"),
        }


# A namespace that was just made is served after a second rather than ten.
_DYNAMIC = {"system.namespaceCacheRefreshInterval": [{"value": "1s"}]}


async def _make_databases(postgres: PostgresEndpoint, password: str) -> None:
    connection = await asyncpg.connect(postgres.dsn(database="postgres"), timeout=30.0)
    try:
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", _ROLE
        ):
            await connection.execute(f"CREATE ROLE {_ROLE} LOGIN")
        # DDL takes no parameters; the password is this package's own hexadecimal text.
        await connection.execute(f"ALTER ROLE {_ROLE} PASSWORD '{password}'")
        for database in _SCHEMAS:
            if not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database
            ):
                await connection.execute(f"CREATE DATABASE {database} OWNER {_ROLE}")
    finally:
        await connection.close()


async def _register(address: str, namespaces: Sequence[str], shown: Renewal | None) -> None:
    service = (await servers.connect_temporal(address, shown)).workflow_service
    retention = Duration()
    retention.FromTimedelta(_RETENTION)
    for namespace in namespaces:
        try:
            await service.register_namespace(
                RegisterNamespaceRequest(
                    namespace=namespace, workflow_execution_retention_period=retention
                )
            )
        except RPCError as exc:
            if exc.status is not RPCStatusCode.ALREADY_EXISTS:
                raise
