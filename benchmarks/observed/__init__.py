"""What full observability costs: first-run with every trace recorded and metrics scraped, or not.

Both sides are the same stack on the same servers: between two turns its processes are started anew,
with a collector or without one, and warmed up.
"""

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks import report
from benchmarks.first_run.load import DOCUMENTS, INPUT, PACE, Load
from benchmarks.observed.scraping import Scraper
from benchmarks.runs.processes import Processes
from devstack import ports
from devstack.suite import SERVICES, Extra, Suite

NAME = "observed"
HERE = Path(__file__).parent
HANDLERS = "handlers"
PROCESSES = (*SERVICES, HANDLERS)
MEASURED = (*PROCESSES, "temporal", "kafka")


@dataclass
class _Figures:
    """The turns of one side."""

    per_s: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def percentile(self, percent: int) -> float:
        return report.percentile(self.latencies_ms, percent)


class _Stack:
    """The stack, as one side or as the other."""

    def __init__(self, suite: Suite, *, collector: str, handlers_http: str) -> None:
        self._suite = suite
        self._endpoint = f"http://{collector}"
        self._pages = [
            *(f"http://{suite.addresses[service].http}/metrics/" for service in SERVICES),
            f"http://{handlers_http}/metrics/",
        ]

    @contextlib.contextmanager
    def turned(self, side: str) -> Iterator[Load]:
        """Have everything run anew as `side`; observed, it is scraped until the turn ends."""
        observed = side == NAME
        for name in PROCESSES:
            endpoint = self._endpoint if observed else ""
            self._suite.restart(name, env={"BACKBONE_OTLP_ENDPOINT": endpoint})
        self._suite.wait_ready()
        with Scraper(self._pages) if observed else contextlib.nullcontext():
            yield Load(self._suite.endpoints.brokers, traced=observed)

    def cpu_s(self) -> float:
        """Return the processor time so far of services, handlers and servers, in seconds."""
        pids = {status.name: status.pid for status in self._suite.status()}
        members: Mapping[str, psutil.Process] = {
            name: psutil.Process(pids[name]) for name in MEASURED
        }
        used = Processes(members, postmaster=psutil.Process(pids["postgres"])).cpu_s()
        return sum(used.values())


def _turn(stack: _Stack, side: str, figures: _Figures, chosen: argparse.Namespace) -> None:
    with stack.turned(side) as load:
        load.events_per_s(chosen.warm_up)
        before = stack.cpu_s()
        figures.per_s.append(load.events_per_s(chosen.events))
        figures.cpu_ms.append((stack.cpu_s() - before) / chosen.events * 1000)
        figures.latencies_ms += load.latencies_ms(chosen.paced, per_second=PACE)
    report.note(
        f"{side}: {figures.per_s[-1]:.1f}/s, {figures.cpu_ms[-1]:.1f} ms of processor time each"
    )


def _lines(observed: _Figures, plain: _Figures) -> None:
    def line(metric: str, unit: str, values: Sequence[float], peers: Sequence[float]) -> None:
        report.line(NAME, metric, values, unit, peer="plain", peer_values=peers)

    line("events_per_s", "events/s", observed.per_s, plain.per_s)
    for percent in (50, 99):
        name = f"latency_p{percent}_ms"
        line(name, "ms", [observed.percentile(percent)], [plain.percentile(percent)])
    line("cpu_ms_per_event", "ms", observed.cpu_ms, plain.cpu_ms)


@contextlib.contextmanager
def _collector() -> Iterator[str]:
    """Run the collector, a process of its own; its address."""
    address = f"127.0.0.1:{ports.unused()}"
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, str(HERE / "collector.py"), address]
    )
    try:
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _measure(folder: Path, chosen: argparse.Namespace) -> None:
    handlers_http = f"127.0.0.1:{ports.unused()}"
    suite = Suite(
        folder,
        topics=(INPUT,),
        task_queues=("bench-tq",),
        extra=[
            Extra(
                name=HANDLERS,
                argv=(sys.executable, str(DOCUMENTS / "handler_worker.py")),
                env={"BACKBONE_HTTP_LISTEN": handlers_http},
                health=f"http://{handlers_http}/readyz",
            )
        ],
        # Processor time is read from the processes.
        provider="local",
    )
    with contextlib.ExitStack() as running:
        collector = running.enter_context(_collector())
        report.note("starting servers and services")
        running.callback(suite.stop)
        suite.start()
        _apply(suite)
        stack = _Stack(suite, collector=collector, handlers_http=handlers_http)
        figures = {side: _Figures() for side in (NAME, "plain")}
        for number in range(chosen.rounds):
            # Whoever is first in a round is second in the next.
            for side in figures if number % 2 else reversed(figures):
                _turn(stack, side, figures[side], chosen)
        report.machine()
        _lines(figures[NAME], figures["plain"])


def _apply(suite: Suite) -> None:
    subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "cli", "apply", "-f", str(DOCUMENTS), "--reason", "benchmark"],
        env=suite.client_environment(),
        check=True,
        stdout=sys.stderr,
    )


async def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its lines."""
    options = argparse.ArgumentParser(prog="make bench NAME=observed ARGS=")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--events", type=int, default=400, help="in a turn")
    options.add_argument("--paced", type=int, default=40, help="events alone, in a turn")
    options.add_argument("--warm-up", type=int, default=100, help="events before each turn")
    chosen = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="backbone-bench-") as folder:
        await asyncio.to_thread(_measure, Path(folder), chosen)
