"""What goes wrong with handlers, of tasks and of events."""

from datetime import timedelta


class SdkError(Exception):
    """The root of what this package raises."""


class HandlerDefinitionError(SdkError):
    """A function cannot be a handler; the message says what it must look like."""


class PermanentError(SdkError):
    """Raise this in a handler: the task or the event failed, and trying again cannot help."""


class RetryLaterError(SdkError):
    """Raise this in a handler: this attempt failed, and the next is of use after some time only.

    It is one of the attempts that the definition allows.
    """

    def __init__(self, message: str, *, after: timedelta) -> None:
        super().__init__(message)
        self.after = after


class InvalidInputError(PermanentError):
    """The task's input is not what the handler takes."""


class OutputError(PermanentError):
    """What the handler returned is not JSON, or larger than is kept."""


class OutcomeRefusedError(SdkError):
    """The ledger refused an outcome for what it says."""


class HandlerFailedError(SdkError):
    """A consumer's handler raised something that may not be raised the next time."""
