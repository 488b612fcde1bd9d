"""What the use cases need of the database, beside the event store: one Protocol for each concern.

Every method works in the transaction it is given and commits nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from contracts.decisions import RunStatus, TaskStatus
from contracts.routing import PendingOutcome, RoutingOutcome
from contracts.runs import TaskFailure
from ledger.domain.control import Execution, Operation, OperationKind, Order
from ledger.domain.dead_letters import Opened, Opening, Resolution, Resolved
from ledger.domain.due import DueRow, Epoch, LeasedRun, OpenRun
from ledger.domain.pending import (
    Choice,
    Claimable,
    Gathering,
    HeldStart,
    Limits,
    Origin,
    Plan,
)
from ledger.domain.rates import Taken
from ledger.domain.routing import (
    Decision,
    DecisionFilter,
    Place,
    Recorded,
    RoutedEvent,
    UnroutedRange,
)
from ledger.domain.runs import Occasion, RunState, TaskState, TaskType
from ledger.domain.shadows import NewShadow, Shadow, ShadowDecision
from ledger.domain.stretches import Pause
from ledger.domain.tasks import Assignment, HumanTask
from rules.policy import DueOutcome, Waiting
from runtime.postgres import Transaction


@dataclass(frozen=True)
class RunRow:
    """A run as it is shown."""

    namespace: str
    run_id: str
    position: int
    definition_id: str
    definition_version: int
    trigger_kind: str
    trigger_key: str
    trigger_names: list[str]
    trigger_sha256: str
    snapshot_sha256: str | None
    decision_sha256: str | None
    status: RunStatus
    tasks: int
    workflow_run_id: str
    recorded_at: datetime
    closed_at: datetime | None
    failure: TaskFailure | None
    closed_by: str | None
    close_reason: str | None


@dataclass(frozen=True)
class TaskRow:
    """A task as it is shown."""

    namespace: str
    task_id: UUID
    position: int
    run_id: str
    definition_id: str
    rule: str
    key: str
    type: TaskType
    status: TaskStatus
    version: int
    handler: str | None
    title: str | None
    assigned_users: list[str]
    assigned_groups: list[str]
    claimed_by: str | None
    claimed_at: datetime | None
    created_at: datetime
    due_at: datetime | None
    remind_at: list[datetime]
    escalates_at: datetime | None
    expires_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    input: bytes
    form: bytes | None
    output: bytes | None
    failure: TaskFailure | None
    generation: int


@dataclass(frozen=True)
class FailureCallRow:
    """A call of the handler of `onFailure`, as it is shown."""

    call_id: UUID
    task_id: UUID | None
    handler: str
    handled_at: datetime
    failure: TaskFailure | None


@dataclass(frozen=True)
class RunRetryRow:
    """A run that decided another one again, as it is shown."""

    run_id: str
    retried_run_id: str
    actor: str
    reason: str
    retried_at: datetime


@dataclass(frozen=True)
class RequestRow:
    """A change that somebody asked for, and why."""

    method: str
    request_id: str
    actor: str
    reason: str
    recorded_at: datetime


@dataclass(frozen=True)
class OperationRow:
    """Something that is to be done in Temporal, as it is shown or handed out."""

    operation_id: str
    position: int
    kind: OperationKind
    workflow_id: str
    definition_id: str
    definition_version: int
    input: bytes
    actor: str
    reason: str
    queued_at: datetime
    attempts: int
    lease: str | None
    last_error: str


@dataclass(frozen=True)
class TaskChangeRow:
    """One thing that happened to a human task, as it is shown."""

    position: int
    event_type: str
    event_id: UUID
    occurred_at: datetime
    actor: str | None
    reason: str | None
    comment: str | None
    assigned_users: list[str]
    assigned_groups: list[str]


@dataclass(frozen=True)
class DueTimeRow:
    """An accounted due time as it is shown."""

    due_at: datetime
    names: list[str]
    outcome: DueOutcome
    reason: str
    run_id: str | None
    decided_at: datetime
    acknowledged_at: datetime | None
    last_due_at: datetime | None = None
    count: int = 1


@dataclass(frozen=True)
class Cursor:
    """Up to where due times are accounted for, as it is locked at `now`."""

    covered_until: datetime
    now: datetime
    paused: bool
    has_skips: bool


@dataclass(frozen=True)
class Coverage:
    """Up to where due times are accounted for, and when the next one is taken up, if any."""

    covered_until: datetime
    next_at: datetime | None
    now: datetime


@dataclass(frozen=True)
class SkipRow:
    """A due time that somebody does not want to run."""

    due_at: datetime
    actor: str
    reason: str


@dataclass(frozen=True)
class OverdueRow:
    """A definition whose schedules nobody has looked after since an instant."""

    definition_id: str
    since: datetime


@dataclass(frozen=True)
class DecisionRow:
    """A routing decision as it is shown; `decision_id` gives those of one time their order."""

    decision_id: int
    decided_at: datetime
    place: Place
    cause: str
    source: str
    event_id: str
    type: str
    definition_id: str
    definition_version: int
    outcome: RoutingOutcome
    trigger_names: list[str]
    run_id: str | None
    clause: str | None
    seen: str | None
    detail: str | None
    registry_revision: int
    settled_at: datetime | None


@dataclass(frozen=True)
class UnroutedRow:
    """An unrouted range as it is shown."""

    range: UnroutedRange
    recorded_at: datetime


@dataclass(frozen=True)
class RecordedShadowDecision:
    """What a shadow made of a run, as it is shown."""

    decision: ShadowDecision
    position: int
    recorded_at: datetime


@dataclass(frozen=True)
class Claim:
    """That an execution took a trigger key, when, and the shadow that is to decide beside it.

    With `effects_halted` a kill switch stops what the run would do.
    """

    at: datetime
    shadow_id: str | None
    effects_halted: bool


@dataclass(frozen=True)
class OpenTasks:
    """Open tasks of a type; `unclaimed` and `overdue` are of people's."""

    tasks: int
    unclaimed: int
    overdue: int
    oldest_at: datetime | None


