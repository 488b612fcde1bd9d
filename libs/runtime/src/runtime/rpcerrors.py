"""Errors as RPCs tell them: each has a gRPC status code; the message is for people.

A service raises these at its gRPC edge; the server turns them into statuses, with typed details
(`google.rpc.Status` in the trailing metadata): always an ErrorInfo, whose reason is for programs.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from runtime.errors import RuntimeLibraryError

DETAILS_KEY = "grpc-status-details-bin"
ERROR_DOMAIN = "backbone"
MAX_DETAILS_BYTES = 4000
"""What all details of an error may have: clients take 8 KiB of metadata, base64 and message too."""
MAX_MESSAGE_BYTES = 2000
"""What a message may have as gRPC sends it: percent-encoded where it is not plain ASCII."""


class RpcError(RuntimeLibraryError):
    """The RPC failed for a reason that the caller should know.

    `reason` is a stable code (UPPER_SNAKE_CASE; the status code's name without one), `metadata` the
    ids that belong to it.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        details: Sequence[Message] = (),
    ) -> None:
        super().__init__(message)
        self.message = _cut(message)
        self.reason = reason or self.code.name
        self.metadata = dict(metadata or {})
        self.details = tuple(details)


class InvalidArgumentError(RpcError):
    """The request is wrong whatever the state is."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(RpcError):
    """There is no such thing."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(RpcError):
    """There is such a thing already."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPreconditionError(RpcError):
    """The state does not allow it."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class AbortedError(RpcError):
    """Somebody else was faster; look again and retry."""

    code = grpc.StatusCode.ABORTED


class PermissionDeniedError(RpcError):
    """The caller may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class UnauthenticatedError(RpcError):
    """It cannot be told who is calling."""

    code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhaustedError(RpcError):
    """A limit is reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnavailableError(RpcError):
    """Something behind the service is away; the same request may work in a moment."""

    code = grpc.StatusCode.UNAVAILABLE


def status_details(error: RpcError) -> bytes:
    """Return the serialised `google.rpc.Status` of an error; details that do not fit are left out.

    Who is told that something is away is also told when to try again.
    """
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata
    )
    details: list[Message] = [info, *error.details]
    if isinstance(error, UnavailableError):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(1000)
        details.append(retry)
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    for detail in details:
        status.details.add().Pack(detail)
        if status.ByteSize() > MAX_DETAILS_BYTES:
            del status.details[-1]
    serialised: bytes = status.SerializeToString()
    return serialised


def _cut(message: str) -> str:
    """Return as much of a message as is sent: it may repeat what a stranger wrote."""
    size = 0
    for index, character in enumerate(message):
        plain = " " <= character <= "~" and character != "%"
        size += 1 if plain else 3 * len(character.encode(errors="replace"))
        if size > MAX_MESSAGE_BYTES:
            return f"{message[:index]}…"
    return message


def detail_of(error: grpc.aio.AioRpcError, message: Message) -> bool:
    """Fill `message` from the detail of its type that `error` carries; False without one."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            for packed in status.details:
                if packed.Is(message.DESCRIPTOR):
                    return bool(packed.Unpack(message))
    return False
