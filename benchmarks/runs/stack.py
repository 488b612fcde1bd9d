"""Servers and workers of the benchmark: two Temporal servers, with workers of their own each."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from benchmarks.runs.processes import Processes
from devstack.infrastructure import Endpoints, TemporalServerInfrastructure
from devstack.suite import Extra, Suite

HERE = Path(__file__).parent
TASK_QUEUE = "bench-tq"

Server = Literal["full", "dev"]
SERVERS: tuple[Server, ...] = ("full", "dev")
_WORKERS = {
    "worker": (sys.executable, "-m", "orchestrator_worker", "serve"),
    "handlers": (sys.executable, str(HERE / "handler_worker.py")),
    "floor": (sys.executable, str(HERE / "floor_worker.py")),
}


@dataclass(frozen=True)
class Stack:
    """What is up, and where."""

    suite: Suite
    temporal: TemporalServerInfrastructure | None

    def address(self, server: Server) -> str:
        """Return where a Temporal server answers."""
        if server == "full" and self.temporal is not None:
            return self.temporal.address
        return self.suite.endpoints.temporal_address

    def processes(self, server: Server) -> Processes:
        """Return what works on runs that are on a Temporal server."""
        pids = {status.name: status.pid for status in self.suite.status()}
        if server == "full" and self.temporal is not None:
            pids["temporal"] = self.temporal.pid
        members = {name: pids[f"{name}-{server}"] for name in _WORKERS} | {
            "server": pids["temporal"],
            "ledger": pids["ledger"],
        }
        return Processes(
            {name: psutil.Process(pid) for name, pid in members.items()},
            postmaster=psutil.Process(pids["postgres"]),
        )

    def cache_workflows(self, count: int) -> None:
        """Have the worker on the full server begin anew, with room for so many workflows."""
        self.suite.restart("worker-full", env={"BACKBONE_MAX_CACHED_WORKFLOWS": str(count)})


@contextlib.contextmanager
def running(folder: Path, servers: Sequence[Server]) -> Iterator[Stack]:
    """Run everything that these Temporal servers need, with the definition applied."""
    env: dict[str, dict[str, str]] = {}
    started: list[TemporalServerInfrastructure] = []

    def prepare(endpoints: Endpoints) -> None:
        addresses = {"dev": endpoints.temporal_address}
        if "full" in servers:
            temporal = TemporalServerInfrastructure(
                folder / "temporal-server", postgres=endpoints.postgres
            )
            addresses["full"] = temporal.start()
            started.append(temporal)
        for server in servers:
            address = addresses[server]
            for name in _WORKERS:
                env[f"{name}-{server}"] = {"BACKBONE_TEMPORAL_ADDRESS": address}
            env[f"worker-{server}"] |= {
                "BACKBONE_ENVIRONMENT": "local",
                "BACKBONE_TASK_QUEUES": json.dumps([TASK_QUEUE]),
                # They share a ledger: each would miss the other's runs on its Temporal server.
                "BACKBONE_SERVE_SYSTEM": "false",
            }

    suite = Suite(
        folder,
        services=("ledger", "registry"),
        extra=[
            Extra(name=f"{name}-{server}", argv=argv)
            for server in servers
            for name, argv in _WORKERS.items()
        ],
        env=env,
        # Processor time is read from the processes.
        provider="local",
        prepare=prepare,
    )
    try:
        suite.start()
        subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "cli", "apply", "-f", str(HERE)],
            env=suite.client_environment(),
            check=True,
            stdout=sys.stderr,
        )
        yield Stack(suite, started[0] if started else None)
    finally:
        for temporal in started:
            temporal.stop()
        suite.stop()