@dataclass(frozen=True)
class Overview:
    """What ran and failed since a time, and what waits and is late; each is counted to a limit."""

    at: datetime
    since: datetime
    recent_runs: Mapping[RunStatus, int]
    more_recent_runs: bool
    open_runs: int
    human_tasks: OpenTasks
    automated_tasks: OpenTasks
    pending_starts: Sequence[tuple[str, int, datetime]]
    """Why they wait, how many, and since when the oldest."""
    failed_runs: int
    failed_tasks: int
    overdue_definitions: int


class OverviewStore(Protocol):
    """Counts what there is."""

    async def look(
        self,
        transaction: Transaction,
        *,
        at: datetime,
        since: datetime,
        overdue_definitions: int,
    ) -> Overview:
        """Return the figures."""
        ...


class RequestLog(Protocol):
    """What was asked by people, so that the same request has one effect."""

    async def claim_request(
        self,
        transaction: Transaction,
        *,
        method: str,
        request_id: str,
        fingerprint: str,
        actor: str,
        reason: str,
    ) -> str | None:
        """Take a request id; return None, or the fingerprint of the request that has it."""
        ...


class RunStore(RequestLog, Protocol):
    """Runs, their documents and the keys that make requests idempotent."""

    async def claim(
        self, transaction: Transaction, occasion: Occasion, documents: Sequence[bytes]
    ) -> Claim | None:
        """Take the trigger key for this execution and keep `documents`.

        None when it was taken before; a concurrent claim is waited for.
        """
        ...

    async def claimed_by(self, transaction: Transaction, occasion: Occasion) -> str:
        """Return the workflow run id that holds the trigger key."""
        ...

    async def decision_of(self, transaction: Transaction, run_id: str) -> bytes | None:
        """Return the decision that stands; None when the run failed to decide."""
        ...

    async def lock_run(
        self, transaction: Transaction, run_id: str
    ) -> tuple[RunState, datetime] | None:
        """Lock a run until the transaction ends; return it as it then is, and the time."""
        ...

    async def task_of(
        self, transaction: Transaction, run_id: str, task_id: UUID
    ) -> TaskState | None:
        """Return a task of a locked run."""
        ...

    async def open_automated(self, transaction: Transaction, run_id: str) -> list[TaskState]:
        """Return the automated tasks of a locked run that are open."""
        ...

    async def get_run(self, transaction: Transaction, run_id: str) -> RunRow | None:
        """Return a run."""
        ...

    async def last_run(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        other_than: str,
        status: RunStatus | None,
    ) -> tuple[RunRow, bytes | None] | None:
        """Return the newest other run among the last 1,000, with the trigger of a schedule."""
        ...

    async def documents(self, transaction: Transaction, sha256: Sequence[str]) -> dict[str, bytes]:
        """Return documents by their hash."""
        ...

    async def lock_document(self, transaction: Transaction, sha256: str) -> bytes | None:
        """Lock a document until the transaction ends; return it as it then is."""
        ...

    async def redact_document(
        self, transaction: Transaction, sha256: str, body: bytes, *, actor: str, reason: str
    ) -> None:
        """Replace the body of a document, whose hash stays."""
        ...

    async def list_runs(
        self,
        transaction: Transaction,
        *,
        before: int | None,
        definition_id: str | None,
        status: RunStatus | None,
        correlation_id: str | None = None,
        subject: str | None = None,
        limit: int,
    ) -> list[RunRow]:
        """Return runs, newest first, from before a position.

        Only those of a correlation, or that events of a subject started: at most one of the two.
        """
        ...

    async def tasks_of_run(self, transaction: Transaction, run_id: str) -> list[TaskRow]:
        """Return the tasks of a run in the order of the decision."""
        ...


