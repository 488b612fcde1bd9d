"""Runs of 0, 1 and 10 automated tasks, beside bare workflows with as many empty activities.

On Temporal's full server with PostgreSQL, and once more on the development server. Both sides are
started and awaited by the same client, take turns on the same servers, and nothing else works
meanwhile.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import report
from benchmarks.runs import contenders, instances, stack
from benchmarks.runs.contenders import Backbone, Contender, Floor, Turn
from benchmarks.runs.processes import Processes
from benchmarks.runs.stack import Server, Stack

NAME = "runs"
TASKS = (0, 1, 10)
# What a run costs in Temporal's history: exact where nothing happens at once. With ten tasks, each
# end may have a workflow task of its own or share one with others.
_EVENTS = {0: range(6, 7), 1: range(12, 13), 10: range(39, 67)}
_RUNS = {0: 400, 1: 240, 10: 60}  # of a turn: some ten seconds each
_FIRST_INSTANCES = 50
_DEV_SHARE = 2  # the development server gets so much less
_PARTS = ("server", "worker", "handlers", "ledger", "postgres")


@dataclass
class _Figures:
    """The turns of one contender with one number of tasks."""

    turns: list[Turn] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    history_events: list[int] = field(default_factory=list)

    @property
    def per_s(self) -> list[float]:
        return [turn.per_s for turn in self.turns]

    @property
    def cpu_ms(self) -> list[float]:
        return [turn.cpu_ms for turn in self.turns]

    def percentile(self, percent: int) -> float:
        return report.percentile(self.latencies_ms, percent)

    def part_ms(self, part: str) -> list[float]:
        """Return the processor time of a part a turn; `postgres` is all that is PostgreSQL's."""
        return [
            sum(turn.part_ms(name) for name in turn.cpu_s if name.split("-")[0] == part)
            for turn in self.turns
        ]


class _Benchmark:
    """Both contenders on one Temporal server."""

    def __init__(
        self,
        options: argparse.Namespace,
        processes: Processes,
        backbone: Contender,
        floor: Contender,
    ) -> None:
        self._options = options
        self._processes = processes
        self._contenders = [backbone, floor]
        self.tasks: Sequence[int] = options.tasks
        self.figures = {
            (contender.name, tasks): _Figures()
            for contender in self._contenders
            for tasks in self.tasks
        }

    async def run(self, *, rounds: int, share: int, paced: int) -> None:
        """Take turns; a first small round warms everybody up."""
        for number in range(rounds + 1):
            for tasks in self.tasks:
                usual = _RUNS[tasks] * self._options.scale / share
                runs = max(round(usual if number else usual / 10), 10)
                # Whoever is first in a round is second in the next.
                for contender in self._contenders if number % 2 else reversed(self._contenders):
                    await self._turn(contender, tasks, runs, counts=number > 0)
                    if number and paced:
                        self.figures[
                            contender.name, tasks
                        ].latencies_ms += await contenders.latencies_ms(
                            contender, tasks=tasks, count=paced
                        )

    async def _turn(self, contender: Contender, tasks: int, runs: int, *, counts: bool) -> None:
        turn = await contenders.take(
            contender,
            self._processes,
            tasks=tasks,
            runs=runs,
            at_once=self._options.at_once,
        )
        events = await contenders.history_events(turn.sample)
        if contender.name == Backbone.name and events not in _EVENTS[tasks]:
            raise RuntimeError(f"a run with {tasks} tasks has {events} events in its history")
        if not counts:
            return
        figures = self.figures[contender.name, tasks]
        figures.turns.append(turn)
        figures.history_events.append(events)
        split = ", ".join(f"{part} {turn.part_ms(part):.1f}" for part in sorted(turn.cpu_s))
        report.note(
            f"{tasks} tasks, {contender.name}: {turn.per_s:.1f}/s, "
            f"{turn.cpu_ms:.1f} ms of processor time each ({split})"
        )


