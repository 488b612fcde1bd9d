"""The use cases: decide a run, and record how runs and tasks ended.

The first recorded decision wins: whatever a retry would decide over a world that has moved on, it
gets what stands in the ledger.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from contracts import canonical, redaction
from contracts.catalogue import MAX_TIMEOUT
from contracts.decisions import AutomatedInstance, Decision, HumanInstance
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
from contracts.shadows import ShadowOutcome
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
    WorkerError,
)
from orchestrator_worker.ports import (
    Answer,
    ContextSource,
    DefinitionSource,
    Ledger,
    ShadowRecords,
)
from rules import backtests, decisions
from rules.backtests import Lookup, Version
from rules.decisions import Program
from rules.errors import GatheredOtherwiseError, NotTriggeredError, RulesError
from runtime import logs, telemetry

MAX_TASKS_BYTES = 1024 * 1024
"""Of a run's automated tasks together: they pass through Temporal, whose blobs end at 2 MiB."""

MAX_SHADOWS_WAITING = 32
"""Runs that wait to be decided by shadows, each with its snapshot."""
SHADOWS_AT_ONCE = 4
CACHED_SHADOWS = 100
SHADOW_LOOKUP_TIMEOUT = timedelta(seconds=5)
SHADOW_TIMEOUT = timedelta(seconds=15)

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

    async def look_beside(
        self, run: RunInput, asked: Sequence[Lookup], snapshot: Snapshot
    ) -> Snapshot:
        """Return what `asked` finds for a run; of what it has looked at itself, what it saw.

        Raises: as `look`.
        """
        live = [one for one in asked if not one.recorded]
        found = await asyncio.gather(*(self._entry(run, one.entry, one.parameters) for one in live))
        now = self._snapshot({one.entry.name: a for one, a in zip(live, found, strict=True)})
        recorded = [one.entry.name for one in asked if one.recorded]
        return Snapshot(
            {**now.seen, **{name: snapshot.seen[name] for name in recorded}},
            {**now.kept, **{name: snapshot.kept[name] for name in recorded}},
        )

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
        shadows: "Shadows | None" = None,
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


@dataclass(frozen=True)
class Beside:
    """A run that was recorded, for a shadow to decide as well: by what it was, over what."""

    shadow_id: str
    run: RunInput
    program: Program
    snapshot: Snapshot


class Shadows:
    """Decides recorded runs by their definition's shadow too, and tells the ledger; nobody else.

    A run never waits for it and never fails by it: what comes while too many wait, what takes too
    long and what a process leaves behind is not decided.
    """

    name = "shadows"

    def __init__(self, *, records: ShadowRecords, lookout: Lookout) -> None:
        self._records = records
        self._lookout = lookout
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
                snapshot = await self._lookout.look_beside(run, lookups, beside.snapshot)
            decision = version.program.decide(
                definition_version=version.number,
                namespace=run.namespace,
                run_id=run.run_id,
                trigger=trigger,
                snapshot=snapshot.seen,
                kept=snapshot.kept,
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
