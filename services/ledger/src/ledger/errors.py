"""What the ledger refuses, in words for the people who asked."""


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


class PreconditionError(LedgerError):
    """The state does not allow it."""


class TaskNotOpenError(PreconditionError):
    """Somebody was faster: the task is closed."""

    def __init__(self, task_id: str, *, status: str, closed_by: str | None) -> None:
        who = f" by {closed_by}" if closed_by else ""
        super().__init__(f"the task {task_id} is {status}{who}, not open")
        self.task_id = task_id


class AnswerRefusedError(InvalidRequestError):
    """The answer does not fit the task's form."""
