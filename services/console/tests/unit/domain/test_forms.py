import json
from typing import Any

import pytest

from console.domain import forms
from console.domain.forms import Field, Kind


def form(**schema: Any) -> Field:
    return forms.form(json.dumps({"type": "object"} | schema).encode())


def one(schema: Any) -> Field:
    [made] = form(properties={"a": schema}).fields
    return made


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, Kind.TEXT),
        ({"type": "string", "maxLength": 2000}, Kind.LONG_TEXT),
        ({"type": ["string", "null"]}, Kind.TEXT),
        ({"type": "string", "format": "date"}, Kind.DATE),
        ({"type": "string", "format": "date-time"}, Kind.MOMENT),
        ({"type": "integer"}, Kind.INTEGER),
        ({"type": "number"}, Kind.NUMBER),
        ({"type": "boolean"}, Kind.BOOLEAN),
        ({"enum": ["a", 1, None]}, Kind.CHOICE),
        ({"const": "a"}, Kind.CHOICE),
        ({"oneOf": [{"const": 1, "title": "One"}]}, Kind.CHOICE),
        ({"type": "array", "items": {"type": "integer"}}, Kind.LIST),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, Kind.CHOICES),
        ({"type": "object", "properties": {"b": {"type": "string"}}}, Kind.GROUP),
        ({"type": "object"}, Kind.JSON),
        ({"type": "object", "properties": {}, "required": ["b"]}, Kind.JSON),
        ({"type": "array", "items": {"type": "object"}}, Kind.JSON),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, Kind.JSON),
        ({"type": ["string", "integer"]}, Kind.JSON),
        ({"enum": [["a"], "b"]}, Kind.JSON),
        ({"$ref": "#/$defs/b"}, Kind.JSON),
        ({"anyOf": [{"type": "string"}]}, Kind.JSON),
        ({}, Kind.JSON),
        (True, Kind.JSON),
    ],
)
def test_what_a_schema_is_typed_as(schema: Any, kind: Kind) -> None:
    assert one(schema).kind is kind


def test_titles_descriptions_and_what_is_required_are_told() -> None:
    made = form(
        required=["b"],
        properties={"a": {"type": "string", "title": "A name", "description": "Of whom."}, "b": {}},
    )
    assert [(field.label, field.hint, field.is_required) for field in made.fields] == [
        ("b", "", True),
        ("A name", "Of whom.", False),
    ]


def test_what_is_required_comes_first_in_the_order_of_its_author() -> None:
    made = form(required=["c", "a"], properties={name: {"type": "string"} for name in "abcd"})
    assert "".join(field.label for field in made.fields) == "cabd"


def test_choices_are_read_by_their_titles_and_told_apart_by_their_json() -> None:
    options = one({"oneOf": [{"const": 1, "title": "One"}, {"const": "1"}]}).choices
    assert [(choice.token, choice.label) for choice in options] == [("1", "One"), ('"1"', "1")]


def test_names_and_ids_hold_whatever_a_property_is_called() -> None:
    [made] = form(properties={'a/b~ "c"': {"type": "string"}}).fields
    assert made.name == 'answer/a~1b~0 "c"'
    assert made.id == "answer%2Fa~1b~0%20%22c%22"


@pytest.mark.parametrize(
    "schema",
    [b"", b"null", b"[]", b"{", b'{"type": "object"}', b'{"type": "string"}', b"[" * 10_000],
)
def test_a_form_without_fields_is_typed_as_json(schema: bytes) -> None:
    made = forms.form(schema)
    assert (made.kind, made.name) == (Kind.JSON, "answer")
    assert made.is_required is (schema not in (b"", b"null", b"{", b"[" * 10_000))


def test_what_is_too_much_or_too_deep_is_typed_as_json() -> None:
    many = {f"f{number}": {"type": "string"} for number in range(forms.MAX_FIELDS)}
    assert form(properties=many).kind is Kind.JSON
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(forms.MAX_DEPTH):
        deep = {"type": "object", "properties": {"a": deep}}
    assert [field.kind for field in forms.form(json.dumps(deep).encode()).all()] == [
        *[Kind.GROUP] * forms.MAX_DEPTH,
        Kind.TEXT,
    ]
    deeper = {"type": "object", "properties": {"a": deep}}
    kinds = [field.kind for field in forms.form(json.dumps(deeper).encode()).all()]
    assert kinds == [*[Kind.GROUP] * forms.MAX_DEPTH, Kind.JSON]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("a", "answer/a"),
        ("a.b", "answer/a/b"),
        ("a.b[2].c", "answer/a/b"),
        ("a.other", "answer/a"),
        ("ab", None),
        ("", None),
    ],
)
def test_a_place_in_an_answer_lies_in_a_field(place: str, name: str | None) -> None:
    inner = {"type": "object", "properties": {"b": {"type": "array"}}}
    found = forms.at(form(properties={"a": inner}), place)
    assert (found.name if found else None) == name
