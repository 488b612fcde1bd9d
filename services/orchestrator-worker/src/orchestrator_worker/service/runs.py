"""The use cases of runs: decide one, and record how runs and tasks ended.

The first recorded decision wins: whatever a retry would decide over a world that has moved on, it
gets what stands in the ledger.
"""

from uuid import UUID

from contracts import canonical
from contracts.decisions import AutomatedInstance, Decision, HumanInstance
from contracts.runs import (
    MAX_SNAPSHOT_BYTES,
    Decided,
    DecideInput,
    RecordOutcome,
    RunFailure,
    RunInput,
    TaskOutcome,
)
from contracts.telemetry import Attribute, Metric, Span
from orchestrator_worker.domain.cache import LeastRecentlyUsed
from orchestrator_worker.errors import DecisionTooLargeError, UndecidableError
from orchestrator_worker.ports import DefinitionSource, Ledger
from orchestrator_worker.service.lookout import Lookout
from orchestrator_worker.service.shadows import Beside, Shadows
from rules import decisions
from rules.decisions import Program
from rules.errors import RulesError
from runtime import logs, telemetry

MAX_TASKS_BYTES = 1024 * 1024
"""Of a run's automated tasks together: they pass through Temporal, whose blobs end at 2 MiB."""

_log = logs.get_logger(__name__)


class Decider:
    """Decides runs: pinned definition version, context snapshot, rules, ledger."""

    def __init__(
        self,
        *,
        definitions: DefinitionSource,
        lookout: Lookout,
        ledger: Ledger,
        cached_definitions: int,
        shadows: Shadows | None = None,
    ) -> None:
        """Decide with at most `cached_definitions` definition versions kept compiled.

        `shadows` is told of the runs that a shadow is to decide as well.
        """
        self._shadows = shadows
        self._definitions = definitions
        self._lookout = lookout
        self._ledger = ledger
        self._programs: LeastRecentlyUsed[tuple[str, str, int], Program] = LeastRecentlyUsed(
            cached_definitions
        )
        self._tracer = telemetry.tracer(__name__)
        self._decisions = telemetry.meter(__name__).create_counter(
            Metric.WORKER_DECISIONS, description="Runs decided, by what the ledger said."
        )

    async def decide(self, question: DecideInput) -> Decided:
        """Decide a run, record it, and return what the decision that stands asks for.

        Raises:
            PermanentError: it cannot be decided, now or ever.
            TransientError: something that is needed is away.
        """
        run = question.run
        with (
            telemetry.attached(run.trigger.traceparent),
            self._tracer.start_as_current_span(
                Span.DECIDE,
                attributes={
                    Attribute.NAMESPACE: run.namespace,
                    Attribute.DEFINITION_ID: run.definition_id,
                    Attribute.RUN_ID: run.run_id,
                },
            ),
        ):
            return await self._decide(run, question.workflow_run_id)

    async def _decide(self, run: RunInput, workflow_run_id: str) -> Decided:
        program = await self._program(run)
        snapshot = await self._lookout.look(run, program)
        rendered = canonical.render(snapshot.kept)
        if len(rendered) > MAX_SNAPSHOT_BYTES:
            raise DecisionTooLargeError(
                f"the context has {len(rendered)} bytes, more than the {MAX_SNAPSHOT_BYTES} that "
                "are kept of a run; select fewer rows or fields"
            )
        try:
            decision = program.decide(
                definition_version=run.trigger.definition_version,
                namespace=run.namespace,
                run_id=run.run_id,
                trigger=run.trigger,
                snapshot=snapshot.seen,
                kept=snapshot.kept,
            )
        except RulesError as exc:
            raise UndecidableError(str(exc)) from exc
        _refuse_excess(decision)
        outcome, standing, shadow_id = await self._ledger.record_run(
            run,
            workflow_run_id=workflow_run_id,
            snapshot=rendered,
            decision=canonical.render(decision),
        )
        self._decisions.add(
            1, {Attribute.NAMESPACE: run.namespace, Attribute.OUTCOME: outcome.value}
        )
        if outcome is RecordOutcome.DUPLICATE:
            _log.info("run_duplicate", run_id=run.run_id, namespace=run.namespace)
            return Decided(outcome=outcome)
        if shadow_id and self._shadows is not None:
            self._shadows.consider(Beside(shadow_id, run, program, snapshot))
        stands = Decision.model_validate_json(standing)
        tasks, timed = _automated(stands), _timed(stands)
        _log.info(
            "run_decided",
            run_id=run.run_id,
            namespace=run.namespace,
            outcome=outcome.value,
            automated_tasks=len(tasks),
            timed_tasks=len(timed),
        )
        return Decided(outcome=outcome, tasks=tasks, timed=timed)

    async def _program(self, run: RunInput) -> Program:
        key = (run.namespace, run.definition_id, run.trigger.definition_version)
        program = self._programs.get(key)
        if program is None:
            definition = await self._definitions.get(*key)
            try:
                program = decisions.compile_definition(definition)
            except RulesError as exc:
                raise UndecidableError(str(exc)) from exc
            self._programs.put(key, program)
        return program


class Recorder:
    """Records how runs and tasks ended."""

    def __init__(self, *, ledger: Ledger) -> None:
        self._ledger = ledger

    async def run_failed(self, failure: RunFailure) -> RecordOutcome:
        """Record that a run could not decide."""
        outcome = await self._ledger.record_run_failure(failure)
        _log.warning(
            "run_failed",
            run_id=failure.run.run_id,
            namespace=failure.run.namespace,
            failure=failure.failure.type,
            detail=failure.failure.message,
            outcome=outcome.value,
        )
        return outcome

    async def task_ended(self, outcome: TaskOutcome) -> bool:
        """Record how a task ended; False when it was closed before."""
        recorded = await self._ledger.record_task_outcome(outcome)
        _log.info(
            "task_recorded",
            run_id=outcome.run_id,
            task_id=str(outcome.task_id),
            namespace=outcome.namespace,
            failure=outcome.failure.type if outcome.failure is not None else None,
            recorded=recorded,
        )
        return recorded


def _automated(decision: Decision) -> list[AutomatedInstance]:
    return [task for task in decision.tasks if isinstance(task, AutomatedInstance)]


def _timed(decision: Decision) -> list[UUID]:
    return [
        task.task_id
        for task in decision.tasks
        if isinstance(task, HumanInstance) and task.has_timers
    ]


def _refuse_excess(decision: Decision) -> None:
    size = sum(len(canonical.render(task)) for task in _automated(decision))
    if size > MAX_TASKS_BYTES:
        raise DecisionTooLargeError(
            f"the tasks have {size} bytes, more than {MAX_TASKS_BYTES}; "
            "pass references instead of contents"
        )
