"""How fast a backlog goes to Kafka, and what that costs the process that carries it."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.relay.stack import TopicEnds

_LOOK_S = 0.05
_LONGEST_S = 900.0
_FIRST_S = 120.0


@dataclass(frozen=True)
class Drained:
    """What a drain, or a part of it, was."""

    rows_per_s: float
    cpu_s_per_100k: float


@dataclass(frozen=True)
class _Look:
    at: float
    records: int
    cpu_s: float


@dataclass(frozen=True)
class Drain:
    """A whole drain, from the first record in Kafka until nothing is left to do."""

    looks: tuple[_Look, ...]
    rss_mb: float

    def whole(self) -> Drained:
        """Return what it was from the first record on: without the start of the process."""
        return self._since(next(look for look in self.looks if look.records > 0))

    def second_half(self) -> Drained:
        """Return what it was once half of the records were there."""
        half = self.looks[-1].records / 2
        return self._since(next(look for look in self.looks if look.records >= half))

    def _since(self, first: _Look) -> Drained:
        last = self.looks[-1]
        rows = last.records - first.records
        return Drained(
            rows_per_s=rows / (last.at - first.at),
            cpu_s_per_100k=(last.cpu_s - first.cpu_s) / rows * 100_000,
        )


async def watch(
    process: psutil.Process, ends: TopicEnds, rows: int, done: Callable[[], Awaitable[bool]]
) -> Drain:
    """Look on until Kafka has `rows` records and `done` says that nothing is left to do.

    Raises:
        TimeoutError: it takes too long.
        RuntimeError: Kafka has more records than there were rows.
    """
    began = time.monotonic()
    looks: list[_Look] = []
    while not looks or looks[-1].records < rows or not await done():
        await asyncio.sleep(_LOOK_S)
        looks.append(_Look(time.monotonic(), ends.count(), cpu_s(process)))
        waited = looks[-1].at - began
        if waited > _LONGEST_S or (waited > _FIRST_S and looks[-1].records == 0):
            raise TimeoutError(f"{looks[-1].records} of {rows} records after {waited:.0f} s")
    if looks[-1].records > rows:
        raise RuntimeError(f"{looks[-1].records} records of {rows} rows")
    return Drain(tuple(looks), peak_rss_mb(process))


def cpu_s(process: psutil.Process) -> float:
    """Return the processor time that a process has used so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def peak_rss_mb(process: psutil.Process) -> float:
    """Return the most memory that was resident so far, in 10^6 bytes.

    Where the system does not keep it, what is resident now.
    """
    with contextlib.suppress(FileNotFoundError):
        status = Path(f"/proc/{process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024 / 1e6
    return float(process.memory_info().rss) / 1e6
