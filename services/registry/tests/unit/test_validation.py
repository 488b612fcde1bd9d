"""Validation: every problem, at its path, in words that say what would be right."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from contracts import definitions
from registry.domain import documents, validation
from registry.errors import InvalidDefinitionError


def problems(document: dict[str, Any]) -> Any:
    with pytest.raises(InvalidDefinitionError) as refusal:
        validation.define(document, namespaces=["dev"])
    return {problem.path: problem.message for problem in refusal.value.problems}


@pytest.fixture
def good(document: Callable[..., bytes]) -> Any:
    return json.loads(document(every="15m"))


def test_good_document_becomes_its_definition(good: dict[str, Any]) -> None:
    definition = validation.define(good, namespaces=["stage", "dev"])
    assert definition.metadata.id == "billing.overdue"
    assert definitions.load(definitions.content(definition)) == definition


def test_all_problems_of_shape_are_told_at_once(good: dict[str, Any]) -> None:
    good["metadata"] = {"id": "Billing", "namespace": "dev", "ownr": "billing"}
    good["spec"]["triggers"][1]["schedule"]["missedRuns"]["policy"] = "compres"
    good["spec"]["rules"][0]["task"]["retry"] = {"maximumAttempts": "10", "backoffCoefficient": 0}
    good["spec"]["rules"][0]["task"]["timeout"] = "30x"
    assert problems(good) == {
        "metadata.id": "'Billing' cannot be used: write lower-case letters and digits, in parts "
        "joined by '.' or '-': billing.overdue-invoices",
        "metadata.owner": "owner is required",
        "metadata.ownr": "there is no field 'ownr' here; did you mean 'owner'?",
        "spec.triggers[1].schedule.missedRuns": "policy cannot be 'compres'; "
        "did you mean 'compress'?",
        "spec.rules[0].task.retry.maximumAttempts": "expected a whole number, found text",
        "spec.rules[0].task.retry.backoffCoefficient": "the number is less than 1.0",
        "spec.rules[0].task.timeout": "not a duration: '30x'; "
        "write 30s, 15m, 1h30m, 2d or ISO 8601 (PT15M)",
    }


def test_field_far_from_any_other_lists_what_is_possible(good: dict[str, Any]) -> None:
    good["spec"]["rules"][0]["task"]["zzz"] = 1
    (message,) = problems(good).values()
    assert message.startswith("there is no field 'zzz' here; possible: type, handler, taskQueue")


def test_names_of_the_python_model_are_not_the_language(good: dict[str, Any]) -> None:
    good["spec"]["task_queue"] = good["spec"].pop("taskQueue")
    assert problems(good) == {
        "spec.taskQueue": "taskQueue is required",
        "spec.task_queue": "there is no field 'task_queue' here; did you mean 'taskQueue'?",
    }


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({}, "type is required: automated or human"),
        ({"type": "humn"}, "type cannot be 'humn'; did you mean 'human'?"),
        (3, "expected an object, found a number"),
    ],
)
def test_kind_of_task_is_asked_for(good: dict[str, Any], task: Any, message: str) -> None:
    good["spec"]["rules"][0]["task"] = task
    assert problems(good) == {"spec.rules[0].task": message}


def test_field_named_as_a_kind_keeps_its_path(good: dict[str, Any]) -> None:
    good["spec"]["rules"][0]["task"]["automated"] = {"x": 1}
    assert list(problems(good)) == ["spec.rules[0].task.automated"]


def test_misspelt_choice_is_answered_with_the_nearest(good: dict[str, Any]) -> None:
    good["spec"]["triggers"][1]["schedule"]["overlap"] = "AllowAl"
    assert list(problems(good).values()) == [
        "overlap cannot be 'AllowAl'; did you mean 'allowAll'?"
    ]


def test_text_in_place_of_a_number_or_a_list_is_not_converted(good: dict[str, Any]) -> None:
    good["spec"]["triggers"] = "payment"
    good["metadata"]["labels"] = {"tier": 1}
    assert problems(good) == {
        "metadata.labels.tier": "expected text, found a number",
        "spec.triggers": "expected a list, found text",
    }


def test_what_the_language_cannot_do_yet_is_refused(good: dict[str, Any]) -> None:
    good["spec"]["mode"] = "stateful"
    good["spec"]["whileDisabled"] = "hold"
    assert set(problems(good)) == {"spec.mode", "spec.whileDisabled"}


def test_rules_and_namespace_are_checked_once_the_shape_is_right(good: dict[str, Any]) -> None:
    good["metadata"]["namespace"] = "prod"
    good["spec"]["rules"][0]["when"] = "size("
    good["spec"]["rules"][0]["task"]["taskQueue"] = "billing-tq"
    found = problems(good)
    assert set(found) == {
        "metadata.namespace",
        "spec.rules[0].when",
        "spec.rules[0].task.taskQueue",
    }
    assert found["metadata.namespace"] == "namespace 'prod' is not served here; served: dev"


def test_definition_that_grows_too_large_with_its_defaults_is_refused(good: dict[str, Any]) -> None:
    rule = good["spec"]["rules"][0]
    rule["task"]["input"] = {f"field{i}": f"'{'x' * 1000}'" for i in range(10)}
    good["spec"]["rules"] = [{**rule, "name": f"rule{i}"} for i in range(24)]
    raw = json.dumps(good).encode()
    assert len(raw) < documents.MAX_DOCUMENT_BYTES
    assert problems(documents.read(raw)) == {"": "the definition is larger than 245760 bytes"}
