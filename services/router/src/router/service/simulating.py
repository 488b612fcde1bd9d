"""Has runs simulated on line: what they would decide over what is there now, without effect."""

import asyncio
from collections.abc import Collection

from contracts import definitions, identifiers
from contracts.definitions import ActivityDefinition
from contracts.runs import RunInput
from contracts.simulations import MAX_SIMULATION_BYTES, Simulated, SimulateInput
from contracts.triggers import Trigger
from router.errors import RequestInvalidError, SimulationsBusyError
from router.ports import RunSimulator
from rules.backtests import Version
from rules.errors import DecisionError
from runtime import logs

AT_ONCE = 4
"""Simulations of one router: each takes a slot of a worker, and asks the operator's connectors."""

_log = logs.get_logger(__name__)


class SimulationDesk:
    """Takes what people want simulated, a few at a time, and says in the log who wanted what."""

    def __init__(self, *, namespaces: Collection[str], simulator: RunSimulator) -> None:
        self._namespaces = frozenset(namespaces)
        self._simulator = simulator
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def simulate(
        self,
        namespace: str,
        definition: ActivityDefinition,
        trigger: Trigger,
        *,
        state: str | None,
        actor: str,
    ) -> Simulated:
        """Return what a run of a definition would decide now; `state` is an instance's, as JSON.

        Raises:
            RequestInvalidError: the namespace is not served here or not the definition's, the
                definition cannot run, or all of it is too large.
            SimulationsBusyError: too many are simulated already.
            TransientError: no worker answers.
        """
        if namespace not in self._namespaces:
            raise RequestInvalidError(f"namespace {namespace!r} is not served here")
        question = _question(namespace, definition, trigger, state)
        if self._slots.locked():
            raise SimulationsBusyError(
                f"{AT_ONCE} simulations are under way already; try again in a moment"
            )
        async with self._slots:
            outcome = "unanswered"
            try:
                simulated = await self._simulator.simulate(
                    question, task_queue=definition.spec.task_queue
                )
                outcome = simulated.outcome.value
            finally:
                _log.info(
                    "run_simulated_for",
                    actor=actor,
                    namespace=namespace,
                    definition_id=definition.metadata.id,
                    run_id=question.run.run_id,
                    context=[entry.name for entry in definition.spec.context],
                    outcome=outcome,
                )
        return simulated


def _question(
    namespace: str, definition: ActivityDefinition, trigger: Trigger, state: str | None
) -> SimulateInput:
    metadata = definition.metadata
    if metadata.namespace != namespace:
        raise RequestInvalidError(
            f"the definition is {metadata.id} in {metadata.namespace}, not in {namespace}"
        )
    try:
        version = Version.of(definition, trigger.definition_version)
    except DecisionError as exc:
        raise RequestInvalidError(f"definition: {exc}") from exc
    if state is not None and version.instance is None:
        raise RequestInvalidError(f"{metadata.id} is not stateful: it has no state")
    question = SimulateInput(
        run=RunInput(
            namespace=namespace,
            run_id=identifiers.run_id(metadata.id, trigger.key),
            definition_id=metadata.id,
            trigger=trigger,
        ),
        definition=definitions.content(definition).decode(),
        state=state,
    )
    size = len(question.model_dump_json())
    if size > MAX_SIMULATION_BYTES:
        raise RequestInvalidError(
            f"definition, cause and state have {size} bytes together, more than the "
            f"{MAX_SIMULATION_BYTES} that are taken; simulate fewer events at once"
        )
    return question
