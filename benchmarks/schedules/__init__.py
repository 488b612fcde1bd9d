"""Schedules: how late what is due is decided, and how long Temporal takes to have what is applied.

Each part is a module: `lateness` measures due times beside bare Temporal Schedules, `reconciling`
handing 10,000 definitions on, and one change among them.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.schedules import lateness, reconciling, stack
from benchmarks.schedules.stack import SERVERS

NAME = "schedules"
_PARTS = {"lateness": lateness.measure, "reconciling": reconciling.measure}


async def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its lines."""
    options = argparse.ArgumentParser(prog="make bench NAME=schedules ARGS=")
    options.add_argument("--servers", nargs="+", choices=SERVERS, default=["dev"])
    options.add_argument("--parts", nargs="+", choices=[*_PARTS], default=[*_PARTS])
    lateness.add_options(options)
    reconciling.add_options(options)
    chosen = options.parse_args(arguments)
    # Else it tells of every connection that ends.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for server in chosen.servers:
        with tempfile.TemporaryDirectory(prefix="backbone-bench-") as folder:
            report.note(f"starting servers and services ({server})")
            with stack.running(Path(folder), server) as running:
                # While nothing is applied yet that would have to be handed on.
                for part in chosen.parts:
                    await _PARTS[part](running, chosen)
