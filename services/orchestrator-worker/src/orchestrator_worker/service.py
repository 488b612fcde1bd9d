"""The use cases: decide a run, and record how runs and tasks ended.

The first recorded decision wins: whatever a retry would decide over a world that has moved on, it
gets what stands in the ledger.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from contracts import canonical
from contracts.decisions import AutomatedInstance, Decision, HumanInstance
from contracts.runs import (
    Decided,
    DecideInput,
    RecordOutcome,
    RunFailure,
    RunInput,
    TaskOutcome,
)
from contracts.shadows import ShadowOutcome
from contracts.telemetry import Attribute, Metric, Span
from orchestrator_worker.domain.cache import LeastRecentlyUsed
from orchestrator_worker.errors import DecisionTooLargeError, UndecidableError, WorkerError
from orchestrator_worker.ports import ContextSource, DefinitionSource, Ledger, ShadowRecords
from rules import backtests, decisions
from rules.backtests import Lookup, Version
from rules.decisions import Program
from rules.errors import GatheredOtherwiseError, NotTriggeredError, RulesError
from runtime import logs, telemetry

MAX_SNAPSHOT_BYTES = 2 * 1024 * 1024
MAX_TASKS_BYTES = 1024 * 1024
"""Of a run's automated tasks together: they pass through Temporal, whose blobs end at 2 MiB."""

MAX_SHADOWS_WAITING = 32
"""Runs that wait to be decided by shadows, each with its snapshot."""
SHADOWS_AT_ONCE = 4
CACHED_SHADOWS = 100
SHADOW_LOOKUP_TIMEOUT = timedelta(seconds=5)
SHADOW_TIMEOUT = timedelta(seconds=15)

_log = logs.get_logger(__name__)