class TaskStore(Protocol):
    """Tasks, and what happened to the human ones."""

    async def run_of(self, transaction: Transaction, task_id: UUID) -> str | None:
        """Return the run that a task belongs to."""
        ...

    async def of_locked_run(self, transaction: Transaction, task_id: UUID) -> HumanTask | None:
        """Return a task whose run this transaction has locked, as it stands."""
        ...

    async def get(self, transaction: Transaction, task_id: UUID) -> TaskRow | None:
        """Return a task."""
        ...

    async def page(
        self,
        transaction: Transaction,
        *,
        before: int | None,
        run_id: str | None,
        status: TaskStatus | None,
        task_type: TaskType | None,
        definition_id: str | None,
        due_before: datetime | None,
        whose: Assignment | None,
        limit: int,
    ) -> list[TaskRow]:
        """Return tasks, newest first, from before a position."""
        ...

    async def open_human_ages(self, transaction: Transaction, *, limit: int) -> list[timedelta]:
        """Return how long the human tasks have been open that were created first."""
        ...

    async def changes(
        self, transaction: Transaction, task_id: UUID, *, after: int, limit: int
    ) -> list[TaskChangeRow]:
        """Return what happened to a task, oldest first, from after a position."""
        ...


class ControlStore(Protocol):
    """What control adds to runs, beside their events: retries, calls, what is left behind."""

    async def requests(
        self, transaction: Transaction, *, before: tuple[datetime, str, str] | None, limit: int
    ) -> list[RequestRow]:
        """Return what people asked for, newest first, from before a time, method and id."""
        ...

    async def tasks_in(
        self, transaction: Transaction, run_id: str, status: TaskStatus
    ) -> list[TaskState]:
        """Return the tasks of a locked run that have a status."""
        ...

    async def add_operations(
        self,
        transaction: Transaction,
        operations: Sequence[Operation],
        *,
        order: Order,
        at: datetime,
    ) -> None:
        """Write what is to be done in Temporal."""
        ...

    async def withdraw_retries(self, transaction: Transaction, workflow_ids: Sequence[str]) -> None:
        """Take back retries of tasks that nobody was handed yet."""
        ...

    async def reopen_due_run(
        self, transaction: Transaction, definition_id: str, run_id: str
    ) -> None:
        """Say that the run of a due time is open again."""
        ...

    async def last_retry(self, transaction: Transaction, root_run_id: str) -> int:
        """Return the highest number of a run's retries, 0 for none; the run is locked."""
        ...

    async def retry_by_request(self, transaction: Transaction, request_id: str) -> str | None:
        """Return the run that a request made."""
        ...

    async def retries_of(
        self, transaction: Transaction, run_id: str, *, limit: int
    ) -> list[RunRetryRow]:
        """Return the runs that decided a run again."""
        ...

    async def failure_call_exists(self, transaction: Transaction, call_id: UUID) -> bool:
        """Say whether a call of a failure handler is recorded."""
        ...

    async def failure_calls_of(
        self, transaction: Transaction, run_id: str, *, limit: int
    ) -> list[FailureCallRow]:
        """Return the calls of failure handlers of a run, oldest first."""
        ...

    async def open_executions(
        self,
        transaction: Transaction,
        *,
        after: int | None,
        limit: int,
        min_age: timedelta,
    ) -> tuple[list[Execution], int | None]:
        """Return the workflows that `limit` runs wait on, and the position to go on from."""
        ...

    async def unrecorded_due_runs(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[Execution]:
        """Return runs that were started for a due time and are not recorded, oldest first."""
        ...

    async def unrecorded_backfilled(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[Execution]:
        """Return runs that a backfill has started and that are not recorded, oldest first."""
        ...

    async def unheeded_timers(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[Execution]:
        """Return the clocks of open human tasks a time of which passed `min_age` ago unheeded."""
        ...


class OperationStore(Protocol):
    """What is to be done in Temporal, handed out by lease."""

    async def claim(
        self,
        transaction: Transaction,
        *,
        limit: int,
        size: int,
        lease: str,
        duration: timedelta,
    ) -> list[OperationRow]:
        """Hand out what is due, in order, at most `size` bytes of input beyond the first."""
        ...

    async def finish(self, transaction: Transaction, operation_id: str, *, lease: str) -> bool:
        """Let an operation wait no more; False when the lease is another's."""
        ...

    async def give_back(
        self, transaction: Transaction, operation_id: str, *, lease: str, error: str
    ) -> bool:
        """Let an operation be handed out again after a pause; False when the lease is another's."""
        ...

    async def page(
        self, transaction: Transaction, *, after: int | None, limit: int
    ) -> list[OperationRow]:
        """Return operations, oldest first, from after a position, without inputs."""
        ...


class ScheduleStore(Protocol):
    """Epochs of schedules, the cursor of a definition, and its due times."""

    async def begin(
        self, transaction: Transaction, definition_id: str, effective_from: datetime
    ) -> None:
        """Make the definition's cursor, at `effective_from`, unless it has one; lock it."""
        ...

    async def lock_cursor(self, transaction: Transaction, definition_id: str) -> Cursor | None:
        """Lock the cursor until the transaction ends; return it as it then is."""
        ...

    async def move_cursor(
        self,
        transaction: Transaction,
        definition_id: str,
        covered_until: datetime,
        *,
        next_at: datetime | None,
    ) -> None:
        """Say that due times up to `covered_until` are accounted for, and when the next comes."""
        ...

    async def latest_epoch(self, transaction: Transaction, definition_id: str) -> Epoch | None:
        """Return the newest epoch."""
        ...

    async def epochs_since(
        self, transaction: Transaction, definition_id: str, cursor: datetime
    ) -> list[Epoch]:
        """Return the epochs that are in force anywhere after `cursor`, oldest first."""
        ...

    async def add_epoch(
        self, transaction: Transaction, definition_id: str, epoch: Epoch, *, reason: str, actor: str
    ) -> None:
        """Write a new epoch."""
        ...

    async def open_runs(self, transaction: Transaction, definition_id: str) -> list[OpenRun]:
        """Return the runs that due times asked for and that are not closed, oldest first."""
        ...

    async def await_open_runs(self, transaction: Transaction, definition_id: str) -> bool:
        """Have the end of open runs ask for a tick; False when none is open any more."""
        ...

    async def waiting(
        self, transaction: Transaction, definition_id: str, *, limit: int
    ) -> list[Waiting]:
        """Return the due times that wait for an open run, oldest first."""
        ...

    async def count_waiting(self, transaction: Transaction, definition_id: str) -> dict[str, int]:
        """Return how many due times wait for an open run, by trigger."""
        ...

    async def add_due_times(
        self,
        transaction: Transaction,
        definition_id: str,
        rows: Sequence[DueRow],
        *,
        decided_at: datetime,
    ) -> None:
        """Write due times; one that is accounted for stays as it is, unless it waits."""
        ...

    async def lease(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        now: datetime,
        until: datetime,
        woken_for: datetime | None,
    ) -> list[LeasedRun]:
        """Lease the runs to start: new ones, those of this wake-up, those whose lease is over."""
        ...

    async def acknowledge(
        self, transaction: Transaction, definition_id: str, run_ids: Sequence[str]
    ) -> None:
        """Say that runs were started."""
        ...

    async def close_run(
        self, transaction: Transaction, definition_id: str, run_id: str, closed_at: datetime
    ) -> bool:
        """Say that the run a due time asked for is closed; True when another one waits for it."""
        ...

    async def list_due_times(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        before: datetime | None,
        since: datetime | None,
        limit: int,
    ) -> list[DueTimeRow]:
        """Return due times, newest first, from before an instant back to another."""
        ...

    async def due_time_at(
        self, transaction: Transaction, definition_id: str, at: datetime
    ) -> DueTimeRow | None:
        """Return the row that holds an instant."""
        ...

    async def due_time_by_request(
        self, transaction: Transaction, definition_id: str, request_id: str
    ) -> DueTimeRow | None:
        """Return the due time that a request asked for."""
        ...

    async def coverage(self, transaction: Transaction, definition_id: str) -> Coverage | None:
        """Return how far a definition's due times are accounted for."""
        ...

    async def pauses_since(
        self, transaction: Transaction, definition_id: str, since: datetime
    ) -> list[Pause]:
        """Return the pauses that were not over at an instant, oldest first."""
        ...

    async def pause(
        self, transaction: Transaction, definition_id: str, *, at: datetime, order: Order
    ) -> None:
        """Begin a pause; none is open."""
        ...

    async def resume(
        self, transaction: Transaction, definition_id: str, *, at: datetime, order: Order
    ) -> None:
        """End the pause that is open."""
        ...

    async def skips_after(
        self, transaction: Transaction, definition_id: str, after: datetime
    ) -> list[SkipRow]:
        """Return the due times that nobody wants, oldest first."""
        ...

    async def skip(
        self,
        transaction: Transaction,
        definition_id: str,
        due_at: datetime,
        *,
        order: Order,
        at: datetime,
    ) -> None:
        """Let a due time not run."""
        ...

    async def skip_by_request(
        self, transaction: Transaction, definition_id: str, request_id: str
    ) -> datetime | None:
        """Return the due time that a request has skipped."""
        ...

    async def overdue(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[OverdueRow]:
        """Return the definitions whose schedules nobody looks after, the longest first."""
        ...


class RoutingStore(Protocol):
    """What the router decided of events, and the ranges of records that nothing wanted."""

    async def known(
        self, transaction: Transaction, events: Sequence[RoutedEvent]
    ) -> tuple[dict[str, bytes], list[Recorded]]:
        """Lock events until the transaction ends; return what stands of them.

        That is the digest of each by its key (the first in `events` for one that was not known),
        and the decisions at the places of the events or with the events' effects.
        """
        ...

    async def add(self, transaction: Transaction, decisions: Sequence[Decision]) -> None:
        """Write decisions."""
        ...

    async def add_ranges(self, transaction: Transaction, ranges: Sequence[UnroutedRange]) -> None:
        """Write ranges; one that is there already stays."""
        ...

    async def range_at(self, transaction: Transaction, place: Place) -> UnroutedRow | None:
        """Return the newest range that a place lies in."""
        ...

    async def page(
        self,
        transaction: Transaction,
        wanted: DecisionFilter,
        *,
        before: tuple[datetime, int] | None,
        limit: int,
    ) -> list[DecisionRow]:
        """Return decisions, newest first, from before a time and id."""
        ...


class DeadLetterStore(Protocol):
    """What people decided of dead letters, by place in their topic."""

    async def add(
        self,
        transaction: Transaction,
        topic: str,
        resolutions: Sequence[Resolution],
        *,
        actor: str,
        reason: str,
        request_id: str,
    ) -> None:
        """Write resolutions; a dead letter that has one keeps it."""
        ...

    async def at(
        self, transaction: Transaction, topic: str, places: Sequence[tuple[int, int]]
    ) -> list[Resolved]:
        """Return what stands at places (partition, offset), in their order; nothing where none."""
        ...

    async def between(
        self,
        transaction: Transaction,
        topic: str,
        *,
        partition: int,
        first: int,
        end: int,
        limit: int,
    ) -> list[Resolved]:
        """Return at most `limit` of what stands in `[first, end)` of a partition, by offset."""
        ...

    async def add_opening(self, transaction: Transaction, opening: Opening) -> None:
        """Write that a dead letter is opened; of the same request again, nothing."""
        ...

    async def openings(
        self, transaction: Transaction, *, before: int | None, limit: int
    ) -> list[Opened]:
        """Return at most `limit` openings before one, the newest first."""
        ...


@dataclass(frozen=True)
class PendingState:
    """What is known of everything that waits of one definition, whose lock is held."""

    definition_id: str
    waiting: int
    limits: Limits
    handed_out: Taken
    released: tuple[int, Choice | None]


@dataclass(frozen=True)
class PendingEvent:
    """An event that waits."""

    origin: Origin
    trigger_names: list[str]
    envelope: bytes


@dataclass(frozen=True)
class PendingRow:
    """A start that waits, as it is shown or handed out; `events` may be left out."""

    pending_id: str
    position: int
    definition_id: str
    definition_version: int
    task_queue: str
    key: str
    reason: str
    as_one_run: bool
    event_count: int
    queued_at: datetime
    due_at: datetime | None
    attempts: int
    lease: str | None
    events: list[PendingEvent] = field(default_factory=list)


@dataclass(frozen=True)
class Aged:
    """An event that is given up if that has to be."""

    pending_id: str
    ordinal: int
    origin: Origin


class PendingStore(Protocol):
    """What waits to be started. Whoever changes something of a definition holds its lock."""

    async def now(self, transaction: Transaction) -> datetime:
        """Return the time."""
        ...

    async def lock(
        self, transaction: Transaction, definition_ids: Collection[str]
    ) -> dict[str, PendingState]:
        """Lock definitions until the transaction ends; return what is known of them."""
        ...

    async def lock_due(
        self, transaction: Transaction, *, now: datetime, limit: int
    ) -> list[PendingState]:
        """Lock definitions of which something may be due, those that nobody else has locked."""
        ...

    async def known(
        self, transaction: Transaction, definition_id: str, origins: Sequence[Origin]
    ) -> set[int]:
        """Return the indices of the origins whose events wait already."""
        ...

    async def gathering(
        self, transaction: Transaction, definition_id: str, keys: Collection[str]
    ) -> dict[str, Gathering]:
        """Return the batches of these keys that take more events."""
        ...

    async def add(
        self,
        transaction: Transaction,
        state: PendingState,
        planned: Plan,
        *,
        limits: Limits,
        at: datetime,
    ) -> None:
        """Keep what was planned, and the limits that came with it."""
        ...

    async def oldest(
        self, transaction: Transaction, definition_id: str, *, queued_before: datetime, limit: int
    ) -> list[Aged]:
        """Return the oldest events of a definition that were never handed out."""
        ...

    async def give_up(
        self, transaction: Transaction, definition_id: str, events: Sequence[Aged]
    ) -> None:
        """Let events wait no more."""
        ...

    async def overaged(self, transaction: Transaction, queued_before: datetime) -> list[str]:
        """Return definitions of which events have waited since before a time."""
        ...

    async def waiting(self, transaction: Transaction, keys: Sequence[tuple[str, str]]) -> list[int]:
        """Return the indices of the (definition, key) pairs of which something waits."""
        ...

    async def claimable(
        self, transaction: Transaction, state: PendingState, *, now: datetime, limit: int
    ) -> list[Claimable]:
        """Return what of a definition can be handed out, in order."""
        ...

    async def lease(
        self, transaction: Transaction, pending_ids: Sequence[str], *, lease: str, until: datetime
    ) -> list[PendingRow]:
        """Hand starts out until a time; return them in order, with their events."""
        ...

    async def looked_at(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        handed_out: Taken,
        again_at: datetime | None,
        behind_at: datetime,
        now: datetime,
    ) -> None:
        """Keep when to look at a definition again.

        That is at `again_at`, when something becomes due or a lease ends, and at `behind_at` where
        something is due already.
        """
        ...

    async def look_at(self, transaction: Transaction, definition_id: str, at: datetime) -> None:
        """Look at a definition again no later than that."""
        ...

    async def next_look(self, transaction: Transaction) -> datetime | None:
        """Return when to look next; None when nothing waits that could become due."""
        ...

    async def definitions_of(
        self, transaction: Transaction, pending_ids: Collection[str]
    ) -> list[str]:
        """Return whose starts these are, as far as they still wait."""
        ...

    async def starts(
        self, transaction: Transaction, pending_ids: Collection[str]
    ) -> dict[str, PendingRow]:
        """Return starts by id, with the origins of their events."""
        ...

    async def remove(
        self, transaction: Transaction, definition_id: str, starts: Sequence[PendingRow]
    ) -> None:
        """Let starts wait no more."""
        ...

    async def put_back(self, transaction: Transaction, pending_id: str, due_at: datetime) -> None:
        """End the lease of a start, which is due again at a time."""
        ...

    async def hold(self, transaction: Transaction, pending_id: str, revision: int) -> None:
        """End the lease of a start, which is held from a revision of its definition on."""
        ...

    async def add_run(
        self, transaction: Transaction, definition_id: str, key: str, run_id: str, at: datetime
    ) -> None:
        """Count a run as open until it closes."""
        ...

    async def held(
        self, transaction: Transaction, definition_id: str, *, before_revision: int
    ) -> list[HeldStart]:
        """Return what is held since before a revision, in order."""
        ...

    async def released(
        self, transaction: Transaction, definition_id: str, revision: int, choice: Choice
    ) -> None:
        """Keep which revision released what was held, and how."""
        ...

    async def release(
        self, transaction: Transaction, pending_ids: Sequence[str], due_at: datetime
    ) -> None:
        """Make held starts due."""
        ...

    async def join(
        self,
        transaction: Transaction,
        group: Sequence[HeldStart],
        *,
        all_keys: bool,
        due_at: datetime,
    ) -> None:
        """Make one start of several, in the place of the first, and make it due."""
        ...

    async def page(
        self,
        transaction: Transaction,
        *,
        after: int | None,
        definition_id: str | None,
        reason: str | None,
        limit: int,
    ) -> list[PendingRow]:
        """Return what waits, oldest first, from after a position."""
        ...


@dataclass(frozen=True)
class Settlement:
    """What became of an event that waited; `settled` is False for one that goes on waiting."""

    definition_id: str
    origin: Origin
    outcome: PendingOutcome
    settled: bool = True
    definition_version: int = 0
    run_id: str = ""
    clause: str = ""
    seen: str = ""
    detail: str = ""


class DecisionLog(Protocol):
    """The decisions that tell what became of events."""

    async def settle(
        self, transaction: Transaction, settlements: Sequence[Settlement], at: datetime
    ) -> None:
        """Tell what became of events that waited."""
        ...


class ShadowStore(Protocol):
    """Shadows and what they decided."""

    async def lock(self, transaction: Transaction, definition_id: str) -> Shadow | None:
        """Lock the shadow of a definition until the transaction ends, and return it."""
        ...

    async def replace(
        self, transaction: Transaction, shadow: NewShadow, *, forgotten: str | None
    ) -> None:
        """Forget a shadow, and keep another of its definition unless somebody was faster."""
        ...

    async def stop(
        self, transaction: Transaction, definition_id: str, *, actor: str, reason: str
    ) -> None:
        """Let the shadow of a definition decide nothing more."""
        ...

    async def get(self, transaction: Transaction, shadow_id: str) -> Shadow | None:
        """Return a shadow."""
        ...

    async def page(
        self, transaction: Transaction, *, after: str, definition_id: str | None, limit: int
    ) -> list[Shadow]:
        """Return shadows by definition, without their content."""
        ...

    async def record(
        self, transaction: Transaction, shadow_id: str, decision: ShadowDecision
    ) -> bool:
        """Keep what a shadow made of a run, and count it.

        False if the run had one, or if there is no such run or shadow.
        """
        ...

    async def decisions(
        self, transaction: Transaction, shadow_id: str, *, before: int | None, limit: int
    ) -> list[RecordedShadowDecision]:
        """Return what a shadow decided, newest first, from before a position."""
        ...
