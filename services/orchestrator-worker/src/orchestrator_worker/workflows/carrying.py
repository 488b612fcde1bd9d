"""How a workflow carries out automated tasks: the handler, the recording, who is told of failures.

A cancellation ends handlers and waiting, never the recording.
"""

import asyncio
import json
from typing import Any, NamedTuple

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import FailureError
from temporalio.workflow import ActivityCancellationType, ActivityHandle

from orchestrator_worker.workflows import steps

with workflow.unsafe.imports_passed_through():
    from contracts.decisions import AutomatedInstance
    from contracts.names import TemporalActivity
    from contracts.runs import (
        MAX_OUTPUT_BYTES,
        EffectsQuestion,
        FailureHandler,
        FailureHandling,
        FailureQuestion,
        TaskCall,
        TaskFailure,
        TaskOutcome,
    )
    from contracts.triggers import Chain


class _Report(NamedTuple):
    """What a handler's result says, whoever wrote the handler."""

    recorded: bool
    output: Any = None
    failure: TaskFailure | None = None


class Carrier:
    """Carries out the tasks of one workflow, until they have ended or it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = False
        self._cancellable: list[ActivityHandle[Any]] = []

    def cancel(self) -> None:
        """End handlers and waiting; what is to be recorded is recorded all the same."""
        self.cancelled = True
        for handle in self._cancellable:
            handle.cancel()

    def cancellable(self, handle: ActivityHandle[Any]) -> ActivityHandle[Any]:
        """Have a Temporal activity end with a cancellation."""
        self._cancellable.append(handle)
        return handle

    def failure_of(self, exc: FailureError | asyncio.CancelledError) -> TaskFailure:
        """Return what is told of a Temporal activity that failed or was cancelled."""
        if isinstance(exc, asyncio.CancelledError):
            return steps.cancelled()
        return steps.failure_of(exc, run_cancelled=self.cancelled)

    async def effects(self, namespace: str, definition_id: str) -> bool:
        """Return True once no kill switch stops effects; False when it was cancelled before.

        Raises:
            FailureError: it cannot be told, ever.
        """
        if self._is_cancelled():
            return False
        question = EffectsQuestion(namespace=namespace, definition_id=definition_id)
        handle = steps.patiently(TemporalActivity.AWAIT_EFFECTS, question, bool)
        try:
            await self.cancellable(handle)
        except (FailureError, asyncio.CancelledError):
            if not self._is_cancelled():
                raise
        return not self._is_cancelled()

    def _is_cancelled(self) -> bool:
        # A call: what is awaited in between may have changed it, which an attribute hides.
        return self.cancelled

    async def carry_out(self, call: TaskCall, *, definition_version: int) -> bool:
        """Have a task done and its outcome recorded; say whether it succeeded.

        Raises:
            FailureError: the outcome cannot be recorded, ever.
        """
        task = call.task
        report = await self._handle(call)
        if not report.recorded:
            await steps.surely(
                TemporalActivity.RECORD_TASK_OUTCOME,
                TaskOutcome(
                    namespace=call.namespace,
                    run_id=call.run_id,
                    task_id=task.task_id,
                    output=report.output,
                    failure=report.failure,
                    generation=call.generation,
                ),
                bool,
            )
        if report.failure is None:
            return True
        await self.tell_of(
            FailureQuestion(
                namespace=call.namespace,
                run_id=call.run_id,
                definition_id=call.definition_id,
                definition_version=definition_version,
                failure=report.failure,
                task=task,
                generation=call.generation,
            ),
            traceparent=call.traceparent,
            chain=call.chain,
        )
        return False

    async def tell_of(
        self, question: FailureQuestion, *, traceparent: str | None, chain: Chain | None
    ) -> None:
        """Call the handler of the definition's `onFailure`, if it has one, and record that.

        A failure of this handler is recorded too, and told to nobody. Who cancels a run knows of
        it: then nobody is called.
        """
        if self.cancelled or not workflow.patched(_TELLS_OF_FAILURES):
            return
        found = await steps.surely(TemporalActivity.FIND_FAILURE_HANDLER, question, FailureHandler)
        if found.task is None:
            return
        if found.effects_halted and not await self.effects(
            question.namespace, question.definition_id
        ):
            return
        report = await self._handle(
            TaskCall(
                namespace=question.namespace,
                run_id=question.run_id,
                definition_id=question.definition_id,
                task=found.task,
                traceparent=traceparent,
                generation=question.generation,
                on_failure=True,
                chain=chain,
            )
        )
        await steps.surely(
            TemporalActivity.RECORD_FAILURE_HANDLED,
            FailureHandling(
                namespace=question.namespace,
                run_id=question.run_id,
                call_id=found.task.task_id,
                task_id=question.task.task_id if question.task is not None else None,
                handler=found.task.handler,
                failure=report.failure,
            ),
            bool,
        )

    async def _handle(self, call: TaskCall) -> _Report:
        if self.cancelled:
            return _Report(recorded=False, failure=steps.cancelled())
        # Raw: a foreign handler may return anything, and what cannot be read is that task's
        # failure, not a workflow task that fails for ever.
        handle = self.cancellable(start(call))
        try:
            return _read_report(await handle)
        except (FailureError, asyncio.CancelledError) as exc:
            return _Report(recorded=False, failure=self.failure_of(exc))


# Runs that a build without `onFailure` began go on as they were begun.
_TELLS_OF_FAILURES = "on-failure"


def start(call: TaskCall) -> ActivityHandle[RawValue]:
    """Start the handler of a task as a Temporal activity on its own task queue."""
    task: AutomatedInstance = call.task
    return workflow.start_activity(
        task.handler,
        call,
        result_type=RawValue,
        task_queue=task.task_queue,
        start_to_close_timeout=task.timeout,
        retry_policy=RetryPolicy(
            maximum_attempts=task.retry.maximum_attempts,
            initial_interval=task.retry.initial_interval,
            backoff_coefficient=task.retry.backoff_coefficient,
            maximum_interval=max(task.retry.maximum_interval, task.retry.initial_interval),
        ),
        activity_id=str(task.task_id),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def _read_report(raw: RawValue) -> _Report:
    try:
        result: Any = workflow.payload_converter().from_payload(raw.payload)
    except Exception as exc:  # noqa: BLE001 - whatever a converter raises, the output is unreadable
        return _refused("InvalidOutput", f"the handler's output cannot be read: {exc}")
    if (
        isinstance(result, dict)
        and isinstance(result.get("recorded"), bool)
        and result.keys() <= {"recorded", "output"}
    ):
        if result["recorded"]:
            return _Report(recorded=True)
        result = result.get("output")
    try:
        size = len(
            json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        )
    except (TypeError, ValueError) as exc:
        return _refused("InvalidOutput", f"the handler's output is not JSON: {exc}")
    if size > MAX_OUTPUT_BYTES:
        return _refused(
            "OutputTooLarge",
            f"the handler's output has {size} bytes, more than the {MAX_OUTPUT_BYTES} that are "
            "kept; store it elsewhere and return a reference",
        )
    return _Report(recorded=False, output=result)


def _refused(kind: str, message: str) -> _Report:
    return _Report(recorded=False, failure=TaskFailure(type=kind, message=message[:2000]))
