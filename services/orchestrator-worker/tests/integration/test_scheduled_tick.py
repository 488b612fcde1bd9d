from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowExecutionStatus,
)

from contracts import identifiers, names
from contracts.runs import DueRun, RunInput, TickInput
from contracts.triggers import Trigger, TriggerKind, Window

pytestmark = pytest.mark.usefixtures("serving")

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def due_runs(unique_name: str, task_queue: str, definitions: Any, make_definition: Any) -> Any:
    """Make runs that fell due at the last full hours, of a definition that decides nothing."""
    nothing = {
        "name": "never",
        "when": "false",
        "task": {"type": "automated", "handler": "unused", "taskQueue": "unused-tq"},
    }
    definitions.known["dev", unique_name, 1] = make_definition(rules=[nothing])

    def make(count: int) -> list[DueRun]:
        runs = []
        for hour in range(count):
            due = datetime(2026, 1, 1, hour, tzinfo=UTC)
            trigger = Trigger(
                kind=TriggerKind.SCHEDULE,
                names=["hourly"],
                definition_version=1,
                scheduled_for=due,
                window=Window(start=due - timedelta(hours=1), end=due),
            )
            run = RunInput(
                namespace="dev",
                run_id=identifiers.run_id(unique_name, trigger.key),
                definition_id=unique_name,
                trigger=trigger,
            )
            runs.append(DueRun(task_queue=task_queue, run=run))
        return runs

    return make


async def _tick(client: Client, definition_id: str) -> None:
    await client.execute_workflow(
        names.Workflow.SCHEDULED_TICK.value,
        TickInput(namespace="dev", definition_id=definition_id),
        id=identifiers.tick_workflow_id(definition_id),
        task_queue=names.TICK_TASK_QUEUE,
    )


async def test_due_runs_are_started_and_acknowledged(
    client: Client, unique_name: str, due_runs: Any, ledger_service: Any, ledger: Any
) -> None:
    ledger_service.due = due_runs(3)
    ids = [due.run.run_id for due in ledger_service.due]

    await _tick(client, unique_name)

    # At least once: a workflow task that takes too long has its local activities done again.
    assert set(ledger_service.acknowledged) == set(ids)
    for run_id in ids:
        await client.get_workflow_handle(run_id).result()
    assert sorted(ledger.runs) == sorted(ids)


async def test_run_that_was_started_before_is_acknowledged_and_not_run_again(
    client: Client, unique_name: str, due_runs: Any, ledger_service: Any, ledger: Any
) -> None:
    ledger_service.due = due_runs(1)
    run_id = ledger_service.due[0].run.run_id
    await _tick(client, unique_name)
    await client.get_workflow_handle(run_id).result()
    first = ledger.runs[run_id]

    await _tick(client, unique_name)

    assert ledger_service.acknowledged.count(run_id) >= 2
    assert ledger.runs[run_id] == first
    described = await client.get_workflow_handle(run_id).describe()
    assert described.run_id == first[0]
    assert described.status is WorkflowExecutionStatus.COMPLETED


async def test_nothing_due_acknowledges_nothing(
    client: Client, unique_name: str, ledger_service: Any
) -> None:
    await _tick(client, unique_name)
    assert ledger_service.woken_for
    assert ledger_service.acknowledged == []


async def test_a_tick_without_a_nominal_time_asks_as_the_same_one_again(
    client: Client, unique_name: str, due_runs: Any, ledger_service: Any
) -> None:
    ledger_service.due = due_runs(1)
    ledger_service.lost = 2

    await _tick(client, unique_name)

    tick = await client.get_workflow_handle(identifiers.tick_workflow_id(unique_name)).describe()
    asked = [woken_for.ToDatetime(tzinfo=UTC) for woken_for in ledger_service.woken_for]
    assert len(asked) >= 3
    assert set(asked) == {tick.start_time}


async def test_wake_up_by_a_schedule_carries_its_nominal_time(
    client: Client, unique_name: str, ledger_service: Any, eventually: Eventually
) -> None:
    before = datetime.now(UTC)
    handle = await client.create_schedule(
        identifiers.schedule_id(unique_name),
        Schedule(
            action=ScheduleActionStartWorkflow(
                names.Workflow.SCHEDULED_TICK.value,
                TickInput(namespace="dev", definition_id=unique_name),
                id=identifiers.tick_workflow_id(unique_name),
                task_queue=names.TICK_TASK_QUEUE,
            ),
            spec=ScheduleSpec(),
        ),
        trigger_immediately=True,
    )
    try:

        async def woken() -> bool:
            return bool(ledger_service.woken_for)

        await eventually(woken)
    finally:
        await handle.delete()
    nominal = ledger_service.woken_for[0].ToDatetime(tzinfo=UTC)
    assert before - timedelta(seconds=5) < nominal <= datetime.now(UTC)


async def test_due_time_that_waits_for_its_jitter_is_started_by_the_same_tick(
    client: Client, unique_name: str, due_runs: Any, ledger_service: Any, ledger: Any
) -> None:
    ledger_service.due = due_runs(1)
    ledger_service.waits_until = datetime.now(UTC) + timedelta(seconds=3)
    (run,) = (due.run for due in ledger_service.due)

    await _tick(client, unique_name)

    assert datetime.now(UTC) >= ledger_service.waits_until
    # Asked again at that time, by that time: a ledger whose clock is a little behind believes it.
    first, *_, last = ledger_service.woken_for
    assert first.ToDatetime(tzinfo=UTC) < ledger_service.waits_until
    assert last.ToDatetime(tzinfo=UTC) == ledger_service.waits_until
    assert set(ledger_service.acknowledged) == {run.run_id}
    await client.get_workflow_handle(run.run_id).result()
    assert list(ledger.runs) == [run.run_id]
