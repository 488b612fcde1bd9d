"""What crosses a workflow's border: inputs and results of workflows and Temporal activities."""

from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from contracts.decisions import AutomatedInstance, RunStatus
from contracts.triggers import Chain, Trigger, Window

MAX_OUTPUT_BYTES = 200 * 1024
"""A task's output as canonical JSON; a larger one is a failure of the task.

The event that carries it may have 256 KiB.
"""

CANCELLED_IN_TEMPORAL = "WorkflowCancelled"
"""The failure of what a workflow left open that a person cancelled in Temporal."""

MAX_SNAPSHOT_BYTES = 1024 * 1024
"""What a run found, as canonical JSON; a run that finds more fails."""
FAILURES = "$failures"
"""Where a snapshot says why entries are null, by entry; no entry can be called so."""
REDACTED = "$redacted"
"""The one key of what a snapshot holds in place of a value that it does not keep."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)


class RunInput(_Model):
    """The input of `RunActivity`; the workflow id is the run id."""

    namespace: str
    run_id: str
    definition_id: str
    trigger: Trigger


class RecordOutcome(StrEnum):
    """What `ledger.RecordRun` found."""

    RECORDED = "recorded"
    REPEATED = "repeated"
    DUPLICATE = "duplicate"


class DecideInput(_Model):
    """The input of the `decide` Temporal activity."""

    run: RunInput
    workflow_run_id: str


class Decided(_Model):
    """What the workflow has to do after the decision: the automated tasks, none for a duplicate.

    `timed` are the human tasks with which something happens by the clock. With `effects_halted` a
    kill switch stops effects: no automated task is begun before it is reset.
    """

    outcome: RecordOutcome
    tasks: list[AutomatedInstance] = Field(default_factory=list)
    timed: list[UUID] = Field(default_factory=list)
    effects_halted: bool = False


class EffectsQuestion(_Model):
    """The input of `await_effects`: which definition's effects may be stopped."""

    namespace: str
    definition_id: str


MAX_STATE_BYTES = 64 * 1024
"""The state document of an instance as canonical JSON."""
EVENTS_PER_EXECUTION = 200
"""An instance continues as new after so many events, so that its history stays short."""


class InstanceInput(_Model):
    """The input of `Instance`: of which key it is.

    `begun` is a run that an earlier execution started and did not tell of.
    """

    namespace: str
    definition_id: str
    key_hash: str
    begun: str = ""
    events_per_execution: int = Field(EVENTS_PER_EXECUTION, ge=1)


class ApplyNextInput(_Model):
    """The input of `apply_next`: for which instance. `begun` is a run that was started, if any."""

    namespace: str
    definition_id: str
    key_hash: str
    workflow_run_id: str
    begun: str = ""


class Applied(_Model):
    """What an instance does next: start a run that has work, ask again, go on or end.

    `events` is how many were applied, `more` whether something may wait, and `open` whether a
    generation of the instance is open. Its next timer is due in `due_in`.
    """

    events: int = 0
    begin: RunInput | None = None
    more: bool = False
    open: bool = True
    due_in: timedelta | None = None


class TaskCall(_Model):
    """The input of every handler: a task with the idempotency key it must use, `task_id`.

    Handlers in other languages get it as JSON.
    """

    namespace: str
    run_id: str
    definition_id: str
    task: AutomatedInstance
    traceparent: str | None = None
    generation: int = Field(1, description="Above 1 for a task that is retried by hand.")
    on_failure: bool = Field(
        default=False,
        description="Whether this tells of a failure: then `task` is no task of the run, and its "
        "outcome is the workflow's to record.",
    )
    chain: Chain | None = Field(
        None,
        description="What the run goes on with, for what the handler publishes or starts; null "
        "from a worker of an earlier release.",
    )


class TaskReport(_Model):
    """The result of a handler's Temporal activity.

    `recorded` says that the handler's worker has told the ledger; otherwise the workflow does.
    """

    recorded: bool = False
    output: JsonValue = None


class TaskFailure(_Model):
    """Why a task failed for good."""

    type: str
    message: str


class TaskOutcome(_Model):
    """The input of `record_task_outcome`: the output of a task, or its failure."""

    namespace: str
    run_id: str
    task_id: UUID
    output: JsonValue = None
    failure: TaskFailure | None = None
    generation: int = 1


