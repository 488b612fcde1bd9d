"""Records as Kafka brings them to an inbox."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.names import Header

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record as it came; `headers` is None when they cannot be read."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    headers: Headers | None
    key: bytes | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the value."""
        return hashlib.sha256(self.value or b"").digest()

    @property
    def traceparent(self) -> str | None:
        """The W3C traceparent of the headers, if there is one."""
        for name, value in self.headers or ():
            if name == Header.TRACEPARENT and value is not None:
                return value.decode("ascii", errors="replace")
        return None
