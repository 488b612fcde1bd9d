"""What becomes of `outbox_pending` when millions of rows have come and gone.

The same rows in three phases: undisturbed; while a transaction is open in another database of the
cluster; while one is open in the outbox's own. Beside them, the table without its own settings.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.relay import contenders
from benchmarks.relay.backbone_relay import BackboneRelay
from benchmarks.relay.stack import Stack
from benchmarks.relay_bloat import flow
from benchmarks.relay_bloat.flow import Phase, Summary

NAME = "relay-bloat"
_PEER = "default-autovacuum"
_SETTINGS = """
ALTER TABLE ledger.outbox_pending RESET (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
    autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold,
    autovacuum_analyze_scale_factor, autovacuum_analyze_threshold, autovacuum_vacuum_cost_delay
)
"""
_UNITS = {
    "table_mb_max": "MB",
    "table_mb_end": "MB",
    "index_mb_max": "MB",
    "index_mb_end": "MB",
    "dead_rows_max": "rows",
    "dead_rows_end": "rows",
    "autovacuums": "runs",
    "flow_rows_per_s": "rows/s",
    "burst_rows_per_s_start": "rows/s",
    "burst_rows_per_s_end": "rows/s",
}


async def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its lines."""
    options = argparse.ArgumentParser(prog="make bench NAME=relay-bloat ARGS=")
    options.add_argument("--rows", type=int, default=10_000_000, help="of the undisturbed phase")
    options.add_argument("--held-rows", type=int, default=5_000_000, help="of each held phase")
    options.add_argument("--peer-rows", type=int, default=5_000_000, help="of the peer")
    options.add_argument("--burst", type=int, default=100_000, help="rows whose drain is timed")
    chosen = options.parse_args(arguments)
    phases = [
        Phase("undisturbed", rows=chosen.rows),
        Phase("held_elsewhere", rows=chosen.held_rows, held_in="elsewhere"),
        Phase("held_here", rows=chosen.held_rows, held_in="here"),
    ]
    with tempfile.TemporaryDirectory(prefix="backbone-bench-") as folder:
        report.note("starting PostgreSQL and Kafka")
        with Stack(Path(folder)) as stack:
            ours = [
                await _run(stack, "bloat", number, phase, chosen.burst)
                for number, phase in enumerate(phases)
                if phase.rows
            ]
            theirs = (
                await _run(stack, "peer", 0, Phase(_PEER, rows=chosen.peer_rows), chosen.burst)
                if chosen.peer_rows
                else None
            )
    _print(ours, theirs)


async def _run(stack: Stack, name: str, number: int, phase: Phase, burst: int) -> Summary:
    """Let the rows of a phase through a database of its own."""
    relay = BackboneRelay()
    with contenders.place(stack, name, number) as place:
        await relay.prepare(place)
        with relay.running(place) as process:
            return await flow.run(
                relay,
                place,
                process,
                phase,
                burst=burst,
                settings=_SETTINGS if phase.name == _PEER else None,
            )


def _print(ours: Sequence[Summary], theirs: Summary | None) -> None:
    for summary in ours:
        for metric, unit in _UNITS.items():
            name = metric if summary.phase == "undisturbed" else f"{metric}_{summary.phase}"
            if theirs is not None and summary.phase == "undisturbed":
                report.line(
                    *(NAME, name, [summary.figures[metric]], unit),
                    peer=_PEER,
                    peer_values=[theirs.figures[metric]],
                )
            else:
                report.line(NAME, name, [summary.figures[metric]], unit)
