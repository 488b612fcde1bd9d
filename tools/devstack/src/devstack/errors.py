"""What can go wrong, each in one sentence that says what to do."""


class DevstackError(Exception):
    """The local stack cannot do what was asked; the message is for people."""


class ToolMissingError(DevstackError):
    """A server's program is neither on this machine nor can it be installed."""


class StackRunningError(DevstackError):
    """The state folder belongs to a stack that is running."""


class NotReadyError(DevstackError):
    """A process was not ready in time, or ended while it was waited for."""


class UnknownProcessError(DevstackError):
    """No process of that name belongs to this stack."""
