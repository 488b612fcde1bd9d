"""Times as messages have them."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def stamp(time: datetime | None) -> Timestamp | None:
    """Return a time as a message has it."""
    if time is None:
        return None
    made = Timestamp()
    made.FromDatetime(time)
    return made
