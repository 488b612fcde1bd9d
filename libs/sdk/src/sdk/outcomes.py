"""Tells the ledger how a task ended, from inside the attempt that ended it."""

import asyncio
import random
from typing import Protocol

import grpc

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts import canonical
from contracts.runs import TaskOutcome
from runtime import logs
from runtime.faultpoints import faultpoint
from sdk.errors import OutcomeRefusedError

_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

_FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)

_log = logs.get_logger(__name__)


class OutcomeRecorder(Protocol):
    """Records outcomes; the same again changes nothing."""

    async def record(self, outcome: TaskOutcome) -> None:
        """Return when the outcome stands in the ledger, however long that takes.

        Raises:
            OutcomeRefusedError: the ledger does not take it from here.
        """
        ...


class GrpcOutcomeRecorder:
    """Records with `ledger.RecordTaskOutcome`, again and again while the ledger is away."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ledger_pb2_grpc.LedgerServiceStub(channel)

    async def record(self, outcome: TaskOutcome) -> None:
        """Return when the outcome stands in the ledger (see `OutcomeRecorder`)."""
        request = ledger_pb2.RecordTaskOutcomeRequest(
            namespace=outcome.namespace,
            run_id=outcome.run_id,
            task_id=str(outcome.task_id),
            generation=outcome.generation,
        )
        if outcome.failure is not None:
            request.failure.type = outcome.failure.type
            request.failure.message = outcome.failure.message
        else:
            request.output = canonical.render(outcome.output)
        pause = _FIRST_PAUSE_S
        while True:
            faultpoint("sdk.before_record_task_outcome")
            try:
                await self._stub.RecordTaskOutcome(request, timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError as exc:
                if exc.code() in _FINAL:
                    raise OutcomeRefusedError(f"{exc.code().name}: {exc.details()}") from exc
                _log.warning("ledger_unavailable", task_id=request.task_id, status=exc.code().name)
            else:
                faultpoint("sdk.after_record_task_outcome")
                return
            # Spread out, so that a ledger that comes back is not met by everybody at once.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            pause = min(pause * 2, _LONGEST_PAUSE_S)
