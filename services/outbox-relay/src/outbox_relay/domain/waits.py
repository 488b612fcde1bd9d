"""What is left in the outbox for now: topics that are not there, streams behind a parked event.

Time is the caller's, in seconds of any monotonic clock.
"""

from collections.abc import Collection, Iterable
from enum import StrEnum

from outbox_relay.domain.rows import PendingRow, StreamKey

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0


class Policy(StrEnum):
    """What becomes of a stream whose event the broker refuses for good."""

    WAIT = "wait"
    """Its later events stay in the outbox until somebody retries or discards the refused one."""
    CONTINUE = "continue"
    """They are published; consumers see the gap."""


class Waits:
    """Which rows may be sent now."""

    def __init__(self) -> None:
        self._streams: frozenset[StreamKey] = frozenset()
        self._topics: dict[str, str] = {}
        self._look_again_at = 0.0
        self._wait_s = FIRST_WAIT_S

    @property
    def topics(self) -> dict[str, str]:
        """The topics that rows wait for, each with the reason."""
        return dict(self._topics)

    def park(self, stream: StreamKey) -> None:
        """Have a stream wait behind one of its events."""
        self._streams |= {stream}

    def know_parked(self, streams: Collection[StreamKey]) -> bool:
        """Take what the outbox says of parked streams; return whether one is free again."""
        freed = not self._streams <= frozenset(streams)
        self._streams = frozenset(streams)
        return freed

    def hold(self, topic: str, reason: str, *, now: float) -> bool:
        """Have a topic's rows wait; return whether the topic is new here or the reason is."""
        new = self._topics.get(topic) != reason
        self._topics[topic] = reason
        self._look_again_at = now + self._wait_s
        return new

    def due(self, *, now: float) -> bool:
        """Return whether it is time to try the topics again."""
        return bool(self._topics) and now >= self._look_again_at

    def retry(self) -> None:
        """Let every topic be tried again; a topic that is held once more waits longer."""
        self._topics.clear()
        self._wait_s = min(self._wait_s * 2, LONGEST_WAIT_S)

    def sent(self) -> None:
        """Begin with short waits again: nothing is held."""
        if not self._topics:
            self._wait_s = FIRST_WAIT_S

    def free(self, rows: Iterable[PendingRow]) -> list[PendingRow]:
        """Return the rows that neither their stream nor their topic keeps back."""
        if not self._streams and not self._topics:
            return list(rows)
        return [
            row
            for row in rows
            if row.topic not in self._topics and row.stream_key not in self._streams
        ]
