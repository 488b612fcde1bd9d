"""The outbox relay: how fast it drains a backlog, at what cost, and how soon a commit is read.

Beside it, in turns and on the same servers: Debezium with its defaults and tuned, faststream-outbox
and a bare producer.
"""

import argparse
import contextlib
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.relay import contenders, debezium, draining, faststream_outbox, pacing
from benchmarks.relay.backbone_relay import BackboneRelay
from benchmarks.relay.contenders import Contender
from benchmarks.relay.draining import Drain, Drained
from benchmarks.relay.floor import RawProducer
from benchmarks.relay.pacing import Latencies
from benchmarks.relay.stack import Stack, TopicEnds
from devstack.errors import ToolMissingError

NAME = "relay"
_TUNED, _WARM = "debezium-tuned", "debezium-tuned-warm"
_UNITS = {
    "drain_rows_per_s": "rows/s",
    "cpu_s_per_100k": "s",
    "rss_mb": "MB",
    "latency_p50_ms": "ms",
    "latency_p99_ms": "ms",
}


class _Figures:
    """What was measured, one figure a round, by metric and by whose it is."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def drained(self, name: str, drain: Drain) -> None:
        """Note a drain."""
        self._drained(name, drain.whole(), drain.rss_mb)
        if name == _TUNED:
            self._drained(_WARM, drain.second_half(), drain.rss_mb)

    def paced(self, name: str, latencies: Latencies) -> None:
        """Note the latencies of a round."""
        self._paced(name, latencies, since=0.0)
        if name == _TUNED:
            self._paced(_WARM, latencies, since=0.5)

    def last(self, metric: str, name: str) -> float:
        """Return the newest figure."""
        return self._values[metric][name][-1]

    def print(self) -> None:
        """Print a line for each metric and peer."""
        for metric, unit in _UNITS.items():
            values = dict(self._values[metric])
            ours = values.pop(BackboneRelay.name, [])
            if ours and not values:
                report.line(NAME, metric, ours, unit)
            for peer, theirs in values.items():
                if ours:
                    report.line(NAME, metric, ours, unit, peer=peer, peer_values=theirs)
                else:
                    report.note(f"{metric} of {peer}: {statistics.median(theirs):.3f} {unit}")

    def _drained(self, name: str, drained: Drained, rss_mb: float) -> None:
        self._values["drain_rows_per_s"][name].append(drained.rows_per_s)
        self._values["cpu_s_per_100k"][name].append(drained.cpu_s_per_100k)
        self._values["rss_mb"][name].append(rss_mb)

    def _paced(self, name: str, latencies: Latencies, *, since: float) -> None:
        for percent in (50, 99):
            figure = latencies.percentile(percent, since=since)
            self._values[f"latency_p{percent}_ms"][name].append(figure)


class _Benchmark:
    """The servers, and what is measured on them in turn."""

    def __init__(self, options: argparse.Namespace, stack: Stack) -> None:
        self._options = options
        self._stack = stack
        self._figures = _Figures()
        self._places = 0

    async def run(self, found: Sequence[Contender]) -> None:
        """Measure everybody, each round in another order."""
        for number in range(self._options.rounds):
            first = number % len(found)
            for contender in (*found[first:], *found[:first]):
                if self._options.rows:
                    await self._drain(contender, number)
                if self._options.seconds and contender.name != RawProducer.name:
                    await self._pace(contender, number)
        self._figures.print()

    async def _drain(self, contender: Contender, number: int) -> None:
        rows: int = self._options.rows
        if contender.name == faststream_outbox.NAME:
            rows = min(rows, self._options.faststream_rows)
        with self._place(contender) as place:
            await contender.prepare(place)
            await contender.load(place, rows)
            with (
                contender.running(place) as process,
                contextlib.closing(TopicEnds(self._stack.bootstrap, place.topic)) as ends,
            ):
                drain = await draining.watch(process, ends, rows, lambda: contender.empty(place))
        self._figures.drained(contender.name, drain)
        self._tell(contender, number, ("drain_rows_per_s", "cpu_s_per_100k", "rss_mb"))

    async def _pace(self, contender: Contender, number: int) -> None:
        per_second: float = self._options.rate
        with self._place(contender) as place:
            await contender.prepare(place)
            with contender.running(place):
                latencies = await pacing.measure(
                    contender,
                    place,
                    per_second=per_second,
                    count=int(per_second * self._options.seconds),
                )
        self._figures.paced(contender.name, latencies)
        self._tell(contender, number, ("latency_p50_ms", "latency_p99_ms"))
        if latencies.rows_per_s < per_second * 0.95:
            report.note(
                f"the writer came to {latencies.rows_per_s:.0f} rows/s only: a busy machine"
            )

    def _place(self, contender: Contender) -> contenders.Opened:
        self._places += 1
        return contenders.place(self._stack, contender.name, self._places)

    def _tell(self, contender: Contender, number: int, metrics: Sequence[str]) -> None:
        said = ", ".join(
            f"{self._figures.last(metric, contender.name):.1f} {_UNITS[metric]} ({metric})"
            for metric in metrics
        )
        report.note(f"round {number + 1}, {contender.name}: {said}")


async def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its lines."""
    options = argparse.ArgumentParser(prog="make bench NAME=relay ARGS=")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--rows", type=int, default=500_000, help="of a backlog; 0 drains none")
    options.add_argument("--faststream-rows", type=int, default=30_000)
    options.add_argument("--rate", type=float, default=500.0, help="commits a second")
    options.add_argument("--seconds", type=float, default=20.0, help="of them; 0 for none")
    options.add_argument("--only", nargs="+", metavar="NAME", help="which contenders; else all")
    chosen = options.parse_args(arguments)
    found = [
        contender
        for contender in _installed()
        if chosen.only is None or contender.name in chosen.only
    ]
    with tempfile.TemporaryDirectory(prefix="backbone-bench-") as folder:
        report.note("starting PostgreSQL and Kafka")
        with Stack(Path(folder)) as stack:
            await _Benchmark(chosen, stack).run(found)


def _installed() -> list[Contender]:
    """Return who can run here; those who cannot are named."""
    peers: list[tuple[str, Callable[[], Sequence[Contender]]]] = [
        ("debezium-default, debezium-tuned", debezium.find_connectors),
        (faststream_outbox.NAME, faststream_outbox.find_relays),
    ]
    found: list[Contender] = [BackboneRelay()]
    for names, find in peers:
        try:
            found += find()
        except ToolMissingError as exc:
            report.note(f"LEFT OUT: {names}: {exc}")
    return [*found, RawProducer()]
