"""Times on their way into requests."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def stamp(moment: datetime | None) -> Timestamp | None:
    """Return the message of an aware time; None for none."""
    if moment is None:
        return None
    told = Timestamp()
    told.FromDatetime(moment)
    return told
