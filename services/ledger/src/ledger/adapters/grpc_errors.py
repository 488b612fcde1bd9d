"""Where the ledger's errors become gRPC statuses, once."""

from collections.abc import Iterator
from contextlib import contextmanager

from google.rpc import error_details_pb2

from ledger.errors import (
    AnswerRefusedError,
    BackfillExistsError,
    BackfillNotFoundError,
    InstanceNotFoundError,
    InstanceOvertakenError,
    InvalidRequestError,
    KillSwitchNotFoundError,
    LedgerError,
    NotAssignedError,
    PreconditionError,
    ReplayExistsError,
    ReplayNotFoundError,
    ReplayOvertakenError,
    RunNotFoundError,
    ScheduleNotFoundError,
    ShadowNotFoundError,
    StaleTaskError,
    SubjectNotFoundError,
    TaskNotFoundError,
    UnroutedRangeNotFoundError,
)
from runtime import rpcerrors

_NOT_FOUND = (
    BackfillNotFoundError,
    InstanceNotFoundError,
    KillSwitchNotFoundError,
    ReplayNotFoundError,
    RunNotFoundError,
    TaskNotFoundError,
    ScheduleNotFoundError,
    ShadowNotFoundError,
    SubjectNotFoundError,
    UnroutedRangeNotFoundError,
)


@contextmanager
def as_statuses() -> Iterator[None]:
    """Turn what the ledger raises into the error that the RPC tells."""
    try:
        yield
    except AnswerRefusedError as exc:
        wrong = error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field=place, description=what)
                for place, what in exc.problems
            ]
        )
        raise rpcerrors.InvalidArgumentError(
            str(exc), reason="ANSWER_REFUSED", details=[wrong]
        ) from exc
    except InvalidRequestError as exc:
        raise rpcerrors.InvalidArgumentError(str(exc)) from exc
    except _NOT_FOUND as exc:
        raise rpcerrors.NotFoundError(str(exc)) from exc
    except (BackfillExistsError, ReplayExistsError) as exc:
        raise rpcerrors.AlreadyExistsError(str(exc)) from exc
    except (InstanceOvertakenError, ReplayOvertakenError) as exc:
        raise rpcerrors.AbortedError(str(exc)) from exc
    except StaleTaskError as exc:
        raise rpcerrors.AbortedError(
            str(exc), reason="TASK_CHANGED", metadata={"version": str(exc.version)}
        ) from exc
    except NotAssignedError as exc:
        raise rpcerrors.PermissionDeniedError(str(exc), reason="NOT_ASSIGNED") from exc
    except (PreconditionError, LedgerError) as exc:
        raise rpcerrors.FailedPreconditionError(str(exc)) from exc
