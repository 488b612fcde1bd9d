"""What a person may be told instead of a page: one sentence and a status of HTTP."""

from collections.abc import Mapping
from http import HTTPStatus


class ConsoleError(Exception):
    """A request cannot be answered; the message says what, where and what to do."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str, *, reason: str = "") -> None:
        """`reason` is a stable code, of whoever refused; empty for none."""
        super().__init__(message)
        self.reason = reason


class NotFoundError(ConsoleError):
    """There is no such thing."""

    status = HTTPStatus.NOT_FOUND


class BadRequestError(ConsoleError):
    """What was asked makes no sense whatever the state is."""

    status = HTTPStatus.BAD_REQUEST


class ForgedRequestError(ConsoleError):
    """A form was not sent by a page of ours."""

    status = HTTPStatus.FORBIDDEN


class TooLargeError(ConsoleError):
    """A request has more bytes than one may have."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class SlowRequestError(ConsoleError):
    """The body of a request did not come in time."""

    status = HTTPStatus.REQUEST_TIMEOUT


class SignedOutError(ConsoleError):
    """Nobody is signed in, or a service does not take the token."""

    status = HTTPStatus.UNAUTHORIZED


class ServiceError(ConsoleError):
    """A service refused a call, or did not answer."""

    def __init__(
        self,
        message: str,
        *,
        status: HTTPStatus,
        reason: str = "",
        violations: Mapping[str, str] | None = None,
    ) -> None:
        """`violations` tells for fields of what was sent what is wrong with them."""
        super().__init__(message, reason=reason)
        self.status = status
        self.violations = violations or {}
