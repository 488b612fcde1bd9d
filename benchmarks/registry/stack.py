"""What the benchmark runs: servers, ledger, registry, the peer, and a second registry at times."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from devstack.infrastructure import create_database
from devstack.suite import Suite, answers_ok

_READY_S = 60.0
_GRACE_S = 30.0


@dataclass(frozen=True)
class Server:
    """A running gRPC server: where it answers and which process it is."""

    address: str
    process: psutil.Process

    def rss_mib(self) -> float:
        """Return the memory that is resident."""
        return float(self.process.memory_info().rss) / 2**20

    def cpu_s(self) -> float:
        """Return the processor time used so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def suite(folder: Path) -> Iterator[Suite]:
    """Run servers, ledger and registry."""
    stack = Suite(folder, services=("ledger", "registry"))
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


def registry(stack: Suite) -> Server:
    """Return the suite's registry."""
    pid = next(status.pid for status in stack.status() if status.name == "registry")
    return Server(stack.addresses["registry"].grpc or "", psutil.Process(pid))


@contextlib.contextmanager
def replica(stack: Suite) -> Iterator[Server]:
    """Run another registry on the same database."""
    grpc_listen, http_listen = (f"127.0.0.1:{port}" for port in _free_ports(2))
    environment = stack.environment("registry") | {
        "BACKBONE_GRPC_LISTEN": grpc_listen,
        "BACKBONE_HTTP_LISTEN": http_listen,
    }
    log = stack.log("registry-2")
    with (
        log.open("wb") as output,
        _process([sys.executable, "-m", "registry", "serve"], environment, output) as process,
    ):
        deadline = time.monotonic() + _READY_S
        while not answers_ok(f"http://{http_listen}/readyz"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"the second registry is not ready:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield Server(grpc_listen, psutil.Process(process.pid))


@contextlib.contextmanager
def echo() -> Iterator[Server]:
    """Run the peer."""
    # As a script: importing this package would put its imports into the peer's memory.
    argv = [sys.executable, str(Path(__file__).with_name("echo_server.py"))]
    with _process(argv, dict(os.environ), subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Server(f"127.0.0.1:{port}", psutil.Process(process.pid))


def scratch_dsn(stack: Suite) -> str:
    """Return the address of an empty database on the registry's PostgreSQL."""
    return create_database(stack.endpoints, "bench").dsn()


@contextlib.contextmanager
def _process(
    argv: list[str], environment: dict[str, str], output: IO[bytes] | int
) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(  # noqa: S603 - our own command
        argv,
        env=environment,
        stdout=output,
        stderr=None if output == subprocess.PIPE else subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
