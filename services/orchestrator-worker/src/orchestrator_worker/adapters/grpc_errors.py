"""What a neighbour's gRPC status means for a run: come back, or never."""

import grpc

from orchestrator_worker.errors import NeighbourUnavailableError, RefusedError, WorkerError

# Only what the request itself says is final. A missing right or an RPC that the neighbour does not
# have yet is a deployment's fault, which a person repairs: the run waits for that.
_FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
    }
)


def translated(neighbour: str, error: grpc.aio.AioRpcError) -> WorkerError:
    """Return the error of ours for a failed call of `neighbour`."""
    detail = error.details() or error.code().name
    if error.code() in _FINAL:
        return RefusedError(f"the {neighbour} refuses: {detail}")
    return NeighbourUnavailableError(
        f"the {neighbour} is not available ({error.code().name}): {detail}"
    )
