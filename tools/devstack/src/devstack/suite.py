"""Backbone itself as supervised processes: servers, services and what a caller adds."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

from contracts import names
from devstack import data_keys, issuer, signing_keys, supervision
from devstack.errors import DevstackError, NotReadyError, UnknownProcessError
from devstack.infrastructure import (
    SERVERS,
    Endpoints,
    Server,
    access,
    certificates,
    databases,
    ensure_grants,
    ensure_topics,
    provide,
)
from devstack.infrastructure.certificates import ADMIN
from devstack.infrastructure.providing import Provider
from devstack.issuer import Issuer
from devstack.ports import Ports
from devstack.signing_keys import SigningKeys
from devstack.state import StateFolder
from devstack.supervision import Crash, Program, Status, Supervisor

Service = Literal["ledger", "registry", "router", "orchestrator-worker", "outbox-relay", "console"]
SERVICES: tuple[Service, ...] = (
    "ledger",
    "registry",
    "router",
    "orchestrator-worker",
    "outbox-relay",
    "console",
)
DEFAULT_TOPICS = ("dev.events",)
DEFAULT_TASK_QUEUES = ("billing-tq",)

_WITH_SCHEMA: tuple[Service, ...] = ("ledger", "registry")
_WITH_GRPC: tuple[Service, ...] = ("ledger", "registry", "router")
_WITH_CATALOGUE: tuple[Service, ...] = ("registry", "orchestrator-worker")
_WITHOUT_DATA_KEYS: tuple[Service, ...] = ("outbox-relay", "console")
PEOPLE = "people.env"
"""The file with the variables for who shows a token; the token is in the file `TOKEN`."""
TOKEN = "token"  # noqa: S105 - a file's name
_GRACE = 30.0  # seconds: longer than a service's own
_READY = 120.0  # seconds
_PARTITIONS = 4


@dataclass(frozen=True)
class Address:
    """Where a service listens, as host:port."""

    http: str
    grpc: str | None = None
    temporal_metrics: str | None = None  # of the SDK, where it serves task queues
    people: str | None = None  # of a secure stack: for who has a token and no certificate
    pages: str | None = None  # of the console: what people open


@dataclass(frozen=True)
class Extra:
    """A process of the caller's: a handler worker, a producer, a consumer."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    health: str | None = None  # a URL that answers 200 once it is ready


