"""How a workflow has our own Temporal activities done: quickly when all is well, for ever if not.

A local activity costs one history event and no round trip through a task queue, but it keeps its
workflow task open. So it gets 5 s; whatever is away for longer is waited for by a normal one.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio import exceptions, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, FailureError
from temporalio.workflow import ActivityCancellationType, ActivityHandle

with workflow.unsafe.imports_passed_through():
    from contracts.names import TemporalActivity
    from contracts.runs import NextLook, TaskFailure

T = TypeVar("T")

# Below four fifths of the workflow task timeout (10 s): a longer local activity would make the
# workflow task report in, which costs history events of its own.
LOCAL_TOTAL = timedelta(seconds=5)
# The SDK ends an attempt under way when that time is up, but not the pause between two attempts:
# without a maximum of attempts, quick failures would be repeated for ever.
LOCAL_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=100),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(milliseconds=500),
    maximum_attempts=10,
)
ATTEMPT = timedelta(seconds=30)
# Between two looks: who is asked may have a clock behind ours, and say the same time again.
_SHORTEST_WAIT = timedelta(seconds=1)
# Without a maximum of attempts: a run outlives any outage of the ledger or the registry.
PATIENT_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=10),
)


async def locally(name: TemporalActivity, argument: Any, result_type: type[T]) -> T | None:
    """Do it as a local activity within 5 s, retries included; None says that there was no time.

    Raises:
        FailureError: it failed for good.
    """
    try:
        result: T = await workflow.execute_local_activity(
            name.value,
            argument,
            result_type=result_type,
            schedule_to_close_timeout=LOCAL_TOTAL,
            retry_policy=LOCAL_RETRY,
        )
    except FailureError as exc:
        if is_final(exc):
            raise
        return None
    return result


def patiently(name: TemporalActivity, argument: Any, result_type: type[T]) -> ActivityHandle[T]:
    """Start it as a normal Temporal activity that is tried until it works or fails for good.

    Cancelling the handle lets an attempt under way end first, so that what it did is known.
    """
    return workflow.start_activity(
        name.value,
        argument,
        result_type=result_type,
        start_to_close_timeout=ATTEMPT,
        retry_policy=PATIENT_RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


async def surely(name: TemporalActivity, argument: Any, result_type: type[T]) -> T:
    """Do it locally, and if that is not enough, patiently.

    Raises:
        FailureError: it failed for good.
    """
    result = await locally(name, argument, result_type)
    return result if result is not None else await patiently(name, argument, result_type)


async def until_nothing_waits(
    name: TemporalActivity,
    question: Callable[[datetime | None], Any],
    *,
    woken_for: datetime | None = None,
) -> None:
    """Look, wait for the time that the answer gives, and look again, until it gives none.

    `question` makes the argument of a look from the time that woke it; `name` answers `NextLook`.

    Raises:
        FailureError: a look failed for good.
    """
    while True:
        found = await surely(name, question(woken_for), NextLook)
        if found.next_at is None:
            return
        woken_for = found.next_at
        await workflow.sleep(max(_SHORTEST_WAIT, woken_for - workflow.now()))


def is_final(exc: FailureError) -> bool:
    """Return whether another attempt would fail in the same way."""
    cause = _cause(exc)
    return isinstance(cause, ApplicationError) and cause.non_retryable


def _cause(exc: FailureError) -> BaseException | None:
    # A local activity's failure comes as it was raised, a normal one's inside an ActivityError.
    return exc.cause if isinstance(exc, ActivityError) else exc


def failure_of(exc: FailureError, *, run_cancelled: bool) -> TaskFailure:
    """Return what the ledger is told of a Temporal activity that failed or was cancelled.

    After `run_cancelled` nothing is tried again, so that a failure that would have been is the
    cancellation's.
    """
    cause = _cause(exc)
    if run_cancelled and not is_final(exc):
        return cancelled()
    if isinstance(cause, ApplicationError):
        return TaskFailure(type=cause.type or "ApplicationError", message=cause.message[:2000])
    if isinstance(cause, exceptions.TimeoutError):
        last = cause.cause
        detail = f"; before that: {last}" if last is not None else ""
        return TaskFailure(type="Timeout", message=f"no attempt ended in time{detail}"[:2000])
    if isinstance(cause, CancelledError) or cause is None:
        return cancelled()
    return TaskFailure(type=type(cause).__name__, message=str(cause)[:2000])


def cancelled() -> TaskFailure:
    """Return the failure of what a person's cancellation ended."""
    return TaskFailure(type="Cancelled", message="the run was cancelled")
