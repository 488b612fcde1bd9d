"""A record as it came: raw bytes and where it stood. Nothing in it is trusted."""

import re
from typing import NamedTuple

from contracts.names import Header

RawHeaders = tuple[tuple[str, bytes | None], ...]

_TRACEPARENT = re.compile(r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$")


class Record(NamedTuple):  # One is made of everything that comes, and a tuple is made soonest.
    """One record of a topic. `timestamp_ms` is Kafka's, milliseconds since 1970, None without one.

    `headers` is None when the client could not read them.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: RawHeaders | None

    @property
    def namespace(self) -> str:
        """The namespace that the topic belongs to: what stands before its first dot."""
        return self.topic.partition(".")[0]

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context of the first header of that name, when it is one."""
        for name, value in self.headers or ():
            if name == Header.TRACEPARENT:
                text = (value or b"").decode("ascii", "replace")
                return text if _TRACEPARENT.fullmatch(text) else None
        return None
