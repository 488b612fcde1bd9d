"""What a benchmark prints: one JSON object a line, the same fields for every benchmark."""

import json
import platform
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import psutil


def line(
    benchmark: str,
    metric: str,
    values: Sequence[float],
    unit: str,
    *,
    peer: str | None = None,
    peer_values: Sequence[float] = (),
) -> None:
    """Print the median of `values` (one a round), beside the peer's when there is one.

    `ratio` is value / peer_value; the last three fields are null without a peer.
    """
    value = statistics.median(values)
    peer_value = statistics.median(peer_values) if peer is not None else None
    print(
        json.dumps(
            {
                "benchmark": benchmark,
                "metric": metric,
                "value": round(value, 3),
                "unit": unit,
                "peer": peer,
                "peer_value": None if peer_value is None else round(peer_value, 3),
                "ratio": None if not peer_value else round(value / peer_value, 3),
            }
        ),
        flush=True,
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile (1 to 99) of two values or more, in their unit."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def machine() -> None:
    """Say on standard error where and when this ran, and what else kept the machine busy."""
    note(
        f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}, {platform.system()} {platform.machine()}, "
        f"{psutil.cpu_count()} CPUs, {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"Python {platform.python_version()}, load {psutil.getloadavg()[0]:.1f}"
    )


def note(text: str) -> None:
    """Say something on standard error: progress, not a result."""
    print(text, file=sys.stderr, flush=True)
