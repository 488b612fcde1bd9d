"""How long a committed row takes to reach a consumer, at an even pace of commits."""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import report
from benchmarks.relay.contenders import Contender, Place

_READY_S = 120.0
_IDLE_S = 60.0


@dataclass(frozen=True)
class Latencies:
    """The milliseconds from commit to consumer, in the order of the commits."""

    milliseconds: tuple[float, ...]
    rows_per_s: float

    def percentile(self, percent: int, *, since: float = 0.0) -> float:
        """Return a percentile, of the part after the share `since` of the commits."""
        part = self.milliseconds[int(len(self.milliseconds) * since) :]
        return report.percentile(part, percent)


async def measure(
    contender: Contender, place: Place, *, per_second: float, count: int
) -> Latencies:
    """Write `count` rows after a second of others, and read them.

    Raises:
        RuntimeError: a row did not arrive, or the writer or the reader failed.
        TimeoutError: the contender is not ready in time.
    """
    await _until_ready(contender, place)
    folder = place.stack.folder
    seen, committed = (folder / f"{place.namespace}-{what}.json" for what in ("seen", "committed"))
    reading = await _start(
        "reader",
        place.stack.bootstrap,
        place.topic,
        str(count + int(per_second)),
        str(_IDLE_S),
        str(seen),
    )
    try:
        assert reading.stdout is not None
        await reading.stdout.readline()
        database = place.database.dsn("ledger" if contender.name == "backbone" else None)
        writing = await _start(
            *("writer", contender.name, place.stack.bootstrap, database, place.namespace),
            *(str(per_second), str(count), str(committed)),
        )
        codes = (await writing.wait(), await reading.wait())
    finally:
        if reading.returncode is None:
            reading.kill()
            await reading.wait()
    if any(codes):
        raise RuntimeError(f"writer and reader ended with {codes}")
    return _join(json.loads(committed.read_text()), json.loads(seen.read_text()))


def _join(committed: dict[str, float], seen: dict[str, float]) -> Latencies:
    if missing := committed.keys() - seen.keys():
        raise RuntimeError(f"{len(missing)} of {len(committed)} rows did not arrive")
    ordered = sorted(committed, key=committed.__getitem__)
    took = committed[ordered[-1]] - committed[ordered[0]]
    return Latencies(
        tuple((seen[event_id] - committed[event_id]) * 1000 for event_id in ordered),
        rows_per_s=(len(ordered) - 1) / took,
    )


async def _until_ready(contender: Contender, place: Place) -> None:
    deadline = time.monotonic() + _READY_S
    while not await contender.ready(place):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{contender.name} is not ready after {_READY_S:.0f} s")
        await asyncio.sleep(0.1)


async def _start(program: str, *arguments: str) -> asyncio.subprocess.Process:
    argv: Sequence[str] = ("-m", f"benchmarks.relay.processes.{program}", *arguments)
    return await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=PIPE)
