"""Instances on a real Temporal: events in turn, each once, through restarts and new executions."""

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.worker import Worker

from contracts.decisions import AutomatedInstance, Decision
from contracts.definitions import Retry
from contracts.identifiers import instance_workflow_id, key_hash
from contracts.names import SYSTEM_TASK_QUEUE, Signal, Workflow
from contracts.runs import InstanceInput, RunInput, SweepInput, TaskCall, TaskReport
from contracts.triggers import Trigger, TriggerKind

INSTANCE = {
    "initial": {"seen": "[]"},
    "update": {"seen": "state.seen + [event.payload.number]"},
    "endWhen": "event.payload.number == 99",
}
DEFINITION = "billing.overdue"
WORK = (
    Decision(
        definition_id=DEFINITION,
        definition_version=1,
        snapshot_sha256="0" * 64,
        rules=[],
        tasks=[
            AutomatedInstance(
                task_id=uuid.uuid4(),
                rule="third",
                key="",
                handler="nobody",
                task_queue="nobody-tq",
                input={},
                timeout=timedelta(seconds=30),
                retry=Retry(),
            )
        ],
    )
    .model_dump_json()
    .encode()
)


class Visitor:
    """Has events wait for one instance and wakes it, as the ledger and the router do."""

    def __init__(self, client: Client, task_queue: str, instances: Any) -> None:
        self.client, self.task_queue = client, task_queue
        self.instances = instances
        self.source = uuid.uuid4().hex
        self.key_hash = key_hash(b"a secret of these tests", DEFINITION, self.source)
        self.workflow_id = instance_workflow_id(DEFINITION, self.key_hash)

    def run(self, number: int, **payload: Any) -> RunInput:
        event = {
            "event_id": f"e-{number}",
            "type": "visit",
            "source": self.source,
            "occurred_at": "2026-11-01T12:00:00Z",
            "payload": {"number": number, **payload},
        }
        trigger = Trigger.model_validate(
            {
                "kind": TriggerKind.EVENT,
                "names": ["visited"],
                "definition_version": 1,
                "events": [event],
            }
        )
        return RunInput(
            namespace="dev",
            run_id=f"{DEFINITION}:{trigger.key}",
            definition_id=DEFINITION,
            trigger=trigger,
        )

    async def tell(self, *numbers: int) -> None:
        """Have events wait and wake the instance, as the ledger and the router do."""
        for number in numbers:
            self.instances.put(self.key_hash, self.run(number))
            await self.wake()

    async def wake(self, *, at_a_time: int = 5) -> None:
        await self.client.start_workflow(
            Workflow.INSTANCE.value,
            InstanceInput(
                namespace="dev",
                definition_id=DEFINITION,
                key_hash=self.key_hash,
                events_per_execution=at_a_time,
            ),
            id=self.workflow_id,
            task_queue=self.task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=Signal.WAKE.value,
        )

    async def has_continued(self) -> bool:
        """Say whether this is not the first execution."""
        history = await self.client.get_workflow_handle(self.workflow_id).fetch_history()
        started = history.events[0].workflow_execution_started_event_attributes
        return started.first_execution_run_id != started.original_execution_run_id

    async def status(self) -> WorkflowExecutionStatus | None:
        return (await self.client.get_workflow_handle(self.workflow_id).describe()).status


@pytest.fixture
def visitor(client: Client, task_queue: str, instances: Any) -> Visitor:
    return Visitor(client, task_queue, instances)


@pytest.fixture
def defined(
    definitions: Any, make_definition: Callable[..., Any], handlers_queue: str, task_queue: str
) -> None:
    definitions.known["dev", DEFINITION, 1] = make_definition(
        task_queue=task_queue,
        mode="stateful",
        instance=INSTANCE,
        triggers=[{"name": "visited", "event": {"type": "visit", "correlate": "event.source"}}],
        rules=[
            {
                "name": "third",
                "when": "size(state.seen) == 3",
                "task": {
                    "type": "automated",
                    "handler": "note",
                    "taskQueue": handlers_queue,
                    "input": {"seen": "state.seen"},
                },
            },
            {
                "name": "broken",
                "when": "event.payload.number == 13 && event.payload.none > 1",
                "task": {"type": "human", "title": "'x'", "assignees": {"users": ["u"]}},
            },
        ],
    )


