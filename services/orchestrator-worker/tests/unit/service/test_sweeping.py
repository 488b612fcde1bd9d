"""The sweep closes what has ended, leaves what goes on, and winds up clocks that have stopped."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts import names
from contracts.runs import SweepInput, SweptPage, TaskFailure, TaskTimersInput
from orchestrator_worker.domain.executions import (
    CutShort,
    Ended,
    OpenExecution,
    OverdueSchedule,
)
from orchestrator_worker.errors import NeighbourUnavailableError, RefusedError
from orchestrator_worker.service.sweeping import LOOKBACK, Sweeper

FAILURE = TaskFailure(type="WorkflowTerminated", message="stuck")
PAGE = SweepInput(namespace="dev")


@pytest.fixture
def sweeper(
    *, control: Any, ledger: Any, definitions: Any, executions: Any, instances: Any
) -> Sweeper:
    return Sweeper(
        control=control,
        ledger=ledger,
        definitions=definitions,
        executions=executions,
        instances=instances,
        min_age=timedelta(minutes=1),
    )


def execution(name: str, **fields: Any) -> OpenExecution:
    given = {"workflow_id": name, "task_id": "", "generation": 1, **fields}
    return OpenExecution(run_id=name, definition_id="billing", **given)


def swept(**counts: int) -> SweptPage:
    """The last page of runs, after which the instances come."""
    return SweptPage(next_page_token="instances:", **counts)


async def test_what_has_ended_is_closed_and_what_goes_on_is_not(
    sweeper: Sweeper, control: Any, executions: Any
) -> None:
    control.open = [execution("ended"), execution("goes on")]
    executions.ends = {"ended": Ended("w", FAILURE)}
    assert await sweeper.page(PAGE) == swept(looked_at=2, closed=1)
    assert control.closed == {"ended": FAILURE}


async def test_what_was_never_recorded_is_recorded_as_failed_and_unattended(
    sweeper: Sweeper, *, control: Any, executions: Any, ledger: Any, make_run: Any
) -> None:
    run = make_run()
    control.open = [execution(run.run_id, unrecorded=run.trigger)]
    executions.ends = {run.run_id: Ended("w", FAILURE)}
    assert (await sweeper.page(PAGE)).closed == 1
    failure = ledger.failures[run.run_id]
    assert (failure.run.trigger, failure.workflow_run_id) == (run.trigger, "w")
    assert (failure.failure, failure.unattended) == (FAILURE, True)


async def test_an_instance_for_which_something_waits_is_woken_after_the_runs(
    sweeper: Sweeper,
    *,
    instances: Any,
    executions: Any,
    definitions: Any,
    make_definition: Any,
    make_run: Any,
) -> None:
    run = make_run()
    definitions.known["dev", run.definition_id, 1] = make_definition()
    instances.put("hash", run)
    page = await sweeper.page(PAGE)
    assert executions.woken == []
    last = await sweeper.page(PAGE.model_copy(update={"page_token": page.next_page_token}))
    assert last == SweptPage(next_page_token="cut-short:", looked_at=1)
    assert executions.woken == [(run.definition_id, "hash", "billing-tq")]


async def test_a_clock_that_is_missed_is_wound_up_and_nothing_is_closed(
    sweeper: Sweeper, control: Any, executions: Any
) -> None:
    task_id = uuid.uuid4()
    workflow_id = f"task-timers:{task_id}"
    control.open = [execution("a", workflow_id=workflow_id, task_id=str(task_id), timers=True)]
    executions.ends = {workflow_id: Ended("w", FAILURE)}
    assert await sweeper.page(PAGE) == swept(looked_at=1, closed=0)
    assert executions.started == [
        (
            workflow_id,
            names.TASK_TIMERS_TASK_QUEUE,
            TaskTimersInput(namespace="dev", task_id=task_id),
        )
    ]
    assert control.closed == {}


async def test_what_the_ledger_refuses_holds_up_nothing_beside_it(
    sweeper: Sweeper, control: Any, executions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.open = [execution("refused"), execution("ended")]
    executions.ends = dict.fromkeys(("refused", "ended"), Ended("w", FAILURE))
    close = control.close_execution

    async def refuse(namespace: str, one: OpenExecution, failure: TaskFailure) -> bool:
        if one.run_id == "refused":
            raise RefusedError("no such run")
        return bool(await close(namespace, one, failure))

    monkeypatch.setattr(control, "close_execution", refuse)
    assert await sweeper.page(PAGE) == swept(looked_at=2, closed=1)


async def test_a_schedule_whose_tick_is_refused_holds_up_no_other(
    sweeper: Sweeper, control: Any, executions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    control.overdue = [OverdueSchedule(name, since) for name in ("refused", "overdue")]
    start = executions.start

    async def refuse(namespace: str, given: Any, **where: str) -> bool:
        if given.definition_id == "refused":
            raise RefusedError("no such task queue")
        return bool(await start(namespace, given, **where))

    monkeypatch.setattr(executions, "start", refuse)
    await sweeper.page(PAGE)
    assert [given.definition_id for _, _, given in executions.started] == ["overdue"]


CUT_SHORT = PAGE.model_copy(update={"page_token": "cut-short:"})


async def test_runs_that_were_cut_short_come_at_last(sweeper: Sweeper) -> None:
    page = PAGE
    tokens = []
    while True:
        swept_page = await sweeper.page(page)
        tokens.append(swept_page.next_page_token)
        if not tokens[-1]:
            break
        page = PAGE.model_copy(update={"page_token": tokens[-1]})
    assert tokens == ["instances:", "cut-short:", ""]


async def test_a_run_that_was_cut_short_unheard_of_is_recorded_as_failed_once(
    sweeper: Sweeper, *, executions: Any, ledger: Any, make_run: Any
) -> None:
    unheard, recorded = (make_run().model_copy(update={"run_id": name}) for name in "ab")
    executions.inputs = {CutShort(run.run_id, "w"): run for run in (unheard, recorded)}
    executions.ends = {run.run_id: Ended("w", FAILURE) for run in (unheard, recorded)}
    await ledger.record_run(recorded, workflow_run_id="w", snapshot=b"", decision=b"")
    assert await sweeper.page(CUT_SHORT) == SweptPage(looked_at=2, closed=1)
    (failure,) = ledger.failures.values()
    assert (failure.run, failure.workflow_run_id, failure.failure) == (unheard, "w", FAILURE)
    assert failure.unattended
    # What the ledger knows is not told to it each minute.
    assert await sweeper.page(CUT_SHORT) == SweptPage()
    assert executions.looked_back is not None
    assert datetime.now(UTC) - executions.looked_back >= LOOKBACK


async def test_all_that_was_cut_short_is_looked_at_page_by_page(
    sweeper: Sweeper, *, executions: Any, ledger: Any, make_run: Any
) -> None:
    for number in range(150):
        run = make_run().model_copy(update={"run_id": str(number)})
        executions.inputs[CutShort(run.run_id, "w")] = run
        executions.ends[run.run_id] = Ended("w", FAILURE)
    first = await sweeper.page(CUT_SHORT)
    assert (first.looked_at, first.closed) == (100, 100)
    following = PAGE.model_copy(update={"page_token": first.next_page_token})
    assert await sweeper.page(following) == SweptPage(looked_at=50, closed=50)
    assert len(ledger.failures) == 150


@pytest.mark.parametrize(
    "ends", [{}, {"a": Ended("another execution", FAILURE)}], ids=["goes on", "ran again"]
)
async def test_a_run_that_goes_on_as_another_execution_is_left_alone(
    sweeper: Sweeper, *, executions: Any, ledger: Any, make_run: Any, ends: dict[str, Ended]
) -> None:
    executions.inputs = {CutShort("a", "w"): make_run(), CutShort("gone", "w"): None}
    executions.ends = ends
    assert await sweeper.page(CUT_SHORT) == SweptPage(looked_at=2)
    assert ledger.failures == {}


@pytest.mark.parametrize("who", ["control", "executions"])
async def test_a_neighbour_that_is_away_ends_the_page(
    sweeper: Sweeper, control: Any, executions: Any, who: str
) -> None:
    control.open = [execution("ended")]
    if who == "control":
        control.away = True
    else:
        executions.error = NeighbourUnavailableError("Temporal is away")
    with pytest.raises(NeighbourUnavailableError):
        await sweeper.page(PAGE)
