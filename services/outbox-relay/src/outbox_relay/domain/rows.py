"""A pending row: an event to publish, as it stands in the outbox."""

from typing import NamedTuple

StreamKey = tuple[str, str]
"""Namespace and stream."""


class PendingRow(NamedTuple):
    """The exact bytes to publish, and where to. A tuple, since hundreds of thousands are made."""

    position: int
    namespace: str
    stream: str
    topic: str
    key: str
    headers: str
    """A JSON array of [name, value] pairs."""
    body: bytes
    republish_id: str | None
    signature: bytes | None = None
    """As the event store signed it: a header. The relay has no key."""

    @property
    def stream_key(self) -> StreamKey:
        """The stream within its namespace."""
        return (self.namespace, self.stream)
