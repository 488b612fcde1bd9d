"""The reconciler: handing many definitions on, one change among them, and comparing them all."""

import argparse
import asyncio
import random
import re
import time
import urllib.request
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import psutil
from temporalio.client import Client

from benchmarks import report
from benchmarks.registry import client as registry
from benchmarks.schedules import documents
from benchmarks.schedules.stack import NOWHERE, Stack
from contracts import identifiers
from runtime import temporal

NAME = "schedules"
_SET = 500
_LOOK_S = 0.01
_IDLE, _IDLE_SECONDS = 0.3, 3  # seconds of processor time within one second
_SLOW_LOOK_S = 0.5
_DEADLINE_S = 1800.0
_HANDED_ON = """
SELECT count(*) FROM registry.materialisations
WHERE error IS NULL AND definition_id LIKE 'bench.yearly-%'
"""
_COMPARED = "SELECT compared_at FROM registry.reconciler_leases"


def add_options(options: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    options.add_argument("--definitions", type=int, default=10_000)
    options.add_argument("--changes", type=int, default=20, help="one by one, among all")
    options.add_argument(
        "--calls-per-s", type=float, default=None, help="for Temporal; default: the registry's"
    )


async def measure(stack: Stack, chosen: argparse.Namespace) -> None:
    """Print how long handing on takes: of all, of one among them, and of comparing all."""
    # In half a year at the earliest, so that nothing is due while this runs.
    month = (datetime.now(UTC).month + 5) % 12 + 1
    count: int = chosen.definitions
    database = await asyncpg.connect(stack.suite.endpoints.postgres.dsn())
    try:
        async with registry.Client(stack.suite.addresses["registry"].grpc or "") as ours:
            report.note(f"applying {count} definitions")
            for first in range(0, count, _SET):
                batch = range(first, min(first + _SET, count))
                await ours.apply(*(documents.definition(n, month=month) for n in batch))
        env = {"BACKBONE_TEMPORAL_ADDRESS": stack.temporal_address}
        if chosen.calls_per_s is not None:
            env["BACKBONE_SCHEDULE_CALLS_PER_S"] = str(chosen.calls_per_s)
        report.note("handing them on")
        stack.restart_registry(env)
        process = stack.registry()
        started = time.monotonic()

        async def handed_on() -> bool:
            return bool(await database.fetchval(_HANDED_ON) >= count)

        await _until(handed_on, look_s=_SLOW_LOOK_S)
        _line(stack, f"reconcile_{count}_ms", [_ms_since(started)], "ms")
        report.note("waiting until Temporal has nothing left to do")
        await _settle(stack.temporal())
        await _one_by_one(stack, month, count, chosen.changes)
        took = await _comparison(stack, database)
        _line(stack, f"compare_{count}_ms", [took * 1000], "ms")
        _line(stack, "registry_rss_mib", [process.memory_info().rss / 2**20], "MiB")
        stack.restart_registry({"BACKBONE_TEMPORAL_ADDRESS": NOWHERE})
    finally:
        await database.close()


async def _settle(process: psutil.Process) -> None:
    """Wait until a process has little to do: each Schedule is a workflow inside of it."""
    deadline, idle = time.monotonic() + _DEADLINE_S, 0
    while idle < _IDLE_SECONDS:
        if time.monotonic() > deadline:
            raise TimeoutError(f"Temporal is still busy after {_DEADLINE_S:.0f} s")
        before = _cpu_s(process)
        await asyncio.sleep(1)
        idle = idle + 1 if _cpu_s(process) - before < _IDLE else 0


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _one_by_one(stack: Stack, month: int, count: int, changes: int) -> None:
    """From the start of an apply until Temporal has the new times, among all the others."""
    chance = random.Random(8)  # noqa: S311 - a benchmark's choice of ids
    client = await temporal.connect(stack.temporal_address, namespace="dev", identity="bench")
    took = []
    async with registry.Client(stack.suite.addresses["registry"].grpc or "") as ours:
        for edition in range(1, changes + 1):
            number = chance.randrange(count)
            before = await _note(client, number)
            started = time.monotonic()
            await ours.apply(documents.definition(number, month=month, edition=edition))

            async def written(number: int = number, before: str = before) -> bool:
                return await _note(client, number) != before

            await _until(written, look_s=_LOOK_S)
            took.append(_ms_since(started))
            # Not in step with anything that the registry does now and then.
            await asyncio.sleep(chance.uniform(0.1, 0.6))
    _line(stack, "reconcile_one_change_ms", took, "ms")
    _line(stack, "reconcile_one_change_max_ms", [max(took)], "ms")


async def _note(client: Client, number: int) -> str:
    """Return what a Schedule says that it was made from."""
    handle = client.get_schedule_handle(identifiers.schedule_id(documents.definition_id(number)))
    return (await handle.describe()).schedule.state.note or ""


async def _comparison(stack: Stack, database: asyncpg.Connection) -> float:
    """Return the seconds that the registry's next comparison of everything takes, as it says."""
    http = stack.suite.addresses["registry"].http or ""
    before = await asyncio.to_thread(_durations, http)
    compared = await database.fetchval(_COMPARED)

    async def again() -> bool:
        return bool(await database.fetchval(_COMPARED) != compared)

    await _until(again, look_s=_SLOW_LOOK_S)
    after = await asyncio.to_thread(_durations, http)
    return after - before


def _durations(http: str) -> float:
    """Return the sum of all comparisons' seconds."""
    with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r"^backbone_registry_reconciler_duration_seconds_sum\S* (\S+)$", text, re.M)
    return sum(map(float, found))


async def _until(condition: Callable[[], Awaitable[bool]], *, look_s: float) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done within {_DEADLINE_S:.0f} s")
        await asyncio.sleep(look_s)


def _ms_since(started: float) -> float:
    return (time.monotonic() - started) * 1000


def _line(stack: Stack, metric: str, values: list[float], unit: str) -> None:
    report.line(NAME, f"{stack.prefix}{metric}", values, unit)