def _lines(benchmark: _Benchmark, *, prefix: str = "") -> None:
    for tasks in benchmark.tasks:
        ours, floor = (benchmark.figures[name, tasks] for name in (Backbone.name, Floor.name))

        def line(
            metric: str,
            unit: str,
            values: Sequence[float],
            peers: Sequence[float] = (),
            tasks: int = tasks,
        ) -> None:
            report.line(
                NAME,
                f"{prefix}{metric}_{tasks}_tasks",
                values,
                unit,
                peer=Floor.name if peers else None,
                peer_values=peers,
            )

        line("runs_per_s", "runs/s", ours.per_s, floor.per_s)
        line("cpu_ms_per_run", "ms", ours.cpu_ms, floor.cpu_ms)
        if prefix:
            continue
        for part in _PARTS:
            # The floor's own worker stands where the orchestrator-worker does.
            peers = floor.part_ms(Floor.name if part == "worker" else part)
            line(f"cpu_ms_per_run_{part}", "ms", ours.part_ms(part), peers if any(peers) else ())
        for percent in (50, 99):
            line(
                f"run_p{percent}_ms", "ms", [ours.percentile(percent)], [floor.percentile(percent)]
            )
        line("history_events", "events", ours.history_events, floor.history_events)


async def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its lines."""
    options = argparse.ArgumentParser(prog="make bench NAME=runs ARGS=")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--dev-rounds", type=int, default=3)
    options.add_argument("--paced", type=int, default=20, help="runs alone, in a round")
    options.add_argument("--at-once", type=int, default=50)
    options.add_argument("--scale", type=float, default=1.0, help="of the runs of a turn")
    options.add_argument("--instances", type=int, default=1000, help="held open, for their memory")
    options.add_argument("--servers", nargs="+", choices=stack.SERVERS, default=stack.SERVERS)
    options.add_argument("--tasks", nargs="+", type=int, choices=TASKS, default=TASKS)
    chosen = options.parse_args(arguments)
    # Else it tells of every connection that ends.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    with tempfile.TemporaryDirectory(prefix="backbone-bench-") as folder:
        report.note("starting servers and services")
        running = stack.running(Path(folder), chosen.servers)
        up = await asyncio.to_thread(running.__enter__)
        try:
            await _measure(up, chosen)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


async def _measure(up: Stack, chosen: argparse.Namespace) -> None:
    if "full" in chosen.servers:
        report.note("on the full server")
        full = await _on(up, "full", chosen)
        await full.run(rounds=chosen.rounds, share=1, paced=chosen.paced)
        _lines(full)
        if chosen.instances:
            await _memory(up, chosen.instances)
    if "dev" in chosen.servers:
        report.note("on the development server")
        dev = await _on(up, "dev", chosen)
        await dev.run(rounds=chosen.dev_rounds, share=_DEV_SHARE, paced=0)
        _lines(dev, prefix="dev_")


async def _memory(up: Stack, count: int) -> None:
    """Tell what open instances take in the processes that know of them."""
    report.note(f"opening {count} instances")
    await asyncio.to_thread(up.cache_workflows, 2 * count)
    client = await contenders.client(up.address("full"))
    where = {
        "ledger": up.suite.client_environment()["BACKBONE_LEDGER_ADDRESS"],
        "dsn": up.suite.endpoints.postgres.dsn(),
    }
    # The first ones bring what a worker holds once: modules, the definition, connections.
    await instances.open_instances(client, _FIRST_INSTANCES, **where)
    processes = up.processes("full")
    before = {part: processes.rss_mib(part) for part in ("worker", "server")}
    await instances.open_instances(client, count, **where)
    for part, rss in before.items():
        grown = (processes.rss_mib(part) - rss) / count * 1000
        report.line(NAME, f"rss_mib_per_1000_instances_{part}", [grown], "MiB")


async def _on(up: Stack, server: Server, chosen: argparse.Namespace) -> _Benchmark:
    address = up.address(server)
    return _Benchmark(
        chosen,
        up.processes(server),
        await Backbone.connect(address),
        await Floor.connect(address),
    )
