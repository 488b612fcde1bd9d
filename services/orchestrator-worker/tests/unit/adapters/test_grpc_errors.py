import grpc
import pytest

from orchestrator_worker.adapters import grpc_errors
from orchestrator_worker.errors import NeighbourUnavailableError, RefusedError


def _error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="because")


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    ],
)
def test_what_a_person_or_time_repairs_is_waited_for(code: grpc.StatusCode) -> None:
    assert isinstance(grpc_errors.translated("ledger", _error(code)), NeighbourUnavailableError)


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
    ],
)
def test_what_the_request_says_is_final(code: grpc.StatusCode) -> None:
    error = grpc_errors.translated("ledger", _error(code))
    assert isinstance(error, RefusedError)
    assert str(error) == "the ledger refuses: because"