class Suite:
    """One whole stack in one state folder.

    Args:
        state_dir: Where data, logs, ports and passwords are kept; one stack per folder.
        namespaces: The namespaces the services serve.
        endpoints: Servers that are already up, which then are left alone; else it has its own.
        services: Which of the services run.
        extra: Further processes, started after the services are ready.
        topics: The topics the router reads.
        task_queues: The task queues the orchestrator-worker serves.
        catalogue: The operator's catalogue, a YAML file: the registry checks definitions with it,
            the orchestrator-worker reaches systems by it.
        partitions: Of every topic made here.
        env: Environment variables per process, over those of `environment`.
        server_env: Environment variables per server.
        kafka_advertised: Further listeners of Kafka, see `provide`.
        secure: Everything speaks mutual TLS, nobody may do what is not granted (see `provide`), and
            what the services emit is signed, and what they store in Temporal and as dead letters is
            encrypted. Producers need not sign until one is registered.
            The variables in `.backbone/env` are then those of a developer with every role.
        durable: False lets PostgreSQL and Temporal lose data when the machine (not a process) dies.
        provider: Who runs the servers; chosen when None.
        prepare: Called once the servers answer and before any service starts, which may then still
            be given a variable in `env`: for what is the caller's on these servers. `addresses`
            is known by then.
        tell: Called with a sentence on every event (a crash, a port that changed).
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        namespaces: Sequence[str] = ("dev",),
        endpoints: Endpoints | None = None,
        services: Sequence[Service] = SERVICES,
        extra: Sequence[Extra] = (),
        topics: Sequence[str] = DEFAULT_TOPICS,
        task_queues: Sequence[str] = DEFAULT_TASK_QUEUES,
        catalogue: Path | None = None,
        partitions: int = _PARTITIONS,
        env: Mapping[str, Mapping[str, str]] | None = None,
        server_env: Mapping[Server, Mapping[str, str]] | None = None,
        kafka_advertised: Mapping[str, str] | None = None,
        secure: bool = False,
        durable: bool = True,
        provider: Provider | None = None,
        prepare: Callable[[Endpoints], None] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._state = StateFolder(state_dir)
        self._namespaces = tuple(namespaces)
        self._services = tuple(services)
        self._extra = tuple(extra)
        self._topics = tuple(topics)
        self._task_queues = tuple(task_queues)
        self._catalogue = catalogue
        self._partitions = partitions
        # The very mapping: `prepare` may still add to it.
        self._env = {} if env is None else env
        self._prepare = prepare
        self._supervisor = Supervisor(self._state, tell=tell)
        self._ports = Ports(self._state, self._supervisor.tell)
        self._endpoints = endpoints
        self._infrastructure = (
            None
            if endpoints is not None
            else provide(
                state_dir,
                namespaces=namespaces,
                durable=durable,
                server_env=server_env,
                kafka_advertised=kafka_advertised,
                secure=secure,
                provider=provider,
                supervisor=self._supervisor,
            )
        )
        self._addresses: dict[Service, Address] = {}
        self._keys: SigningKeys | None = None
        self._data_keys: Path | None = None

    @property
    def endpoints(self) -> Endpoints:
        """The servers' addresses.

        Raises:
            NotReadyError: They are not up yet.
        """
        if self._endpoints is None:
            message = "the stack is not started"
            raise NotReadyError(message)
        return self._endpoints

    @property
    def addresses(self) -> Mapping[Service, Address]:
        """Where each service listens."""
        return self._addresses

    @property
    def console_url(self) -> str:
        """Where people open the console, without a slash at its end."""
        scheme = "https" if self._is_secure else "http"
        return f"{scheme}://{self._addresses['console'].pages}"

    def start(self) -> Self:
        """Start everything and return once every service is ready.

        Raises:
            DevstackError: The folder is in use, a program is missing or a process does not start.
        """
        self._supervisor.open()
        try:
            if self._infrastructure is not None:
                self._endpoints = self._infrastructure.start()
            self._addresses = {
                service: Address(
                    http=f"127.0.0.1:{self._ports.port(f'{service}-http')}",
                    grpc=(
                        f"127.0.0.1:{self._ports.port(f'{service}-grpc')}"
                        if service in _WITH_GRPC
                        else None
                    ),
                    temporal_metrics=(
                        f"127.0.0.1:{self._ports.port(f'{service}-temporal-metrics')}"
                        if service == "orchestrator-worker"
                        else None
                    ),
                    people=(
                        f"127.0.0.1:{self._ports.port(f'{service}-people')}"
                        if service in _WITH_GRPC and self._is_secure
                        else None
                    ),
                    pages=(
                        f"127.0.0.1:{self._ports.port('console-pages')}"
                        if service == "console"
                        else None
                    ),
                )
                # Also of those that do not run here: others may be told to call them.
                for service in SERVICES
            }
            if self._prepare is not None:
                self._prepare(self.endpoints)
            ensure_topics(
                self.endpoints.brokers, dict.fromkeys(self._all_topics(), self._partitions)
            )
            if self.endpoints.certificates is not None:
                self._keys = signing_keys.bring(self._state.path / "keys")
                self._data_keys = data_keys.bring(self._state.path / "keys")
                self.issuer.serve(self.console_url)
                ensure_grants(
                    self.endpoints.brokers,
                    access.kafka(namespaces=self._namespaces, topics=self._topics),
                )
                self._state.write_text(PEOPLE, _lines(self.people_environment()))
            self._state.write_text("env", _lines(self.client_environment()))
            for service in _WITH_SCHEMA:
                if service in self._services:
                    self._migrate(service)
            for service in self._services:
                self._supervisor.add(self._program(service))
                self._supervisor.start(service)
            self.wait_ready()
            for extra in self._extra:
                self._supervisor.add(self._extra_program(extra))
                self._supervisor.start(extra.name)
            self.wait_ready()
        except BaseException:
            self._supervisor.abandon()
            self.stop()
            raise
        return self

    def stop(self, name: str | None = None) -> None:
        """Stop one process and leave it so; or everything, services before servers."""
        if name in SERVERS and self._infrastructure is not None:
            self._infrastructure.halt(name)
            return
        if name is not None:
            self._supervisor.stop(name)
            return
        if not self._supervisor.is_open:
            return
        extras = (extra.name for extra in self._extra)
        for process in reversed([*self._services, *extras]):
            # Those that were never started are not known.
            with contextlib.suppress(UnknownProcessError):
                self._supervisor.stop(process)
        if self._infrastructure is not None:
            self._infrastructure.stop()
            self._endpoints = None
        self._supervisor.close()
        self._ports.release()

    def start_process(self, name: str) -> None:
        """Start a process that was stopped by name; of a server, wait until it answers."""
        if name in SERVERS and self._infrastructure is not None:
            self._infrastructure.restart(name)
        else:
            self._supervisor.start(name)

    def restart(self, name: str, *, env: Mapping[str, str] | None = None) -> None:
        """Stop one process politely and start it again; see `wait_ready`.

        Args:
            name: The process.
            env: Variables that it has from now on, over those it had: of no server.
        """
        if env is not None:
            self._env = {**self._env, name: {**self._env.get(name, {}), **env}}
            self._supervisor.stop(name)
            self._supervisor.add(self._known(name))
        self._supervisor.restart(name)

    def kill(self, name: str) -> None:
        """End one process by SIGKILL; it is started again at once, see `wait_ready`."""
        if name in SERVERS and self._infrastructure is not None:
            self._infrastructure.kill(name)
        else:
            self._supervisor.kill(name)

    def abandon(self) -> None:
        """Have a `start` that is going on in this process give up."""
        self._supervisor.abandon()

    def wait_ready(self, name: str | None = None, *, timeout: float = _READY) -> None:
        """Wait until one process, or everything, is ready.

        Raises:
            NotReadyError: It is not within `timeout` seconds, or it crashes on and on.
        """
        if self._infrastructure is not None:
            if name is None:
                self._infrastructure.wait_ready(timeout=timeout)
            elif name in SERVERS:
                self._infrastructure.wait_ready(name, timeout=timeout)
        deadline = time.monotonic() + timeout
        for status in self._supervisor.status():
            if name not in {None, status.name} or status.state == "stopped":
                continue
            if status.health is not None:
                self._supervisor.wait_until(
                    status.name,
                    functools.partial(answers_ok, status.health),
                    timeout=max(0.0, deadline - time.monotonic()),
                )

    def status(self) -> list[Status]:
        """Return how each process stands."""
        return self._supervisor.status()

    @property
    def data_keys(self) -> Path | None:
        """The ring with which it encrypts, once it is started; None where nothing is encrypted."""
        return self._data_keys

    def crashes(self, name: str | None = None) -> list[Crash]:
        """Return the crashes nobody asked for, of one process or of all, oldest first."""
        return self._supervisor.crashes(name)

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self._state.log(name)

    def environment(self, service: Service) -> dict[str, str]:
        """Return the environment in which `service` runs."""
        postgres = self.endpoints.postgres
        own: dict[str, str] = {"BACKBONE_HTTP_LISTEN": self._addresses[service].http}
        if grpc := self._addresses[service].grpc:
            own["BACKBONE_GRPC_LISTEN"] = grpc
        if people := self._addresses[service].people:
            own["BACKBONE_PEOPLE_LISTEN"] = people
            own |= self._believed()
        if metrics := self._addresses[service].temporal_metrics:
            own["BACKBONE_TEMPORAL_METRICS_LISTEN"] = metrics
        if service in _WITH_SCHEMA:
            own["BACKBONE_POSTGRES_DSN"] = _bare(postgres.dsn(service))
        if service == "outbox-relay":
            own["BACKBONE_OUTBOXES"] = json.dumps(
                [
                    {"name": schema, "dsn": _bare(postgres.dsn("relay")), "schema": schema}
                    for schema in _WITH_SCHEMA
                ]
            )
        if service == "router":
            own["BACKBONE_TOPICS"] = json.dumps(self._topics)
            own |= self._redis()
        if pages := self._addresses[service].pages:
            own |= self._console(pages)
        if service == "orchestrator-worker":
            own["BACKBONE_TASK_QUEUES"] = json.dumps(self._task_queues)
        if service in _WITH_CATALOGUE and self._catalogue is not None:
            own["BACKBONE_CATALOGUE"] = str(self._catalogue.absolute())
        return {
            **inherited(),
            "BACKBONE_NAMESPACES": json.dumps(self._namespaces),
            **self._shared(),
            **self._identity(service),
            **own,
            **self._env.get(service, {}),
        }

    def _console(self, pages: str) -> dict[str, str]:
        own = {"BACKBONE_CONSOLE_LISTEN": pages}
        if self.endpoints.temporal_ui_url:
            own["BACKBONE_TEMPORAL_UI_URL"] = self.endpoints.temporal_ui_url
        # It calls as its visitors do: in a secure stack with their tokens, at the people's door.
        return {**own, **self._doors(), **self._signing_in()} if self._is_secure else own

    def _signing_in(self) -> dict[str, str]:
        told = issuer.console_settings(
            self.endpoints.issuer_url,
            folder=self._state.path / issuer.NAME,
            origin=self.console_url,
        )
        return {**self._believed(), **told}

    def _doors(self) -> dict[str, str]:
        return {
            f"BACKBONE_{service.upper()}_ADDRESS": self._addresses[service].people or ""
            for service in _WITH_GRPC
        }

    def _redis(self) -> dict[str, str]:
        parts = urlsplit(self.endpoints.redis_url)
        if parts.password is None:
            return {"BACKBONE_REDIS_URL": self.endpoints.redis_url}
        self._state.write_text("redis-password", parts.password)
        netloc = f"{parts.username}@{parts.hostname}:{parts.port}"
        return {
            "BACKBONE_REDIS_URL": urlunsplit(parts._replace(netloc=netloc)),
            "BACKBONE_REDIS_PASSWORD_FILE": str((self._state.path / "redis-password").absolute()),
        }

    def client_environment(self) -> dict[str, str]:
        """Return the variables by which the command and handlers find this stack."""
        return {
            "BACKBONE_NAMESPACE": self._namespaces[0],
            **self._shared(),
            **self._identity(None),
            "BACKBONE_TOPICS": json.dumps(self._topics),
        }

    def people_environment(self) -> dict[str, str]:
        """Return the variables by which the command finds this stack for who shows a token.

        The token is the one that `devstack token` wrote last. Kafka is not there: it knows
        certificates only.
        """
        return {
            "BACKBONE_NAMESPACE": self._namespaces[0],
            **self._doors(),
            "BACKBONE_TLS_CLIENT_CA": str(self._authority),
            "BACKBONE_TOKEN_FILE": str(self._state.path / TOKEN),
        }

    @property
    def issuer(self) -> Issuer:
        """Who makes tokens that the services of a secure stack believe."""
        if self.endpoints.issuer is None:
            message = "a stack without certificates takes no tokens: start it with --secure"
            raise DevstackError(message)
        return self.endpoints.issuer

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _is_secure(self) -> bool:
        return self.endpoints.certificates is not None

    @property
    def _authority(self) -> Path:
        if self.endpoints.certificates is None:
            message = "a stack without certificates takes no tokens: start it with --secure"
            raise DevstackError(message)
        return self.endpoints.certificates.authority

    def _believed(self) -> dict[str, str]:
        return issuer.settings(self.endpoints.issuer_url, authority=self._authority)

    def _identity(self, service: Service | None) -> dict[str, str]:
        """Return who a service is, or whoever else uses this stack."""
        certified = self.endpoints.certificates
        if certified is None:
            found = {"BACKBONE_ENVIRONMENT": "local"}
            if service == "ledger":
                # What is sensitive is encrypted in every stack, though nothing else is in this one.
                found["BACKBONE_DATA_KEYS"] = str(data_keys.bring(self._state.path / "keys"))
            return found
        files = certified.member() if service is None else certified.files(service)
        found = {"BACKBONE_ENVIRONMENT": "dev", **certificates.settings(files)}
        # Of whoever starts or serves workflows; handler workers and their developer are told too.
        if self._data_keys is not None and service not in _WITHOUT_DATA_KEYS:
            found["BACKBONE_DATA_KEYS"] = str(self._data_keys)
        holder = certificates.member_name(self._namespaces[0]) if service is None else service
        if service is None or service in access.TEMPORAL_SERVICES:
            found["BACKBONE_TEMPORAL_TOKEN_FILE"] = str(self.endpoints.temporal_token(holder))
        if service is not None and self._keys is not None:
            found |= self._keys.env.get(service, {})
        if service == "router":
            found["BACKBONE_OPEN_NAMESPACES"] = "true"
            found["BACKBONE_INSTANCE_KEY_SECRET_FILE"] = str(
                self._state.secret_file("instance-keys")
            )
        return found

    def _ownership(self, schema: Service) -> dict[str, str]:
        """Return how a schema's owner signs in, which its service is not."""
        dsn = _bare(self.endpoints.postgres.dsn(databases.owner(schema)))
        certified = self.endpoints.certificates
        files = {} if certified is None else certificates.settings(certified.files(ADMIN))
        return {"BACKBONE_POSTGRES_DSN": dsn, **files}

    def _shared(self) -> dict[str, str]:
        grpc = {service: self._addresses[service].grpc or "" for service in _WITH_GRPC}
        return {
            "BACKBONE_REGISTRY_ADDRESS": grpc["registry"],
            "BACKBONE_LEDGER_ADDRESS": grpc["ledger"],
            "BACKBONE_ROUTER_ADDRESS": grpc["router"],
            "BACKBONE_KAFKA_BOOTSTRAP_SERVERS": self.endpoints.kafka_bootstrap_servers,
            "BACKBONE_TEMPORAL_ADDRESS": self.endpoints.temporal_address,
        }

    def _all_topics(self) -> list[str]:
        own = [names.topic(namespace, t) for namespace in self._namespaces for t in names.Topic]
        return [*self._topics, *own]

    def _known(self, name: str) -> Program:
        for service in self._services:
            if service == name:
                return self._program(service)
        (extra,) = (extra for extra in self._extra if extra.name == name)
        return self._extra_program(extra)

    def _program(self, service: Service) -> Program:
        address = self._addresses[service]
        return Program(
            name=service,
            argv=(sys.executable, "-m", _package(service), "serve"),
            env=self.environment(service),
            address=self.console_url if address.pages else address.grpc or address.http,
            health=f"http://{address.http}/readyz",
            grace=_GRACE,
        )

    def _extra_program(self, extra: Extra) -> Program:
        env = {
            **inherited(),
            **self.client_environment(),
            **extra.env,
            **self._env.get(extra.name, {}),
        }
        return Program(
            name=extra.name, argv=tuple(extra.argv), env=env, health=extra.health, grace=_GRACE
        )

    def _migrate(self, service: Service) -> None:
        """Bring the service's schema up to date, before any of its processes runs.

        Raises:
            NotReadyError: It failed; the message ends with the last lines it said.
        """
        name = f"{service}-migrate"
        program = Program(
            name=name,
            argv=(sys.executable, "-m", _package(service), "migrate"),
            env={**self.environment(service), **self._ownership(service)},
        )
        log = self._state.log(name)
        with log.open("ab") as file:
            offset = file.tell()
            code = subprocess.run(  # noqa: S603 - this package's own argument vector
                supervision.wrapped(program),
                env=dict(program.env),
                cwd=self._state.path,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if code != 0:
            said = "\n    ".join(supervision.tail(log, since=offset, lines=8))
            message = f"{service} migrate failed with exit code {code}:\n    {said}"
            raise NotReadyError(message)


def _bare(dsn: str) -> str:
    """Return it without how it is spoken with: a service's own settings say that."""
    return dsn.partition("?")[0]


def answers_ok(url: str) -> bool:
    """Return whether an HTTP GET of `url` answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2.0) as response:  # noqa: S310 - a local http URL
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _package(service: Service) -> str:
    return service.replace("-", "_")


def inherited() -> dict[str, str]:
    """Return the caller's environment without settings meant for another stack."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKBONE_")}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _lines(variables: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in variables.items())
