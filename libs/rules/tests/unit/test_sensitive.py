"""Conditions see what is sensitive; what is written holds references, or there is no decision."""

import json
from typing import Any

import pytest

from contracts import canonical
from contracts.definitions import ActivityDefinition
from contracts.envelope import Envelope
from contracts.eventtypes import EventType
from contracts.triggers import Trigger, TriggerKind
from rules import backtests, checks, decisions
from rules.backtests import Again, PastRun, Verdict, Version
from rules.errors import DecisionError, SensitiveUnknownError
from rules.instances import InstanceProgram
from rules.problems import Problem

EMAIL = {"$sensitive": "b-email", "hash": "h" * 26}
COUNTRY = {"$sensitive": "b-country", "hash": "h" * 26}
VALUES = {"b-email": "ada@example.org", "b-country": "DE"}


def trigger(**payload: Any) -> Trigger:
    event = Envelope.model_validate(
        {
            "event_id": "e-1",
            "type": "signed-up",
            "source": "shop",
            "occurred_at": "2026-11-23T10:00:00Z",
            "payload": {"id": "c-1", "email": EMAIL, "country": COUNTRY, **payload},
        }
    )
    return Trigger(kind=TriggerKind.EVENT, names=["t"], definition_version=1, events=[event])


def definition(rule: dict[str, Any], **spec: Any) -> ActivityDefinition:
    task = {
        "type": "automated",
        "handler": "act",
        "taskQueue": "hands-tq",
        **rule.pop("task", {}),
    }
    return ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "welcome", "namespace": "dev", "owner": "tests"},
            "spec": {
                "taskQueue": "test-tq",
                "triggers": [
                    {"name": "t", "event": {"type": "signed-up", **spec.pop("event", {})}}
                ],
                "rules": [{"name": "act", "task": task, **rule}],
                **spec,
            },
        }
    )


def decide(rule: dict[str, Any], values: Any = VALUES, **payload: Any) -> Any:
    return decisions.decide(
        definition(rule),
        definition_version=1,
        namespace="dev",
        run_id="welcome:event:x",
        trigger=trigger(**payload),
        snapshot={},
        revealed=values,
    )


def test_a_condition_sees_the_value_and_a_task_is_given_the_reference() -> None:
    decided = decide(
        {
            "when": "event.payload.country == 'DE' && event.payload.email.endsWith('.org')",
            "task": {
                "input": {
                    "to": "event.payload.email",
                    "all": "[event.payload]",
                    "id": "event.payload.id",
                }
            },
        }
    )
    [task] = decided.tasks
    assert task.input["to"] == EMAIL
    assert task.input["all"] == [{"id": "c-1", "email": EMAIL, "country": COUNTRY}]
    assert task.input["id"] == "c-1"
    assert "ada" not in decided.model_dump_json()


@pytest.mark.parametrize(
    "task",
    [
        {"input": {"text": "'Hello ' + event.payload.email"}},
        # As kept it would come to something, and to something else.
        {"input": {"local": "event.payload.country == 'DE' ? 'yes' : 'no'"}},
        {"input": {"size": "size(event.payload.email)"}},
        {"key": "event.payload.email"},
    ],
)
def test_nothing_is_made_of_what_is_sensitive(task: dict[str, Any]) -> None:
    with pytest.raises(DecisionError, match="a sensitive field") as failure:
        decide({"task": task})
    assert "ada" not in str(failure.value)


def test_a_title_is_not_made_of_it_either() -> None:
    rule = {"when": "true"}
    human = definition(rule)
    body = json.loads(human.model_dump_json(by_alias=True, exclude_none=True))
    body["spec"]["rules"][0]["task"] = {
        "type": "human",
        "title": "'Call ' + event.payload.email",
        "assignees": {"users": ["u"]},
    }
    with pytest.raises(DecisionError, match="made from a sensitive field"):
        decisions.decide(
            ActivityDefinition.model_validate(body),
            definition_version=1,
            namespace="dev",
            run_id="welcome:event:x",
            trigger=trigger(),
            snapshot={},
            revealed=VALUES,
        )


def test_items_of_a_list_are_handed_on_with_their_references() -> None:
    phone = {"$sensitive": "b-phone", "hash": "h" * 26}
    decided = decide(
        {
            "forEach": {"item": "one", "in": "event.payload.contacts.filter(c, c.kind == 'home')"},
            "task": {"key": "one.kind", "input": {"call": "one.phone"}},
        },
        {**VALUES, "b-phone": "123"},
        contacts=[{"kind": "work", "phone": phone}, {"kind": "home", "phone": phone}],
    )
    assert [task.input for task in decided.tasks] == [{"call": phone}]


def test_what_chooses_items_by_what_is_sensitive_is_refused() -> None:
    phone = {"$sensitive": "b-phone", "hash": "h" * 26}
    with pytest.raises(DecisionError, match="made from a sensitive field"):
        decide(
            {
                "forEach": {
                    "item": "one",
                    "in": "event.payload.contacts.filter(c, c.phone == '123')",
                },
                "task": {"key": "one.kind"},
            },
            {**VALUES, "b-phone": "123"},
            contacts=[{"kind": "home", "phone": phone}],
        )


def test_what_is_erased_is_null() -> None:
    decided = decide(
        {"when": "event.payload.email == null", "task": {"input": {"to": "event.payload.email"}}},
        {"b-email": None, "b-country": None},
    )
    assert [task.input for task in decided.tasks] == [{"to": EMAIL}]


@pytest.mark.parametrize("values", [None, {}, {"b-email": "x"}])
def test_nothing_is_decided_upon_values_that_are_not_given(values: Any) -> None:
    with pytest.raises(SensitiveUnknownError):
        decide({"when": "event.payload.country == 'DE'"}, values)


