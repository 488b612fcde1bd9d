"""The use cases: decide a run, and record how runs and tasks ended.

The first recorded decision wins: whatever a retry would decide over a world that has moved on, it
gets what stands in the ledger.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts import canonical, redaction
from contracts.catalogue import MAX_TIMEOUT
from contracts.decisions import AutomatedInstance, Decision
from contracts.definitions import ContextEntry
from contracts.runs import (
    FAILURES,
    MAX_SNAPSHOT_BYTES,
    Decided,
    DecideInput,
    RecordOutcome,
    RunFailure,
    RunInput,
    TaskOutcome,
)
from contracts.telemetry import Attribute, Metric, Span
from orchestrator_worker.domain import lastruns
from orchestrator_worker.domain.cache import LeastRecentlyUsed
from orchestrator_worker.errors import (
    ContextError,
    ContextGivenUpError,
    ContextUnavailableError,
    DecisionTooLargeError,
    PermanentError,
    TransientError,
    UndecidableError,
)
from orchestrator_worker.ports import Answer, ContextSource, DefinitionSource, Ledger
from rules import decisions
from rules.decisions import Program
from rules.errors import RulesError
from runtime import logs, telemetry

MAX_TASKS_BYTES = 1024 * 1024
"""Of a run's automated tasks together: they pass through Temporal, whose blobs end at 2 MiB."""

_log = logs.get_logger(__name__)

_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True)
class Snapshot:
    """What a run found: what its rules see, and what is stored of that."""

    seen: Mapping[str, Any]
    kept: Mapping[str, Any]


@dataclass(frozen=True)
class _Absent:
    """An entry that cannot be had, and that the run does without."""

    reason: str


class Lookout:
    """Looks at what the context entries of a definition ask for, all at once."""

    def __init__(
        self, *, context: ContextSource, ledger: Ledger, redaction_key: bytes | None = None
    ) -> None:
        """Look by `context` and `ledger`; what is left out of a snapshot is hashed by the key."""
        self._context = context
        self._ledger = ledger
        self._redaction_key = redaction_key
        self._durations = telemetry.meter(__name__).create_histogram(
            Metric.WORKER_CONTEXT_DURATION,
            unit="s",
            description="How long a context entry took, retries included, by what came of it.",
        )

    async def look(self, run: RunInput, program: Program) -> Snapshot:
        """Return what the entries of a definition find for a run.

        Raises:
            PermanentError: an entry cannot be had, now or ever, and the run may not do without.
            TransientError: a system is away, and the run waits for it.
        """
        try:
            parameters = program.context_parameters(run.trigger)
        except RulesError as exc:
            raise UndecidableError(str(exc)) from exc
        entries = program.definition.spec.context
        # Each is waited for: the same failure is told whichever comes first.
        found = await asyncio.gather(
            *(self._entry(run, entry, parameters[entry.name]) for entry in entries),
            return_exceptions=True,
        )
        failures = [one for one in found if isinstance(one, BaseException)]
        if failures:
            raise next((one for one in failures if isinstance(one, PermanentError)), failures[0])
        answers = {
            entry.name: one
            for entry, one in zip(entries, found, strict=True)
            if not isinstance(one, BaseException)
        }
        return self._snapshot(answers)

    def _snapshot(self, found: Mapping[str, Answer | _Absent]) -> Snapshot:
        seen: dict[str, Any] = {}
        kept: dict[str, Any] = {}
        for name, one in found.items():
            answer = one if isinstance(one, Answer) else Answer(None)
            seen[name] = answer.value
            kept[name] = redaction.redacted(answer.value, answer.redact, key=self._redaction_key)
        reasons = {name: one.reason for name, one in found.items() if isinstance(one, _Absent)}
        if reasons:
            kept[FAILURES] = reasons
        return Snapshot(seen, kept)

    async def _entry(
        self, run: RunInput, entry: ContextEntry, parameters: Mapping[str, Any]
    ) -> Answer | _Absent:
        """Return an entry's answer, or why it is null where its definition says so."""
        started = time.monotonic()
        outcome = "failed"
        try:
            answer = await self._patiently(run, entry, parameters)
            outcome = "found"
        except ContextError as exc:
            if not entry.may_be_null:
                raise
            outcome = "null"
            _log.warning(
                "context_null", run_id=run.run_id, namespace=run.namespace, reason=str(exc)
            )
            return _Absent(str(exc))
        except TransientError:
            outcome = "awaited"
            raise
        finally:
            self._durations.record(
                time.monotonic() - started,
                {
                    Attribute.NAMESPACE: run.namespace,
                    Attribute.DEFINITION_ID: run.definition_id,
                    Attribute.OUTCOME: outcome,
                },
            )
        return answer

    async def _patiently(
        self, run: RunInput, entry: ContextEntry, parameters: Mapping[str, Any]
    ) -> Answer:
        if entry.retries is None:
            return await self._once(run, entry, parameters, within=None)
        longest = MAX_TIMEOUT.total_seconds()
        end = time.monotonic() + longest
        pause, attempts = _PAUSE_S, 0
        while True:
            attempts += 1
            try:
                return await self._once(run, entry, parameters, within=end - time.monotonic())
            except TransientError as exc:
                if attempts > entry.retries or time.monotonic() + pause >= end:
                    raise ContextGivenUpError(
                        f"given up after {attempts} of {entry.retries + 1} attempts: {exc}"
                    ) from exc
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _once(
        self,
        run: RunInput,
        entry: ContextEntry,
        parameters: Mapping[str, Any],
        *,
        within: float | None,
    ) -> Answer:
        own = None if entry.timeout is None else entry.timeout.total_seconds()
        limits = [limit for limit in (own, within) if limit is not None]
        limit = min(limits) if limits else None
        try:
            async with asyncio.timeout(limit):
                if entry.last_run is not None:
                    last = await self._ledger.last_run(run, status=entry.last_run.status)
                    return Answer(None if last is None else lastruns.document(last))
                return await self._context.look(entry, parameters)
        except TimeoutError as exc:
            told = "in time" if limit is None else f"within {limit:g} s"
            raise ContextUnavailableError(
                f"context {entry.name}: there is no answer {told}"
            ) from exc


class Decider:
    """Decides runs: pinned definition version, context snapshot, rules, ledger."""

    def __init__(
        self,
        *,
        definitions: DefinitionSource,
        lookout: Lookout,
        ledger: Ledger,
        cached_definitions: int,
    ) -> None:
        """Decide with at most `cached_definitions` definition versions kept compiled."""
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
        """Decide a run, record it, and return the automated tasks of the decision that stands.

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
        outcome, standing = await self._ledger.record_run(
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
        tasks = _automated(Decision.model_validate_json(standing))
        _log.info(
            "run_decided",
            run_id=run.run_id,
            namespace=run.namespace,
            outcome=outcome.value,
            automated_tasks=len(tasks),
        )
        return Decided(outcome=outcome, tasks=tasks)

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


def _refuse_excess(decision: Decision) -> None:
    size = sum(len(canonical.render(task)) for task in _automated(decision))
    if size > MAX_TASKS_BYTES:
        raise DecisionTooLargeError(
            f"the tasks have {size} bytes, more than {MAX_TASKS_BYTES}; "
            "pass references instead of contents"
        )
