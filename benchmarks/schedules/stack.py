"""What the benchmark runs: ledger, registry, and workers, on one of the two Temporal servers."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from devstack.infrastructure import Endpoints, TemporalServerInfrastructure
from devstack.suite import Extra, Suite

HERE = Path(__file__).parent
TASK_QUEUE = "bench-tq"
Server = Literal["dev", "full"]
SERVERS: tuple[Server, ...] = ("dev", "full")
NOWHERE = "127.0.0.1:1"


@dataclass(frozen=True)
class Stack:
    """What is up, where Temporal answers, and the file in which the peer notes what it did."""

    suite: Suite
    server: Server
    temporal_address: str
    temporal_pid: int
    notes: Path

    @property
    def prefix(self) -> str:
        """What the metrics of this server begin with; those of the default have none."""
        return "" if self.server == "dev" else f"{self.server}_"

    def restart_registry(self, env: Mapping[str, str]) -> None:
        """Have the registry begin anew, with these settings, and wait until it serves."""
        self.suite.restart("registry", env=env)
        self.suite.wait_ready("registry")

    def registry(self) -> psutil.Process:
        """Return the registry's process."""
        return psutil.Process(_pid(self.suite, "registry"))

    def temporal(self) -> psutil.Process:
        """Return the process of the Temporal server."""
        return psutil.Process(self.temporal_pid)


@contextlib.contextmanager
def running(folder: Path, server: Server) -> Iterator[Stack]:
    """Run everything; the registry reaches Temporal once it is restarted with its address."""
    started: list[TemporalServerInfrastructure] = []

    env: dict[str, dict[str, str]] = {"registry": {"BACKBONE_TEMPORAL_ADDRESS": NOWHERE}}
    notes = folder / "notes"

    def prepare(endpoints: Endpoints) -> None:
        address = endpoints.temporal_address
        if server == "full":
            temporal = TemporalServerInfrastructure(
                folder / "temporal-server", postgres=endpoints.postgres
            )
            address = temporal.start()
            started.append(temporal)
        env["orchestrator-worker"] = {
            "BACKBONE_TEMPORAL_ADDRESS": address,
            "BACKBONE_TASK_QUEUES": json.dumps([TASK_QUEUE]),
        }
        env["bare"] = {"BACKBONE_TEMPORAL_ADDRESS": address, "BENCH_NOTES": str(notes)}

    suite = Suite(
        folder,
        services=("ledger", "registry", "orchestrator-worker"),
        extra=[Extra(name="bare", argv=(sys.executable, str(HERE / "bare_worker.py")))],
        env=env,
        # The full server is a process, too.
        provider="local",
        prepare=prepare,
    )
    try:
        suite.start()
        if started:
            yield Stack(suite, server, started[0].address, _up(started[0].pid), notes)
        else:
            address = suite.endpoints.temporal_address
            yield Stack(suite, server, address, _pid(suite, "temporal"), notes)
    finally:
        for temporal in started:
            temporal.stop()
        suite.stop()


def _pid(suite: Suite, name: str) -> int:
    return _up(next(status.pid for status in suite.status() if status.name == name))


def _up(pid: int | None) -> int:
    if pid is None:
        raise RuntimeError("a process of the stack does not run")
    return pid