def test_what_is_not_sensitive_is_decided_as_ever() -> None:
    decided = decide(
        {"task": {"input": {"n": "event.payload.email"}}}, None, email="x", country="y"
    )
    assert [task.input for task in decided.tasks] == [{"n": "x"}]


def test_the_state_of_an_instance_holds_references() -> None:
    body = {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": {"id": "welcome", "namespace": "dev", "owner": "tests"},
        "spec": {
            "taskQueue": "test-tq",
            "mode": "stateful",
            "triggers": [
                {"name": "t", "event": {"type": "signed-up", "correlate": "event.payload.id"}}
            ],
            "instance": {
                "initial": {"email": "null", "count": "0"},
                "update": {"email": "event.payload.email", "count": "state.count + 1"},
                "endWhen": "state.email == 'ada@example.org' && state.count == 2",
            },
            "rules": [
                {
                    "name": "act",
                    "when": "state.email == 'ada@example.org'",
                    "task": {
                        "type": "automated",
                        "handler": "act",
                        "taskQueue": "hands-tq",
                        "input": {"to": "state.email"},
                    },
                }
            ],
        },
    }
    stateful = ActivityDefinition.model_validate(body)
    instance = InstanceProgram(stateful)
    program = decisions.compile_definition(stateful)
    state: Any = None
    for count in (1, 2):
        decided, step = instance.decide(
            program,
            definition_version=1,
            namespace="dev",
            run_id="welcome:event:x",
            trigger=trigger(),
            snapshot={},
            state=state,
            revealed=VALUES,
        )
        state = json.loads(step.after)
        assert state == {"email": EMAIL, "count": count}
        assert step.ended == (count == 2)
        assert [task.input for task in decided.tasks] == [{"to": EMAIL}]


def past_run(values: Any, **changes: Any) -> PastRun:
    rule = {
        "when": "event.payload.country == 'DE'",
        "task": {"input": {"to": "event.payload.email"}},
    }
    decided = decide(rule)
    recorded = {
        "namespace": "dev",
        "run_id": "welcome:event:x",
        "trigger": canonical.render(trigger()),
        "snapshot": b"{}",
        "decision": canonical.render(decided),
        "revealed": values,
    }
    return PastRun(**{**recorded, **changes})


def version(number: int, country: str) -> Version:
    rule = {
        "when": f"event.payload.country == '{country}'",
        "task": {"input": {"to": "event.payload.email"}},
    }
    return Version.of(definition(rule, event={"when": "event.payload.email != ''"}), number)


@pytest.mark.parametrize(("country", "verdict"), [("DE", Verdict.SAME), ("FR", Verdict.DIFFERENT)])
def test_a_run_is_decided_again_upon_the_values(country: str, verdict: Verdict) -> None:
    own = Version.of(
        definition(
            {
                "when": "event.payload.country == 'DE'",
                "task": {"input": {"to": "event.payload.email"}},
            }
        ),
        1,
    )
    judged = backtests.judge(past_run(VALUES), own=own, other=version(2, country))
    assert (judged.verdict, judged.again) == (verdict, Again.SAME_HASH)


@pytest.mark.parametrize("values", [{}, {"b-email": "ada@example.org"}])
def test_what_cannot_be_known_is_not_comparable(values: Any) -> None:
    # Also where the other version would not have been started, or decides without any value.
    judged = backtests.judge(past_run(values), own=version(1, "DE"), other=version(2, "FR"))
    assert judged.verdict is Verdict.NOT_COMPARABLE
    assert "sensitive values that are erased" in judged.reason


SENSITIVE = {"sensitive": True}


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        ({"properties": {"email": SENSITIVE}}, []),
        ({"properties": {"a": {"properties": {"b": SENSITIVE}}}}, []),
        ({"properties": {"a": {"items": {"properties": {"b": SENSITIVE}}}}}, []),
        # Nothing is marked: a field of that name.
        ({"properties": {"sensitive": {"type": "string"}}}, []),
        (SENSITIVE, ["spec.schemas[0].schema.sensitive"]),
        (
            {"properties": {"a": {"items": SENSITIVE}}},
            ["spec.schemas[0].schema.properties.a.items.sensitive"],
        ),
        (
            {"additionalProperties": SENSITIVE},
            ["spec.schemas[0].schema.additionalProperties.sensitive"],
        ),
        (
            {"allOf": [{"properties": {"email": SENSITIVE}}]},
            ["spec.schemas[0].schema.allOf[0].properties.email.sensitive"],
        ),
        (
            {"$defs": {"mail": SENSITIVE}, "properties": {"email": {"$ref": "#/$defs/mail"}}},
            ["spec.schemas[0].schema.$defs.mail.sensitive"],
        ),
        (
            {"properties": {"email": {"sensitive": "yes"}}},
            ["spec.schemas[0].schema.properties.email.sensitive"],
        ),
    ],
)
def test_what_would_not_be_found_is_refused(schema: dict[str, Any], paths: list[str]) -> None:
    assert [problem.path for problem in checked(schema, subject="payload.id")] == paths


def test_it_has_to_be_said_whose_the_fields_are() -> None:
    [problem] = checked({"properties": {"a": SENSITIVE, "b": SENSITIVE}})
    assert problem.path == "spec.subject"


def checked(schema: dict[str, Any], **spec: Any) -> list[Problem]:
    return checks.event_type_problems(
        EventType.model_validate(
            {
                "apiVersion": "backbone/v1",
                "kind": "EventType",
                "metadata": {"id": "signed-up", "namespace": "dev", "owner": "tests"},
                "spec": {"schemas": [{"version": 1, "schema": schema}], **spec},
            }
        )
    )