@pytest.fixture
def define_timed(
    definitions: Any, make_definition: Callable[..., Any], task_queue: str
) -> Callable[..., None]:
    """Define instances that note a -1 when nothing comes."""

    def define(*, after: str) -> None:
        definitions.known["dev", DEFINITION, 1] = make_definition(
            task_queue=task_queue,
            mode="stateful",
            instance={
                "initial": {"seen": "[]"},
                "update": {"seen": "state.seen + [event == null ? -1 : event.payload.number]"},
                "timers": [{"name": "quiet", "after": after}],
            },
            triggers=[{"name": "visited", "event": {"type": "visit", "correlate": "event.source"}}],
            rules=[
                {
                    "name": "never",
                    "when": "false",
                    "task": {"type": "human", "title": "'x'", "assignees": {"users": ["u"]}},
                }
            ],
        )

    return define


def seen(instances: Any, visitor: Visitor) -> list[int]:
    states = instances.states.get(visitor.key_hash)
    return json.loads(states[-1])["seen"] if states else []


@pytest.mark.usefixtures("serving", "defined")
async def test_events_are_applied_once_and_in_order_through_new_executions(
    visitor: Visitor, instances: Any, eventually: Any
) -> None:
    told: list[int] = []

    async def tell_next() -> None:
        number = 20 + len(told)
        told.append(number)
        # Each comes twice, and an old one with it.
        await visitor.tell(number, number, max(20, number - 3))

    async def all_there() -> bool:
        return len(seen(instances, visitor)) == len(told)

    for _ in range(12):
        await tell_next()
    await eventually(all_there)
    # An execution that would continue as new while it is signalled counts from the beginning.
    while len(told) < 36 and not await visitor.has_continued():
        await tell_next()
        await eventually(all_there)
    assert await visitor.has_continued()
    assert seen(instances, visitor) == told
    assert await visitor.status() is WorkflowExecutionStatus.RUNNING
    assert instances.stale == 0


@pytest.mark.usefixtures("serving", "defined")
async def test_tasks_of_an_event_are_carried_out_once_by_a_run_of_its_own(
    visitor: Visitor, ledger: Any, client: Client, handlers_queue: str, eventually: Any
) -> None:
    calls: list[TaskCall] = []

    @activity.defn(name="note")
    async def note(call: TaskCall) -> TaskReport:
        calls.append(call)
        return TaskReport(output="noted")

    async with Worker(client, task_queue=handlers_queue, activities=[note]):
        await visitor.tell(1, 2, 3, 3, 4)

        async def noted() -> bool:
            return bool(ledger.outcomes)

        await eventually(noted)
        result = await client.get_workflow_handle(visitor.run(3).run_id).result()
        assert result["completed"] == 1
        await visitor.tell(3, 99)

        async def ended() -> bool:
            return await visitor.status() is WorkflowExecutionStatus.COMPLETED

        await eventually(ended)
    assert [call.task.input for call in calls] == [{"seen": [1, 2, 3]}]
    assert [call.run_id for call in calls] == [visitor.run(3).run_id]


@pytest.mark.usefixtures("serving", "defined")
async def test_an_event_that_cannot_be_applied_fails_alone(
    visitor: Visitor, instances: Any, ledger: Any, eventually: Any
) -> None:
    await visitor.tell(1, 13, 2)

    async def both_there() -> bool:
        return seen(instances, visitor) == [1, 2]

    await eventually(both_there)
    failure = ledger.failures[visitor.run(13).run_id]
    assert failure.failure.type == "Undecidable"
    assert failure.workflow_run_id == visitor.workflow_id


@pytest.mark.usefixtures("serving", "defined")
async def test_an_instance_that_ended_begins_again_and_a_late_copy_begins_nothing(
    visitor: Visitor, instances: Any, eventually: Any
) -> None:
    async def ended() -> bool:
        return await visitor.status() is WorkflowExecutionStatus.COMPLETED

    await visitor.tell(1, 99)
    await eventually(ended)
    assert len(instances.ended) == 1
    await visitor.tell(99)
    await eventually(ended)
    assert (len(instances.ended), seen(instances, visitor)) == (1, [])
    await visitor.tell(2)

    async def begun() -> bool:
        return seen(instances, visitor) == [2]

    await eventually(begun)
    assert await visitor.status() is WorkflowExecutionStatus.RUNNING


