"""Answers against forms that authors wrote."""

import json
from typing import Any

import pytest

from ledger.domain import answers
from ledger.errors import PreconditionError


def problems(form: Any, answer: Any) -> list[str]:
    found = answers.problems(json.dumps(form).encode(), json.dumps(answer).encode())
    return [str(problem) for problem in found]


def test_answer_that_fits_has_no_problems() -> None:
    assert problems({"type": "object", "required": ["paid"]}, {"paid": True}) == []


def test_each_problem_names_its_place() -> None:
    form = {"properties": {"a": {"type": "integer"}, "b": {"properties": {"c": {"const": 1}}}}}
    assert problems(form, {"a": "x", "b": {"c": 2}}) == [
        'a: "x" is not of type "integer"',
        "b.c: 1 was expected",
    ]


def test_pattern_with_look_ahead_is_understood() -> None:
    assert problems({"pattern": "^(?=.*[0-9]).+$"}, "a1") == []


def test_pattern_cannot_make_the_check_run_away() -> None:
    assert problems({"pattern": r"^(?=a)(a+)+\1$"}, "a" * 60 + "!")


@pytest.mark.parametrize(
    "form", [{"type": "nothing"}, {"$ref": "https://example.com/form.json"}, {"pattern": "("}]
)
def test_form_that_is_no_schema_or_refers_elsewhere_cannot_be_used(form: Any) -> None:
    with pytest.raises(PreconditionError, match="not a usable JSON Schema"):
        problems(form, {})
