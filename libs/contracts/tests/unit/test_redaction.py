from typing import Any

import pytest

from contracts.redaction import redacted

KEY = b"0123456789abcdef0123456789abcdef"
MARK = {"$redacted": None}


@pytest.mark.parametrize(
    ("value", "fields", "left"),
    [
        ({"a": 1, "b": 2}, ["a"], {"a": MARK, "b": 2}),
        ([{"a": 1}, {"b": 2}, 3], ["a"], [{"a": MARK}, {"b": 2}, 3]),
        ({"a": {"b": [{"c": 1, "d": 2}]}}, ["a.b.c"], {"a": {"b": [{"c": MARK, "d": 2}]}}),
        ({"a": {"b": 1}}, ["a"], {"a": MARK}),
        ({"a": {"b": 1}}, ["a", "a.b"], {"a": MARK}),
        ({"a": {"b": 1}}, ["a.b", "a"], {"a": MARK}),
        ({"a": 1}, ["a.b", "c"], {"a": 1}),
        (None, ["a"], None),
        ([], ["a"], []),
    ],
)
def test_a_mark_stands_in_place_of_each_field(value: Any, fields: list[str], left: Any) -> None:
    before = repr(value)
    assert redacted(value, fields, key=None) == left
    assert repr(value) == before


def test_with_a_key_equal_values_have_equal_marks_that_nobody_else_can_make() -> None:
    rows = [{"email": "ann"}, {"email": "bob"}, {"email": "ann"}]
    first, second, third = (row["email"]["$redacted"] for row in redacted(rows, ["email"], key=KEY))
    assert first == third == "olx337jkmltnrkivpwwa5ry32u"
    assert first != second
    [other] = (row["email"]["$redacted"] for row in redacted(rows[:1], ["email"], key=KEY[::-1]))
    assert other != first


def test_what_is_redacted_stays_as_it_is() -> None:
    once = redacted({"a": 1}, ["a"], key=KEY)
    assert redacted(once, ["a"], key=KEY) == once
