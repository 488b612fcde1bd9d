# ruff: noqa: FBT001, FBT003 - true and false are values of JSON here
"""The pattern language as Amazon's engine has it, and where ours differs on purpose.

Each case of the first table was given to event-ruler 2.1.0 as well, with the same answer.
"""

from typing import Any

import pytest

from rules import patterns

ORDERS = {"items": [{"sku": "a", "count": 1}, {"sku": "b", "count": 2}], "tags": ["x", "y"]}
NESTED = {"a": [{"b": [{"x": 0}, {"x": 1}], "c": 3}, {"b": {"x": 2}, "c": 4}]}


def leaf(alternative: Any, value: Any) -> tuple[Any, Any]:
    return {"f": [alternative]}, {"f": value}


SAME = [
    # Values: type and value; a number is a number however it is written.
    (*leaf("", ""), True),
    (*leaf("", " "), False),
    (*leaf("1", 1), False),
    (*leaf(1, "1"), False),
    (*leaf(3, 3.0), True),
    (*leaf(0.1, 0.1000), True),
    (*leaf(1, True), False),
    (*leaf(True, True), True),
    (*leaf(True, "true"), False),
    (*leaf(None, None), True),
    (*leaf(None, ""), False),
    (*leaf(None, []), False),
    (*leaf(12345678901234567890123, 12345678901234567890123), True),
    (*leaf(12345678901234567890123, 12345678901234567890124), False),
    # Texts, from both ends and with the case ignored.
    (*leaf({"prefix": "eu-"}, "eu-west"), True),
    (*leaf({"prefix": "eu-"}, "EU-west"), False),
    (*leaf({"prefix": "eu-"}, 1), False),
    (*leaf({"prefix": ""}, ""), True),
    (*leaf({"prefix": ""}, 1), False),
    (*leaf({"suffix": ""}, "x"), True),
    (*leaf({"suffix": ".png"}, "a.png"), True),
    (*leaf({"suffix": ".png"}, "png"), False),
    (*leaf({"suffix": {"equals-ignore-case": ".PNG"}}, ".PnG"), True),
    (*leaf({"prefix": {"equals-ignore-case": "EU-"}}, "eu-west"), True),
    (*leaf({"prefix": {"equals-ignore-case": ""}}, "x"), True),
    (*leaf({"equals-ignore-case": "Alice"}, "aLICE"), True),
    (*leaf({"equals-ignore-case": "Alice"}, "alic"), False),
    (*leaf({"equals-ignore-case": ""}, ""), True),
    (*leaf({"equals-ignore-case": "straße"}, "STRASSE"), True),
    # Wildcards: any text between, none as well; a star and a backslash behind a backslash.
    (*leaf({"wildcard": "*"}, ""), True),
    (*leaf({"wildcard": "*"}, 1), False),
    (*leaf({"wildcard": ""}, ""), True),
    (*leaf({"wildcard": ""}, "x"), False),
    (*leaf({"wildcard": "a*c*e"}, "abcde"), True),
    (*leaf({"wildcard": "a*c*e"}, "acd"), False),
    (*leaf({"wildcard": r"1\*2"}, "1*2"), True),
    (*leaf({"wildcard": r"1\*2"}, "1x2"), False),
    (*leaf({"wildcard": r"a\\*"}, "a\\b"), True),
    (*leaf({"wildcard": r"a*\**b"}, "a*b"), True),
    (*leaf({"wildcard": r"a*\**b"}, "axb"), False),
    # Anything but: any other value that is there, of whatever type.
    (*leaf({"anything-but": "a"}, "b"), True),
    (*leaf({"anything-but": "a"}, 1), True),
    (*leaf({"anything-but": "a"}, None), True),
    (*leaf({"anything-but": "a"}, ["a"]), False),
    (*leaf({"anything-but": "a"}, ["a", "b"]), True),
    (*leaf({"anything-but": "a"}, []), False),
    (*leaf({"anything-but": "a"}, {"b": 1}), False),
    (*leaf({"anything-but": ""}, ""), False),
    (*leaf({"anything-but": [1, 2]}, 2.0), False),
    (*leaf({"anything-but": [1, 2]}, "1"), True),
    (*leaf({"anything-but": [1, 2]}, True), True),
    (*leaf({"anything-but": {"prefix": ["a", "b"]}}, "bc"), False),
    (*leaf({"anything-but": {"prefix": "a"}}, 1), True),
    (*leaf({"anything-but": {"suffix": ["z", "y"]}}, "by"), False),
    (*leaf({"anything-but": {"equals-ignore-case": ["A"]}}, "a"), False),
    (*leaf({"anything-but": {"equals-ignore-case": ["A"]}}, None), True),
    (*leaf({"anything-but": {"wildcard": "*/lib/*"}}, "/usr/lib/x"), False),
    (*leaf({"anything-but": {"wildcard": ["a*", "*b"]}}, "c"), True),
    # Numbers: only of numbers.
    (*leaf({"numeric": [">", 0]}, 0.1), True),
    (*leaf({"numeric": [">", 0]}, -0.0), False),
    (*leaf({"numeric": [">=", 0]}, -0.0), True),
    (*leaf({"numeric": ["<", 0]}, "-1"), False),
    (*leaf({"numeric": ["<=", 0]}, False), False),
    (*leaf({"numeric": ["=", 3.5]}, 3.5), True),
    (*leaf({"numeric": [">", 0, "<=", 5]}, 5), True),
    (*leaf({"numeric": [">", 0, "<=", 5]}, 0), False),
    (*leaf({"numeric": [">=", 0, "<", 5]}, 5), False),
    # Addresses.
    (*leaf({"cidr": "10.0.0.0/24"}, "10.0.0.255"), True),
    (*leaf({"cidr": "10.0.0.0/24"}, "10.0.1.0"), False),
    (*leaf({"cidr": "10.0.0.7/24"}, "10.0.0.255"), True),
    (*leaf({"cidr": "10.0.0.0/31"}, "10.0.0.1"), True),
    (*leaf({"cidr": "10.0.0.0/24"}, "10.0.0.1/32"), False),
    (*leaf({"cidr": "2001:db8::/32"}, "2001:DB8:0:0:0:0:0:1"), True),
    (*leaf({"cidr": "2001:db8::/32"}, "10.0.0.1"), False),
    # What is there: leaves. An object and an empty array have none of their own.
    (*leaf({"exists": True}, None), True),
    (*leaf({"exists": True}, [[]]), False),
    (*leaf({"exists": True}, {"x": 1}), False),
    (*leaf({"exists": False}, {}), True),
    (*leaf({"exists": False}, [{"x": 1}]), True),
    (*leaf({"exists": False}, [[], 1]), False),
    ({"f": ["a", {"exists": False}]}, {}, True),
    ({"f": ["a", {"exists": False}]}, {"f": "b"}, False),
    ({"f": {"g": {"h": [{"exists": False}]}}}, {"f": 1}, True),
    # Arrays: one element, and all fields of one object in the same one, at every depth.
    ({"tags": ["y"]}, ORDERS, True),
    ({"tags": ["z", "x"], "items": {"sku": ["b"]}}, ORDERS, True),
    ({"items": {"sku": ["a"], "count": [1]}}, ORDERS, True),
    ({"items": {"sku": ["a"], "count": [2]}}, ORDERS, False),
    ({"items": {"sku": ["a"], "count": [2]}}, {"items": [[{"sku": ["a", "c"], "count": 2}]]}, True),
    ({"a": {"b": {"x": [1]}, "c": [3]}}, NESTED, True),
    ({"a": {"b": {"x": [1]}, "c": [4]}}, NESTED, False),
    ({"a": {"b": {"x": [2]}, "c": [4]}}, NESTED, True),
    ({"a": {"x": [1], "y": [{"exists": False}]}}, {"a": [{"x": 1, "y": 2}, {"x": 1}]}, True),
    # Or.
    ({"$or": [{"a": [1]}, {"b": [2]}]}, {"b": 2}, True),
    ({"$or": [{"a": [1]}, {"b": [2]}]}, {"a": 2, "b": 1}, False),
    ({"s": ["x"], "$or": [{"a": [1]}, {"b": [2]}]}, {"s": "y", "a": 1}, False),
    ({"d": {"$or": [{"x": [1]}, {"y": [2]}]}}, {"d": [{"x": 0}, {"y": 2}]}, True),
    ({"d": {"z": [9], "$or": [{"x": [1]}, {"y": [2]}]}}, {"d": [{"z": 9}, {"y": 2}]}, False),
    ({"$or": [{"a": [1]}, {"b": {"$or": [{"c": [2]}, {"d": [3]}]}}]}, {"b": {"d": 3}}, True),
]

