"""How long the console's pages take with months in the ledger, asked one after the other.

The floor is what the same server gives without asking anybody: its style sheet.
"""

import argparse
import asyncio
import contextlib
import http
import http.client
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import asyncpg

from benchmarks import report
from benchmarks.first_run import load
from benchmarks.first_run.load import Load
from devstack.suite import Suite

NAME = "console"
FLOOR = "stylesheet"
HERE = Path(__file__).parent
EVENTS = 20
TARGET_MS = 200.0
_WARM_UP = 3
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class _Ids:
    """One of each thing that has a page of its own."""

    event: str
    run: str
    task: str
    definition: str


async def main(arguments: Sequence[str]) -> None:
    """Fill a ledger, ask for every page `--rounds` times, print how long each takes."""
    parser = argparse.ArgumentParser(prog=f"make bench NAME={NAME} ARGS=")
    parser.add_argument("--runs", type=int, default=100_000, help="[default: 100000]")
    parser.add_argument("--rounds", type=int, default=40, help="[default: 40]")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-console-") as folder:
        suite = Suite(
            Path(folder), topics=(load.INPUT,), task_queues=("bench-tq",), provider="local"
        )
        try:
            suite.start()
            ids = await _grown(suite, runs=options.runs)
            _measure(suite.console_url, _pages(ids), rounds=options.rounds)
        finally:
            await asyncio.to_thread(suite.stop)


def _pages(ids: _Ids) -> Mapping[str, str]:
    """Return what to ask for, by a name for each."""

    def at(page: str, **query: str) -> str:
        return f"/dev/{page}" + (f"?{urlencode(query)}" if query else "")

    return {
        FLOOR: "/static/console.css",
        "overview": at("overview"),
        "figures": at("overview/figures"),
        "dead_letters_count": at("overview/dead-letters"),
        "runs": at("runs"),
        "runs_failed": at("runs", status="failed"),
        "tasks": at("tasks", status="open", type="human"),
        "search_run": at("search", q=ids.run),
        "search_subject": at("search", q="nothing-has-this"),
        "event": at("event", id=ids.event, source=load.SOURCE),
        "run": at("run", id=ids.run),
        "task": at("task", id=ids.task),
        "definitions": at("definitions"),
        "definition": at("definition", id=ids.definition),
        "schedule": at("definition/schedule", id=ids.definition),
        "inbox": at("inbox", group="bench"),
        "inbox_task": at("inbox/task", id=ids.task),
        **{page.replace("-", "_"): at(page) for page in _OPERATIONS},
    }


_OPERATIONS = ("dead-letters", "switches", "pending", "drift", "replays", "backfills", "audit")


async def _grown(suite: Suite, *, runs: int) -> _Ids:
    """Have some runs for real, and many more made of one of them."""
    events = await asyncio.to_thread(_begun, suite)
    connection = await asyncpg.connect(suite.endpoints.postgres.dsn())
    try:
        row = await connection.fetchrow(
            "SELECT run_id, task_id, definition_id FROM ledger.tasks ORDER BY position LIMIT 1"
        )
        assert row is not None
        report.note(f"growing the ledger to {runs} runs")
        await connection.execute("SET statement_timeout = '10min'")
        await connection.fetch((HERE / "population.sql").read_text(), runs, row["run_id"])
        await connection.execute("VACUUM ANALYZE ledger.runs")
        await connection.execute("VACUUM ANALYZE ledger.tasks")
        waiting = await connection.fetchval(
            "SELECT count(*) FROM ledger.tasks WHERE status = 'open'"
        )
        report.note(f"{waiting} tasks are open")
    finally:
        await connection.close()
    return _Ids(events[0], row["run_id"], str(row["task_id"]), row["definition_id"])


def _begun(suite: Suite) -> list[str]:
    """Apply the definition and publish some events; return their ids, once each has its task."""
    for file in (load.DOCUMENTS / "event_type.yaml", HERE / "definition.yaml"):
        subprocess.run(  # noqa: S603 - our own command
            [
                *(sys.executable, "-m", "cli", "-n", "dev"),
                *("apply", "-f", str(file), "--reason", "benchmark"),
            ],
            env=suite.client_environment(),
            check=True,
            stdout=sys.stderr,
        )
    published = load.records(EVENTS)
    seen = load.TaskEvents(suite.endpoints.brokers)
    try:
        Load(suite.endpoints.brokers).publish(load.INPUT, published)
        seen.wait("backbone.TaskCreated", EVENTS)
    finally:
        seen.close()
    return list(published)


def _measure(url: str, pages: Mapping[str, str], *, rounds: int) -> None:
    """Ask for each page in turn, again and again, and print the 95th percentile of each."""
    took: dict[str, list[float]] = defaultdict(list)
    where = urlsplit(url)
    with contextlib.closing(
        http.client.HTTPConnection(where.netloc, timeout=_TIMEOUT_S)
    ) as connection:
        for turn in range(_WARM_UP + rounds):
            for name, path in pages.items():
                began = time.perf_counter()
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                passed_ms = (time.perf_counter() - began) * 1000
                if answer.status not in {http.HTTPStatus.OK, http.HTTPStatus.SEE_OTHER}:
                    raise RuntimeError(f"{path} answers {answer.status}")
                if turn >= _WARM_UP:
                    took[name].append(passed_ms)
    floor = report.percentile(took.pop(FLOOR), 95)
    slow = []
    for name, passed in took.items():
        p95 = report.percentile(passed, 95)
        report.line(NAME, f"p95_ms_{name}", [p95], "ms", peer=FLOOR, peer_values=[floor])
        if p95 > TARGET_MS:
            slow.append(name)
    report.note(f"above {TARGET_MS:.0f} ms: {', '.join(slow) or 'none'}")
