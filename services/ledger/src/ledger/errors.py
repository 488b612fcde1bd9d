"""What the ledger refuses, in words for the people who asked."""

from collections.abc import Sequence


class LedgerError(Exception):
    """The ledger refused."""


class InvalidRequestError(LedgerError):
    """The request is wrong whatever the state is."""


class RunNotFoundError(LedgerError):
    """There is no such run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run {run_id}")
        self.run_id = run_id


class TaskNotFoundError(LedgerError):
    """There is no such task."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"there is no task {task_id}")
        self.task_id = task_id


class ScheduleNotFoundError(LedgerError):
    """The definition never had a schedule put."""

    def __init__(self, definition_id: str) -> None:
        super().__init__(f"no schedule was ever put for {definition_id}")
        self.definition_id = definition_id


class UnroutedRangeNotFoundError(LedgerError):
    """No range of records without a candidate holds the place."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(
            f"no unrouted range of {topic}, partition {partition}, holds the offset {offset}"
        )


class ReplayNotFoundError(LedgerError):
    """There is no such replay of events."""

    def __init__(self, replay_id: str) -> None:
        super().__init__(f"there is no replay {replay_id}")
        self.replay_id = replay_id


class ReplayExistsError(LedgerError):
    """The replay's id stands for another question."""

    def __init__(self, replay_id: str) -> None:
        super().__init__(
            f"the replay {replay_id} was planned with another topic, time, definitions, mode or "
            "rate: choose another id"
        )
        self.replay_id = replay_id


class ReplayOvertakenError(LedgerError):
    """Somebody else has read on for the plan of a replay."""

    def __init__(self, replay_id: str) -> None:
        super().__init__(f"somebody else has read on for the replay {replay_id}: look where it is")
        self.replay_id = replay_id


class BackfillNotFoundError(LedgerError):
    """There is no such backfill."""

    def __init__(self, backfill_id: str) -> None:
        super().__init__(f"there is no backfill {backfill_id}")
        self.backfill_id = backfill_id


class BackfillExistsError(LedgerError):
    """The backfill's id stands for another question."""

    def __init__(self, backfill_id: str) -> None:
        super().__init__(
            f"the backfill {backfill_id} was planned with another definition, time, mode, order or "
            "concurrency: choose another id"
        )
        self.backfill_id = backfill_id


class InstanceNotFoundError(LedgerError):
    """There is no such instance."""

    def __init__(self, instance_id: str) -> None:
        super().__init__(f"there is no instance {instance_id}")
        self.instance_id = instance_id


class InstanceOvertakenError(LedgerError):
    """The instance has gone on since it was looked at."""

    def __init__(self, instance_id: str) -> None:
        super().__init__(f"the instance {instance_id} has gone on: look at it again")
        self.instance_id = instance_id


class ShadowNotFoundError(LedgerError):
    """There is no such shadow."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no shadow {name}; `backbone shadow list` says which there are")


class KillSwitchNotFoundError(LedgerError):
    """There is no such kill switch."""

    def __init__(self, switch_id: str) -> None:
        super().__init__(f"there is no kill switch {switch_id}")
        self.switch_id = switch_id


class PreconditionError(LedgerError):
    """The state does not allow it."""


class TaskNotOpenError(PreconditionError):
    """Somebody was faster: the task is closed."""

    def __init__(self, task_id: str, *, status: str, closed_by: str | None) -> None:
        who = f" by {closed_by}" if closed_by else ""
        super().__init__(f"the task {task_id} is {status}{who}, not open")
        self.task_id = task_id


class ShadowActiveError(PreconditionError):
    """Another shadow of the definition decides."""

    def __init__(self, definition_id: str, *, version: int, started_by: str) -> None:
        super().__init__(
            f"version {version} of {definition_id} is its shadow already, started by {started_by}; "
            f"`backbone shadow stop {definition_id}` ends it"
        )


class AnswerRefusedError(InvalidRequestError):
    """The answer does not fit the task's form."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        """`problems`: places in the answer, empty for itself, and what is wrong there."""
        told = "; ".join(f"{place or 'answer'}: {what}" for place, what in problems)
        super().__init__(f"the answer does not fit the task's form: {told}")
        self.problems = problems


class StaleTaskError(LedgerError):
    """The task was changed since the caller looked at it."""

    def __init__(
        self,
        task_id: str,
        *,
        looked_at: int,
        version: int,
        claimed_by: str | None,
        assigned: Sequence[str],
    ) -> None:
        who = f"claimed by {claimed_by}" if claimed_by else "claimed by nobody"
        super().__init__(
            f"the task {task_id} is at version {version} now, not {looked_at}: it is assigned to "
            f"{', '.join(assigned)} and {who}"
        )
        self.task_id = task_id
        self.version = version


class TaskClaimedError(PreconditionError):
    """Somebody else has claimed the task."""

    def __init__(self, task_id: str, *, claimed_by: str, instead: str) -> None:
        super().__init__(f"the task {task_id} is claimed by {claimed_by}; {instead}")
        self.task_id = task_id


class NotAssignedError(LedgerError):
    """The task is not the caller's to act on or to see."""


class SubjectNotFoundError(LedgerError):
    """Nothing sensitive was ever kept of this subject."""

    def __init__(self) -> None:
        # Without who it is: errors are logged.
        super().__init__("nothing sensitive was ever kept of this subject in this namespace")


class NoDataKeysError(LedgerError):
    """The ledger cannot keep or read what is sensitive."""

    def __init__(self) -> None:
        super().__init__(
            "the ledger has no data keys, under which sensitive values are kept: give it "
            "BACKBONE_DATA_KEYS (`backbone keys data add FILE KEY` makes one)"
        )


class ValueUnreadableError(LedgerError):
    """A sensitive value that was not erased cannot be read."""


class ConcurrentErasureError(LedgerError):
    """A value cannot be kept now: its subject is erased again and again meanwhile."""

    def __init__(self) -> None:
        super().__init__("a subject is erased again and again meanwhile: try again")
