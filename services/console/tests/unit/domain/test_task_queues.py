from datetime import timedelta

import pytest

from console.domain import task_queues
from console.domain.task_queues import Row, Standing, Work

NO_TIME = timedelta(0)


def row(name: str, kind: str, backlog: int, workers: int) -> Row:
    return Row(name, Work(kind, backlog, NO_TIME, workers), ["a.b"], 3)


@pytest.mark.parametrize(
    ("workflow", "activity", "standing"),
    [
        ((0, 0), (0, 2), Standing.SERVED),
        ((5, 1), (0, 0), Standing.SERVED),
        ((0, 0), (0, 0), Standing.NO_WORKER),
        ((1, 0), (0, 0), Standing.UNSERVED),
        # Workers for the other kind do not help.
        ((1, 0), (0, 2), Standing.UNSERVED),
    ],
)
def test_a_queue_is_served_when_each_kind_that_waits_is_polled(
    workflow: tuple[int, int], activity: tuple[int, int], standing: Standing
) -> None:
    (queue,) = task_queues.queues(
        [row("a-tq", "workflow", *workflow), row("a-tq", "activity", *activity)]
    )
    assert queue.standing is standing
    assert [one.kind for one in queue.work] == ["workflow", "activity"]
    assert (queue.definition_ids, queue.definitions) == (["a.b"], 3)


def test_what_is_unserved_comes_first_and_all_else_stays_in_order() -> None:
    found = task_queues.queues(
        [
            row("own-tq", "workflow", 0, 1),
            row("a-tq", "workflow", 0, 0),
            row("b-tq", "workflow", 1, 0),
        ]
    )
    assert [queue.name for queue in found] == ["b-tq", "own-tq", "a-tq"]
