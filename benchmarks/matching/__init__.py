"""Matching: events against 1 to 100,000 patterns, beside Amazon's event-ruler.

Both are processes with the same rules and events, parse the events themselves and take turns.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.matching import contenders, workload
from benchmarks.matching.contenders import Contender, Files

NAME = "matching"
PEER = "event-ruler"
_EVENTS = 2_000
_MORE = 200  # rules that are added one at a time


class _Benchmark:
    """The contenders, and what is measured of them for each set of rules."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._ours = contenders.ours()
        self._peer = None if options.no_peer else contenders.event_ruler()
        self._added: list[tuple[list[float], list[float]]] = []

    def run(self, folder: Path) -> None:
        """Measure the sets, small to large."""
        for kind in self._options.sets:
            peer = self._peer
            for rules in sorted(self._options.rules):
                files = _write(folder, kind, rules)
                if not self._measure(kind, rules, files, peer):
                    # Who cannot build for so many is not asked to build for more.
                    peer = None
        # That of the set in which it takes longer.
        _line("add_one_ms", "ms", *max(self._added, key=lambda one: statistics.median(one[0])))

    def _measure(self, kind: str, rules: int, files: Files, peer: list[str] | None) -> bool:
        with contextlib.ExitStack() as stack:
            mine = stack.enter_context(contenders.running(self._ours, files))
            report.note(f"{kind} {rules}: built in {mine.built():.1f} s")
            other = None
            if peer is not None:
                other = stack.enter_context(contenders.running(peer, files))
                took = other.built()
                if took is None:
                    report.note(
                        f"{kind} {rules}: {PEER} did not build in {contenders.BUILD_S:.0f} s"
                    )
                    other = None
                else:
                    report.note(f"{kind} {rules}: {PEER} built in {took:.1f} s")
            self._rounds(kind, rules, mine, other)
            return other is not None

    def _rounds(self, kind: str, rules: int, mine: Contender, other: Contender | None) -> None:
        ours: list[float] = []
        theirs: list[float] = []
        mine.events_per_s(1.0, expected=1)
        if other is not None:
            # Java compiles what it runs often; by then it has.
            other.events_per_s(self._options.warm_up, expected=1)
        for number in range(self._options.rounds):
            turn = [(mine, ours), (other, theirs)]
            # Whoever is first in a round is second in the next.
            for contender, figures in turn if number % 2 else reversed(turn):
                if contender is not None:
                    figures.append(contender.events_per_s(self._options.seconds, expected=1))
        _line(f"events_per_s_{kind}_{rules}", "events/s", ours, theirs)
        memory = [] if other is None else [other.rss_mib]
        _line(f"rss_mib_{kind}_{rules}", "MiB", [mine.rss_mib], memory)
        if rules == max(self._options.rules):
            times = [mine.add_one_ms() for _ in range(self._options.rounds)]
            peers = [other.add_one_ms() for _ in range(self._options.rounds)] if other else []
            _line(f"add_one_ms_{kind}", "ms", times, peers)
            self._added.append((times, peers))


def _line(metric: str, unit: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
    report.line(NAME, metric, ours, unit, peer=PEER if theirs else None, peer_values=theirs)


def _write(folder: Path, kind: str, rules: int) -> Files:
    files = Files(folder / "rules", folder / "events", folder / "more")
    for file, numbers in ((files.rules, range(rules)), (files.more, range(rules, rules + _MORE))):
        with file.open("w") as lines:
            for number in numbers:
                rule = workload.rule(kind, number)
                lines.write(f"{rule.name}\t{json.dumps(rule.pattern)}\n")
    files.events.write_bytes(b"\n".join(workload.events(kind, rules, _EVENTS)))
    return files


async def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="matching")
    parser.add_argument("--rules", type=int, nargs="+", default=[1, 100, 1_000, 10_000, 100_000])
    parser.add_argument("--sets", choices=workload.SETS, nargs="+", default=workload.SETS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds that Java has before")
    parser.add_argument("--no-peer", action="store_true")
    with tempfile.TemporaryDirectory() as folder:
        _Benchmark(parser.parse_args(arguments)).run(Path(folder))
