"""What certificates everywhere and signatures cost: first-run on a secure stack and on a plain one.

Both have the same servers, Temporal's full one among them, and take turns.
"""

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import report
from benchmarks.first_run.load import PACE
from benchmarks.secure.sides import PARTS, Side, running

NAME = "secure"
_WARM_UP = 300  # events: Java compiles, more of it where it speaks TLS


@dataclass
class _Figures:
    """The turns of one side."""

    per_s: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    cpu_ms: list[Mapping[str, float]] = field(default_factory=list)

    def percentile(self, percent: int) -> float:
        return report.percentile(self.latencies_ms, percent)

    def part_ms(self, part: str) -> list[float]:
        return [turn[part] for turn in self.cpu_ms]

    def all_ms(self) -> list[float]:
        return [sum(turn.values()) for turn in self.cpu_ms]


def _turn(side: Side, figures: _Figures, chosen: argparse.Namespace) -> None:
    before = side.cpu_s()
    figures.per_s.append(side.load.events_per_s(chosen.events))
    after = side.cpu_s()
    cpu_ms = {part: (after[part] - before[part]) / chosen.events * 1000 for part in PARTS}
    figures.cpu_ms.append(cpu_ms)
    figures.latencies_ms += side.load.latencies_ms(chosen.paced, per_second=PACE)
    split = ", ".join(f"{part} {spent:.1f}" for part, spent in cpu_ms.items())
    report.note(
        f"{side.name}: {figures.per_s[-1]:.1f}/s, {sum(cpu_ms.values()):.1f} ms of processor time "
        f"each ({split})"
    )


def _lines(secure: _Figures, plain: _Figures) -> None:
    def line(metric: str, unit: str, values: Sequence[float], peers: Sequence[float]) -> None:
        report.line(NAME, metric, values, unit, peer="plain", peer_values=peers)

    line("events_per_s", "events/s", secure.per_s, plain.per_s)
    for percent in (50, 99):
        name = f"latency_p{percent}_ms"
        line(name, "ms", [secure.percentile(percent)], [plain.percentile(percent)])
    line("cpu_ms_per_event", "ms", secure.all_ms(), plain.all_ms())
    for part in PARTS:
        line(f"cpu_ms_per_event_{part}", "ms", secure.part_ms(part), plain.part_ms(part))


def _measure(folder: Path, chosen: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        sides = []
        for name in ("secure", "plain"):
            report.note(f"starting the {name} stack")
            sides.append(stack.enter_context(running(folder / name, secure=name == "secure")))
        report.note("warming up")
        for side in sides:
            side.load.events_per_s(_WARM_UP)
        figures = {side.name: _Figures() for side in sides}
        for number in range(chosen.rounds):
            # Whoever is first in a round is second in the next.
            for side in sides if number % 2 else reversed(sides):
                _turn(side, figures[side.name], chosen)
        report.machine()
        _lines(figures["secure"], figures["plain"])


async def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its lines."""
    options = argparse.ArgumentParser(prog="make bench NAME=secure ARGS=")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--events", type=int, default=400, help="in a turn")
    options.add_argument("--paced", type=int, default=40, help="events alone, in a turn")
    chosen = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="backbone-bench-") as folder:
        await asyncio.to_thread(_measure, Path(folder), chosen)
