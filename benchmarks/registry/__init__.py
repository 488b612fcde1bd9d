"""The registry's reads, applies and watches, with 10 and with 10,000 definitions, beside floors.

A real registry on a real PostgreSQL is measured from this one client process. Its peers take turns
with it: `grpc-echo`, a bare grpc.aio server that answers the same requests with the same message,
and `insert`, one INSERT of the same bytes in one transaction.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from backbone.registry.v1 import registry_pb2 as pb
from benchmarks import report
from benchmarks.registry import client, documents, stack
from benchmarks.registry.client import Client, Watchers
from benchmarks.registry.stack import Server
from devstack.suite import Suite

NAME = "registry"
_POLL_S = 0.5  # how often a replica looks for the others' changes
_IDLE = 0.1  # seconds of processor time within one second
_IDLE_SECONDS = 3
_SETTLE_S = 600.0
_SCRATCH = """
CREATE TABLE insert_peer (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content bytea NOT NULL
)
"""
_INSERT = "INSERT INTO insert_peer (content) VALUES ($1)"


@dataclass
class _Rounds:
    """One figure a round, ours and the peer's."""

    ours: list[float] = field(default_factory=list)
    peers: list[float] = field(default_factory=list)

    def line(self, metric: str, unit: str, peer: str | None = None) -> None:
        """Print them."""
        report.line(NAME, metric, self.ours, unit, peer=peer, peer_values=self.peers)


