"""Event types: what was applied stays as it was, and what comes after it is compatible."""

import json
from typing import Any

import pytest

from contracts.eventtypes import EventType
from registry.domain import event_types, validation
from registry.domain.validation import Parsed, Source

FIRST: dict[str, Any] = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "number"}, "note": {"type": "string"}},
}


def parsed(*schemas: tuple[int, Any], compatibility: str = "backward") -> Parsed:
    document = {
        "apiVersion": "backbone/v1",
        "kind": "EventType",
        "metadata": {"id": "a.b", "namespace": "dev", "owner": "o"},
        "spec": {
            "compatibility": compatibility,
            "schemas": [{"version": version, "schema": schema} for version, schema in schemas],
        },
    }
    text = json.dumps(document, indent=1)
    reading = validation.read([Source("t.yaml", text.encode())], namespaces=["dev"])
    assert reading.problems == ()
    return reading.parsed[0]


def told(
    document: Parsed, past: dict[int, Any] | None = None, current: Parsed | None = None
) -> list[tuple[str, str]]:
    loaded = current.resource if current is not None else None
    assert loaded is None or isinstance(loaded, EventType)
    problems = event_types.history_problems(document, past=past or {}, current=loaded)
    assert all(problem.document == "t.yaml" and problem.line > 8 for problem in problems)
    return [(problem.path, problem.message) for problem in problems]


def with_field(**fields: Any) -> dict[str, Any]:
    return {**FIRST, "properties": {**FIRST["properties"], **fields}}


def test_a_first_version_is_free() -> None:
    assert told(parsed((1, FIRST))) == []


def test_the_same_again_is_the_same_however_it_is_written() -> None:
    again = {"required": ["amount"], **FIRST, "maxProperties": 10.0}
    assert told(parsed((1, again)), {1: {**FIRST, "maxProperties": 10}}) == []


@pytest.mark.parametrize("changed", [with_field(x={"type": "string"}), {**FIRST, "default": True}])
def test_an_applied_schema_version_never_changes(changed: Any) -> None:
    past = {1: {**FIRST, "default": 1}}
    current = parsed((1, past[1]))
    assert told(parsed((1, changed), (4, changed)), past, current)[0] == (
        "spec.schemas[0].schema",
        "schema version 1 is applied and never changes: write what is new as schema version 5",
    )


def test_a_schema_version_that_was_taken_out_comes_back_as_it_was_or_not_at_all() -> None:
    current = parsed((2, FIRST))
    past = {1: FIRST, 2: FIRST}
    assert told(parsed((1, FIRST), (2, FIRST)), past, current) == []
    assert told(parsed((1, {}), (2, FIRST)), past, current) == [
        (
            "spec.schemas[0].schema",
            "schema version 1 was applied once and never changes: write what is new as schema "
            "version 3",
        )
    ]


def test_new_versions_come_after_all_before_them() -> None:
    assert told(parsed((1, FIRST), (2, FIRST)), {1: FIRST, 3: FIRST}) == [
        (
            "spec.schemas[1].version",
            "schema version 2 is new, but 3 was applied before: give it a number above 3",
        )
    ]


def test_a_breaking_version_is_refused_and_the_break_is_named() -> None:
    breaking = with_field(amount={"type": "string"})
    ((path, message),) = told(parsed((1, FIRST), (2, breaking)), {1: FIRST})
    assert path == "spec.schemas[1].schema.properties.amount"
    assert message.startswith("schema version 2 is not backward compatible with version 1: ")


def test_each_new_version_is_compared_with_the_one_before_it() -> None:
    second = with_field(amount={"type": "integer"})
    found = told(parsed((1, FIRST), (2, second), (3, FIRST)))
    assert {path.partition(".schema.")[0] for path, _ in found} == {"spec.schemas[1]"}


def test_a_version_that_was_taken_out_is_still_the_one_before() -> None:
    narrow = with_field(amount={"type": "integer"})
    assert told(parsed((1, narrow), (3, narrow)), {1: narrow, 2: FIRST}) != []


@pytest.mark.parametrize(
    ("compatibility", "word"), [("backward", "backward"), ("forward", ""), ("full", "fully")]
)
def test_the_policy_says_which_side_is_kept(compatibility: str, word: str) -> None:
    narrower = with_field(note={"type": "string", "maxLength": 5})
    document = parsed((1, FIRST), (2, narrower), compatibility=compatibility)
    found = told(document, {1: FIRST})
    assert [message.split(" with version 1")[0] for _, message in found] == (
        [f"schema version 2 is not {word} compatible"] if word else []
    )


def test_without_a_policy_anything_goes() -> None:
    assert told(parsed((1, FIRST), (2, {"type": "array"}), compatibility="none"), {1: FIRST}) == []


def test_a_schema_that_is_none_is_left_to_other_checks() -> None:
    assert told(parsed((1, FIRST), (2, {"type": "objct"})), {1: FIRST}) == []


def test_other_resources_have_no_such_past() -> None:
    text = (
        "{apiVersion: backbone/v1, kind: Producer, metadata: {id: a, namespace: dev, owner: o}, "
        "spec: {sources: [a], types: [b]}}"
    )
    reading = validation.read([Source("p", text.encode())], namespaces=["dev"])
    assert event_types.history_problems(reading.parsed[0], past={1: {}}, current=None) == []
