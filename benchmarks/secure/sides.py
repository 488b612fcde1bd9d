"""The two stacks that are compared: the same processes, with certificates and signatures or not."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from benchmarks.first_run import load
from benchmarks.first_run.load import DOCUMENTS, Load
from benchmarks.runs.processes import Processes
from devstack.infrastructure import Endpoints, TemporalServerInfrastructure
from devstack.suite import SERVICES, Extra, Suite
from signing.keys import SigningKey

HANDLERS = "handlers"
PARTS = (*SERVICES, HANDLERS, "temporal", "kafka", "postgres")


@dataclass(frozen=True)
class Side:
    """A stack that is up, with what is published to it."""

    name: str
    load: Load
    processes: Processes

    def cpu_s(self) -> Mapping[str, float]:
        """Return the processor time so far of each part, in seconds; all PostgreSQL's is one."""
        used = self.processes.cpu_s()
        postgres = sum(spent for part, spent in used.items() if part.split("-")[0] == "postgres")
        return {**used, "postgres": postgres}


@contextlib.contextmanager
def running(folder: Path, *, secure: bool) -> Iterator[Side]:
    """Run a stack with the benchmark's definition; secure, its one producer has to sign."""
    env: dict[str, dict[str, str]] = {}
    started: list[TemporalServerInfrastructure] = []

    def prepare(endpoints: Endpoints) -> None:
        # A secure stack has the full server of its own.
        temporal = TemporalServerInfrastructure(folder / "temporal", postgres=endpoints.postgres)
        address = temporal.start()
        started.append(temporal)
        for process in (*SERVICES, HANDLERS):
            env[process] = {"BACKBONE_TEMPORAL_ADDRESS": address}

    handlers = load.DOCUMENTS / "handler_worker.py"
    suite = Suite(
        folder / "suite",
        topics=(load.INPUT,),
        task_queues=("bench-tq",),
        extra=[Extra(name=HANDLERS, argv=(sys.executable, str(handlers)))],
        env=env,
        secure=secure,
        # Processor time is read from the processes.
        provider="local",
        prepare=None if secure else prepare,
    )
    try:
        suite.start()
        if not secure:
            suite.stop("temporal")  # the development server, which nobody uses
        key = SigningKey.generate(signer=load.SOURCE, key_id="1") if secure else None
        _apply(suite, DOCUMENTS)
        if key is not None:
            producer = folder / "producer.yaml"
            producer.write_text(yaml.safe_dump(_producer(key)))
            _apply(suite, producer)
        yield Side(
            name="secure" if secure else "plain",
            load=Load(suite.endpoints.brokers, signing_key=key),
            processes=_processes(suite, started),
        )
    finally:
        for temporal in started:
            temporal.stop()
        suite.stop()


def _producer(key: SigningKey) -> dict[str, object]:
    """Return the resource by which nothing comes in that is not signed."""
    return {
        "apiVersion": "backbone/v1",
        "kind": "Producer",
        "metadata": {"id": key.signer, "namespace": "dev", "owner": "bench"},
        "spec": {
            "sources": [load.SOURCE],
            "types": [load.EVENT_TYPE],
            "signatures": "required",
            "keys": [{"id": key.key_id, "publicKey": key.public_key}],
        },
    }


def _apply(suite: Suite, documents: Path) -> None:
    subprocess.run(  # noqa: S603 - our own command
        [
            *(sys.executable, "-m", "cli", "-n", "dev"),
            *("apply", "-f", str(documents), "--reason", "benchmark"),
        ],
        env=suite.client_environment(),
        check=True,
        stdout=sys.stderr,
    )


def _processes(suite: Suite, full: list[TemporalServerInfrastructure]) -> Processes:
    pids = {status.name: status.pid for status in suite.status()}
    if full:
        pids["temporal"] = full[0].pid
    members = {name: psutil.Process(pids[name]) for name in PARTS if name != "postgres"}
    return Processes(members, postmaster=psutil.Process(pids["postgres"]))