@pytest.mark.usefixtures("serving", "defined")
async def test_nothing_is_lost_while_the_ledger_is_away(
    visitor: Visitor, instances: Any, ledger_server: Any, eventually: Any
) -> None:
    await visitor.tell(1)
    await ledger_server.stop()
    await visitor.tell(2, 3, 4)
    await ledger_server.start()

    async def all_there() -> bool:
        return seen(instances, visitor) == [1, 2, 3, 4]

    await eventually(all_there)


@pytest.mark.usefixtures("serving", "defined")
async def test_what_waits_is_applied_though_its_workflow_is_terminated(
    visitor: Visitor, instances: Any, client: Client, ledger_server: Any, eventually: Any
) -> None:
    await visitor.tell(1)
    await eventually(lambda: _is(seen(instances, visitor) == [1]))
    # Nothing is applied while 50 events come, and then nobody is there to apply them.
    await ledger_server.stop()
    await visitor.tell(*range(101, 151))
    await client.get_workflow_handle(visitor.workflow_id).terminate(reason="by mistake")
    await ledger_server.start()
    assert await visitor.status() is WorkflowExecutionStatus.TERMINATED
    assert seen(instances, visitor) == [1]

    await client.execute_workflow(
        Workflow.SWEEP.value,
        SweepInput(namespace="dev"),
        id=f"sweep-{uuid.uuid4().hex}",
        task_queue=SYSTEM_TASK_QUEUE,
    )

    await eventually(lambda: _is(len(seen(instances, visitor)) == 51))
    assert seen(instances, visitor) == [1, *range(101, 151)]
    assert instances.stale == 0


@pytest.mark.usefixtures("serving", "defined")
async def test_many_events_are_applied_through_many_executions(
    visitor: Visitor, instances: Any, eventually: Any
) -> None:
    for number in range(100, 250):
        instances.put(visitor.key_hash, visitor.run(number))
    await visitor.wake(at_a_time=20)

    await eventually(lambda: _is(len(seen(instances, visitor)) == 150))
    assert seen(instances, visitor) == list(range(100, 250))
    await eventually(visitor.has_continued)


@pytest.mark.usefixtures("serving", "defined")
async def test_work_of_a_run_is_begun_though_nobody_was_there_to_begin_it(
    visitor: Visitor, instances: Any, client: Client, eventually: Any
) -> None:
    await visitor.tell(1, 2)
    await eventually(lambda: _is(seen(instances, visitor) == [1, 2]))
    # As it is when a worker dies after it had the third recorded.
    third = visitor.run(3)
    instances.put(visitor.key_hash, third)
    await client.get_workflow_handle(visitor.workflow_id).terminate(reason="by mistake")
    instances.runs[third.run_id] = WORK
    instances.states[visitor.key_hash].append(b'{"seen":[1,2,3]}')
    await visitor.tell(4)

    await eventually(lambda: _is(seen(instances, visitor) == [1, 2, 3, 4]))

    async def adopted() -> bool:
        return third.run_id in instances.adopted

    await eventually(adopted)
    assert instances.queues[visitor.key_hash] == []


@pytest.mark.usefixtures("serving")
async def test_a_timer_is_applied_when_no_event_has_come_for_a_while(
    visitor: Visitor, instances: Any, define_timed: Any, eventually: Any
) -> None:
    define_timed(after="2s")
    await visitor.tell(1)
    await eventually(lambda: _is(seen(instances, visitor) == [1, -1]))
    # It fired once, and the next event sets it anew.
    assert instances.timers[visitor.key_hash] == {}
    await visitor.tell(2)
    await eventually(lambda: _is(seen(instances, visitor) == [1, -1, 2, -1]))
    asked = instances.asked
    assert await visitor.status() is WorkflowExecutionStatus.RUNNING
    assert instances.asked == asked < 12, "it asks again and again"


@pytest.mark.usefixtures("serving")
async def test_an_event_takes_the_place_of_a_timer(
    visitor: Visitor, instances: Any, define_timed: Any, eventually: Any
) -> None:
    define_timed(after="1h")
    await visitor.tell(1)
    await eventually(lambda: _is(seen(instances, visitor) == [1]))
    first = instances.timers[visitor.key_hash]["quiet"]
    await visitor.tell(2)
    await eventually(lambda: _is(seen(instances, visitor) == [1, 2]))
    assert instances.timers[visitor.key_hash]["quiet"] > first


async def _is(truth: bool) -> bool:  # noqa: FBT001 - what a lambda gives it
    return truth