class RunFailure(_Model):
    """The input of `record_run_failure`: a run that could not decide.

    `unattended` says that its workflow has ended: somebody else has to tell of it.
    """

    run: RunInput
    workflow_run_id: str
    failure: TaskFailure
    unattended: bool = False


class RunResult(_Model):
    """The result of `RunActivity`."""

    outcome: RecordOutcome | None = None
    completed: int = 0
    failed: int = 0
    failure: TaskFailure | None = None


class TaskTimersInput(_Model):
    """The input of `TaskTimers`: which human task to watch over."""

    namespace: str
    task_id: UUID


class AdvanceTask(_Model):
    """The input of `advance_task`; `woken_for` is the time that the wake-up was meant for."""

    namespace: str
    task_id: UUID
    woken_for: AwareDatetime | None = None


class NextLook(_Model):
    """When to look again, at a task or at a schedule; null when time does nothing more to it."""

    next_at: AwareDatetime | None = None


class RetryTaskInput(_Model):
    """The input of `RetryTask`: a task that failed for good, to be carried out again."""

    namespace: str
    run_id: str
    definition_id: str
    definition_version: int
    task: AutomatedInstance
    generation: int
    traceparent: str | None = None
    chain: Chain | None = None


class FailureQuestion(_Model):
    """The input of `find_failure_handler`: what failed, a task or (without one) the run."""

    namespace: str
    run_id: str
    definition_id: str
    definition_version: int
    failure: TaskFailure
    task: AutomatedInstance | None = None
    generation: int = 1


class TellFailureInput(_Model):
    """The input of `TellFailure`: a failure that no workflow is left to tell of."""

    question: FailureQuestion
    traceparent: str | None = None
    chain: Chain | None = None


class FailureNotice(_Model):
    """The input that the handler of a definition's `onFailure` gets."""

    run_id: str
    definition_id: str
    definition_version: int
    failure: TaskFailure
    task_id: UUID | None = Field(None, description="The task that failed; null for the run itself.")
    rule: str | None = None
    key: str | None = None
    handler: str | None = Field(None, description="The handler of the task that failed.")


class FailureHandler(_Model):
    """Who is to be told, as a task of its own; none when the definition has no `onFailure`.

    With `effects_halted` a kill switch stops effects: nobody is told before it is reset.
    """

    task: AutomatedInstance | None = None
    effects_halted: bool = False


class FailureHandling(_Model):
    """The input of `record_failure_handled`: the handler was called, and maybe failed itself."""

    namespace: str
    run_id: str
    call_id: UUID
    task_id: UUID | None = None
    handler: str
    failure: TaskFailure | None = None


class SweepInput(_Model):
    """The input of `Sweep`, and of each page of it: where to go on in the list of open runs."""

    namespace: str
    page_token: str = ""
    looked_at: int = 0
    closed: int = 0


class SweptPage(_Model):
    """What one page of a sweep came to; an empty token says that it was the last one."""

    next_page_token: str = ""
    looked_at: int = 0
    closed: int = 0


class TickInput(_Model):
    """The input of `ScheduledTick`: which definition to look at."""

    namespace: str
    definition_id: str


class AdvanceInput(_Model):
    """The input of `advance_schedule`; `woken_for` is Temporal's nominal time of the wake-up."""

    namespace: str
    definition_id: str
    woken_for: AwareDatetime | None = None


class DueRun(_Model):
    """A run that a due time asks for: its workflow, queue and input."""

    task_queue: str
    run: RunInput


class Advanced(_Model):
    """The runs a tick has to start, and when it has to ask again, if a due time waits till then."""

    runs: list[DueRun] = Field(default_factory=list)
    next_at: AwareDatetime | None = None


class Acknowledgement(_Model):
    """The due runs of a definition that were started."""

    namespace: str
    definition_id: str
    run_ids: list[str]


class LastRun(_Model):
    """The run of a definition before another one, as rules see it."""

    run_id: str
    definition_version: int
    status: RunStatus
    trigger_kind: str
    scheduled_for: AwareDatetime | None = None
    window: Window | None = None
    recorded_at: AwareDatetime
    closed_at: AwareDatetime | None = None


def failure_of(exc: BaseException, *, kind: str | None = None) -> TaskFailure:
    """Return what is told of an exception: its type and at most 2,000 characters of its message."""
    return TaskFailure(type=kind or type(exc).__name__, message=str(exc)[:2000])
