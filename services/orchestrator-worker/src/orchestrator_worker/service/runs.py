"""The use cases of runs: decide one, and record how runs and tasks ended.

The first recorded decision wins: whatever a retry would decide over a world that has moved on, it
gets what stands in the ledger.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from contracts import canonical
from contracts.decisions import AutomatedInstance, Decision, HumanInstance
from contracts.definitions import Mode
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
from orchestrator_worker.ports import (
    DefinitionSource,
    Instances,
    Ledger,
    Recorded,
    SensitiveValues,
)
from orchestrator_worker.service import revealing
from orchestrator_worker.service.lookout import Lookout, Snapshot
from orchestrator_worker.service.revealing import Revealed, undecidable
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
        instances: Instances,
        sensitive_values: SensitiveValues,
        cached_definitions: int,
        shadows: Shadows | None = None,
    ) -> None:
        """Decide with at most `cached_definitions` definition versions kept compiled.

        `shadows` is told of the runs that a shadow is to decide as well.
        """
        self._shadows = shadows
        self._sensitive_values = sensitive_values
        self._definitions = definitions
        self._lookout = lookout
        self._ledger = ledger
        self._instances = instances
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
        with self.traced(run):
            return await self._decide(run, question.workflow_run_id)

    @contextmanager
    def traced(self, run: RunInput) -> Iterator[None]:
        """Let what the body does be the decision of a run, in the trace of its cause."""
        event = run.trigger.event
        with (
            logs.bound(
                namespace=run.namespace,
                definition_id=run.definition_id,
                run_id=run.run_id,
                event_id=None if event is None else event.event_id,
            ),
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
            yield

    async def _decide(self, run: RunInput, workflow_run_id: str) -> Decided:
        program = await self.program(run)
        if program.definition.spec.mode is Mode.STATEFUL:
            # An instance has decided it; what is left is to carry it out.
            adopted = await self._instances.adopt_run(run, workflow_run_id=workflow_run_id)
            return self._decided(run, adopted)
        revealed = await self.revealed(run)
        snapshot, rendered = await self.look(run, program, revealed=revealed)
        try:
            decision = program.decide(
                definition_version=run.trigger.definition_version,
                namespace=run.namespace,
                run_id=run.run_id,
                trigger=run.trigger,
                snapshot=snapshot.seen,
                kept=snapshot.kept,
                revealed=revealed,
            )
        except RulesError as exc:
            raise undecidable(exc, revealed) from exc
        refuse_excess(decision)
        recorded = await self._ledger.record_run(
            run,
            workflow_run_id=workflow_run_id,
            snapshot=rendered,
            decision=canonical.render(decision),
        )
        is_ours = recorded.outcome is not RecordOutcome.DUPLICATE
        if recorded.shadow_id and self._shadows is not None and is_ours:
            self._shadows.consider(Beside(recorded.shadow_id, run, program, snapshot, revealed))
        return self._decided(run, recorded)

    async def revealed(self, run: RunInput, state: Mapping[str, Any] | None = None) -> Revealed:
        """Return the values of what is sensitive in the cause of a run, and in a state.

        Raises:
            TransientError: they cannot be had now.
        """
        return await revealing.revealed(self._sensitive_values, run, state)

    async def look(
        self, run: RunInput, program: Program, *, revealed: Revealed | None = None
    ) -> tuple[Snapshot, bytes]:
        """Return the context of a run, and the bytes that are kept of it.

        Raises:
            PermanentError: it cannot be had, now or ever, or is too large to be kept.
            TransientError: a system is away, and the run waits for it.
        """
        snapshot = await self._lookout.look(run, program, revealed=revealed)
        rendered = canonical.render(snapshot.kept)
        if len(rendered) > MAX_SNAPSHOT_BYTES:
            raise DecisionTooLargeError(
                f"the context has {len(rendered)} bytes, more than the {MAX_SNAPSHOT_BYTES} that "
                "are kept of a run; select fewer rows or fields"
            )
        return snapshot, rendered

    def _decided(self, run: RunInput, recorded: Recorded) -> Decided:
        outcome = recorded.outcome
        self._decisions.add(
            1, {Attribute.NAMESPACE: run.namespace, Attribute.OUTCOME: outcome.value}
        )
        if outcome is RecordOutcome.DUPLICATE:
            _log.info("run_duplicate", run_id=run.run_id, namespace=run.namespace)
            return Decided(outcome=outcome)
        stands = Decision.model_validate_json(recorded.decision)
        tasks, timed = automated(stands), timed_tasks(stands)
        _log.info(
            "run_decided",
            run_id=run.run_id,
            namespace=run.namespace,
            outcome=outcome.value,
            automated_tasks=len(tasks),
            timed_tasks=len(timed),
            effects_halted=recorded.effects_halted,
        )
        return Decided(
            outcome=outcome, tasks=tasks, timed=timed, effects_halted=recorded.effects_halted
        )

    async def program(self, run: RunInput) -> Program:
        """Return the compiled version of the definition that a run pins.

        Raises:
            PermanentError: there is none, or it does not compile.
            TransientError: the registry is away.
        """
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
            quoted=failure.failure.message,
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


def automated(decision: Decision) -> list[AutomatedInstance]:
    """Return the tasks of a decision that handlers carry out."""
    return [task for task in decision.tasks if isinstance(task, AutomatedInstance)]


def timed_tasks(decision: Decision) -> list[UUID]:
    """Return the tasks of a decision that wait for people, and have times of their own."""
    return [
        task.task_id
        for task in decision.tasks
        if isinstance(task, HumanInstance) and task.has_timers
    ]


def refuse_excess(decision: Decision) -> None:
    """Raise DecisionTooLargeError when the tasks of a decision are more than a run may carry."""
    size = sum(len(canonical.render(task)) for task in automated(decision))
    if size > MAX_TASKS_BYTES:
        raise DecisionTooLargeError(
            f"the tasks have {size} bytes, more than {MAX_TASKS_BYTES}; "
            "pass references instead of contents"
        )
