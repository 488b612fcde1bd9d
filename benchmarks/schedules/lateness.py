"""Lateness: from a due time until the decision of its run is recorded, beside bare Schedules.

So many schedules are due within a minute, evenly, each once. Ours are due in even minutes and the
peer's in odd ones, so that they take turns on one server and neither works in the other's minute.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
)

from benchmarks import report
from benchmarks.registry import client as registry
from benchmarks.schedules import documents
from benchmarks.schedules.bare_worker import TASK_QUEUE, BareScheduled
from benchmarks.schedules.stack import NOWHERE, Stack
from runtime import temporal

NAME = "schedules"
PEER = "bare-schedule"
_SET = 500
_AT_ONCE = 20  # schedules that are made at a time
_READY = timedelta(seconds=10)  # between the last preparation and the first due time
_DEADLINE_S = 900.0
_DECIDED = """
SELECT due_at, runs.recorded_at, decided_at
FROM ledger.due_times JOIN ledger.runs USING (namespace, run_id)
WHERE due_times.definition_id LIKE $1
"""


def add_options(options: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    options.add_argument("--due", type=int, nargs="*", default=[300, 1000], help="in a minute")
    options.add_argument("--rounds", type=int, default=3, help="of the first of these numbers")


async def measure(stack: Stack, chosen: argparse.Namespace) -> None:
    """Print how late decisions are recorded, for each number of schedules in a minute."""
    stack.restart_registry({"BACKBONE_TEMPORAL_ADDRESS": stack.temporal_address})
    for due in chosen.due:
        first = due == chosen.due[0]
        await _Lateness(stack, due, chosen.rounds if first else 1).run(
            prefix="" if first else f"reported_{due}_"
        )
    stack.restart_registry({"BACKBONE_TEMPORAL_ADDRESS": NOWHERE})


class _Lateness:
    """So many schedules of ours and of the peer, and when their due times were dealt with."""

    def __init__(self, stack: Stack, due: int, rounds: int) -> None:
        self._stack, self._due, self._rounds = stack, due, rounds
        # In seconds: of ours until the run's decision, and until the due time's; of the peer's.
        self._ours: list[float] = []
        self._ticks: list[float] = []
        self._bare: list[float] = []

    async def run(self, *, prefix: str) -> None:
        """Make the schedules, wait until each due time is dealt with, and print the figures."""
        client = await temporal.connect(
            self._stack.temporal_address, namespace=documents.NAMESPACE, identity="bench"
        )
        start = await self._prepare(client)
        end = start + timedelta(minutes=2 * self._rounds)
        report.note(f"{self._due} due a minute, from {start:%H:%M} to {end:%H:%M}")
        expected = self._due * self._rounds
        database = await asyncpg.connect(self._stack.suite.endpoints.postgres.dsn())
        try:
            await self._all_dealt_with(database, expected)
        finally:
            await database.close()
        for metric, ours, bare in (
            ("lateness", self._ours, self._bare),
            ("tick_lateness", self._ticks, self._bare),
        ):
            for percent in (50, 99):
                report.line(
                    NAME,
                    f"{self._stack.prefix}{prefix}{metric}_p{percent}_ms",
                    [_percentile(ours, percent)],
                    "ms",
                    peer=PEER,
                    peer_values=[_percentile(bare, percent)],
                )

    async def _prepare(self, client: Client) -> datetime:
        """Make both kinds of schedules, due from the even minute on that is returned."""
        # It is known only then how long making them takes: they begin far enough in the future.
        start = _even_minute(
            datetime.now(UTC) + timedelta(seconds=self._due * 0.25) + timedelta(minutes=1)
        )
        end = start + timedelta(minutes=2 * self._rounds)
        async with registry.Client(self._stack.suite.addresses["registry"].grpc or "") as ours:
            for first in range(0, self._due, _SET):
                batch = range(first, min(first + _SET, self._due))
                await ours.apply(
                    *(documents.every_other_minute(n, self._due, start, end) for n in batch)
                )
        slots = asyncio.Semaphore(_AT_ONCE)

        async def make(number: int) -> None:
            async with slots:
                await client.create_schedule(
                    f"bare-{self._due}-{number}", _bare(number, self._due, start, end)
                )

        await asyncio.gather(*(make(number) for number in range(self._due)))
        wanted = 2 * self._due
        while await self._made(client) < wanted:
            if datetime.now(UTC) + _READY > start:
                raise TimeoutError(f"not all {wanted} schedules were there by {start}")
            await asyncio.sleep(1)
        if datetime.now(UTC) + _READY > start:
            raise TimeoutError(f"all {wanted} schedules were there only after {start - _READY}")
        return start

    async def _made(self, client: Client) -> int:
        prefixes = (f"bare-{self._due}-", documents.schedule_prefix(self._due))
        return sum([one.id.startswith(prefixes) async for one in await client.list_schedules()])

    async def _all_dealt_with(self, database: asyncpg.Connection, expected: int) -> None:
        pattern = f"{documents.lateness_prefix(self._due)}%"
        skipped = len(_noted(self._stack.notes, 0))
        deadline = time.monotonic() + 120.0 * self._rounds + _DEADLINE_S
        while True:
            rows = await database.fetch(_DECIDED, pattern)
            self._bare = _noted(self._stack.notes, skipped)
            if len(rows) >= expected and len(self._bare) >= expected:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(rows)} and {len(self._bare)} of {expected} dealt with")
            await asyncio.sleep(2)
        self._ours = [(row["recorded_at"] - row["due_at"]).total_seconds() for row in rows]
        self._ticks = [(row["decided_at"] - row["due_at"]).total_seconds() for row in rows]


def _bare(number: int, due: int, start: datetime, end: datetime) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            BareScheduled.run, id=f"bare-{due}-{number}", task_queue=TASK_QUEUE
        ),
        spec=ScheduleSpec(
            calendars=[
                ScheduleCalendarSpec(
                    second=[ScheduleRange(number * 60 // due)],
                    minute=[ScheduleRange(1, 59, 2)],
                    hour=[ScheduleRange(0, 23)],
                )
            ],
            start_at=start,
            end_at=end,
        ),
        # As ours have it: nothing waits for what came before.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL),
    )


def _even_minute(at: datetime) -> datetime:
    """Return the first even minute from an instant on."""
    whole = at.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return whole + timedelta(minutes=whole.minute % 2)


def _noted(notes: Path, skipped: int) -> list[float]:
    lines = notes.read_text().splitlines()[skipped:] if notes.exists() else []
    pairs = [line.split() for line in lines]
    return [float(ended) - float(due_at) for due_at, ended in pairs]


def _percentile(seconds: Sequence[float], percent: int) -> float:
    return report.percentile(seconds, percent) * 1000
