"""Chooses who runs the servers: containers where a Docker engine answers, else processes."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, Self
from urllib.parse import urlsplit

from devstack.errors import DevstackError
from devstack.infrastructure.endpoints import Endpoints
from devstack.infrastructure.local import LocalInfrastructure
from devstack.infrastructure.servers import Server
from devstack.state import StateFolder
from devstack.supervision import Crash, Supervisor

Provider = Literal["local", "containers"]
_DOCKER_TIMEOUT = 5.0  # seconds
PROVIDERS: tuple[Provider, ...] = ("local", "containers")


class Infrastructure(Protocol):
    """The four servers, started and stopped together, each halted, killed and restarted alone."""

    def start(self) -> Endpoints:
        """Start the servers and return their addresses once each answers."""
        ...

    def stop(self) -> None:
        """Stop the servers."""
        ...

    def halt(self, server: Server) -> None:
        """Stop a server politely and leave it so until it is restarted."""
        ...

    def restart(self, server: Server) -> None:
        """Stop a server politely unless it is halted, start it again, wait until it answers."""
        ...

    def kill(self, server: Server) -> None:
        """End a server by SIGKILL; it comes back, see `wait_ready`."""
        ...

    def wait_ready(self, server: Server | None = None, *, timeout: float = ...) -> None:
        """Wait until a server, or each of them, answers."""
        ...

    def crashes(self) -> list[Crash]:
        """Return the crashes of servers that nobody asked for."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def provide(
    state_dir: Path,
    *,
    namespaces: Sequence[str] = ("dev",),
    durable: bool = True,
    kafka_advertised: Mapping[str, str] | None = None,
    server_env: Mapping[Server, Mapping[str, str]] | None = None,
    secure: bool = False,
    provider: Provider | None = None,
    supervisor: Supervisor | None = None,
    tell: Callable[[str], None] | None = None,
) -> Infrastructure:
    """Return an infrastructure that is not yet started.

    Args:
        state_dir: Where data, logs, ports and passwords are kept; one stack per folder.
        namespaces: Temporal namespaces to create.
        durable: False lets PostgreSQL and Temporal lose data when the machine (not a process) dies.
        kafka_advertised: Further listeners of Kafka by name, each with the host:port that its
            clients are sent to: a fault proxy's. Where they listen: `Endpoints.kafka_listeners`.
        server_env: Environment variables per server.
        secure: Every server asks for a certificate, of those in `Endpoints.certificates`, and
            lets nobody do what is not granted; Temporal is the full server. Local only.
        provider: Who runs the servers; when None, BACKBONE_PROVIDER says it, else it is chosen.
        supervisor: One already open on `state_dir`, to share; else there is one of its own.
        tell: Called with a sentence on every event (a crash, a port that changed).

    Raises:
        DevstackError: There is no such provider, or it cannot be secure.
    """
    chosen = provider or os.environ.get("BACKBONE_PROVIDER")
    chosen = chosen or ("local" if secure else _default_provider())
    if chosen not in PROVIDERS:
        message = f"there is no provider {chosen!r}; there are {' and '.join(PROVIDERS)}"
        raise DevstackError(message)
    if chosen == "containers" and secure:
        message = "a secure stack is of local processes: leave the provider out, or say local"
        raise DevstackError(message)
    if chosen == "containers":
        # Imported only here: the Docker client is slow to import.
        from devstack.infrastructure.containers import ContainerInfrastructure  # noqa: PLC0415

        return ContainerInfrastructure(
            StateFolder(state_dir),
            namespaces=namespaces,
            durable=durable,
            kafka_advertised=kafka_advertised or {},
            server_env=server_env or {},
            supervisor=supervisor,
            tell=tell,
        )
    return LocalInfrastructure(
        StateFolder(state_dir),
        namespaces=namespaces,
        durable=durable,
        kafka_advertised=kafka_advertised or {},
        server_env=server_env or {},
        secure=secure,
        supervisor=supervisor,
        tell=tell,
    )


def _default_provider() -> Provider:
    return "containers" if _docker_answers() else "local"


def _docker_answers() -> bool:
    """Ask the engine that Docker's clients would use; its own client leaks what cannot connect."""
    host = urlsplit(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    try:
        if host.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_DOCKER_TIMEOUT)
                connection.connect(host.path)
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(64)
        # TLS or not, whoever names a remote engine means it.
        with socket.create_connection((host.hostname, host.port or 2375), _DOCKER_TIMEOUT):
            return True
    except OSError:
        return False
