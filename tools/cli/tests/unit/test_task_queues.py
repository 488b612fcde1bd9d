import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration

from backbone.registry.v1 import task_queues_pb2 as pb


def test_queues_lists_what_waits_and_who_serves(backbone: Any, stack: Path, services: Any) -> None:
    waits = Duration()
    waits.FromTimedelta(timedelta(seconds=90.5))
    services.task_queues.answer = pb.ListTaskQueuesResponse(
        task_queues=[
            pb.TaskQueue(
                name="a-tq",
                kind=pb.TASK_KIND_ACTIVITY,
                backlog=3,
                backlog_age=waits,
                pollers=2,
                definition_ids=["a.b"],
                definitions=1,
            )
        ],
        unwatched=4,
    )
    (line,) = backbone("queues", "-o", "json").stdout.splitlines()
    assert json.loads(line) == {
        "task_queue": "a-tq",
        "kind": "activity",
        "backlog": 3,
        "backlog_age": "90s",
        "pollers": 2,
        "definitions": 1,
        "definition_ids": ["a.b"],
    }
    assert "4 more task queues are named" in backbone("queues").stderr


def test_queues_says_when_temporal_has_said_nothing(
    backbone: Any, stack: Path, services: Any
) -> None:
    assert "Temporal has not said anything" in backbone("queues").stderr
