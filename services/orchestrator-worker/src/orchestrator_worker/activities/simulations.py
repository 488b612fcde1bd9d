"""What `Simulate` calls: decide without effect."""

from temporalio import activity

from contracts.names import TemporalActivity
from contracts.simulations import Simulated, SimulateInput
from orchestrator_worker.service.simulating import Simulations


class SimulationActivities:
    """The Temporal activity of simulations, on every task queue that runs are served on."""

    def __init__(self, *, simulations: Simulations) -> None:
        self._simulations = simulations

    @activity.defn(name=TemporalActivity.SIMULATE.value)
    async def simulate(self, question: SimulateInput) -> Simulated:
        """Say what a run would decide."""
        return await self._simulations.simulate(question)
