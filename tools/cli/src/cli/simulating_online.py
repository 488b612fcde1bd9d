"""Simulation over what the operator's connectors answer now: the router asks, a worker looks."""

import json
from collections.abc import Mapping
from typing import Any

from backbone.router.v1 import router_pb2
from cli.clients import Clients
from cli.errors import CliError
from contracts import canonical, definitions
from contracts.decisions import Decision
from contracts.simulations import LookedAt, SimulationOutcome
from rules.backtests import Version
from rules.simulations import Simulation


class Stack:
    """Decides by asking the running services; nothing is started or recorded there."""

    def __init__(self, version: Version, clients: Clients) -> None:
        self._definition = definitions.content(version.definition)
        self._clients = clients

    async def decide(self, simulation: Simulation, state: Mapping[str, Any] | None) -> None:
        """Have a run decided. Raises CliError when nobody can say what it would decide."""
        if simulation.trigger is None:
            return
        answer = await self._clients.simulate_run(
            self._definition,
            trigger=simulation.trigger.model_dump_json().encode(),
            state=b"" if state is None else canonical.render(dict(state)),
        )
        simulation.looked_at = [_looked_at(entry) for entry in answer.looked_at]
        match answer.outcome:
            case SimulationOutcome.DECIDED:
                simulation.decision = Decision.model_validate_json(answer.decision)
                simulation.state = json.loads(answer.state) if answer.state else None
            case SimulationOutcome.FAILED:
                simulation.failure = answer.reason
            case SimulationOutcome.WAITS:
                simulation.waits = answer.reason
            case other:
                raise CliError(
                    f"the router tells an outcome that is unknown here: {other!r}; it is of "
                    "another release"
                )


def _looked_at(entry: router_pb2.LookedAt) -> LookedAt:
    return LookedAt(
        name=entry.name,
        items=None if entry.items < 0 else entry.items,
        size=entry.size,
        sha256=entry.sha256,
        missing=entry.missing or None,
    )
