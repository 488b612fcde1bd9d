import json
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.domain import answers, forms

_LINE = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"]) | st.sampled_from("é\"'<&/~"), min_size=1
)
_INTEGERS = st.integers(-(2**63), 2**63 - 1)
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | _INTEGERS
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _LINE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_LINE, inner, max_size=3),
    max_leaves=5,
)
_MOMENTS = st.datetimes(timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=0).isoformat().replace("+00:00", "Z")
)
_PARTS: list[tuple[dict[str, Any], st.SearchStrategy[Any]]] = [
    ({"type": "string"}, _LINE),
    ({"type": "string", "maxLength": 5000}, st.lists(_LINE, min_size=1).map("\n".join)),
    ({"type": "string", "format": "date"}, st.dates().map(lambda day: day.isoformat())),
    ({"type": "string", "format": "date-time"}, _MOMENTS),
    ({"type": "integer"}, _INTEGERS),
    ({"type": "number"}, _NUMBERS),
    ({"type": "boolean"}, st.booleans()),
    ({"enum": ["", "a", 1, 2.5, None, True]}, st.sampled_from(["", "a", 1, 2.5, None, True])),
    ({"type": "array", "items": {"type": "string"}}, st.lists(_LINE, min_size=1)),
    ({"type": "array", "items": {"type": "number"}}, st.lists(_NUMBERS, min_size=1)),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, st.just(["a", "b"])),
    ({}, _JSON),
]


@st.composite
def _cases(draw: st.DrawFn, depth: int = 2) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a form's schema, and an answer that has some of its fields."""
    names = draw(st.lists(_LINE, min_size=1, max_size=4, unique=True))
    schema: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    answer: dict[str, Any] = {}
    for name in names:
        if depth and draw(st.booleans()):
            part, value = draw(_cases(depth=depth - 1))
        else:
            part, values = draw(st.sampled_from(_PARTS))
            value = draw(values)
        schema["properties"][name] = part
        # An object without a member is as good as none.
        if value != {} or part == {}:
            if draw(st.booleans()):
                schema["required"].append(name)
            if name in schema["required"] or draw(st.booleans()):
                answer[name] = value
    return schema, answer


@given(_cases())
def test_what_is_typed_for_an_answer_is_read_as_it(
    case: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    schema, answer = case
    form = forms.form(json.dumps(schema).encode())
    read = answers.read(form, answers.written(form, answer))
    assert read.problems == {}
    # As JSON, where 1 is not true, and 1.0 not 1.
    assert json.loads(read.body) == answer
    assert json.dumps(read.answer, sort_keys=True) == json.dumps(answer, sort_keys=True)


@given(_cases(), st.data())
def test_whatever_is_typed_is_read_or_told(
    case: tuple[dict[str, Any], dict[str, Any]], data: st.DataObject
) -> None:
    form = forms.form(json.dumps(case[0]).encode())
    names = [field.name for field in form.all()]
    typed = data.draw(st.dictionaries(st.sampled_from(names), st.lists(st.text(), max_size=2)))
    read = answers.read(form, typed)
    assert set(read.problems) <= set(names)
    json.loads(read.body)


def read(schema: dict[str, Any], *texts: str, required: bool = False) -> answers.Reading:
    whole = {"type": "object", "properties": {"a": schema}, "required": ["a"] if required else []}
    return answers.read(forms.form(json.dumps(whole).encode()), {"answer/a": texts})


@pytest.mark.parametrize(
    ("schema", "text", "problem"),
    [
        ({"type": "integer"}, "1.5", "This is no whole number, such as 12 or -3."),
        ({"type": "integer"}, "9223372036854775808", "This is no whole number, such as 12 or -3."),
        ({"type": "integer"}, "٣", "This is no whole number, such as 12 or -3."),
        ({"type": "number"}, "3,5", "This is no number, such as 12 or 3.50."),
        ({"type": "number"}, "1e999", "This number is too large."),
        ({"type": "boolean"}, "yes", "This is none of the choices."),
        ({"enum": ["a"]}, "a", "This is none of the choices."),
        ({"type": "string", "format": "date"}, "1.3.2026", "This is no date, such as 2026-03-01."),
        ({"type": "array", "items": {"type": "integer"}}, "1\r\n\r\nx", "Line 3: This is no whole"),
        ({}, '{"a": 1, "a": 2}', "This cannot be read as JSON: "),
        ({}, "{", "This cannot be read as JSON: "),
    ],
)
def test_what_cannot_be_read_is_told_at_its_field(
    schema: dict[str, Any], text: str, problem: str
) -> None:
    found = read(schema, text)
    assert list(found.problems) == ["answer/a"]
    assert found.problems["answer/a"].startswith(problem)


def test_what_is_left_empty_is_no_part_of_an_answer_and_told_where_it_is_needed() -> None:
    for schema in ({"type": "string"}, {"type": "integer"}, {"enum": ["a"]}, {}):
        assert read(schema, "") == answers.Reading({})
        assert read(schema, "", required=True).problems == {"answer/a": "This is needed."}
    listed = {"type": "array", "items": {"type": "string"}}
    assert read(listed, "").answer == {}
    assert read(listed, "", required=True) == answers.Reading({"a": []})


def test_a_group_that_may_be_left_out_needs_nothing_until_something_of_it_is_typed() -> None:
    inner = {
        "type": "object",
        "required": ["b"],
        "properties": {"b": {"type": "string"}, "c": {"type": "integer"}},
    }
    form = forms.form(json.dumps({"type": "object", "properties": {"a": inner}}).encode())
    assert answers.read(form, {}) == answers.Reading({})
    for typed in ("1", "x"):
        assert "answer/a/b" in answers.read(form, {"answer/a/c": [typed]}).problems


def test_a_form_without_fields_takes_any_json() -> None:
    form = forms.form(b"")
    assert answers.read(form, {"answer": ["[1]"]}).answer == [1]
    assert answers.read(form, {}).answer == {}


def test_a_form_begins_with_what_its_author_suggests() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "default": "x"},
            "b": {"type": "string", "format": "date-time", "default": "2026-03-01T10:00:00+02:00"},
            "c": {"type": "string", "format": "date-time", "default": "noon"},
            "d": {"type": "boolean", "default": False},
        },
    }
    assert answers.defaults(forms.form(json.dumps(schema).encode())) == {
        "answer/a": ["x"],
        "answer/b": ["2026-03-01T08:00:00"],
        "answer/d": ["false"],
    }
