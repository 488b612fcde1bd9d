"""Envelopes from strangers: read, or refused with a reason, and soon."""

import time

from contracts import envelope
from contracts.rejections import EventRejectedError

MOST_S = 0.05


def one(data: bytes) -> None:
    """Read bytes as an event, and what was read once more from its canonical form."""
    began = time.process_time()
    try:
        event = envelope.parse(data)
    except EventRejectedError:
        event = None
    took = time.process_time() - began
    assert took < MOST_S, f"{took * 1000:.0f} ms for {len(data)} bytes"
    if event is not None:
        assert envelope.parse(envelope.render(event)) == event
