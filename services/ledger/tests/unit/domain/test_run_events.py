"""Which events follow from what happens to a run."""

from uuid import UUID

import pytest

from contracts.decisions import RunStatus, TaskStatus
from contracts.events import RunFailed
from contracts.runs import TaskFailure
from contracts.triggers import Trigger, TriggerKind
from eventstore.events import Cause, Fact
from ledger.domain import runs
from ledger.domain.runs import Done, Occasion, RunState, TaskState


def run_state(*, automated: int, human: int = 0, failed: int = 0) -> RunState:
    return RunState(
        run_id="billing:manual:1",
        definition_id="billing",
        definition_version=1,
        trigger_kind="manual",
        trigger_key="manual:1",
        trigger_names=[],
        trigger_sha256="0" * 64,
        workflow_run_id="w",
        status=RunStatus.RUNNING,
        tasks=5,
        open_automated=automated,
        open_human=human,
        failed_tasks=failed,
        cause=Cause(correlation_id="c"),
    )


TASK = TaskState(
    task_id=UUID(int=1),
    run_id="billing:manual:1",
    definition_id="billing",
    rule="remind",
    key="",
    type="automated",
    status=TaskStatus.OPEN,
)
FAILED = Done(failure=TaskFailure(type="SmtpError", message="no host"))


def types(facts: list[Fact]) -> list[str]:
    return [fact.type.removeprefix("backbone.") for fact in facts]


@pytest.mark.parametrize(
    ("run", "done", "expected"),
    [
        (run_state(automated=2), Done(), ["TaskCompleted"]),
        (run_state(automated=1, human=1), Done(), ["TaskCompleted"]),
        (run_state(automated=1), Done(), ["TaskCompleted", "RunCompleted"]),
        (run_state(automated=2), FAILED, ["TaskFailed"]),
        (run_state(automated=1), FAILED, ["TaskFailed", "RunFailed"]),
        (run_state(automated=1, failed=1), Done(), ["TaskCompleted", "RunFailed"]),
    ],
)
def test_run_ends_with_its_last_open_task(run: RunState, done: Done, expected: list[str]) -> None:
    facts = runs.closing(run, [TASK], done, actor="worker")
    assert types(facts) == expected
    assert runs.closes_run(facts) == (len(expected) == 2)


def test_run_counts_all_its_failed_tasks() -> None:
    facts = runs.closing(run_state(automated=2, failed=1), [TASK, TASK], FAILED, actor="worker")
    failed = facts[-1].payload
    assert isinstance(failed, RunFailed)
    assert failed.failure.message == "3 of 5 tasks failed"


def test_tasks_travel_by_their_run_and_are_their_own_subject() -> None:
    task, run = runs.closing(run_state(automated=1), [TASK], Done(), actor="worker")
    assert (task.key, task.subject) == ("billing:manual:1", str(TASK.task_id))
    assert (run.key, run.subject) == ("billing:manual:1", None)


def test_run_by_hand_is_a_cause_of_its_own() -> None:
    occasion = Occasion(
        namespace="dev",
        run_id="billing:manual:1",
        definition_id="billing",
        trigger=Trigger(kind=TriggerKind.MANUAL, definition_version=1, request_id="1"),
        trigger_body=b"{}",
        workflow_run_id="w",
    )
    assert occasion.cause == Cause(correlation_id="billing:manual:1")


def gathered(*events: dict[str, object]) -> Occasion:
    trigger = Trigger.model_validate(
        {
            "kind": "batch",
            "definition_version": 1,
            "batch_id": "a" * 26,
            "events": [
                {
                    "event_id": str(number),
                    "type": "paid",
                    "source": "shop",
                    "occurred_at": "2026-01-02T03:00:00Z",
                    "payload": {},
                    **event,
                }
                for number, event in enumerate(events)
            ],
        }
    )
    return Occasion("dev", f"billing:{trigger.key}", "billing", trigger, b"", "w")


def test_a_batch_goes_on_with_the_chain_that_its_events_share() -> None:
    chain = {"correlation_id": "order-1"}
    cause = gathered({**chain, "hops": 2}, {**chain, "hops": 5}).cause
    assert (cause.correlation_id, cause.causation_id, cause.hops) == ("order-1", None, 5)


def test_a_batch_of_several_chains_begins_one_of_its_own() -> None:
    occasion = gathered({"correlation_id": "order-1"}, {})
    assert occasion.cause.correlation_id == occasion.run_id


def test_a_batch_of_one_event_follows_from_it() -> None:
    assert gathered({"correlation_id": "order-1"}).cause == Cause(
        correlation_id="order-1", causation_id="0"
    )
