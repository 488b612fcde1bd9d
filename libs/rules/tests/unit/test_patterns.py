"""EventBridge's pattern language, as its documentation describes it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import patterns
from rules.errors import PatternError


def matches(alternative: Any, value: Any) -> bool:
    return patterns.compile({"f": [alternative]}).matches({"f": value})


@pytest.mark.parametrize(
    ("alternative", "holds", "fails"),
    [
        ("paid", ["paid", ["open", "paid"]], ["Paid", "", None, 1, {"paid": 1}, []]),
        ("", [""], [" ", None]),
        (300, [300, 300.0, [1, 300]], ["300", 301, True]),
        (1, [1], [True]),
        (True, [True], [1, "true", False]),
        (None, [None], ["", 0, False, []]),
        ({"prefix": "eu-"}, ["eu-", "eu-west"], ["us-eu-", 1, None]),
        ({"suffix": ".png"}, ["a.png"], ["png", ".png.jpg", 1]),
        ({"prefix": {"equals-ignore-case": "EU-"}}, ["eu-west", "Eu-"], ["us"]),
        ({"suffix": {"equals-ignore-case": ".PNG"}}, ["a.png"], ["a.jpg"]),
        ({"equals-ignore-case": "Alice"}, ["ALICE", "alice"], ["alic", 1]),
        ({"wildcard": "a*c*e"}, ["ace", "abcde", "a*c*e"], ["acd", "bace", "ae"]),
        ({"wildcard": "*"}, ["", "x"], [1, None]),
        ({"wildcard": r"1\*2"}, ["1*2"], ["1x2"]),
        ({"wildcard": "ab*ba"}, ["abba", "abxba"], ["aba"]),
        ({"anything-but": "a"}, ["b", 1, None, True, ["a", "b"]], ["a", ["a"], [], {"x": 1}]),
        ({"anything-but": ["a", "b"]}, ["c"], ["a", "b"]),
        ({"anything-but": [1, 2]}, [3, "1"], [1, 2.0]),
        ({"anything-but": {"prefix": "a"}}, ["b", 1], ["ab"]),
        ({"anything-but": {"prefix": ["a", "b"]}}, ["c"], ["ab", "ba"]),
        ({"anything-but": {"suffix": "z"}}, ["za"], ["az"]),
        ({"anything-but": {"equals-ignore-case": ["A", "b"]}}, ["c"], ["a", "B"]),
        ({"anything-but": {"wildcard": "*/lib/*"}}, ["/usr/bin"], ["/usr/lib/x"]),
        ({"numeric": [">", 0]}, [1, 0.001, [0, 1]], [0, -1, "1", True]),
        ({"numeric": [">=", 0]}, [0], [-1]),
        ({"numeric": ["<", 0]}, [-1], [0]),
        ({"numeric": ["<=", 0]}, [0, -0.5], [0.1]),
        ({"numeric": ["=", 3.5]}, [3.5], [3, 4]),
        ({"numeric": [">", 0, "<=", 5]}, [5, 0.1], [0, 5.1]),
        ({"numeric": [">=", 0, "<", 5]}, [0, 4.9], [5]),
        ({"cidr": "10.0.0.0/24"}, ["10.0.0.255"], ["10.0.1.0", "::1", "x", 10]),
        ({"cidr": "2001:db8::/32"}, ["2001:db8::1"], ["2001:db9::1", "10.0.0.1"]),
        ({"exists": True}, [1, None, "", False, [1]], [[], {}, {"x": 1}]),
        ({"exists": False}, [[], {}, {"x": 1}], [1, None, "", [1]]),
    ],
)
def test_a_matcher(alternative: Any, holds: list[Any], fails: list[Any]) -> None:
    assert [value for value in holds if not matches(alternative, value)] == []
    assert [value for value in fails if matches(alternative, value)] == []


def test_a_missing_field_matches_nothing_but_exists_false() -> None:
    for alternative in ("a", None, {"anything-but": "a"}, {"exists": True}):
        assert not patterns.compile({"f": [alternative]}).matches({})
    assert patterns.compile({"f": [{"exists": False}]}).matches({})
    assert patterns.compile({"f": {"g": {"h": [{"exists": False}]}}}).matches({"f": 1})


def test_all_fields_have_to_match_and_one_alternative_of_each() -> None:
    pattern = patterns.compile({"type": ["a", "b"], "payload": {"n": [{"numeric": [">", 1]}, 0]}})
    assert pattern.matches({"type": "b", "payload": {"n": 0}, "other": 1})
    assert not pattern.matches({"type": "b", "payload": {"n": 1}})
    assert not pattern.matches({"type": "c", "payload": {"n": 2}})


def test_fields_of_one_object_pattern_come_from_one_element() -> None:
    pattern = patterns.compile({"items": {"sku": ["a"], "count": [2]}})
    assert pattern.matches({"items": [{"sku": "b", "count": 1}, {"sku": "a", "count": 2}]})
    assert not pattern.matches({"items": [{"sku": "a", "count": 1}, {"sku": "b", "count": 2}]})
    assert pattern.matches({"items": [[{"sku": ["a", "c"], "count": 2}]]})


def test_or_needs_one_group_and_the_fields_beside_it() -> None:
    pattern = patterns.compile(
        {"source": ["shop"], "$or": [{"a": [1]}, {"b": {"$or": [{"c": [2]}, {"d": [3]}]}}]}
    )
    assert pattern.matches({"source": "shop", "a": 1})
    assert pattern.matches({"source": "shop", "b": {"d": 3}})
    assert not pattern.matches({"source": "shop", "b": {"d": 2}})
    assert not pattern.matches({"source": "till", "a": 1})


@pytest.mark.parametrize(
    ("pattern", "path", "message"),
    [
        ({}, "", "empty object"),
        ([], "", "expected an object, found a list"),
        ({"a": {}}, "a", "empty object"),
        ({"a": []}, "a", "empty list"),
        ({"a": "x"}, "a", r"write \['x'\]"),
        ({"a": {"b": None}}, "a.b", "expected a list"),
        ({"a": [["x"]]}, "a[0]", "expected a value or a matcher, found a list"),
        ({"a": ["x", {}]}, "a[1]", "exactly one key"),
        ({"a": [{"prefix": "x", "suffix": "y"}]}, "a[0]", "exactly one key, this has 2"),
        ({"a": [{"prefx": "x"}]}, "a[0].prefx", "unknown matcher 'prefx'"),
        ({"a": [{"prefix": 1}]}, "a[0].prefix", "expected a text"),
        ({"a": [{"wildcard": {"prefix": "x"}}]}, "a[0].wildcard", "expected a text"),
        ({"a": [float("nan")]}, "a[0]", "NaN is no number"),
        ({"a": [{"anything-but": {"prefix": ""}}]}, "a[0].anything-but.prefix", "not empty"),
        ({"a": [{"anything-but": {"suffix": ["x", ""]}}]}, "a[0].anything-but.suffix[1]", "empty"),
        ({"a": [{"anything-but": True}]}, "a[0].anything-but", "only texts or numbers"),
        ({"a": [{"prefix": {"suffix": "x"}}]}, "a[0].prefix.suffix", "only equals-ignore-case"),
        ({"a": [{"exists": "yes"}]}, "a[0].exists", "true or false"),
        ({"a": [{"numeric": [">"]}]}, "a[0].numeric", "expected"),
        ({"a": [{"numeric": [">", "1"]}]}, "a[0].numeric", "expected a number"),
        ({"a": [{"numeric": ["!=", 1]}]}, "a[0].numeric", "unknown comparison"),
        ({"a": [{"numeric": [">", True]}]}, "a[0].numeric", "expected a number"),
        ({"a": [{"numeric": ["<", 5, ">", 1]}]}, "a[0].numeric", "a range is"),
        ({"a": [{"numeric": [">", 5, "<", 5]}]}, "a[0].numeric", "no number lies"),
        ({"a": [{"anything-but": []}]}, "a[0].anything-but", "empty list"),
        ({"a": [{"anything-but": ["a", 1]}]}, "a[0].anything-but", "only texts or numbers"),
        ({"a": [{"anything-but": {"numeric": [">", 1]}}]}, "a[0].anything-but.numeric", "only"),
        ({"a": [{"wildcard": "a**b"}]}, "a[0].wildcard", "two stars"),
        ({"a": [{"wildcard": r"a\b"}]}, "a[0].wildcard", "backslash"),
        ({"a": [{"cidr": "10.0.0.0/33"}]}, "a[0].cidr", "not a network"),
        ({"$or": [{"a": [1]}]}, "$or", "at least two"),
        ({"$or": {"a": [1]}}, "$or", "at least two"),
        ({"$or": [{"a": [1]}, {}]}, "$or[1]", "empty object"),
        ({"a": list(range(1001))}, "a", "more than 1000"),
    ],
)
def test_what_is_not_a_pattern_is_refused_with_its_path(
    pattern: Any, path: str, message: str
) -> None:
    with pytest.raises(PatternError, match=message) as caught:
        patterns.compile(pattern)
    assert caught.value.path == path


def test_a_pattern_that_is_nested_too_deep_is_refused() -> None:
    pattern: Any = [1]
    for _ in range(50):
        pattern = {"a": pattern}
    with pytest.raises(PatternError, match="deeper than 32"):
        patterns.compile(pattern)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "$or"]), below, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b"]), json, max_size=3), json)
def test_any_pattern_compiles_or_is_refused_and_matching_never_fails(
    document: dict[str, Any], pattern: Any
) -> None:
    try:
        compiled = patterns.compile(pattern)
    except PatternError:
        return
    assert compiled.matches(document) in (True, False)


@settings(deadline=None)
@given(st.text("ab", max_size=8), st.lists(st.text("ab", max_size=3), min_size=2, max_size=4))
def test_wildcards_mean_any_text_between(text: str, parts: list[str]) -> None:
    parts = [parts[0], *(part or "a" for part in parts[1:-1]), parts[-1]]
    pattern = "*".join(parts)

    def glob(rest: str, left: list[str]) -> bool:
        # The definition itself: some split of the text.
        if len(left) == 1:
            return rest.endswith(left[0])
        return any(
            rest.startswith(left[0], start) and glob(rest[start + len(left[0]) :], left[1:])
            for start in range(len(rest) + 1)
        )

    expected = text.startswith(parts[0]) and glob(text[len(parts[0]) :], parts[1:])
    assert matches({"wildcard": pattern}, text) is expected
