"""Applies what waits for a stateful instance: its state, its rules and the ledger, in that order.

The ledger says what comes next, and for which place in the instance it is decided: what was decided
for a place that is taken by then is decided again.
"""

import time
from dataclasses import dataclass

from contracts import canonical, identifiers, strictjson
from contracts.runs import Applied, ApplyNextInput, RunFailure, RunInput, failure_of
from orchestrator_worker.domain.cache import LeastRecentlyUsed
from orchestrator_worker.errors import (
    ApplicationAwaitedError,
    PermanentError,
    UndecidableError,
)
from orchestrator_worker.ports import Instances, Ledger, Next, Place
from orchestrator_worker.service.revealing import undecidable
from orchestrator_worker.service.runs import Decider, refuse_excess
from rules.decisions import Program
from rules.errors import RulesError
from rules.instances import InstanceProgram
from runtime import logs

AT_A_TIME = 100
_WORK_S = 1.0
"""No application is begun later: a local activity has 5 s, and what it did is told at its end."""

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class _Step:
    """What an application came to: whether its run has work, and what is next, if that is known."""

    has_work: bool
    following: Next | None


class Applier:
    """Applies events to instances, one at a time for each."""

    def __init__(
        self, *, decider: Decider, ledger: Ledger, instances: Instances, cached_definitions: int
    ) -> None:
        """Apply with at most `cached_definitions` definition versions kept compiled."""
        self._decider = decider
        self._ledger = ledger
        self._instances = instances
        self._programs: LeastRecentlyUsed[tuple[str, str, int], InstanceProgram] = (
            LeastRecentlyUsed(cached_definitions)
        )

    async def apply(self, question: ApplyNextInput) -> Applied:
        """Apply what waits until a run has work, some time has passed, or nothing waits.

        What cannot be decided is recorded as a run that failed.

        Raises:
            TransientError: something that is needed is away, or the instance has gone on.
        """
        until = time.monotonic() + _WORK_S
        found = await self._instances.next(question)
        events = 0
        while found.run is not None:
            if found.applied:
                return Applied(events=events, begin=found.run, more=True)
            if events == AT_A_TIME or (events and time.monotonic() > until):
                return Applied(events=events, more=True)
            step = await self._one(question, found, found.run)
            events += 1
            if step.has_work:
                return Applied(events=events, begin=found.run, more=True)
            found = step.following or await self._instances.next(question)
        is_open = found.place.is_open or found.halted
        return Applied(events=events, open=is_open, due_in=found.due_in)

    async def _one(self, question: ApplyNextInput, found: Next, run: RunInput) -> _Step:
        with self._decider.traced(run):
            try:
                try:
                    return await self._decide(question, found, run)
                except PermanentError as exc:
                    await self._failed(question, run, exc)
            except PermanentError as exc:
                # An instance that gave up would leave what waits behind this one waiting.
                raise ApplicationAwaitedError(str(exc)) from exc
        return _Step(has_work=False, following=None)

    async def _decide(self, question: ApplyNextInput, found: Next, run: RunInput) -> _Step:
        program = await self._decider.program(run)
        instance = self._instance_program(run, program)
        place: Place = found.place
        state = strictjson.parse(place.state) if place.state else None
        revealed = await self._decider.revealed(run, state)
        snapshot, rendered = await self._decider.look(run, program, revealed=revealed)
        try:
            decision, step = instance.decide(
                program,
                definition_version=run.trigger.definition_version,
                namespace=run.namespace,
                run_id=run.run_id,
                trigger=run.trigger,
                snapshot=snapshot.seen,
                kept=snapshot.kept,
                state=state,
                revealed=revealed,
            )
        except RulesError as exc:
            raise undecidable(exc, revealed) from exc
        refuse_excess(decision)
        following = await self._instances.apply(
            question, found, step=step, snapshot=rendered, decision=canonical.render(decision)
        )
        return _Step(decision.has_work, following)

    async def _failed(self, question: ApplyNextInput, run: RunInput, error: PermanentError) -> None:
        failure = failure_of(error, kind=type(error).__name__.removesuffix("Error"))
        await self._ledger.record_run_failure(
            RunFailure(
                run=run,
                # The instance and not its execution: the ledger knows by it whose the run was.
                workflow_run_id=identifiers.instance_workflow_id(
                    run.definition_id, question.key_hash
                ),
                failure=failure,
            )
        )
        _log.warning(
            "event_not_applied", run_id=run.run_id, namespace=run.namespace,
            failure=failure.type, quoted=failure.message,
        )  # fmt: skip

    def _instance_program(self, run: RunInput, program: Program) -> InstanceProgram:
        key = (run.namespace, run.definition_id, run.trigger.definition_version)
        found = self._programs.get(key)
        if found is None:
            try:
                found = InstanceProgram(program.definition)
            except RulesError as exc:
                raise UndecidableError(str(exc)) from exc
            self._programs.put(key, found)
        return found
