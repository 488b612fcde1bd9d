"""What the use cases need of the world."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from contracts.definitions import ActivityDefinition, ContextEntry, RunEnd
from contracts.runs import (
    Acknowledgement,
    Advanced,
    AdvanceInput,
    AdvanceTask,
    ApplyNextInput,
    FailureHandling,
    LastRun,
    RecordOutcome,
    RetryTaskInput,
    RunFailure,
    RunInput,
    TaskFailure,
    TaskOutcome,
    TaskTimersInput,
    TellFailureInput,
    TickInput,
)
from contracts.sensitive import Reference
from contracts.shadows import ShadowOutcome
from orchestrator_worker.domain.executions import (
    CutShort,
    Ended,
    OpenExecution,
    Operation,
    OperationResult,
    OverdueSchedule,
    WaitingInstance,
)
from rules.instances import Step


class DefinitionSource(Protocol):
    """Gives definitions by version; a version never changes."""

    async def get(self, namespace: str, definition_id: str, version: int) -> ActivityDefinition:
        """Return one version.

        Raises:
            DefinitionNotFoundError: there is none.
            NeighbourUnavailableError: it cannot be told now.
        """
        ...


class SensitiveValues(Protocol):
    """Has the values of sensitive fields, for as long as the people they are about are known."""

    async def resolve(self, namespace: str, references: Collection[Reference]) -> Mapping[str, Any]:
        """Return the values behind references, by blob id; none of what is erased.

        Raises:
            NeighbourUnavailableError: they cannot be told now.
        """
        ...


@dataclass(frozen=True)
class Answer:
    """A JSON value that was looked up, and the fields of it that no snapshot keeps."""

    value: Any
    redact: Sequence[str] = ()


class ContextSource(Protocol):
    """Looks at the world, through the connectors that the operator configured."""

    async def look(self, entry: ContextEntry, parameters: Mapping[str, Any]) -> Answer:
        """Return what the entry's statement or path answers to `parameters`.

        Raises:
            ConnectorError: there is no such connector, statement or path, or it takes other
                parameters.
            ContextError: what it answers cannot be used, and could not the next time.
            ContextUnavailableError: the system behind it is away or slow.
        """
        ...


class Recorded(NamedTuple):
    """What the ledger says of a run: the decision that stands, and the shadow to decide beside.

    With `effects_halted` a kill switch stops what the run would do.
    """

    outcome: RecordOutcome
    decision: bytes
    shadow_id: str = ""
    effects_halted: bool = False


@dataclass(frozen=True)
class Place:
    """Where an application stands in an instance: which of its generation it is, and the state.

    `state` is empty when the generation begins with it.
    """

    generation: int
    sequence: int
    state: bytes

    @property
    def is_open(self) -> bool:
        """Whether a generation is open before it."""
        return self.sequence > 1


@dataclass(frozen=True)
class Next:
    """What is to be applied to an instance next, with its place; nothing without a run.

    One that is `applied` has work that nobody has begun. Without one, a timer is due in `due_in`;
    with `halted` a kill switch stops runs, and it is to be asked again then.
    """

    place: Place
    run: RunInput | None = None
    applied: bool = False
    due_in: timedelta | None = None
    halted: bool = False


class Instances(Protocol):
    """The ledger's memory of stateful instances. Every call is idempotent.

    All raise NeighbourUnavailableError when the ledger is away, RefusedError when it refuses.
    """

    async def next(self, question: ApplyNextInput) -> Next:
        """Return what is to be applied next; it is the same until it was applied, or failed."""
        ...

    async def apply(
        self,
        question: ApplyNextInput,
        found: Next,
        *,
        step: Step,
        snapshot: bytes,
        decision: bytes,
    ) -> Next | None:
        """Record what was decided for an application; return what is next, None to be asked for.

        It is NeighbourUnavailableError too when the instance has gone on.
        """
        ...

    async def waiting(
        self, namespace: str, *, page_token: str, limit: int, min_age: timedelta
    ) -> tuple[list[WaitingInstance], str]:
        """Return a page of the instances for which something waits, and the token of the next."""
        ...

    async def adopt_run(self, run: RunInput, *, workflow_run_id: str) -> Recorded:
        """Say that an execution carries out a run; return the decision unless another one does."""
        ...


class Ledger(Protocol):
    """Records what happened. Every call is idempotent.

    All raise NeighbourUnavailableError when the ledger is away, RefusedError when it refuses.
    """

    async def record_run(
        self, run: RunInput, *, workflow_run_id: str, snapshot: bytes, decision: bytes
    ) -> Recorded:
        """Record a decided run."""
        ...

    async def last_run(self, run: RunInput, *, status: RunEnd | None) -> LastRun | None:
        """Return the newest other run of the same definition, of those that ended as `status`."""
        ...

    async def record_run_failure(self, failure: RunFailure) -> RecordOutcome:
        """Record that a run could not decide."""
        ...

    async def record_task_outcome(self, outcome: TaskOutcome) -> bool:
        """Record how a task ended; False when it was closed before."""
        ...

    async def advance_task(self, advance: AdvanceTask) -> datetime | None:
        """Carry out what the clock asks of a human task by now; return when to look again."""
        ...

    async def advance_schedule(self, advance: AdvanceInput) -> Advanced:
        """Account for every due time up to now; return the runs to start."""
        ...

    async def acknowledge_runs(self, acknowledgement: Acknowledgement) -> None:
        """Say that due runs were started."""
        ...


class ShadowRecords(Protocol):
    """Gives shadows, and keeps what they decide.

    All raise NeighbourUnavailableError when the ledger is away, RefusedError when it refuses.
    """

    async def get(self, namespace: str, shadow_id: str) -> tuple[ActivityDefinition, int]:
        """Return the definition of a shadow, which never changes, and its version."""
        ...

    async def record(
        self,
        run: RunInput,
        *,
        shadow_id: str,
        outcome: ShadowOutcome,
        reason: str = "",
        decision: bytes = b"",
    ) -> None:
        """Keep what a shadow made of a run; the first time stands."""
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

    async def overdue_schedules(
        self, namespace: str, *, limit: int, min_age: timedelta
    ) -> list[OverdueSchedule]:
        """Return definitions that a tick is owed, the longest first."""
        ...

    async def effects_halted(self, namespace: str, definition_id: str) -> str | None:
        """Return by which kill switch effects of a definition are stopped, in a sentence."""
        ...

    async def record_failure_handled(self, handling: FailureHandling) -> bool:
        """Record that a failure handler was called; False when that was recorded before."""
        ...


Started = RunInput | RetryTaskInput | TellFailureInput | TaskTimersInput | TickInput
"""The inputs of the workflows that are started."""


class Executions(Protocol):
    """Temporal's workflows. All raise NeighbourUnavailableError when Temporal is away."""

    async def start(
        self, namespace: str, given: Started, *, workflow_id: str, task_queue: str
    ) -> bool:
        """Start the workflow that takes this input; False when it was started before.

        `TaskTimers` starts again once it has ended.

        Raises:
            RefusedError: Temporal refuses the request for what it says.
        """
        ...

    async def cancel(self, namespace: str, workflow_id: str) -> None:
        """Cancel a workflow; one that has ended, or is not known, stays as it is."""
        ...

    async def wake(
        self, namespace: str, definition_id: str, key_hash: str, *, task_queue: str
    ) -> None:
        """Tell a stateful instance that something waits for it; it is started if need be.

        Raises:
            RefusedError: Temporal refuses the request for what it says.
        """
        ...

    async def ended(self, namespace: str, workflow_id: str) -> Ended | None:
        """Say how a workflow has ended; None while it goes on."""
        ...

    async def cut_short(
        self, namespace: str, *, since: datetime, page_token: str, limit: int
    ) -> tuple[list[CutShort], str]:
        """Return runs whose workflow ended otherwise than by its own, and the next page's token."""
        ...

    async def began_with(self, namespace: str, one: CutShort) -> RunInput | None:
        """Return the input of the workflow of a run; None when it cannot be read any more."""
        ...
