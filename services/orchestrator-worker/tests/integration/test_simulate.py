"""Simulations on line: a worker looks and decides, and neither the ledger nor a handler hears."""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import http_api
import pytest
from http_api import Api
from temporalio.client import Client

from backbone.ledger.v1 import ledger_pb2
from contracts import definitions as contract
from contracts.catalogue import Catalogue
from contracts.definitions import ActivityDefinition
from contracts.names import Workflow
from contracts.runs import RunInput
from contracts.simulations import Simulated, SimulateInput, SimulationOutcome
from orchestrator_worker.settings import Settings

TASK = {"type": "human", "title": "'Look'", "assignees": {"groups": ["desk"]}}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with http_api.api() as served:
        yield served


@pytest.fixture
def catalogue(api: Api) -> Catalogue:
    crm = {
        "url": f"http://127.0.0.1:{api.port}",
        "networks": ["127.0.0.0/8"],
        "timeout": "1s",
        "paths": {"/customer": {"redact": ["email"]}},
    }
    return Catalogue.model_validate({"connectors": {"crm": {"http": crm}}})


Simulate = Callable[..., Awaitable[Simulated]]


@pytest.fixture
def simulate(
    client: Client, serving: Settings, task_queue: str, make_run: Callable[..., RunInput]
) -> Simulate:
    async def simulate(definition: ActivityDefinition, state: str | None = None) -> Simulated:
        assert serving.task_queues == (task_queue,)
        question = SimulateInput(
            run=make_run(), definition=contract.content(definition).decode(), state=state
        )
        found: Simulated = await client.execute_workflow(
            Workflow.SIMULATE.value,
            question,
            id=f"simulation:{uuid.uuid4()}",
            task_queue=task_queue,
            result_type=Simulated,
        )
        return found

    return simulate


@pytest.fixture
def looking(make_definition: Callable[..., ActivityDefinition]) -> Callable[..., Any]:
    def looking(when: str = "true", **entry: Any) -> ActivityDefinition:
        customer = {"name": "customer", "http": {"connector": "crm", "path": "/customer"}}
        return make_definition(
            rules=[{"name": "look", "when": when, "task": TASK}],
            context=[customer | entry, {"name": "last", "lastRun": {}}],
        )

    return looking


async def test_it_decides_over_what_is_there_and_records_nothing(
    api: Api, ledger: Any, ledger_service: Any, looking: Any, simulate: Simulate
) -> None:
    api.answers["/customer"] = http_api.as_json({"gold": True, "email": "ann@example.com"})
    last = ledger_service.last.run
    last.run_id, last.status = "billing.overdue:before", ledger_pb2.RUN_STATUS_CANCELLED
    last.recorded_at.FromSeconds(1)
    simulated = await simulate(
        looking("context.customer.email == 'ann@example.com' && context.last.status == 'cancelled'")
    )
    assert (simulated.outcome, simulated.reason) == (SimulationOutcome.DECIDED, "")
    decision = json.loads(simulated.decision or "")
    assert [task["title"] for task in decision["tasks"]] == ["Look"]
    assert decision["rules"][0]["when"] is True
    customer, found = simulated.looked_at
    assert (customer.name, found.name) == ("customer", "last")
    # No value leaves the worker, but what rules put into a task.
    assert "ann@example.com" not in simulated.model_dump_json()
    assert (ledger.runs, ledger.failures, ledger.outcomes) == ({}, {}, {})


async def test_what_it_cannot_have_is_told_and_not_waited_for(
    api: Api, looking: Any, simulate: Simulate
) -> None:
    api.answers["/customer"] = http_api.answer(b"{}", status="503 Busy")
    waits = await simulate(looking())
    assert waits.outcome is SimulationOutcome.WAITS
    assert "context customer (crm /customer)" in waits.reason
    null = await simulate(looking("context.customer == null", retries=0, onFailure=None))
    assert null.outcome is SimulationOutcome.DECIDED
    assert "given up after 1 of 1 attempts" in (null.looked_at[0].missing or "")
    failed = await simulate(looking(http={"connector": "none", "path": "/"}))
    assert failed.outcome is SimulationOutcome.FAILED
    assert "there is no HTTP connector none" in failed.reason
    api.answers["/customer"] = http_api.as_json({})
    failed = await simulate(looking("context.customer.gold"))
    assert failed.outcome is SimulationOutcome.FAILED
    assert "rule 'look', when: there is no field \"gold\"" in failed.reason
    assert [entry.name for entry in failed.looked_at] == ["customer", "last"]


async def test_a_definition_of_another_release_is_told(
    client: Client, serving: Settings, task_queue: str, make_run: Callable[..., RunInput]
) -> None:
    del serving
    found: Simulated = await client.execute_workflow(
        Workflow.SIMULATE.value,
        SimulateInput(run=make_run(), definition='{"kind": "Activity"}'),
        id=f"simulation:{uuid.uuid4()}",
        task_queue=task_queue,
        result_type=Simulated,
    )
    assert found.outcome is SimulationOutcome.FAILED
    assert "the worker's release cannot read the definition" in found.reason


async def test_an_instance_is_stepped_upon_the_state_that_was_given(
    make_definition: Callable[..., ActivityDefinition],
    instances: Any,
    simulate: Simulate,
) -> None:
    stateful = make_definition(
        mode="stateful",
        instance={"initial": {"n": "0"}, "update": {"n": "state.n + 1"}},
        rules=[{"name": "look", "when": "state.n == 3", "task": TASK}],
    )
    begun = await simulate(stateful)
    assert (begun.outcome, begun.state) == (SimulationOutcome.DECIDED, '{"n":1}')
    third = await simulate(stateful, '{"n": 2}')
    assert third.state == '{"n":3}'
    assert [task["title"] for task in json.loads(third.decision or "")["tasks"]] == ["Look"]
    refused = await simulate(stateful, "[]")
    assert (refused.outcome, refused.reason) == (
        SimulationOutcome.FAILED,
        "the state is no JSON object",
    )
    assert (instances.states, instances.runs) == ({}, {})