OURS = [
    # An element without the field lacks it, whatever the others have.
    ({"f": {"g": [{"exists": False}], "h": [1]}}, {"f": [{"g": 1}, {"h": 1}]}, True),
    # Numbers are exact beyond doubles.
    (*leaf({"numeric": [">", 2**53]}, 2**53 + 1), True),
    (*leaf({"numeric": [">", 5]}, 10**400), True),
    (*leaf({"anything-but": [2**53 + 1]}, 2**53), True),
    # Texts are texts, and addresses are written in one way and have one family.
    (*leaf("::1", "0:0:0:0:0:0:0:1"), False),
    (*leaf({"cidr": "10.0.0.0/24"}, "010.000.000.001"), False),
    (*leaf({"cidr": "10.0.0.7"}, "10.0.0.7"), True),
    (*leaf({"cidr": "10.0.0.7/32"}, "10.0.0.7"), True),
    (*leaf({"cidr": "0.0.0.0/0"}, "::1"), False),
    # Case is folded as Unicode says.
    (*leaf({"equals-ignore-case": "straße"}, "strasse"), True),
    (*leaf({"equals-ignore-case": "ΌΣΟΣ"}, "όσος"), True),
    (*leaf({"anything-but": {"prefix": {"equals-ignore-case": "A"}}}, "ab"), False),
    # A name is a name.
    ({"a.b": [1]}, {"a": {"b": 1}}, False),
    ({"a": {"b": [1]}}, {"a.b": 1}, False),
    ({"$or": [{"prefix": ["x"]}, {"b": [1]}]}, {"prefix": "x"}, True),
    ({"$or": [{"s": ["y"]}, {"a": [1]}], "s": ["x"]}, {"s": "x"}, False),
]


@pytest.mark.parametrize(("pattern", "document", "matches"), SAME)
def test_it_is_as_in_amazons_engine(pattern: Any, document: Any, matches: bool) -> None:
    assert patterns.compile(pattern).matches(document) is matches


@pytest.mark.parametrize(("pattern", "document", "matches"), OURS)
def test_it_differs_on_purpose(pattern: Any, document: Any, matches: bool) -> None:
    assert patterns.compile(pattern).matches(document) is matches


def test_deep_arrays_are_looked_into() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    assert patterns.compile({"a": ["x"]}).matches({"a": deep})
