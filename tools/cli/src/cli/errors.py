"""What ends a command: one sentence that names what is wrong and what to do."""

from collections.abc import Sequence

from backbone.registry.v1 import registry_pb2

FAILED = 1
MISUSED = 2
INTERRUPTED = 130


class CliError(Exception):
    """The command failed; the message is one sentence for the person who typed it.

    `reason` is the service's stable code for it, empty when it gave none.
    """

    exit_code = FAILED

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class UsageError(CliError):
    """The command cannot be carried out as it was typed or configured."""

    exit_code = MISUSED


class NotFoundError(CliError):
    """There is no such thing."""


class UnavailableError(CliError):
    """A service, or what is behind it, is away; the same may work in a moment."""


class NotReachableError(UnavailableError):
    """Nothing answers at a service's address."""


class InvalidDocumentsError(CliError):
    """The registry refused documents; `problems` says why, as far as they fitted into the answer.

    `total` is how many there are.
    """

    def __init__(
        self,
        message: str,
        problems: Sequence[registry_pb2.Problem],
        *,
        total: int = 0,
        reason: str = "",
    ) -> None:
        super().__init__(message, reason=reason)
        self.problems = list(problems)
        self.total = max(total, len(self.problems))
