"""Makes a handler a Temporal activity: input checked, run once, outcome recorded.

The outcome is recorded inside the attempt, so that a task costs one Temporal activity. When the
ledger stays away, the output goes back to the workflow, which records it: the handler never runs
again because of the ledger.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from contracts import sensitive
from contracts.runs import TaskCall, TaskOutcome, TaskReport
from contracts.sensitive import Reference
from contracts.telemetry import Attribute, Metric, Span
from runtime import logs, telemetry
from runtime.faultpoints import faultpoint
from sdk.errors import OutcomeRefusedError, PermanentError, RetryLaterError
from sdk.handlers import Handler, TaskContext
from sdk.outcomes import OutcomeRecorder
from sdk.sensitive_values import SensitiveValues

# What an attempt keeps back of its time, to hand its output to the workflow.
_RESERVE = timedelta(seconds=2)

_log = logs.get_logger(__name__)


def temporal_activity(
    handler: Handler[Any],
    recorder: OutcomeRecorder,
    sensitive_values: SensitiveValues | None = None,
) -> Callable[[TaskCall], Awaitable[TaskReport]]:
    """Return the Temporal activity of a handler, which has the handler's name.

    It is given the values that its input refers to, by `sensitive_values`.
    """
    tracer = telemetry.tracer(__name__)
    attempts = _Attempts(handler.name)

    @activity.defn(name=handler.name)
    async def carry_out(call: TaskCall) -> TaskReport:
        info = activity.info()
        timeout = info.start_to_close_timeout or timedelta(minutes=1)
        ends_at = (
            asyncio.get_running_loop().time()
            + (timeout - min(_RESERVE, timeout / 4)).total_seconds()
        )
        with (
            logs.bound(
                namespace=call.namespace,
                run_id=call.run_id,
                task_id=str(call.task.task_id),
                event_id=None if call.chain is None else call.chain.causation_id,
            ),
            telemetry.attached(call.traceparent),
            tracer.start_as_current_span(
                Span.HANDLE,
                attributes={
                    Attribute.NAMESPACE: call.namespace,
                    Attribute.HANDLER: handler.name,
                    Attribute.RUN_ID: call.run_id,
                    Attribute.TASK_ID: str(call.task.task_id),
                },
            ),
        ):
            with attempts.measured(call):
                output = await _run(handler, call, info, sensitive_values)
            # Who is told of a failure does no task of the run: the workflow records how that went.
            recorded = not call.on_failure and await _record(
                recorder, call, output, ends_at=ends_at
            )
        return TaskReport(recorded=True) if recorded else TaskReport(output=output)

    return carry_out


class _Attempts:
    """How long each attempt of a handler takes, by how it ends: its count is that of attempts."""

    def __init__(self, handler: str) -> None:
        self._handler = handler
        self._durations = telemetry.meter(__name__).create_histogram(
            Metric.HANDLER_ATTEMPT_DURATION,
            unit="s",
            description="Time that an attempt of a handler took, by definition and outcome.",
        )

    @contextmanager
    def measured(self, call: TaskCall) -> Iterator[None]:
        started = time.perf_counter()
        outcome = "cancelled"
        try:
            yield
            outcome = "completed"
        except ApplicationError as exc:
            outcome = "failed" if exc.non_retryable else "retryable"
            raise
        except Exception:
            outcome = "retryable"
            raise
        finally:
            self._durations.record(
                time.perf_counter() - started,
                {
                    Attribute.NAMESPACE: call.namespace,
                    Attribute.DEFINITION_ID: call.definition_id,
                    Attribute.HANDLER: self._handler,
                    Attribute.OUTCOME: outcome,
                },
            )


async def _run(
    handler: Handler[Any],
    call: TaskCall,
    info: activity.Info,
    sensitive_values: SensitiveValues | None,
) -> Any:
    task = call.task
    given, told = task.input, _told
    values: dict[Reference, Any] = {}
    logger = logs.get_logger("sdk.task").bind(
        namespace=call.namespace,
        run_id=call.run_id,
        task_id=str(task.task_id),
        handler=handler.name,
        attempt=info.attempt,
    )
    context = TaskContext(
        task_id=task.task_id,
        run_id=call.run_id,
        definition_id=call.definition_id,
        namespace=call.namespace,
        attempt=info.attempt,
        first_due=info.scheduled_time,
        chain=call.chain,
        logger=logger,
        _heartbeat=activity.heartbeat,
    )
    try:
        if wanted := sensitive.references(task.input):
            values = await _values(call, wanted, sensitive_values)
            known = {one.blob_id: value for one, value in values.items()}
            given, told = sensitive.revealed(task.input, known), _left_out
    except RetryLaterError as exc:
        logger.warning("task_attempt_failed", failure=type(exc).__name__, quoted=str(exc))
        raise ApplicationError(str(exc), type="RetryLater", next_retry_delay=exc.after) from exc
    faultpoint("sdk.before_handler")
    try:
        output = await handler.run(given, context)
    except PermanentError as exc:
        logger.warning("task_failed", failure=type(exc).__name__, quoted=told(exc))
        raise ApplicationError(
            told(exc), type=type(exc).__name__.removesuffix("Error"), non_retryable=True
        ) from _cause(exc, told)
    except RetryLaterError as exc:
        logger.warning("task_attempt_failed", failure=type(exc).__name__, quoted=told(exc))
        raise ApplicationError(
            told(exc), type=type(exc).__name__.removesuffix("Error"), next_retry_delay=exc.after
        ) from _cause(exc, told)
    except Exception as exc:
        logger.warning("task_attempt_failed", failure=type(exc).__name__, quoted=told(exc))
        if told is _left_out:
            raise ApplicationError(told(exc), type=type(exc).__name__) from None
        raise
    faultpoint("sdk.after_handler")
    # What it hands back as it was given is kept as the reference that it was.
    return sensitive.referred(output, values)


async def _values(
    call: TaskCall, wanted: Collection[Reference], sensitive_values: SensitiveValues | None
) -> dict[Reference, Any]:
    """Return the values of the sensitive fields in a task's input; null for the erased."""
    if sensitive_values is None:
        raise RetryLaterError(
            "this worker has nobody to ask for sensitive values", after=timedelta(minutes=1)
        )
    found = await sensitive_values.resolve(call.namespace, wanted)
    return {one: found.get(one.blob_id) for one in wanted}


def _told(exc: Exception) -> str:
    return str(exc)


def _left_out(exc: Exception) -> str:
    # What fails is recorded, and often quotes what it was given.
    return f"{type(exc).__name__}; its text is left out, since the input has sensitive fields"


def _cause(exc: Exception, told: Callable[[Exception], str]) -> Exception | None:
    return None if told is _left_out else exc


async def _record(
    recorder: OutcomeRecorder, call: TaskCall, output: Any, *, ends_at: float
) -> bool:
    """Return whether the outcome stands in the ledger; `ends_at` is of the loop's clock."""
    outcome = TaskOutcome(
        namespace=call.namespace,
        run_id=call.run_id,
        task_id=call.task.task_id,
        output=output,
        generation=call.generation,
    )
    try:
        async with asyncio.timeout_at(ends_at):
            await recorder.record(outcome)
    except TimeoutError:
        reason = "the ledger is away"
    except OutcomeRefusedError as exc:
        reason = str(exc)
    except asyncio.CancelledError:
        # The worker stops, or the run was cancelled. The handler is done, so its output counts:
        # given up here, it would run again.
        reason = "cancelled"
    else:
        return True
    _log.warning("outcome_left_to_workflow", task_id=str(call.task.task_id), reason=reason)
    return False
