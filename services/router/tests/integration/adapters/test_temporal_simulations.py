"""Simulations through a real Temporal server: answered, unanswered, and gone afterwards."""

from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from contracts.names import Workflow
from contracts.runs import RunInput
from contracts.simulations import Simulated, SimulateInput, SimulationOutcome
from contracts.triggers import Trigger, TriggerKind
from router.adapters.temporal_simulations import TemporalRunSimulator
from router.errors import SimulationUnansweredError


@workflow.defn(name=Workflow.SIMULATE.value)
class _Answers:
    @workflow.run
    async def run(self, question: SimulateInput) -> Simulated:
        return Simulated(outcome=SimulationOutcome.DECIDED, decision=question.definition)


@pytest.fixture
def question(unique_name):
    return SimulateInput(
        run=RunInput(
            namespace="dev",
            run_id=f"{unique_name}:manual:r-1",
            definition_id=unique_name,
            trigger=Trigger(kind=TriggerKind.MANUAL, definition_version=1, request_id="r-1"),
        ),
        definition=f"the definition of {unique_name}",
    )


@pytest.fixture
def known(runs, monkeypatch):
    """Return the ids of the simulations, and whether Temporal knows one."""
    ids = []
    started = runs.client.start_workflow

    async def start_workflow(*args, **kwargs):
        ids.append(kwargs["id"])
        return await started(*args, **kwargs)

    monkeypatch.setattr(runs.client, "start_workflow", start_workflow)

    async def gone():
        try:
            await runs.client.get_workflow_handle(ids[-1]).describe()
        except RPCError as exc:
            return exc.status is RPCStatusCode.NOT_FOUND
        return False

    return gone


async def test_a_worker_answers_and_nothing_stays(runs, question, unique_name, known, eventually):
    queue = f"{unique_name}-tq"
    simulator = TemporalRunSimulator({"dev": runs.client})
    async with Worker(
        runs.client,
        task_queue=queue,
        workflows=[_Answers],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        simulated = await simulator.simulate(question, task_queue=queue)
    assert simulated.decision == question.definition
    await simulator.close()
    await eventually(known)


async def test_a_queue_that_nobody_serves_is_told_and_nothing_stays(
    runs, question, unique_name, known, eventually
):
    simulator = TemporalRunSimulator({"dev": runs.client}, timeout=timedelta(seconds=1))
    with pytest.raises(SimulationUnansweredError, match="no worker on the task queue"):
        await simulator.simulate(question, task_queue=f"{unique_name}-tq")
    await simulator.close()
    await eventually(known)