class _Benchmark:
    """The servers, and what is measured on them in turn."""

    def __init__(
        self, options: argparse.Namespace, suite: Suite, echo: Server, database: asyncpg.Connection
    ) -> None:
        self._options = options
        self._suite = suite
        self._server = stack.registry(suite)
        self._echo = echo
        self._database = database
        self._chance = random.Random(4)  # noqa: S311 - a benchmark's choice of ids
        self._editions = 0

    async def run(self) -> None:
        """Measure everything, small registry first."""
        largest: int = self._options.definitions
        async with Client(self._server.address) as ours, Client(self._echo.address) as echo:
            await ours.apply(documents.event_type())
            await client.load(ours, 0, 10)
            await self._reads(ours, echo, 10)
            report.note(f"loading {largest} definitions")
            await self._load(ours, 10, largest)
            await self._settle()
            await self._reads(ours, echo, largest)
            await self._applies(ours)
            await self._fan_out(ours, echo)
            await self._other_replica(ours)

    async def _reads(self, ours: Client, echo: Client, definitions: int) -> None:
        per_s, p50, p99, cpu, rss = (_Rounds() for _ in range(5))
        await self._give(echo, await ours.get(documents.definition_id(0)))
        for number in range(self._options.read_rounds + 1):
            turn = [(ours, self._server, 0), (echo, self._echo, 1)]
            # Whoever is first in a round is second in the next.
            for reader, server, peer in turn if number % 2 else reversed(turn):
                before = server.cpu_s()
                measured = await client.reads(
                    reader,
                    definitions=definitions,
                    seconds=self._options.seconds,
                    in_flight=self._options.in_flight,
                    chance=self._chance,
                )
                if number == 0:
                    continue  # warms both up
                used = server.cpu_s() - before
                for rounds, value in (
                    (per_s, measured.per_s),
                    (p50, report.percentile(measured.latencies_ms, 50)),
                    (p99, report.percentile(measured.latencies_ms, 99)),
                    (cpu, used / measured.calls * 1e6),
                    (rss, server.rss_mib()),
                ):
                    (rounds.peers if peer else rounds.ours).append(value)
            if number:
                report.note(
                    f"{definitions} definitions, round {number}: registry {per_s.ours[-1]:.0f}/s, "
                    f"echo {per_s.peers[-1]:.0f}/s"
                )
        per_s.line(f"reads_per_s_{definitions}", "reads/s", "grpc-echo")
        p50.line(f"read_p50_ms_{definitions}", "ms", "grpc-echo")
        p99.line(f"read_p99_ms_{definitions}", "ms", "grpc-echo")
        cpu.line(f"read_cpu_us_{definitions}", "us", "grpc-echo")
        rss.line(f"rss_mib_{definitions}", "MiB", "grpc-echo")

    async def _load(self, ours: Client, first: int, end: int) -> None:
        took = _Rounds(ours=await client.load(ours, first, end))
        contents = [documents.definition(number).content for number in range(first, first + 1000)]
        for _ in took.ours:
            [milliseconds] = await client.timed(1, lambda _: self._insert(contents))
            took.peers.append(milliseconds / 1000)
        if took.ours:
            took.line("apply_set_1000_s", "s", "insert")

    async def _settle(self) -> None:
        """Wait until the registry has nothing left to do: it hands on what was applied."""
        started = time.monotonic()
        idle = 0
        # A second alone may be one in which others had the processor.
        while idle < _IDLE_SECONDS:
            before = self._server.cpu_s()
            await asyncio.sleep(1)
            idle = idle + 1 if self._server.cpu_s() - before < _IDLE else 0
            if time.monotonic() - started > _SETTLE_S:
                raise TimeoutError(f"the registry is still busy after {_SETTLE_S:.0f} s")
        waited = time.monotonic() - started - _IDLE_SECONDS
        report.note(f"idle {waited:.0f} s after the last document")

    async def _applies(self, ours: Client) -> None:
        p50, p99 = _Rounds(), _Rounds()
        count: int = self._options.applies
        await client.timed(10, lambda _: ours.apply(self._new_version()))
        for number in range(self._options.rounds):
            applied = await client.timed(count, lambda _: ours.apply(self._new_version()))
            inserted = await client.timed(
                count, lambda _: self._insert([self._new_version().content])
            )
            for rounds, percent in ((p50, 50), (p99, 99)):
                rounds.ours.append(report.percentile(applied, percent))
                rounds.peers.append(report.percentile(inserted, percent))
            report.note(
                f"applies, round {number + 1}: {p50.ours[-1]:.1f} ms, insert {p50.peers[-1]:.1f} ms"
            )
        p50.line("apply_latency_p50_ms", "ms", "insert")
        p99.line("apply_latency_p99_ms", "ms", "insert")

    async def _fan_out(self, ours: Client, echo: Client) -> None:
        """From the start of an apply until each watcher of the same replica has the change."""
        p50, p99 = _Rounds(), _Rounds()
        resource = await ours.get(documents.definition_id(0))
        revision = await ours.apply(self._new_version())
        count: int = self._options.watchers
        async with (
            Watchers(self._server.address, count, after_revision=revision) as watchers,
            Watchers(self._echo.address, count, after_revision=revision) as peers,
        ):
            for number in range(self._options.rounds + 1):
                near = await self._deliveries(watchers, lambda: ours.apply(self._new_version()))
                floor = await self._deliveries(peers, lambda: self._give(echo, resource))
                if number == 0:
                    continue
                for rounds, percent in ((p50, 50), (p99, 99)):
                    rounds.ours.append(report.percentile(near, percent))
                    rounds.peers.append(report.percentile(floor, percent))
                report.note(f"fan-out, round {number}: p99 {p99.ours[-1]:.1f} ms")
        p50.line(f"watch_fanout_{count}_p50_ms", "ms", "grpc-echo")
        p99.line(f"watch_fanout_{count}_p99_ms", "ms", "grpc-echo")

    async def _other_replica(self, ours: Client) -> None:
        """The same, where the watchers are those of another process on the same database."""
        p50, p99 = _Rounds(), _Rounds()
        revision = await ours.apply(self._new_version())
        with stack.replica(self._suite) as replica:
            async with Watchers(
                replica.address, self._options.watchers, after_revision=revision
            ) as watchers:
                for number in range(self._options.rounds + 1):
                    far = await self._deliveries(
                        watchers, lambda: ours.apply(self._new_version()), pause_s=_POLL_S
                    )
                    if number == 0:
                        continue
                    p50.ours.append(report.percentile(far, 50))
                    p99.ours.append(report.percentile(far, 99))
                    report.note(f"other replica, round {number}: p99 {p99.ours[-1]:.1f} ms")
        p50.line("watch_other_replica_p50_ms", "ms")
        p99.line("watch_other_replica_p99_ms", "ms")

    async def _deliveries(
        self, watchers: Watchers, change: Callable[[], Awaitable[Any]], *, pause_s: float = 0.02
    ) -> list[float]:
        """Make changes at random moments; return the milliseconds of each delivery."""
        found: list[float] = []
        for _ in range(self._options.changes):
            await asyncio.sleep(self._chance.uniform(0, pause_s))
            found += await watchers.deliveries(change)
        return found

    async def _give(self, echo: Client, resource: pb.Resource) -> None:
        await echo.apply(pb.Document(content=resource.SerializeToString()))

    async def _insert(self, contents: Sequence[bytes]) -> None:
        async with self._database.transaction():
            await self._database.executemany(_INSERT, [(content,) for content in contents])

    def _new_version(self) -> pb.Document:
        self._editions += 1
        return documents.definition(self._editions % 10, edition=str(self._editions))


async def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its lines."""
    options = argparse.ArgumentParser(prog="make bench NAME=registry ARGS=")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--definitions", type=int, default=10_000)
    options.add_argument("--read-rounds", type=int, default=31)
    options.add_argument("--seconds", type=float, default=1.0, help="of reads in a round")
    options.add_argument("--in-flight", type=int, default=50)
    options.add_argument("--applies", type=int, default=100, help="in a round")
    options.add_argument("--watchers", type=int, default=50)
    options.add_argument("--changes", type=int, default=20, help="in a round")
    chosen = options.parse_args(arguments)
    # Else it tells of every connection that ends.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    with tempfile.TemporaryDirectory(prefix="backbone-bench-") as folder:
        report.note("starting servers and services")
        with stack.suite(Path(folder)) as suite, stack.echo() as echo:
            database = await asyncpg.connect(stack.scratch_dsn(suite))
            try:
                await database.execute(_SCRATCH)
                await _Benchmark(chosen, suite, echo, database).run()
            finally:
                await database.close()
