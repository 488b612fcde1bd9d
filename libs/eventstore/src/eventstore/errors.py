"""What the event store and its outbox can refuse."""


class EventStoreError(Exception):
    """The event store refused."""


class ConcurrencyError(EventStoreError):
    """The stream is not at the expected version: somebody else appended."""

    def __init__(self, stream: str, *, expected: int, actual: int) -> None:
        super().__init__(f"{stream} is at version {actual}, not at {expected}")
        self.stream = stream
        self.expected = expected
        self.actual = actual


class EventTooLargeError(EventStoreError):
    """An event would be larger than what is accepted from a topic, so nobody could read it."""

    def __init__(self, subject: str, *, size: int, limit: int) -> None:
        super().__init__(f"an event of {subject} has {size} bytes, more than the {limit} allowed")
        self.subject = subject
        self.size = size
        self.limit = limit


class NotParkedError(EventStoreError):
    """No event is parked there."""

    def __init__(self, position: int) -> None:
        super().__init__(f"no event is parked at position {position}")
        self.position = position


class RequestIdReusedError(EventStoreError):
    """The request id was used for another request."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"the request id {request_id!r} was used for another request: choose a new one"
        )
        self.request_id = request_id
