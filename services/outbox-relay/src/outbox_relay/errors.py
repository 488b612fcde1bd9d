"""What can go wrong in the relay."""


class RelayError(Exception):
    """The relay cannot go on with what it was doing."""


class OutboxUnavailableError(RelayError):
    """The outbox cannot be read or cleared now; what is in it stays."""


class PublisherUnavailableError(RelayError):
    """The broker cannot be reached at all; every row stays."""
