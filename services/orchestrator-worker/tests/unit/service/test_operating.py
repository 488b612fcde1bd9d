"""The operator carries out what the ledger wants, and gives back what it cannot do."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from contracts import canonical
from contracts.runs import FailureQuestion, RunInput, TaskFailure, TellFailureInput
from orchestrator_worker.domain.executions import Operation
from orchestrator_worker.errors import NeighbourUnavailableError, RefusedError
from orchestrator_worker.service.operating import Operator


@pytest.fixture
def operator(control: Any, definitions: Any, executions: Any) -> Operator:
    return Operator(
        "dev",
        control=control,
        definitions=definitions,
        executions=executions,
        poll=timedelta(seconds=1),
    )


@pytest.fixture
def add(control: Any) -> Any:
    """Have the ledger want something."""

    def operation(kind: Any, given: Any = None, workflow_id: str = "w") -> None:
        control.operations.append(
            Operation(
                namespace="dev",
                operation_id=uuid.uuid4().hex,
                lease="lease",
                kind=kind,
                workflow_id=workflow_id,
                definition_id="billing.overdue",
                definition_version=1,
                input=b"" if given is None else canonical.render(given),
                attempts=1,
            )
        )

    return operation


@pytest.fixture
def known(definitions: Any, make_definition: Any) -> Any:
    """Let version 1 be there, with somebody who is told of failures or nobody."""

    def define(**fields: Any) -> None:
        definitions.known["dev", "billing.overdue", 1] = make_definition(**fields)

    return define


def telling(run: RunInput) -> TellFailureInput:
    return TellFailureInput(
        question=FailureQuestion(
            namespace="dev",
            run_id=run.run_id,
            definition_id=run.definition_id,
            definition_version=1,
            failure=TaskFailure(type="WorkflowLost", message="it is gone"),
        )
    )


async def test_nothing_to_do_is_nothing_done(operator: Operator, control: Any) -> None:
    assert await operator.operate() is False
    assert control.results == []


async def test_a_start_goes_to_the_queue_of_the_version_and_a_cancellation_needs_none(
    operator: Operator, *, add: Any, known: Any, make_run: Any, executions: Any, control: Any
) -> None:
    known()
    run = make_run()
    add("start_run", run, run.run_id)
    add("cancel", workflow_id="another")
    assert await operator.operate()
    assert executions.started == [(run.run_id, "billing-tq", run)]
    assert executions.cancelled == ["another"]
    assert control.operations == []


async def test_a_failure_is_told_by_a_workflow_where_somebody_wants_to_know(
    operator: Operator, *, add: Any, known: Any, make_run: Any, executions: Any, control: Any
) -> None:
    told = telling(make_run())
    known(on_failure={"handler": "notify_owner"})
    add("tell_failure", told, "failure:1")
    await operator.operate()
    assert executions.started == [("failure:1", "billing-tq", told)]
    assert control.operations == []


@pytest.mark.parametrize("there", [True, False], ids=["no handler", "no such version"])
async def test_a_failure_that_nobody_wants_to_know_of_is_done(
    operator: Operator,
    *,
    add: Any,
    known: Any,
    make_run: Any,
    executions: Any,
    control: Any,
    there: bool,
) -> None:
    if there:
        known()
    add("tell_failure", telling(make_run()), "failure:1")
    await operator.operate()
    assert (executions.started, control.operations) == ([], [])


@pytest.mark.parametrize(
    "error",
    [NeighbourUnavailableError("Temporal is away"), RefusedError("too large"), KeyError("a bug")],
)
async def test_what_cannot_be_done_is_given_back_and_holds_up_nothing_beside_it(
    operator: Operator,
    *,
    add: Any,
    known: Any,
    make_run: Any,
    executions: Any,
    control: Any,
    error: Exception,
) -> None:
    known()
    run = make_run()
    add("start_run", run, run.run_id)
    add("start_run", {"not": "a run"}, "other")
    executions.error = error
    assert await operator.operate()
    assert len(control.operations) == 2
    assert str(error) in str(control.results[0].error)
    assert "validation error" in str(control.results[1].error)
    executions.error = None
    await operator.operate()
    assert [one[0] for one in executions.started] == [run.run_id]


async def test_a_ledger_that_is_away_is_said_to_be_so(operator: Operator, control: Any) -> None:
    control.away = True
    with pytest.raises(NeighbourUnavailableError):
        await operator.operate()
