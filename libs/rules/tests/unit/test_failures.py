"""Why a pattern does not match, for people."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import failures, patterns
from rules.failures import LONGEST


def first(pattern: Any, document: Any) -> str:
    return str(failures.first(patterns.compile(pattern), document))


@pytest.mark.parametrize(
    ("pattern", "document", "told"),
    [
        (
            {"payload": {"amount": [{"numeric": [">", 1000]}]}},
            {"payload": {"amount": 990}},
            'payload.amount: wanted [{"numeric":[">",1000]}], saw 990',
        ),
        (
            {"source": ["shop"], "payload": {"amount": [{"numeric": [">=", 1, "<", 5.5]}, None]}},
            {"source": "shop", "payload": {}},
            'payload.amount: wanted [{"numeric":[">=",1,"<",5.5]},null], saw absent',
        ),
        ({"a": [{"exists": False}]}, {"a": None}, 'a: wanted [{"exists":false}], saw null'),
        (
            {"a": [{"exists": True}]},
            {"a": {"b": 1}},
            'a: wanted [{"exists":true}], saw absent (an object or an empty list: {"b":1})',
        ),
        ({"a": ["x"], "b": ["y"]}, {"a": "x", "b": ["z", 1]}, 'b: wanted ["y"], saw ["z",1]'),
        ({"a": {"b": {"c": [1]}}}, {"a": 7}, "a.b.c: wanted [1], saw absent"),
        # The element that comes furthest, not the first.
        (
            {"items": {"sku": ["a"], "count": [2]}},
            {"items": [{"sku": "b", "count": 2}, [{"sku": "a", "count": 1}]]},
            "items[1][0].count: wanted [2], saw 1",
        ),
        (
            {"$or": [{"a": [1]}, {"b": {"c": [2]}}]},
            {"a": 3},
            '$or: wanted [{"a":[1]},{"b":{"c":[2]}}], saw a: 3; b.c: absent',
        ),
        (
            {"p": {"k": ["v"], "$or": [{"a": [1]}, {"b": [2]}]}},
            {"p": {"k": "v", "b": 1}},
            'p.$or: wanted [{"a":[1]},{"b":[2]}], saw p.a: absent; p.b: 1',
        ),
    ],
)
def test_the_first_clause_that_fails(pattern: Any, document: Any, told: str) -> None:
    assert first(pattern, document) == told


@pytest.mark.parametrize(
    "alternative",
    [
        {"prefix": "x"},
        {"suffix": "x"},
        {"prefix": {"equals-ignore-case": "x"}},
        {"suffix": {"equals-ignore-case": "x"}},
        {"equals-ignore-case": "x"},
        {"wildcard": "x*"},
        {"cidr": "10.0.0.0/8"},
        {"numeric": ["=", 3]},
        {"numeric": ["<=", 3]},
        {"anything-but": 0},
        {"anything-but": [0, 1]},
        {"anything-but": {"wildcard": "0*"}},
        {"anything-but": {"suffix": ["0", "1"]}},
    ],
)
def test_a_clause_is_told_as_it_is_written(alternative: Any) -> None:
    pattern = patterns.compile({"f": [alternative]})
    value = "0" if isinstance(alternative.get("anything-but"), dict) else 0
    value = 30 if "numeric" in alternative else value
    failure = failures.first(pattern, {"f": value})
    assert failure is not None
    assert patterns.compile({"f": json.loads(failure.wanted)}) == pattern


def test_what_matches_has_no_failure() -> None:
    pattern = patterns.compile({"a": ["x"], "$or": [{"b": [1]}, {"c": [1]}]})
    assert failures.first(pattern, {"a": "x", "c": 1}) is None


def test_long_values_are_cut() -> None:
    long = "x" * 10_000
    pattern = patterns.compile({long: [long], "$or": [{"a": [long]}, {"b": [long]}]})
    for document in ({long: "y" * 10_000}, {long: long, "a": ["y"] * 10_000}):
        failure = failures.first(pattern, document)
        assert failure is not None
        assert len(str(failure)) < 3 * LONGEST + 60
        assert "…" in failure.wanted


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("ab"), below),
    max_leaves=8,
)
LEAVES = st.lists(st.integers(-2, 2) | st.fixed_dictionaries({"exists": st.booleans()}), min_size=1)
FIELDS = st.recursive(
    LEAVES, lambda below: st.dictionaries(st.sampled_from("ab"), below, min_size=1), max_leaves=4
)


@given(
    st.dictionaries(st.sampled_from("ab"), FIELDS, min_size=1),
    st.dictionaries(st.sampled_from("ab"), JSON),
)
def test_there_is_a_failure_exactly_when_it_does_not_match(pattern: Any, document: Any) -> None:
    compiled = patterns.compile(pattern)
    failure = failures.first(compiled, document)
    assert (failure is None) is compiled.matches(document)
