"""What the use cases need of the world."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

from contracts.definitions import ActivityDefinition, ContextEntry
from contracts.runs import (
    Acknowledgement,
    Advanced,
    AdvanceInput,
    FailureHandling,
    RecordOutcome,
    RetryTaskInput,
    RunFailure,
    RunInput,
    TaskFailure,
    TaskOutcome,
)
from orchestrator_worker.domain.executions import (
    Ended,
    OpenExecution,
    Operation,
    OperationResult,
)


class DefinitionSource(Protocol):
    """Gives definitions by version; a version never changes."""

    async def get(self, namespace: str, definition_id: str, version: int) -> ActivityDefinition:
        """Return one version.

        Raises:
            DefinitionNotFoundError: there is none.
            NeighbourUnavailableError: it cannot be told now.
        """
        ...


class ContextSource(Protocol):
    """Looks at the world, through the connectors that the operator configured."""

    async def query(self, entry: ContextEntry, parameters: Mapping[str, Any]) -> Any:
        """Return what the entry's statement answers to `parameters`, as a JSON value.

        Raises:
            ConnectorError: there is no such connector or statement, or it takes other parameters.
            StatementError: the statement failed or its result cannot be used.
            ContextUnavailableError: the system behind it is away.
        """
        ...


class Ledger(Protocol):
    """Records what happened. Every call is idempotent.

    All raise NeighbourUnavailableError when the ledger is away, RefusedError when it refuses.
    """

    async def record_run(
        self, run: RunInput, *, workflow_run_id: str, snapshot: bytes, decision: bytes
    ) -> tuple[RecordOutcome, bytes]:
        """Record a decided run; return the outcome and the decision that stands."""
        ...

    async def record_run_failure(self, failure: RunFailure) -> RecordOutcome:
        """Record that a run could not decide."""
        ...

    async def record_task_outcome(self, outcome: TaskOutcome) -> bool:
        """Record how a task ended; False when it was closed before."""
        ...

    async def advance_schedule(self, advance: AdvanceInput) -> Advanced:
        """Account for every due time up to now; return the runs to start."""
        ...

    async def acknowledge_runs(self, acknowledgement: Acknowledgement) -> None:
        """Say that due runs were started."""
        ...


class Control(Protocol):
    """What the ledger wants done in Temporal, and what it waits on. Every call is idempotent.

    All raise NeighbourUnavailableError when the ledger is away, RefusedError when it refuses.
    """

    async def claim_operations(
        self, namespace: str, *, limit: int, lease: timedelta
    ) -> list[Operation]:
        """Lease operations, in order."""
        ...

    async def confirm_operations(self, namespace: str, results: Sequence[OperationResult]) -> None:
        """Say what became of operations."""
        ...

    async def open_executions(
        self, namespace: str, *, page_token: str, limit: int, min_age: timedelta
    ) -> tuple[list[OpenExecution], str]:
        """Return a page of the workflows that something waits on, and the token of the next."""
        ...

    async def close_execution(
        self, namespace: str, execution: OpenExecution, failure: TaskFailure
    ) -> bool:
        """Close what a workflow left open; False when there was nothing."""
        ...

    async def record_failure_handled(self, handling: FailureHandling) -> bool:
        """Record that a failure handler was called; False when that was recorded before."""
        ...


class Executions(Protocol):
    """Temporal's workflows. All raise NeighbourUnavailableError when Temporal is away."""

    async def start(
        self, given: RunInput | RetryTaskInput, *, workflow_id: str, task_queue: str
    ) -> None:
        """Start the workflow that takes this input, unless it was started before.

        Raises:
            RefusedError: Temporal refuses the request for what it says.
        """
        ...

    async def cancel(self, namespace: str, workflow_id: str) -> None:
        """Cancel a workflow; one that has ended, or is not known, stays as it is."""
        ...

    async def ended(self, namespace: str, workflow_id: str) -> Ended | None:
        """Say how a workflow has ended; None while it goes on."""
        ...
