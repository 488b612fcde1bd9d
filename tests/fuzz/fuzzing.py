"""What can be fuzzed, and what every target is held to."""

import time
from collections.abc import Callable
from pathlib import Path

import fuzz_cloudevents
import fuzz_envelope
import fuzz_patterns

TARGETS: dict[str, Callable[[bytes], None]] = {
    "patterns": fuzz_patterns.one,
    "envelope": fuzz_envelope.one,
    "cloudevents": fuzz_cloudevents.one,
}

LONGEST = 4096
"""Bytes of an input."""
TIME_S = 2.0
"""Processor time that an input may take: far above what it does take, far below a hang."""
CORPUS = Path(__file__).parent / "corpus"


class TookTooLongError(AssertionError):
    """An input took longer than an input may."""


def run(target: str, data: bytes) -> None:
    """Run a target on an input.

    Raises:
        Exception: whatever the target fails with.
    """
    started = time.process_time()
    TARGETS[target](data[:LONGEST])
    took = time.process_time() - started
    if took > TIME_S:
        message = f"{target}: {took:.1f} s for {len(data)} bytes"
        raise TookTooLongError(message)
