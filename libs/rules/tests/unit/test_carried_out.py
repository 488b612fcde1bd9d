"""What the language holds and this release does not carry out."""

from typing import Any

import pytest

from contracts.definitions import ActivityDefinition
from rules import carried_out

BATCH = {"maxEvents": 5, "maxWait": "5s"}
EVERY = {"every": "1m", "missedRuns": {"policy": "skip", "tolerance": "1m"}}


def refused(**fields: Any) -> list[str]:
    task = {"type": "automated", "handler": "send", "taskQueue": "mail-tq"}
    definition = ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "billing.overdue", "namespace": "dev", "owner": "billing"},
            "spec": {"taskQueue": "a-tq", "rules": [{"name": "r", "task": task}], **fields},
        }
    )
    return [str(problem) for problem in carried_out.not_carried_out(definition)]


def scheduled(**fields: Any) -> dict[str, Any]:
    return {"triggers": [{"name": "t", "schedule": {**EVERY, **fields}}]}


def event(**fields: Any) -> dict[str, Any]:
    return {"triggers": [{"name": "t", "event": {"type": "paid", **fields}}]}


@pytest.mark.parametrize(
    ("fields", "path", "what"),
    [
        ({"mode": "stateful"}, "spec.mode", "mode: stateful"),
        (scheduled(every=None, calendars=[{"hour": "9"}]),
         "spec.triggers[0].schedule.calendars", "calendars"),
        (scheduled(exclusions=[{"hour": "9"}]),
         "spec.triggers[0].schedule.exclusions", "exclusions"),
        (scheduled(start="2026-01-01T00:00:00Z"),
         "spec.triggers[0].schedule.start", "start of a schedule"),
        (scheduled(end="2026-01-01T00:00:00Z"),
         "spec.triggers[0].schedule.end", "end of a schedule"),
        (scheduled(jitter="5s"), "spec.triggers[0].schedule.jitter", "jitter"),
        (scheduled(overlap="bufferOne"), "spec.triggers[0].schedule.overlap", "overlap: bufferOne"),
        (scheduled(overlap="bufferAll"), "spec.triggers[0].schedule.overlap", "overlap: bufferAll"),
        (scheduled(overlap="cancelOther"),
         "spec.triggers[0].schedule.overlap", "overlap: cancelOther"),
    ],
)  # fmt: skip
def test_what_is_not_carried_out_says_so_and_what_to_write_instead(
    fields: dict[str, Any], path: str, what: str
) -> None:
    [problem] = refused(**fields)
    assert problem.startswith(f"{path}: {what} is not carried out by this release; ")


def test_the_rest_is_carried_out() -> None:
    assert (
        refused(
            triggers=[
                *scheduled(overlap="allowAll")["triggers"],
                {"name": "e", "event": {"type": "paid", "when": "true", "match": {"type": ["a"]}}},
                {"name": "b", "event": {"type": "paid", "batch": BATCH, "correlate": "event.type"}},
                {"name": "m", "manual": {"input": {"type": "object"}}},
            ],
            whileDisabled="hold",
            context=[
                {"name": "c", "http": {"connector": "crm", "path": "/c"}, "timeout": "1s"},
                {"name": "l", "lastRun": {}, "retries": 1, "onFailure": None},
            ],
            onFailure={"handler": "tell"},
            limits={
                "maxTasksPerRun": 5,
                "maxRuns": {"count": 1, "window": "1h"},
                "concurrency": {"maxOpenRuns": 1},
            },
        )
        == []
    )
