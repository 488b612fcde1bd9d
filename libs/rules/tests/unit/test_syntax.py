"""The reader of CEL's syntax tree."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import expressions, syntax


def test_what_is_not_an_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="not a checked CEL expression"):
        syntax.read(b"")


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with pytest.raises((ValueError, UnicodeDecodeError)):
        syntax.read(b"\x12" + bytes([len(raw) + 2]) + b"\x22" + bytes([len(raw)]) + raw + b"\x80")


@pytest.mark.parametrize(
    ("text", "literals"),
    [
        ("[1, -5, 2u, 0.5, true, false, null]", ["1", "-5", "2u", "0.5", "true", "false", "null"]),
        ("[b'x', 'y']", ["", ""]),
    ],
)
def test_constants_are_as_they_were_written(text: str, literals: list[str]) -> None:
    tree = expressions.compile(text, variables=[]).tree
    assert [node.literal for node in tree.children] == literals


def test_a_question_for_a_field_is_no_reading_of_it() -> None:
    asks, reads = (expressions.compile(text, variables=["v"]).tree for text in ("has(v.a)", "v.a"))
    assert (asks.only_tests, reads.only_tests) == (True, False)


def test_what_the_checker_knows_of_types_is_kept() -> None:
    tree = expressions.compile("[size(v), v, timestamp(v), [1], {'a': 1}]", variables=["v"]).tree
    assert [node.returns for node in tree.children] == ["INT", "", "TIMESTAMP", "LIST", "MAP"]
