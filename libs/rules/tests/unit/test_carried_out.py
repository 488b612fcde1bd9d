"""What the language holds and this release does not carry out."""

from typing import Any

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


def test_all_of_the_language_is_carried_out() -> None:
    assert (
        refused(
            triggers=[
                *scheduled(overlap="cancelOther")["triggers"],
                {
                    "name": "c",
                    "schedule": {
                        "calendars": [{"hour": "9"}],
                        "exclusions": [{"month": "12"}],
                        "start": "2026-01-01T00:00:00Z",
                        "end": "2027-01-01T00:00:00Z",
                        "jitter": "5s",
                        "missedRuns": {"policy": "skip", "tolerance": "1m"},
                    },
                },
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
