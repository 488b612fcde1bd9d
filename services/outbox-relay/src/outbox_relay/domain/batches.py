"""Which rows of a batch may leave the outbox, and which streams have to wait.

A row may be deleted when the broker has it and every earlier row of its stream that was read with
it. A later row whose predecessor failed is published again after it: a duplicate, which consumers
drop, instead of a gap, which nobody can mend.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

StreamKey = tuple[str, str]
"""Namespace and stream."""


@dataclass(frozen=True, slots=True)
class PendingRow:
    """An unpublished event: the exact bytes to publish, and where to."""

    position: int
    namespace: str
    stream: str
    topic: str
    key: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def stream_key(self) -> StreamKey:
        """The stream within its namespace."""
        return (self.namespace, self.stream)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a batch: positions to delete, and why each held stream has to wait."""

    published: tuple[int, ...]
    held: Mapping[StreamKey, str]


def settle(rows: Sequence[PendingRow], failures: Mapping[int, str]) -> Settled:
    """Return what to delete and what to hold, given why rows failed by position.

    `rows` are in the order of their positions.
    """
    published: list[int] = []
    held: dict[StreamKey, str] = {}
    for row in rows:
        if row.stream_key in held:
            continue
        reason = failures.get(row.position)
        if reason is None:
            published.append(row.position)
        else:
            held[row.stream_key] = reason
    return Settled(tuple(published), held)
