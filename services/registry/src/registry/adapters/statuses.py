"""What the registry refuses, as gRPC tells it: a status, and typed details for programs."""

from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf.message import Message
from google.rpc import error_details_pb2

from backbone.registry.v1 import registry_pb2 as pb
from registry.adapters import messages
from registry.adapters.messages import cut
from registry.errors import (
    EtagMismatchError,
    InvalidDocumentsError,
    InvalidRequestError,
    LimitReachedError,
    Located,
    NamespaceNotServedError,
    NeighbourUnavailableError,
    PlanMismatchError,
    RegistryError,
    RequestIdReusedError,
    ResourceInUseError,
    ResourceNotFoundError,
    StateError,
)
from runtime import rpcerrors
from runtime.rpcerrors import RpcError

# Details and message travel in the trailing metadata, of which clients take 8 KiB: base64,
# percent-encoding of the message and all.
_MAX_DOCUMENTS_BYTES = 2400
_MAX_FIELDS_BYTES = 900
_MAX_TEXT = 300
_MAX_MESSAGE = 200

_STATUSES: dict[type[RegistryError], type[RpcError]] = {
    ResourceNotFoundError: rpcerrors.NotFoundError,
    NamespaceNotServedError: rpcerrors.NotFoundError,
    EtagMismatchError: rpcerrors.AbortedError,
    PlanMismatchError: rpcerrors.AbortedError,
    LimitReachedError: rpcerrors.ResourceExhaustedError,
    RequestIdReusedError: rpcerrors.AlreadyExistsError,
    NeighbourUnavailableError: rpcerrors.UnavailableError,
}


@contextmanager
def told() -> Iterator[None]:
    """Turn what the use cases raise into the error that the RPC tells."""
    try:
        yield
    except InvalidDocumentsError as exc:
        raise rpcerrors.InvalidArgumentError(
            _summary(exc), reason=exc.reason, details=_invalid_documents(exc)
        ) from exc
    except InvalidRequestError as exc:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=exc.field, description=cut(str(exc), _MAX_TEXT)
        )
        raise rpcerrors.InvalidArgumentError(
            cut(str(exc), _MAX_MESSAGE),
            reason=exc.reason,
            details=[error_details_pb2.BadRequest(field_violations=[violation])],
        ) from exc
    except ResourceInUseError as exc:
        raise _precondition(exc, subjects=[exc.resource_id, *exc.users]) from exc
    except StateError as exc:
        raise _precondition(exc, subjects=[""]) from exc
    except RegistryError as exc:
        status = _STATUSES.get(type(exc))
        if status is None:
            raise
        raise status(cut(str(exc), _MAX_MESSAGE), reason=exc.reason) from exc


def _summary(exc: InvalidDocumentsError) -> str:
    if len(exc.problems) == 1:
        return cut(str(exc), _MAX_MESSAGE)
    return cut(f"the documents have {len(exc.problems)} problems: {exc}", _MAX_MESSAGE)


def _invalid_documents(exc: InvalidDocumentsError) -> list[Message]:
    problems = messages.fitting(
        (_problem(item) for item in exc.problems), limit=_MAX_DOCUMENTS_BYTES
    )
    violations = messages.fitting(
        (
            error_details_pb2.BadRequest.FieldViolation(
                field=_field(item), description=cut(item.message, _MAX_TEXT)
            )
            for item in exc.problems
        ),
        limit=_MAX_FIELDS_BYTES,
    )
    return [
        pb.InvalidDocuments(problems=problems, total=len(exc.problems)),
        error_details_pb2.BadRequest(field_violations=violations),
    ]


def _problem(source: Located) -> pb.Problem:
    return pb.Problem(
        document=cut(source.document, _MAX_TEXT // 3),
        path=cut(source.path, _MAX_TEXT // 3),
        line=source.line,
        column=source.column,
        message=cut(source.message, _MAX_TEXT),
    )


def _field(source: Located) -> str:
    """Return where a problem is, in the words of the request."""
    return cut(": ".join(part for part in (source.document, source.path) if part), _MAX_TEXT // 3)


def _precondition(exc: RegistryError, *, subjects: list[str]) -> RpcError:
    violations = messages.fitting(
        (
            error_details_pb2.PreconditionFailure.Violation(
                type=exc.reason, subject=subject, description=cut(str(exc), _MAX_TEXT)
            )
            for subject in subjects
        ),
        limit=_MAX_DOCUMENTS_BYTES,
    )
    return rpcerrors.FailedPreconditionError(
        cut(str(exc), _MAX_MESSAGE),
        reason=exc.reason,
        details=[error_details_pb2.PreconditionFailure(violations=violations)],
    )
