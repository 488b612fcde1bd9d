"""What can go wrong in the relay."""


class RelayError(Exception):
    """The relay cannot go on with what it was doing; nothing has left the outbox unpublished."""


class OutboxUnavailableError(RelayError):
    """The outbox cannot be read or cleared now, or the session that leads it is gone."""


class PublishingError(RelayError):
    """The producer is of no more use: what it has not acknowledged has to be read again.

    `topic` is set when the trouble is that topic's alone, `refused` when a record among those in
    flight was refused for good.
    """

    def __init__(self, reason: str, *, topic: str | None = None, refused: bool = False) -> None:
        super().__init__(reason)
        self.topic = topic
        self.refused = refused
