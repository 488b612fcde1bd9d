"""The router among 10,000 definitions, with events that one of them wants or none.

The real router with a real registry and ledger, Kafka, Temporal and Redis. Its floors do with the
same records what cannot be left out: parse them, or start the same workflows. All take turns with
one backlog, and no other of them runs meanwhile.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks import report
from benchmarks.registry.client import Client
from benchmarks.router import documents
from benchmarks.router.contenders import Contender, Turn
from contracts import names
from devstack.suite import Extra, Suite
from router.settings import Settings

NAME = "router"
MATCHED, UNMATCHED = "dev.bench-matched", "dev.bench-unmatched"
FLOORS = {
    "floor-start": ("start", MATCHED),
    "floor-parse": ("parse", UNMATCHED),
    "floor-parse-orjson": ("parse-orjson", UNMATCHED),
}
_SCRIPT = Path(__file__).with_name("floor.py")
_SET = 1000


@dataclass
class _Figures:
    """The turns of each contender with one kind of events."""

    turns: dict[str, list[Turn]] = field(default_factory=dict)

    def per_s(self, name: str) -> list[float]:
        return [turn.per_s for turn in self.turns[name]]

    def cpu_us(self, name: str) -> list[float]:
        return [turn.cpu_us for turn in self.turns[name]]


class _Benchmark:
    def __init__(self, options: argparse.Namespace, suite: Suite) -> None:
        self._options = options
        self._bootstrap = suite.endpoints.kafka_bootstrap_servers
        self._producer = Producer(
            {"bootstrap.servers": self._bootstrap, "acks": "all", "linger.ms": 20, "log_level": 0}
        )
        groups = {"router": names.router_group("dev")} | {name: name for name in FLOORS}
        pids = {status.name: status.pid for status in suite.status()}
        self._contenders = {
            name: Contender(
                name, psutil.Process(pids[name]), bootstrap=self._bootstrap, group=group
            )
            for name, group in groups.items()
        }
        self._chance = random.Random(6)  # noqa: S311 - a benchmark's choice of events

    def run(self) -> None:
        """Measure everything."""
        definitions: int = self._options.definitions
        router = self._contenders["router"]
        idle_rss = router.rss_mib()
        for contender in self._contenders.values():
            if contender is not router:
                contender.freeze()
        wanted = range(definitions)
        unwanted = range(definitions, 2 * definitions)
        unmatched = self._rounds(UNMATCHED, unwanted, self._options.unmatched)
        matched = self._rounds(MATCHED, wanted, self._options.matched)
        _line("matched_events_per_s", "events/s", matched.per_s("router"),
              "floor-start", matched.per_s("floor-start"))  # fmt: skip
        _line("router_cpu_ms_per_event", "ms", _ms(matched.cpu_us("router")),
              "floor-start", _ms(matched.cpu_us("floor-start")))  # fmt: skip
        for peer in ("floor-parse", "floor-parse-orjson"):
            _line("unmatched_events_per_s", "events/s", unmatched.per_s("router"),
                  peer, unmatched.per_s(peer))  # fmt: skip
            _line("unmatched_cpu_us_per_event", "us", unmatched.cpu_us("router"),
                  peer, unmatched.cpu_us(peer))  # fmt: skip
        report.line(NAME, "rss_mib_idle", [idle_rss], "MiB")
        report.line(NAME, "rss_mib", [router.rss_mib()], "MiB")

    def close(self) -> None:
        """Let everybody run, so that they can end."""
        for contender in self._contenders.values():
            contender.close()

    def _rounds(self, topic: str, customers: range, count: int) -> _Figures:
        turn = ["router", *(name for name, (_, read) in FLOORS.items() if read == topic)]
        figures = _Figures({name: [] for name in turn})
        for number in range(self._options.rounds + 1):
            # A first small round warms everybody up.
            events = count if number else max(count // 10, 100)
            self._contenders["router"].freeze()
            ends = self._publish(topic, customers, events)
            # Whoever is first in a round is last in the next.
            for name in turn if number % 2 else reversed(turn):
                taken = self._contenders[name].take(ends, events)
                if number:
                    figures.turns[name].append(taken)
            self._contenders["router"].thaw()
            if number:
                report.note(
                    f"{topic}, round {number}: "
                    + ", ".join(
                        f"{name} {t[-1].per_s:.0f}/s at {t[-1].cpu_us:.1f} us"
                        for name, t in figures.turns.items()
                    )
                )
        return figures

    def _publish(self, topic: str, customers: range, count: int) -> list[TopicPartition]:
        """Publish a backlog; return where each partition ends."""
        for key, value in documents.events(count, customers=customers, chance=self._chance):
            while True:
                try:
                    self._producer.produce(topic, value, key)
                    break
                except BufferError:
                    self._producer.poll(0.1)
        if self._producer.flush(60):
            raise TimeoutError("Kafka did not take the backlog in 60 s")
        reader = Consumer({"bootstrap.servers": self._bootstrap, "group.id": "bench"})
        try:
            partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
            return [
                TopicPartition(
                    topic,
                    number,
                    reader.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1],
                )
                for number in partitions
            ]
        finally:
            reader.close()


def _default(setting: str) -> int:
    """Return a setting of a router that is told nothing."""
    default: int = Settings.model_fields[setting].default
    return default


def _ms(microseconds: Sequence[float]) -> list[float]:
    return [value / 1000 for value in microseconds]


def _line(
    metric: str, unit: str, ours: Sequence[float], peer: str, theirs: Sequence[float]
) -> None:
    report.line(NAME, metric, ours, unit, peer=peer, peer_values=theirs)


async def _load(suite: Suite, definitions: int) -> None:
    async with Client(suite.addresses["registry"].grpc or "") as client:
        await client.apply(*documents.others())
        for first in range(0, definitions, _SET):
            numbers = range(first, min(first + _SET, definitions))
            await client.apply(*map(documents.definition, numbers))


async def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its lines."""
    options = argparse.ArgumentParser(prog="make bench NAME=router ARGS=")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--definitions", type=int, default=10_000)
    options.add_argument("--matched", type=int, default=1_000, help="events of a round")
    options.add_argument("--unmatched", type=int, default=100_000, help="events of a round")
    options.add_argument("--batch", type=int, default=_default("batch_records"))
    chosen = options.parse_args(arguments)
    # Else it tells of every connection that ends.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    with tempfile.TemporaryDirectory(prefix="backbone-bench-") as folder:
        suite = Suite(
            Path(folder),
            services=("ledger", "registry", "router"),
            topics=(MATCHED, UNMATCHED),
            extra=[
                Extra(
                    name=name,
                    argv=(
                        *(sys.executable, str(_SCRIPT), kind, topic, name),
                        *(str(chosen.batch), str(_default("concurrency"))),
                    ),
                )
                for name, (kind, topic) in FLOORS.items()
            ],
            env={"router": {"BACKBONE_BATCH_RECORDS": str(chosen.batch)}},
        )
        report.note("starting servers and services")
        try:
            await asyncio.to_thread(suite.start)
            report.note(f"loading {chosen.definitions} definitions")
            await _load(suite, chosen.definitions)
            # As a router is that was started lately: with all of them from a snapshot.
            await asyncio.to_thread(suite.restart, "router")
            await asyncio.to_thread(suite.wait_ready)
            benchmark = _Benchmark(chosen, suite)
            try:
                await asyncio.to_thread(benchmark.run)
            finally:
                benchmark.close()
        finally:
            await asyncio.to_thread(suite.stop)
