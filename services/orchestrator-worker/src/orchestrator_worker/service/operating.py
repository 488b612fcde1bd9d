"""Carries out what the ledger wants done in Temporal: starts and cancellations of workflows.

Any number of workers may do so. What one has taken and not told of in time is given to another, and
is done once all the same: a workflow id starts once, and what is cancelled stays cancelled.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

from pydantic import ValidationError

from contracts.names import TICK_TASK_QUEUE
from contracts.runs import RetryTaskInput, RunInput, TellFailureInput, TickInput
from contracts.telemetry import Attribute, Metric
from orchestrator_worker.domain.executions import Operation, OperationKind, OperationResult
from orchestrator_worker.errors import DefinitionNotFoundError, PermanentError, TransientError
from orchestrator_worker.ports import Control, DefinitionSource, Executions, Started
from runtime import logs, telemetry

LEASE = timedelta(seconds=30)
"""How long what a worker has taken waits for it, if it dies."""
LIMIT = 20
_WORK_S = LEASE.total_seconds() / 2
"""No operation of a claim is begun later than this, so that what is told is told in time."""
_FIRST_RETRY_S = 0.25
_LAST_RETRY_S = 10.0

_INPUT: dict[OperationKind, type[Started]] = {
    "start_run": RunInput,
    "retry_task": RetryTaskInput,
    "tell_failure": TellFailureInput,
    "tick": TickInput,
}

_log = logs.get_logger(__name__)


class Operator:
    """Carries out the operations of one namespace."""

    def __init__(
        self,
        namespace: str,
        *,
        control: Control,
        definitions: DefinitionSource,
        executions: Executions,
        poll: timedelta,
    ) -> None:
        """Look for operations every `poll`."""
        self.namespace = namespace
        self._control = control
        self._definitions = definitions
        self._executions = executions
        self._poll_s = poll.total_seconds()
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.WORKER_OPERATIONS,
            description="Operations carried out in Temporal, by kind and outcome.",
        )

    async def run(self) -> None:
        """Carry out what there is until cancelled."""
        failures = 0
        while True:
            try:
                busy = await self.operate()
            except Exception as exc:  # noqa: BLE001 - whatever it is, the others still wait
                failures += 1
                if not isinstance(exc, TransientError):
                    _log.exception("operator_failed", namespace=self.namespace)
                elif failures == 1:
                    _log.warning("operator_waits", namespace=self.namespace, error=str(exc))
                await asyncio.sleep(
                    min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))
                )
                continue
            if failures:
                _log.info("operator_goes_on", namespace=self.namespace)
            failures = 0
            if not busy:
                await asyncio.sleep(self._poll_s)

    async def operate(self) -> bool:
        """Carry out what is due and tell of it; say whether there was anything.

        Raises:
            TransientError: the ledger is away; what was done is found out about later.
        """
        until = time.monotonic() + _WORK_S
        operations = await self._control.claim_operations(self.namespace, limit=LIMIT, lease=LEASE)
        if not operations:
            return False
        results = await asyncio.gather(*(self._result_of(one, until) for one in operations))
        await self._confirm(results, until)
        for one in results:
            self._counter.add(
                1,
                {
                    Attribute.NAMESPACE: self.namespace,
                    Attribute.REASON: one.operation.kind,
                    Attribute.OUTCOME: "done" if one.error is None else "given back",
                },
            )
        return True

    async def _confirm(self, results: Sequence[OperationResult], until: float) -> None:
        while True:
            try:
                return await self._control.confirm_operations(self.namespace, results)
            except TransientError:
                if time.monotonic() + _FIRST_RETRY_S > until:
                    raise
            await asyncio.sleep(_FIRST_RETRY_S)

    async def _result_of(self, operation: Operation, until: float) -> OperationResult:
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._carry_out(operation)
        except (TransientError, PermanentError, ValidationError, TimeoutError) as exc:
            # Not even a permanent one is given up: the ledger says that it is so. Its attempts and
            # its last error are shown to whoever asks.
            error = str(exc) or "Temporal did not answer in time"
            _log.warning(
                "operation_waits", namespace=self.namespace, operation=operation.kind,
                workflow_id=operation.workflow_id, attempts=operation.attempts, error=error,
            )  # fmt: skip
            return OperationResult(operation, error)
        except Exception as exc:  # noqa: BLE001 - a fault of ours stops nothing beside it
            _log.exception("operation_failed", workflow_id=operation.workflow_id)
            return OperationResult(operation, f"{type(exc).__name__}: {exc}")
        _log.info(
            "operation_done", namespace=self.namespace, operation=operation.kind,
            workflow_id=operation.workflow_id,
        )  # fmt: skip
        return OperationResult(operation)

    async def _carry_out(self, operation: Operation) -> None:
        if operation.kind == "cancel":
            await self._executions.cancel(self.namespace, operation.workflow_id)
            return
        given = _INPUT[operation.kind].model_validate_json(operation.input)
        if operation.kind == "tick":
            await self._executions.start(
                self.namespace,
                given,
                workflow_id=operation.workflow_id,
                task_queue=TICK_TASK_QUEUE,
            )
            return
        try:
            definition = await self._definitions.get(
                self.namespace, operation.definition_id, operation.definition_version
            )
        except DefinitionNotFoundError:
            if operation.kind == "tell_failure":
                # That is why the run failed: nothing says who would want to know.
                return
            raise
        if operation.kind == "tell_failure" and definition.spec.on_failure is None:
            return
        await self._executions.start(
            self.namespace,
            given,
            workflow_id=operation.workflow_id,
            task_queue=definition.spec.task_queue,
        )
