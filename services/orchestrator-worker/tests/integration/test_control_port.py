"""What every `ports.Control` does: the one in memory, and the adapter over gRPC to a ledger."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from contracts.runs import FailureHandling, RunInput, TaskFailure
from orchestrator_worker.adapters.grpc_control import GrpcControl
from orchestrator_worker.domain.executions import OpenExecution, Operation, OperationResult
from orchestrator_worker.errors import NeighbourUnavailableError
from orchestrator_worker.ports import Control
from runtime import grpcclient

LEASE = timedelta(minutes=1)
FAILURE = TaskFailure(type="WorkflowLost", message="it is gone")


@pytest.fixture(params=["memory", "grpc"])
async def port(
    request: pytest.FixtureRequest, control: Any, ledger_server: Any
) -> AsyncIterator[Control]:
    if request.param == "memory":
        yield control
        return
    channel = grpcclient.channel(ledger_server.address, actor="tester")
    yield GrpcControl(channel)
    await channel.close()


def operation(kind: Any = "cancel", **fields: Any) -> Operation:
    given = {
        "namespace": "dev",
        "operation_id": uuid.uuid4().hex,
        "lease": "lease",
        "kind": kind,
        "workflow_id": "billing:manual:1",
        "definition_id": "billing",
        "definition_version": 3,
        "input": b"{}",
        "attempts": 1,
        **fields,
    }
    return Operation(**given)


async def claim(port: Control, *, limit: int = 10, lease: timedelta = LEASE) -> list[Operation]:
    return await port.claim_operations("dev", limit=limit, lease=lease)


async def test_operations_of_every_kind_are_handed_out_in_order_as_they_are(
    port: Control, control: Any
) -> None:
    kinds = ("start_run", "retry_task", "cancel", "tell_failure")
    control.operations = [operation(kind) for kind in kinds]
    assert await claim(port) == control.operations


async def test_what_is_leased_is_not_handed_out_until_the_lease_has_run_out(
    port: Control, control: Any
) -> None:
    control.operations = [first, second] = [operation(), operation()]
    soon = timedelta(milliseconds=300)
    assert await claim(port, limit=1, lease=soon) == [first]
    assert await claim(port, limit=1) == [second]
    async with asyncio.timeout(10):
        while not (again := await claim(port)):  # noqa: ASYNC110 - by its own clock
            await asyncio.sleep(0.02)
    assert again == [first]


async def test_what_is_done_is_gone_and_what_is_given_back_comes_again(
    port: Control, control: Any
) -> None:
    control.operations = [first, second] = [operation(), operation()]
    await claim(port)
    await port.confirm_operations(
        "dev", [OperationResult(first), OperationResult(second, "Temporal is away")]
    )
    assert [one.error for one in control.results] == [None, "Temporal is away"]
    assert await claim(port) == [second]


async def test_open_executions_come_page_by_page_as_they_are(
    port: Control, control: Any, make_run: Any
) -> None:
    run: RunInput = make_run()
    named = {"definition_id": "billing", "task_id": "", "generation": 1}
    task_id = str(uuid.uuid4())
    control.open = [
        OpenExecution(run_id="a", workflow_id="a", **named),
        OpenExecution(run_id="b", workflow_id="b", **named, unrecorded=run.trigger),
        OpenExecution(
            run_id="c", workflow_id=f"task-timers:{task_id}", timers=True,
            **{**named, "task_id": task_id},
        ),
    ]  # fmt: skip
    found, token = [], ""
    for pages in range(1, 3):
        page, token = await port.open_executions(
            "dev", page_token=token, limit=2, min_age=timedelta(0)
        )
        found += page
        assert bool(token) == (pages == 1)
    assert found == control.open


async def test_an_execution_is_closed_once(port: Control, control: Any) -> None:
    one = OpenExecution("a", "billing", workflow_id="a", task_id="", generation=1)
    control.open = [one]
    assert await port.close_execution("dev", one, FAILURE)
    assert not await port.close_execution("dev", one, FAILURE)
    assert control.closed == {"a": FAILURE}


async def test_a_call_of_a_failure_handler_is_recorded_once(port: Control, control: Any) -> None:
    handling = FailureHandling(
        namespace="dev", run_id="a", call_id=uuid.uuid4(), task_id=uuid.uuid4(), handler="tell",
        failure=FAILURE,
    )  # fmt: skip
    assert await port.record_failure_handled(handling)
    assert not await port.record_failure_handled(handling)
    assert control.handled == {handling.call_id: handling}


async def test_a_ledger_that_is_away_is_told_as_such(
    port: Control, control: Any, ledger_server: Any
) -> None:
    control.away = True
    await ledger_server.stop()
    one = OpenExecution("a", "billing", workflow_id="a", task_id="", generation=1)
    handling = FailureHandling(namespace="dev", run_id="a", call_id=uuid.uuid4(), handler="tell")
    for call in (
        claim(port),
        port.confirm_operations("dev", [OperationResult(operation())]),
        port.open_executions("dev", page_token="", limit=1, min_age=timedelta(0)),
        port.close_execution("dev", one, FAILURE),
        port.record_failure_handled(handling),
    ):
        with pytest.raises(NeighbourUnavailableError):
            await call
