"""Salvage: whatever is wrong in one place, all the rest is read, and nothing else is blamed."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from contracts.definitions import ActivityDefinition
from contracts.resources import ResourceKind
from registry.domain import salvage

DEFINITION: dict[str, Any] = {
    "apiVersion": "backbone/v1",
    "kind": "ActivityDefinition",
    "metadata": {
        "id": "a.b",
        "namespace": "dev",
        "owner": "billing",
        "description": "x",
        "labels": {"tier": "gold"},
    },
    "spec": {
        "taskQueue": "billing-tq",
        "mode": "per-trigger",
        "whileDisabled": "drop",
        "onFailure": {"handler": "notify", "taskQueue": "n-tq"},
        "limits": {"maxTasksPerRun": 3, "maxRuns": {"count": 3, "window": "1h"}},
        "triggers": [
            {
                "name": "cron",
                "schedule": {
                    "cron": "0 * * * *",
                    "timezone": "Europe/Berlin",
                    "start": "2026-01-01T00:00:00Z",
                    "end": "2027-01-01T00:00:00Z",
                    "jitter": "5s",
                    "exclusions": [{"hour": "3"}],
                    "overlap": "allowAll",
                    "missedRuns": {"policy": "catchUp", "window": "1h", "limit": 5},
                },
            },
            {
                "name": "every",
                "schedule": {"every": "15m", "missedRuns": {"policy": "skip", "tolerance": "1m"}},
            },
            {
                "name": "calendars",
                "schedule": {
                    "calendars": [{"minute": "0", "dayOfMonth": "1"}],
                    "missedRuns": {"policy": "compress", "window": "1h"},
                },
            },
            {
                "name": "event",
                "event": {
                    "type": "a.b",
                    "match": {"payload": {"a": [1]}},
                    "when": "true",
                    "correlate": "event.payload.id",
                    "batch": {"maxEvents": 10, "maxWait": "5s"},
                },
            },
            {"name": "manual", "manual": {"input": {"type": "object"}}},
        ],
        "context": [
            {
                "name": "rows",
                "query": {"connector": "db", "statement": "rows", "parameters": {"a": "1"}},
            },
            {
                "name": "page",
                "http": {"connector": "crm", "path": "/c/{id}", "parameters": {"id": "1"}},
            },
        ],
        "rules": [
            {
                "name": "automated",
                "when": "true",
                "forEach": {"item": "row", "in": "context.rows"},
                "task": {
                    "type": "automated",
                    "handler": "h",
                    "taskQueue": "h-tq",
                    "key": "row.id",
                    "input": {"a": "row.a"},
                    "timeout": "30s",
                    "retry": {
                        "maximumAttempts": 3,
                        "initialInterval": "1s",
                        "backoffCoefficient": 2.5,
                        "maximumInterval": "1m",
                    },
                },
            },
            {
                "name": "human",
                "task": {
                    "type": "human",
                    "title": "'x'",
                    "key": "1",
                    "input": {"b": "2"},
                    "assignees": {"users": ["u"], "groups": ["g"]},
                    "due": "P2D",
                    "reminders": [{"beforeDue": "1d"}, {"afterDue": "6h"}],
                    "escalation": {
                        "after": "5d",
                        "assignees": {"users": ["v"], "groups": ["h"]},
                    },
                    "expiry": "9d",
                    "form": {"type": "object"},
                },
            },
        ],
    },
}
EVENT_TYPE: dict[str, Any] = {
    "apiVersion": "backbone/v1",
    "kind": "EventType",
    "metadata": {"id": "a.b", "namespace": "dev", "owner": "billing"},
    "spec": {
        "compatibility": "full",
        "schemas": [{"version": 1, "schema": {"type": "object"}}, {"version": 2, "schema": {}}],
    },
}
PRODUCER: dict[str, Any] = {
    "apiVersion": "backbone/v1",
    "kind": "Producer",
    "metadata": {"id": "a", "namespace": "dev", "owner": "billing"},
    "spec": {
        "sources": ["a/*", "b"],
        "types": ["a.*"],
        "signatures": "required",
        "keys": [
            {
                "id": "k1",
                "publicKey": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
                "notBefore": "2026-01-01T00:00:00Z",
                "notAfter": "2027-01-01T00:00:00Z",
            },
        ],
    },
}
DOCUMENTS = {
    ResourceKind.ACTIVITY_DEFINITION: DEFINITION,
    ResourceKind.EVENT_TYPE: EVENT_TYPE,
    ResourceKind.PRODUCER: PRODUCER,
}
# What is read as it comes: a JSON Schema or a pattern, which the rules check.
OPEN = ("match", "form", "schema", "input")

Steps = tuple[str | int, ...]


def places(value: Any, steps: Steps = ()) -> Iterator[Steps]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*steps, key)
        if isinstance(item, dict | list) and key not in OPEN:
            yield from places(item, (*steps, key))


EVERYWHERE = [
    (kind, steps)
    for kind, document in DOCUMENTS.items()
    for steps in places(document)
    if steps != ("kind",)
]


def written(steps: Steps) -> str:
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def put(document: Any, steps: Steps, value: Any) -> None:
    for step in steps[:-1]:
        document = document[step]
    document[steps[-1]] = value


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_sound_document_is_whole(kind: ResourceKind) -> None:
    assert salvage.read(kind, DOCUMENTS[kind]).whole


@pytest.mark.parametrize(("kind", "steps"), EVERYWHERE, ids=str)
def test_any_one_value_may_be_wrong_and_the_rest_is_read(kind: ResourceKind, steps: Steps) -> None:
    wrongs: list[Any] = [-5, "\x00 wrong", [7], {}, {"zzz": 1}, True, 1e300]
    # No keys at all are a fault of the signatures, which require one.
    wrongs += [[]] if steps != ("spec", "keys") else []
    for wrong in wrongs:
        document = copy.deepcopy(DOCUMENTS[kind])
        put(document, steps, wrong)
        salvaged = salvage.read(kind, document)
        assert salvaged.resource is not None, wrong
        for problem in salvaged.problems:
            assert problem.path.startswith(written(steps)), (wrong, problem)
        if any("there is no field" not in problem.message for problem in salvaged.problems):
            assert salvaged.is_repaired(written(steps)), (wrong, salvaged.problems)


@pytest.mark.parametrize(("kind", "steps"), EVERYWHERE, ids=str)
def test_any_one_value_may_be_unknown_and_nothing_is_said(kind: ResourceKind, steps: Steps) -> None:
    document = copy.deepcopy(DOCUMENTS[kind])
    put(document, steps, None)
    salvaged = salvage.read(kind, document, [steps])
    assert salvaged.resource is not None
    assert salvaged.problems == ()
    assert not salvaged.whole
    assert salvaged.is_repaired(written(steps))


@pytest.mark.parametrize(("kind", "steps"), EVERYWHERE, ids=str)
def test_any_one_field_may_be_misspelt_and_is_read_as_what_was_meant(
    kind: ResourceKind, steps: Steps
) -> None:
    parents = {"labels", "parameters", "input"}
    if isinstance(steps[-1], int) or len(steps[-1]) < 3 or parents & set(steps[-2:-1]):
        return
    document = copy.deepcopy(DOCUMENTS[kind])
    holder: Any = document
    for step in steps[:-1]:
        holder = holder[step]
    name = steps[-1]
    misspelt = name[:2] + "q" + name[2:]
    holder[misspelt] = holder.pop(name)
    salvaged = salvage.read(kind, document)
    assert [(told.path, told.at_key) for told in salvaged.problems] == [
        (written((*steps[:-1], misspelt)), True)
    ]
    assert f"did you mean {name!r}?" in salvaged.problems[0].message
    assert salvaged.resource == salvage.read(kind, DOCUMENTS[kind]).resource
    inside = f"{written(steps)}.inside[0]"
    assert salvaged.original(inside) == f"{written((*steps[:-1], misspelt))}.inside[0]"


def test_problems_that_only_show_when_others_are_gone_are_told_too() -> None:
    document = copy.deepcopy(DEFINITION)
    spec = document["spec"]
    spec["triggers"][0]["schedule"] = {"cron": 5, "every": "15m", "missedRuns": {"policy": "skp"}}
    spec["triggers"][1]["name"] = "cron"
    spec["rules"][0]["task"] = {"typ": "automated", "handler": "H"}
    spec["rules"][1]["name"] = "automated"
    salvaged = salvage.read(ResourceKind.ACTIVITY_DEFINITION, document)
    assert {told.path for told in salvaged.problems} == {
        "spec.triggers[0].schedule.cron",
        "spec.triggers[0].schedule.every",
        "spec.triggers[0].schedule.missedRuns.policy",
        "spec.triggers[0].schedule.missedRuns.tolerance",
        "spec.triggers[1].name",
        "spec.rules[0].task.typ",
        "spec.rules[0].task.handler",
        "spec.rules[0].task.taskQueue",
        "spec.rules[0].task.key",
        "spec.rules[1].name",
    }
    assert isinstance(salvaged.resource, ActivityDefinition)
    assert salvaged.resource.spec.rules[0].when == "true"


def test_names_that_expressions_ask_for_are_taken_for_those_that_cannot_be_read() -> None:
    document = copy.deepcopy(DEFINITION)
    document["spec"]["context"][0]["name"] = 7
    salvaged = salvage.read(ResourceKind.ACTIVITY_DEFINITION, document)
    assert isinstance(salvaged.resource, ActivityDefinition)
    assert "rows" in {entry.name for entry in salvaged.resource.spec.context}
    assert len(salvaged.problems) == 1


def test_names_of_triggers_that_cannot_be_read_are_taken_too() -> None:
    document = copy.deepcopy(DEFINITION)
    document["spec"]["triggers"][0]["name"] = 7
    document["spec"]["rules"][0]["when"] = "'cron' in trigger.names"
    salvaged = salvage.read(ResourceKind.ACTIVITY_DEFINITION, document)
    assert isinstance(salvaged.resource, ActivityDefinition)
    assert "cron" in {trigger.name for trigger in salvaged.resource.spec.triggers}
    assert [told.path for told in salvaged.problems] == ["spec.triggers[0].name"]


def test_expressions_are_not_judged_when_the_name_of_their_item_is_unknown() -> None:
    document = copy.deepcopy(DEFINITION)
    document["spec"]["rules"][0]["forEach"]["item"] = 7
    salvaged = salvage.read(ResourceKind.ACTIVITY_DEFINITION, document)
    assert salvaged.is_repaired("spec.rules[0].task.key")
    assert salvaged.is_repaired("spec.rules[0].task.input.a")
    assert not salvaged.is_repaired("spec.rules[0].when")
    assert not salvaged.is_repaired("spec.rules[1].task.key")


def test_reading_ends_when_enough_is_wrong() -> None:
    document = copy.deepcopy(DEFINITION)
    document["metadata"]["labels"] = {f"L{number}": 1 for number in range(20_000)}
    salvaged = salvage.read(ResourceKind.ACTIVITY_DEFINITION, document)
    assert salvaged.resource is None
    assert len(salvaged.problems) > 1000


def test_the_document_itself_is_left_alone() -> None:
    document = copy.deepcopy(DEFINITION)
    document["spec"]["rules"][0]["zzz"] = 1
    before = json.dumps(document)
    salvage.read(ResourceKind.ACTIVITY_DEFINITION, document)
    assert json.dumps(document) == before
