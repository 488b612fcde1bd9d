"""From an event on Kafka to its task, beside a bare workflow started by a plain consumer loop.

Both sides get the same records and do one empty Temporal activity each; they share the servers and
take turns. What Backbone does beside (matching, decision, ledger, outbox, relay) is the difference.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from temporalio.client import Client

from benchmarks import report
from benchmarks.first_run.load import DEADLINE_S, DOCUMENTS, INPUT, PACE, Load, records
from devstack.infrastructure import ensure_topics
from devstack.suite import Extra, Suite

NAME = "first-run"
HERE = Path(__file__).parent
FLOOR = "dev.floor"


async def _floor_round(client: Client, load: Load, count: int, before: int) -> float:
    """Return events per second from the first publish to the last workflow's completion."""
    started = time.monotonic()
    load.publish(FLOOR, records(count))
    while await _floor_done(client) < before + count:
        if time.monotonic() > started + DEADLINE_S:
            raise TimeoutError(f"the floor did not do {count} events within {DEADLINE_S} s")
        await asyncio.sleep(0.1)
    return count / (time.monotonic() - started)


async def _floor_done(client: Client) -> int:
    found = await client.count_workflows(
        "WorkflowType = 'FloorRun' AND ExecutionStatus = 'Completed'"
    )
    return found.count


async def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its lines."""
    options = argparse.ArgumentParser(prog="make bench NAME=first-run ARGS=")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--events", type=int, default=400)
    options.add_argument("--paced", type=int, default=200)
    chosen = options.parse_args(arguments)
    script = {
        name: (sys.executable, str(HERE / f"{name}.py"))
        for name in ("handler_worker", "floor_worker", "floor_consumer")
    }
    with tempfile.TemporaryDirectory(prefix="backbone-bench-") as folder:
        report.note("starting servers and services")
        suite = Suite(
            Path(folder),
            topics=(INPUT,),
            task_queues=("bench-tq",),
            extra=[
                Extra(name="handlers", argv=script["handler_worker"]),
                Extra(name="floor-worker", argv=script["floor_worker"]),
            ],
        )
        try:
            suite.start()
            await _measure(suite, script["floor_consumer"], chosen)
        finally:
            suite.stop()


async def _measure(suite: Suite, floor_consumer: Sequence[str], chosen: argparse.Namespace) -> None:
    ensure_topics(suite.endpoints.brokers, {FLOOR: 4})
    await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "cli", "apply", "-f", str(DOCUMENTS)],
        env=suite.client_environment(),
        check=True,
        stdout=sys.stderr,
    )
    client = await Client.connect(suite.endpoints.temporal_address, namespace="dev")
    load = Load(suite.endpoints.brokers)
    consumer = subprocess.Popen(  # noqa: S603 ASYNC220 - our own command
        floor_consumer, env=suite.client_environment()
    )
    try:
        report.note("warming up")
        await asyncio.to_thread(load.events_per_s, 50)
        await _floor_round(client, load, 50, await _floor_done(client))
        ours: list[float] = []
        floor: list[float] = []
        for number in range(chosen.rounds):
            ours.append(await asyncio.to_thread(load.events_per_s, chosen.events))
            floor.append(await _floor_round(client, load, chosen.events, await _floor_done(client)))
            report.note(f"round {number + 1}: backbone {ours[-1]:.1f}/s, floor {floor[-1]:.1f}/s")
        latencies = await asyncio.to_thread(load.latencies_ms, chosen.paced, per_second=PACE)
    finally:
        consumer.terminate()
        consumer.wait(10)
    report.line(NAME, "events_per_s", ours, "events/s", peer="floor", peer_values=floor)
    report.line(NAME, "latency_p50_ms", [report.percentile(latencies, 50)], "ms")
    report.line(NAME, "latency_p99_ms", [report.percentile(latencies, 99)], "ms")