class Decider:
    """Decides runs: pinned definition version, context snapshot, rules, ledger."""

    def __init__(
        self,
        *,
        definitions: DefinitionSource,
        context: ContextSource,
        ledger: Ledger,
        cached_definitions: int,
        shadows: "Shadows | None" = None,
    ) -> None:
        """Decide with at most `cached_definitions` definition versions kept compiled.

        `shadows` is told of the runs that a shadow is to decide as well.
        """
        self._shadows = shadows
        self._definitions = definitions
        self._context = context
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
        try:
            parameters = program.context_parameters(run.trigger)
        except RulesError as exc:
            raise UndecidableError(str(exc)) from exc
        entries = program.definition.spec.context
        answers = await asyncio.gather(
            *(self._context.query(entry, parameters[entry.name]) for entry in entries)
        )
        snapshot = {entry.name: answer for entry, answer in zip(entries, answers, strict=True)}
        rendered = canonical.render(snapshot)
        if len(rendered) > MAX_SNAPSHOT_BYTES:
            raise DecisionTooLargeError(
                f"the context has {len(rendered)} bytes, more than {MAX_SNAPSHOT_BYTES}"
            )
        try:
            decision = program.decide(
                definition_version=run.trigger.definition_version,
                namespace=run.namespace,
                run_id=run.run_id,
                trigger=run.trigger,
                snapshot=snapshot,
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


@dataclass(frozen=True)
class Beside:
    """A run that was recorded, for a shadow to decide as well: by what it was, over what."""

    shadow_id: str
    run: RunInput
    program: Program
    snapshot: Mapping[str, Any]


class Shadows:
    """Decides recorded runs by their definition's shadow too, and tells the ledger; nobody else.

    A run never waits for it and never fails by it: what comes while too many wait, what takes too
    long and what a process leaves behind is not decided.
    """

    name = "shadows"

    def __init__(self, *, records: ShadowRecords, context: ContextSource) -> None:
        self._records = records
        self._context = context
        self._waiting: asyncio.Queue[Beside] = asyncio.Queue(MAX_SHADOWS_WAITING)
        self._versions: LeastRecentlyUsed[tuple[str, str], Version] = LeastRecentlyUsed(
            CACHED_SHADOWS
        )
        self._workers: list[asyncio.Task[None]] = []
        self._decisions = telemetry.meter(__name__).create_counter(
            Metric.WORKER_SHADOW_DECISIONS,
            description="Runs that a shadow was to decide, by what came of it.",
        )

    async def start(self) -> None:
        """Begin to decide."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(SHADOWS_AT_ONCE)]

    async def stop(self) -> None:
        """End at once: what waits is left."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def consider(self, beside: Beside) -> None:
        """Have a run decided soon; forget it when too many wait."""
        try:
            self._waiting.put_nowait(beside)
        except asyncio.QueueFull:
            self._count(beside.run, "dropped")

    async def drained(self) -> None:
        """Return when nothing waits any more."""
        await self._waiting.join()

    async def _work(self) -> None:
        while True:
            beside = await self._waiting.get()
            try:
                async with asyncio.timeout(SHADOW_TIMEOUT.total_seconds()):
                    self._count(beside.run, (await self._decide(beside)).value)
            except Exception as exc:  # noqa: BLE001 - whatever it is, the next one is decided
                self._count(beside.run, "failed_to_record")
                _log.warning(
                    "shadow_failed",
                    shadow_id=beside.shadow_id,
                    run_id=beside.run.run_id,
                    failure=type(exc).__name__,
                    detail=str(exc)[:500],
                )
            finally:
                self._waiting.task_done()

    async def _decide(self, beside: Beside) -> ShadowOutcome:
        version = await self._version(beside)
        outcome, reason, decision = await self._made(version, beside)
        await self._records.record(
            beside.run,
            shadow_id=beside.shadow_id,
            outcome=outcome,
            reason=reason,
            decision=decision,
        )
        return outcome

    async def _made(self, version: Version, beside: Beside) -> tuple[ShadowOutcome, str, bytes]:
        run, own = beside.run, beside.program
        try:
            trigger = version.triggers.again(
                run.trigger, before=own.definition, definition_version=version.number
            )
            lookups = backtests.lookups(own, run.trigger, other=version.program, again=trigger)
            async with asyncio.timeout(SHADOW_LOOKUP_TIMEOUT.total_seconds()):
                answers = await asyncio.gather(
                    *(self._seen(lookup, beside.snapshot) for lookup in lookups)
                )
            names = [lookup.entry.name for lookup in lookups]
            decision = version.program.decide(
                definition_version=version.number,
                namespace=run.namespace,
                run_id=run.run_id,
                trigger=trigger,
                snapshot=dict(zip(names, answers, strict=True)),
            )
        except NotTriggeredError as exc:
            return ShadowOutcome.NOT_STARTED, str(exc), b""
        except GatheredOtherwiseError as exc:
            return ShadowOutcome.NOT_COMPARABLE, str(exc), b""
        except RulesError as exc:
            return ShadowOutcome.FAILED, str(exc), b""
        except TimeoutError:
            return ShadowOutcome.NOT_COMPARABLE, "its context could not be looked up in time", b""
        except WorkerError as exc:
            return ShadowOutcome.NOT_COMPARABLE, f"its context could not be had: {exc}", b""
        return ShadowOutcome.DECIDED, "", canonical.render(decision)

    async def _seen(self, lookup: Lookup, snapshot: Mapping[str, Any]) -> Any:
        """Return what the run saw, where the shadow looks at the same; look at the rest now."""
        if lookup.recorded:
            return snapshot[lookup.entry.name]
        return await self._context.query(lookup.entry, lookup.parameters)

    async def _version(self, beside: Beside) -> Version:
        key = (beside.run.namespace, beside.shadow_id)
        version = self._versions.get(key)
        if version is None:
            version = Version.of(*await self._records.get(*key))
            self._versions.put(key, version)
        return version

    def _count(self, run: RunInput, outcome: str) -> None:
        self._decisions.add(1, {Attribute.NAMESPACE: run.namespace, Attribute.OUTCOME: outcome})


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
