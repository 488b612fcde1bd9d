"""The clock of human tasks on a real Temporal, with a ledger in memory behind real gRPC."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from contracts import identifiers
from contracts.names import TASK_TIMERS_TASK_QUEUE, TemporalActivity, Workflow
from contracts.runs import RunInput, RunResult, TaskTimersInput

pytestmark = pytest.mark.usefixtures("serving")

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def watch(client: Client, task_id: UUID) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        Workflow.TASK_TIMERS.value,
        TaskTimersInput(namespace="dev", task_id=task_id),
        id=identifiers.task_timers_workflow_id(task_id),
        task_queue=TASK_TIMERS_TASK_QUEUE,
    )


def woken_for(ledger: Any) -> list[datetime | None]:
    return [advance.woken_for for advance in ledger.advances]


async def test_it_wakes_the_ledger_at_each_time_and_ends_after_the_last(
    client: Client, ledger: Any
) -> None:
    task_id, start = uuid4(), datetime.now(UTC)
    times = [start + timedelta(seconds=seconds) for seconds in (1, 2)]
    ledger.next_at[task_id] = times
    await (await watch(client, task_id)).result()
    assert datetime.now(UTC) >= times[-1]
    # At least once: a workflow task that takes too long has its local activities done again.
    assert set(woken_for(ledger)) == {None, *times}


async def test_a_task_that_is_closed_is_seen_to_be_at_the_next_time(
    client: Client, ledger: Any, eventually: Eventually
) -> None:
    task_id, soon = uuid4(), datetime.now(UTC) + timedelta(seconds=2)
    ledger.next_at[task_id] = [soon, soon + timedelta(days=9)]
    handle = await watch(client, task_id)

    async def asleep() -> bool:
        return bool(ledger.advances)

    await eventually(asleep)
    ledger.next_at[task_id] = []
    await handle.result()
    assert woken_for(ledger)[-1] == soon


async def test_it_waits_for_a_ledger_that_is_away(
    client: Client, ledger: Any, ledger_server: Any, eventually: Eventually
) -> None:
    task_id = uuid4()
    await ledger_server.stop()
    handle = await watch(client, task_id)

    async def asks_patiently() -> bool:
        return any(
            event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
            and event.activity_task_scheduled_event_attributes.activity_type.name
            == TemporalActivity.ADVANCE_TASK
            for event in (await handle.fetch_history()).events
        )

    await eventually(asks_patiently)
    await ledger_server.start()
    await handle.result()
    assert [advance.task_id for advance in ledger.advances] == [task_id]


async def test_a_run_leaves_a_clock_for_each_task_that_needs_one_and_ends(
    client: Client,
    ledger: Any,
    definitions: Any,
    task_queue: str,
    *,
    make_definition: Any,
    make_run: Callable[..., RunInput],
) -> None:
    human = {"type": "human", "title": "'Call'", "assignees": {"users": ["ana"]}}
    definitions.known["dev", "billing.overdue", 1] = make_definition(
        rules=[
            {"name": "call", "task": human},
            {"name": "visit", "task": {**human, "due": "2d"}},
            {"name": "sue", "task": {**human, "expiry": "9d"}},
        ]
    )
    run = make_run()
    run_id = identifiers.RunId(run.run_id)
    call, visit, sue = (
        identifiers.task_id("dev", run_id, rule, "") for rule in ("call", "visit", "sue")
    )
    later = datetime.now(UTC) + timedelta(days=2)
    ledger.next_at = {visit: [later], sue: [later]}
    result = await client.execute_workflow(
        Workflow.RUN_ACTIVITY.value, run, id=run.run_id, task_queue=task_queue,
        result_type=RunResult,
    )  # fmt: skip
    assert (result.completed, result.failed) == (0, 0)
    handles = [
        client.get_workflow_handle(identifiers.task_timers_workflow_id(one)) for one in (visit, sue)
    ]
    for handle in handles:
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        await handle.terminate()
    started = [
        event.start_child_workflow_execution_initiated_event_attributes.workflow_id
        for event in (await client.get_workflow_handle(run.run_id).fetch_history()).events
        if event.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED
    ]
    assert identifiers.task_timers_workflow_id(call) not in started
    assert len(started) == 2
