"""A tick starts what is due and says so; what cannot be started is asked for again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.runs import AdvanceInput, DueRun
from orchestrator_worker.errors import NeighbourUnavailableError, RefusedError
from orchestrator_worker.service.ticking import Ticker

ADVANCE = AdvanceInput(namespace="dev", definition_id="billing.overdue")


@pytest.fixture
def ticker(ledger: Any, executions: Any) -> Ticker:
    return Ticker(ledger=ledger, executions=executions)


@pytest.fixture
def due(ledger: Any, make_run: Any) -> list[str]:
    """The ids of 45 runs that are due: more than are started at a time."""
    runs = [make_run() for _ in range(45)]
    ledger.due = [DueRun(task_queue="billing-tq", run=run) for run in runs]
    return [run.run_id for run in runs]


def acknowledged(ledger: Any) -> list[str]:
    return [run_id for one in ledger.acknowledged for run_id in one.run_ids]


async def test_due_runs_are_started_on_their_queue_and_acknowledged_some_at_a_time(
    ticker: Ticker, ledger: Any, executions: Any, due: list[str]
) -> None:
    assert await ticker.tick(ADVANCE) is None
    started = [(due_run.run.run_id, "billing-tq", due_run.run) for due_run in ledger.due]
    assert executions.started == started
    assert acknowledged(ledger) == due
    assert [len(one.run_ids) for one in ledger.acknowledged] == [20, 20, 5]


async def test_what_waits_for_its_jitter_says_when_to_look_again(
    ticker: Ticker, ledger: Any
) -> None:
    ledger.waits_until = datetime.now(UTC) + timedelta(minutes=1)
    assert await ticker.tick(ADVANCE) == ledger.waits_until
    assert ledger.acknowledged == []


async def test_run_that_is_refused_holds_up_no_other_and_is_not_acknowledged(
    ticker: Ticker, ledger: Any, executions: Any, due: list[str]
) -> None:
    executions.refused = {due[3]}
    with pytest.raises(RefusedError, match=due[3]):
        await ticker.tick(ADVANCE)
    assert acknowledged(ledger) == [one for one in due if one != due[3]]
    executions.refused = set()
    await ticker.tick(ADVANCE)
    assert sorted(acknowledged(ledger)) == sorted(due)


async def test_nothing_is_acknowledged_while_temporal_is_away(
    ticker: Ticker, ledger: Any, executions: Any, due: list[str]
) -> None:
    executions.error = NeighbourUnavailableError("Temporal is away")
    with pytest.raises(NeighbourUnavailableError):
        await ticker.tick(ADVANCE)
    assert ledger.acknowledged == []
    executions.error = None
    await ticker.tick(ADVANCE)
    assert acknowledged(ledger) == due
