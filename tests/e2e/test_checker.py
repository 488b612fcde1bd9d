"""The checker finds what it is there to find: each planted fault turns its verdict."""

import copy
import json
from collections.abc import Callable

import checker
import pytest
from history import FoundRun, Observation, Record, Sent


def event(event_type: str, task_id: str, stream: str, version: int) -> Record:
    value = {
        "event_id": f"{stream}-{version}",
        "type": event_type,
        "payload": {"task_id": task_id},
    }
    return Record(
        topic="dev.backbone.task-events",
        key=stream.encode(),
        headers={"backbone-stream": stream, "backbone-stream-version": str(version)},
        value=json.dumps(value).encode(),
    )


def dead(partition: int, offset: int, reason: str) -> Record:
    headers = {
        "backbone-origin-partition": str(partition),
        "backbone-origin-offset": str(offset),
        "backbone-reason": reason,
    }
    return Record("dev.backbone.dead-letters", None, headers, b"x")


SENT = [
    Sent("s", "1", 0, 0, expect_tasks=("pack/a", "approve/")),
    Sent("s", "1", 0, 1, expect_tasks=("pack/a", "approve/"), duplicate=True),
    Sent("s", None, 0, 2, expect_reason="not_utf8"),
]


@pytest.fixture
def seen() -> Observation:
    return Observation(
        runs=[FoundRun("r1", "waiting", "s", "1", ("pack/a", "approve/"), ("t1", "t2"))],
        events=[
            event(checker.CREATED, "t1", "run:r1", 1),
            event(checker.CREATED, "t2", "run:r1", 2),
            event(checker.CREATED, "t2", "run:r1", 2),
            event(checker.COMPLETED, "t1", "run:r1", 3),
        ],
        dead_letters=[dead(0, 2, "not_utf8")],
        executions={"r1": 1},
    )


def test_a_good_history_passes(seen):
    assert checker.violations(SENT, seen) == []


def lose_run(seen: Observation) -> None:
    seen.runs.clear()


def double_run(seen: Observation) -> None:
    seen.runs.append(copy.copy(seen.runs[0]))


def double_execution(seen: Observation) -> None:
    seen.executions["r1"] = 2


def invent_execution(seen: Observation) -> None:
    seen.executions["r2"] = 1


def lose_task(seen: Observation) -> None:
    run = seen.runs[0]
    seen.runs[0] = FoundRun(run.run_id, run.status, "s", "1", ("pack/a",), ("t1",))


def lose_created(seen: Observation) -> None:
    del seen.events[0]


def second_created(seen: Observation) -> None:
    seen.events.append(event(checker.CREATED, "t1", "run:r1", 4))


def alter_copy(seen: Observation) -> None:
    altered = seen.events[2]
    seen.events[2] = Record(
        altered.topic, altered.key, altered.headers, (altered.value or b"") + b" "
    )


def swap_order(seen: Observation) -> None:
    seen.events[0], seen.events[1] = seen.events[1], seen.events[0]


def lose_outcome(seen: Observation) -> None:
    del seen.events[3]


def second_outcome(seen: Observation) -> None:
    seen.events.append(event(checker.FAILED, "t1", "run:r1", 4))


def lose_dead_letter(seen: Observation) -> None:
    seen.dead_letters.clear()


def wrong_reason(seen: Observation) -> None:
    seen.dead_letters[0] = dead(0, 2, "oversize")


def kill_good_record(seen: Observation) -> None:
    seen.dead_letters.append(dead(0, 0, "oversize"))


def leave_outbox(seen: Observation) -> None:
    seen.pending_outbox = 1


def leave_uncommitted(seen: Observation) -> None:
    seen.uncommitted = 1


@pytest.mark.parametrize(
    ("plant", "invariant"),
    [
        (lose_run, "I2"),
        (double_run, "I2"),
        (double_execution, "I2"),
        (invent_execution, "I9"),
        (lose_task, "I3"),
        (lose_created, "I4"),
        (second_created, "I4"),
        (alter_copy, "I5"),
        (swap_order, "I7"),
        (lose_outcome, "I8"),
        (second_outcome, "I8"),
        (lose_dead_letter, "I1"),
        (wrong_reason, "I1"),
        (kill_good_record, "I1"),
        (leave_outbox, "I10"),
        (leave_uncommitted, "I10"),
    ],
)
def test_a_planted_fault_is_found(
    seen: Observation, plant: Callable[[Observation], None], invariant: str
):
    plant(seen)
    assert any(found.startswith(invariant) for found in checker.violations(SENT, seen))
