"""Sensitive fields are found by their schema, replaced by references, and taken back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import sensitive
from contracts.sensitive import Reference

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "email": {"type": "string", "sensitive": True},
        "address": {
            "type": "object",
            "properties": {"street": {"sensitive": True}, "country": {}},
        },
        "contacts": {
            "type": "array",
            "items": {"type": "object", "properties": {"phone": {"sensitive": True}, "kind": {}}},
        },
        "notes": {"type": "array", "items": {"type": "string"}, "sensitive": True},
        "never": {"sensitive": False},
    },
}
PAYLOAD = {
    "id": "c-1",
    "email": "ada@example.org",
    "address": {"street": "Hauptstr. 1", "country": "DE"},
    "contacts": [{"phone": "1", "kind": "home"}, {"kind": "work"}, {"phone": None}],
    "notes": ["a", "b"],
    "never": 1,
}


def test_fields_are_those_that_the_schema_marks() -> None:
    assert set(sensitive.fields(SCHEMA)) == {
        ("email",),
        ("address", "street"),
        ("contacts", "phone"),
        ("notes",),
    }


def test_values_are_found_at_their_places_and_null_is_none() -> None:
    found = sensitive.found(PAYLOAD, sensitive.fields(SCHEMA))
    assert found == {
        ("email",): "ada@example.org",
        ("address", "street"): "Hauptstr. 1",
        ("contacts", 0, "phone"): "1",
        ("notes",): ["a", "b"],
    }
    assert sensitive.pointer(("contacts", 0, "a/b~c")) == "/contacts/0/a~1b~0c"


@pytest.mark.parametrize("payload", [None, 1, "x", [], [1, {"email": 5}], {"address": [1]}])
def test_any_payload_may_be_looked_at(payload: object) -> None:
    found = sensitive.found(payload, sensitive.fields(SCHEMA))
    assert found in ({}, {(1, "email"): 5})


def test_what_is_replaced_is_revealed_again() -> None:
    found = sensitive.found(PAYLOAD, sensitive.fields(SCHEMA))
    references = {place: Reference(f"b{n}", "h" * 26) for n, place in enumerate(found)}
    kept = sensitive.replaced(PAYLOAD, references)
    assert kept["contacts"][0] == {
        "phone": references["contacts", 0, "phone"].document(),
        "kind": "home",
    }
    assert "ada@example.org" not in json.dumps(kept)
    assert sensitive.references(kept) == set(references.values())
    values = {references[place].blob_id: value for place, value in found.items()}
    assert sensitive.revealed(kept, values) == PAYLOAD
    # One that is not given stays what it is.
    assert sensitive.revealed(kept, {}) == kept


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(json_values)
def test_what_has_no_reference_is_revealed_as_itself(value: object) -> None:
    assert sensitive.revealed(value, {"b": 1}) == value
    assert sensitive.references(value) == frozenset()


@pytest.mark.parametrize(
    "value",
    [
        {"$sensitive": "b"},
        {"$sensitive": "b", "hash": 1},
        {"$sensitive": None, "hash": "h"},
        {"$sensitive": "b", "hash": "h", "more": 1},
    ],
)
def test_what_only_looks_like_a_reference_is_none_and_is_noticed(value: object) -> None:
    assert sensitive.references([value]) == frozenset()
    assert sensitive.has_mark({"deep": [{"er": value}]})


@pytest.mark.parametrize(
    ("document", "path", "subject"),
    [
        ({"subject": "ada"}, ("subject",), "ada"),
        ({"payload": {"customer": {"id": 7}}}, ("payload", "customer", "id"), "7"),
        ({"payload": {"id": True}}, ("payload", "id"), None),
        ({"payload": {"id": 1.5}}, ("payload", "id"), None),
        ({"payload": {"id": ""}}, ("payload", "id"), None),
        ({"payload": {"id": None}}, ("payload", "id"), None),
        ({"payload": []}, ("payload", "id"), None),
        ({}, ("subject",), None),
    ],
)
def test_whose_an_event_is(document: dict, path: tuple[str, ...], subject: str | None) -> None:
    assert sensitive.subject_of(document, path) == subject


def test_what_is_handed_back_as_it_was_is_a_reference_again() -> None:
    mail, age = Reference("b-1", "h" * 26), Reference("b-2", "h" * 26)
    values = {mail: "ada@example.org", age: 1}
    given = {"to": ["ada@example.org", "a text with ada@example.org"], "n": 1, "ok": True}
    assert sensitive.referred(given, values) == {**given, "to": [mail.document(), given["to"][1]]}
    assert sensitive.referred(given, {}) is given
