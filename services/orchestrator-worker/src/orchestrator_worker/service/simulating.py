"""The use case of simulations: what a run would decide now, looked up and told, never recorded."""

import asyncio
from typing import Any

from pydantic import ValidationError

from contracts import canonical, definitions, strictjson
from contracts.decisions import Decision
from contracts.rejections import EventRejectedError
from contracts.runs import FAILURES
from contracts.simulations import (
    LOOKUP_TIMEOUT,
    MAX_SIMULATION_BYTES,
    LookedAt,
    Simulated,
    SimulateInput,
    SimulationOutcome,
)
from orchestrator_worker.errors import (
    ContextUnavailableError,
    DecisionTooLargeError,
    PermanentError,
    TransientError,
    UndecidableError,
)
from orchestrator_worker.service.lookout import Snapshot
from orchestrator_worker.service.runs import Decider, refuse_excess
from rules.backtests import Version
from rules.errors import RulesError
from rules.instances import Step
from runtime import logs

_log = logs.get_logger(__name__)


class Simulations:
    """Decides runs that nobody started, over what the connectors answer, and tells who asked."""

    def __init__(self, *, decider: Decider) -> None:
        """Look as runs do, by `decider`; what records is not asked of it."""
        self._decider = decider

    async def simulate(self, question: SimulateInput) -> Simulated:
        """Return what a run would decide, or why it would not."""
        snapshot = None
        try:
            version = _version(question)
            snapshot = await self._look(question, version)
            decision, step = _decide(question, version, snapshot)
            simulated = Simulated(
                outcome=SimulationOutcome.DECIDED,
                looked_at=_looked_at(snapshot),
                decision=_rendered(decision),
                state=None if step is None else step.after.decode(),
            )
        except TransientError as exc:
            simulated = Simulated(outcome=SimulationOutcome.WAITS, reason=str(exc))
        except (PermanentError, RulesError) as exc:
            found = () if snapshot is None else _looked_at(snapshot)
            simulated = Simulated(
                outcome=SimulationOutcome.FAILED, looked_at=found, reason=str(exc)
            )
        _log.info(
            "run_simulated",
            run_id=question.run.run_id,
            namespace=question.run.namespace,
            looked_at=[entry.name for entry in simulated.looked_at],
            outcome=simulated.outcome.value,
        )
        return simulated

    async def _look(self, question: SimulateInput, version: Version) -> Snapshot:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT.total_seconds()):
                snapshot, _ = await self._decider.look(question.run, version.program)
        except TimeoutError as exc:
            raise ContextUnavailableError(
                f"the context was not looked up within {LOOKUP_TIMEOUT.total_seconds():g} s"
            ) from exc
        return snapshot


def _version(question: SimulateInput) -> Version:
    try:
        definition = definitions.load(question.definition)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, error["loc"]))
        raise UndecidableError(
            f"the worker's release cannot read the definition: {where}: {error['msg']}"
        ) from exc
    return Version.of(definition, question.run.trigger.definition_version)


def _decide(
    question: SimulateInput, version: Version, snapshot: Snapshot
) -> tuple[Decision, Step | None]:
    run = question.run
    decision, step = version.decide(
        namespace=run.namespace,
        run_id=run.run_id,
        trigger=run.trigger,
        snapshot=snapshot.seen,
        kept=snapshot.kept,
        state=_state(question),
    )
    refuse_excess(decision)
    return decision, step


def _rendered(decision: Decision) -> str:
    rendered = canonical.render(decision)
    if len(rendered) > MAX_SIMULATION_BYTES:
        raise DecisionTooLargeError(
            f"the decision has {len(rendered)} bytes, more than the {MAX_SIMULATION_BYTES} that a "
            "simulation can bring back"
        )
    return rendered.decode()


def _state(question: SimulateInput) -> dict[str, Any] | None:
    if question.state is None:
        return None
    try:
        state = strictjson.parse(question.state.encode())
    except EventRejectedError as exc:
        raise UndecidableError(f"the state is not JSON: {exc.detail}") from exc
    if not isinstance(state, dict):
        raise UndecidableError("the state is no JSON object")
    return state


def _looked_at(snapshot: Snapshot) -> list[LookedAt]:
    missing = snapshot.kept.get(FAILURES, {})
    found = []
    for name in sorted(snapshot.seen):
        value = snapshot.kept[name]
        rendered = canonical.render(value)
        found.append(
            LookedAt(
                name=name,
                items=len(value) if isinstance(value, list) else None,
                size=len(rendered),
                sha256=canonical.digest(rendered),
                missing=missing.get(name),
            )
        )
    return found
