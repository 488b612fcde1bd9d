"""Where the ledger's errors become gRPC statuses, once."""

from collections.abc import Iterator
from contextlib import contextmanager

from ledger.errors import (
    InvalidRequestError,
    LedgerError,
    PreconditionError,
    ReplayExistsError,
    ReplayNotFoundError,
    ReplayOvertakenError,
    RunNotFoundError,
    ScheduleNotFoundError,
    TaskNotFoundError,
    UnroutedRangeNotFoundError,
)
from runtime import rpcerrors

_NOT_FOUND = (
    ReplayNotFoundError,
    RunNotFoundError,
    TaskNotFoundError,
    ScheduleNotFoundError,
    UnroutedRangeNotFoundError,
)


@contextmanager
def as_statuses() -> Iterator[None]:
    """Turn what the ledger raises into the error that the RPC tells."""
    try:
        yield
    except InvalidRequestError as exc:
        raise rpcerrors.InvalidArgumentError(str(exc)) from exc
    except _NOT_FOUND as exc:
        raise rpcerrors.NotFoundError(str(exc)) from exc
    except ReplayExistsError as exc:
        raise rpcerrors.AlreadyExistsError(str(exc)) from exc
    except ReplayOvertakenError as exc:
        raise rpcerrors.AbortedError(str(exc)) from exc
    except (PreconditionError, LedgerError) as exc:
        raise rpcerrors.FailedPreconditionError(str(exc)) from exc
