"""What becomes of a wish to have a run simulated."""

import asyncio

import pytest

from contracts.definitions import ActivityDefinition
from contracts.runs import RunInput
from contracts.simulations import MAX_SIMULATION_BYTES, Simulated, SimulationOutcome
from contracts.triggers import Trigger, TriggerKind
from router.errors import RequestInvalidError, SimulationsBusyError, TransientError
from router.service import simulating
from router.service.simulating import SimulationDesk


def definition(when="true", namespace="dev", **spec):
    task = {"type": "human", "title": "'t'", "assignees": {"users": ["u"]}}
    return ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "a", "namespace": namespace, "owner": "o"},
            "spec": {
                "taskQueue": "a-tq",
                "rules": [{"name": "r", "when": when, "task": task}],
                **spec,
            },
        }
    )


def by_hand(value=None):
    return Trigger(kind=TriggerKind.MANUAL, definition_version=3, request_id="r-1", input=value)


class Worker:
    """Answers when it may."""

    def __init__(self):
        self.asked = []
        self.full = asyncio.Event()
        self.may = asyncio.Event()
        self.may.set()
        self.away = False

    async def simulate(self, question, *, task_queue):
        self.asked.append((task_queue, question))
        if len(self.asked) == simulating.AT_ONCE:
            self.full.set()
        await self.may.wait()
        if self.away:
            raise TransientError("nobody is there")
        return Simulated(outcome=SimulationOutcome.DECIDED, decision="{}")


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
def simulate(worker):
    desk = SimulationDesk(namespaces=["dev"], simulator=worker)

    async def simulate(*, namespace="dev", of=None, trigger=None, state=None):
        return await desk.simulate(
            namespace, of or definition(), trigger or by_hand(), state=state, actor="local/ada"
        )

    return simulate


async def test_the_worker_of_its_queue_is_asked_for_the_run_there_would_be(simulate, worker):
    assert (await simulate()).decision == "{}"
    ((queue, question),) = worker.asked
    assert queue == "a-tq"
    assert question.run == RunInput(
        namespace="dev", run_id="a:manual:r-1", definition_id="a", trigger=by_hand()
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"namespace": "mars"}, "namespace 'mars' is not served here"),
        ({"of": definition(namespace="prod")}, "the definition is a in prod, not in dev"),
        ({"of": definition(when="1 +")}, "definition: rule 'r', when"),
        ({"state": "{}"}, "a is not stateful: it has no state"),
        ({"trigger": by_hand("x" * MAX_SIMULATION_BYTES)}, "simulate fewer events at once"),
    ],
)
async def test_what_cannot_be_simulated_asks_nobody(simulate, worker, wrong, said):
    with pytest.raises(RequestInvalidError) as raised:
        await simulate(**wrong)
    assert said in str(raised.value)
    assert worker.asked == []


async def test_only_a_few_are_simulated_at_once_and_those_that_fail_leave_their_place(
    simulate, worker
):
    worker.may.clear()
    worker.away = True
    several = [asyncio.create_task(simulate()) for _ in range(simulating.AT_ONCE)]
    await worker.full.wait()
    with pytest.raises(SimulationsBusyError):
        await simulate()
    worker.may.set()
    ended = await asyncio.gather(*several, return_exceptions=True)
    assert {type(one) for one in ended} == {TransientError}
    worker.away = False
    assert (await simulate()).outcome is SimulationOutcome.DECIDED
