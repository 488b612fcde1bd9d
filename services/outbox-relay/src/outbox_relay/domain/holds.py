"""Streams that wait because the broker refused one of their rows, so that others need not.

Time is the caller's, in seconds of any monotonic clock.
"""

from collections.abc import Mapping

from outbox_relay.domain.batches import StreamKey

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0


class Holds:
    """Remembers until when each held stream waits; the wait doubles with each refusal."""

    def __init__(self) -> None:
        self._until: dict[StreamKey, float] = {}
        self._waits: dict[StreamKey, float] = {}

    def add(self, refused: Mapping[StreamKey, str], *, now: float) -> None:
        """Hold each refused stream, longer than the last time."""
        for stream in refused:
            wait = min(self._waits.get(stream, FIRST_WAIT_S / 2) * 2, LONGEST_WAIT_S)
            self._waits[stream] = wait
            self._until[stream] = now + wait

    def waiting(self, *, now: float) -> frozenset[StreamKey]:
        """Return the streams that still wait at `now`."""
        return frozenset(stream for stream, until in self._until.items() if until > now)

    def release(self, stream: StreamKey) -> None:
        """Forget a stream: one of its rows was published."""
        self._until.pop(stream, None)
        self._waits.pop(stream, None)
