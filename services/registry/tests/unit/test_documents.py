"""Reading: what is unclear is refused, with a path and a line, and nothing surprises."""

from typing import Any

import pytest

from registry.domain import documents
from registry.errors import InvalidDefinitionError


def problems(raw: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidDefinitionError) as refusal:
        documents.read(raw)
    return [(problem.path, problem.message) for problem in refusal.value.problems]


def test_json_and_yaml_of_one_document_are_equal() -> None:
    as_json = b'{"a": [1, -2.5, true, null, "x"], "b": {"c": "12:30"}}'
    as_yaml = b"a:\n- 1\n- -2.5\n- true\n- null\n- x\nb:\n  c: 12:30\n"
    assert documents.read(as_json) == documents.read(as_yaml)


@pytest.mark.parametrize(
    "text",
    ["on", "no", "Yes", "2026-01-01", "2026-01-01T00:00:00Z", "1:30", "1_000", "0b1", "=", "<<"],
)
def test_words_that_older_yaml_changes_stay_text(text: str) -> None:
    assert documents.read(f"key: {text}".encode()) == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("0x10", 16), ("0o17", 15), ("017", 17), ("+3", 3), ("1e3", 1000.0), (".5", 0.5), ("", None)],
)
def test_plain_numbers_and_nothing_are_read_as_core_schema_does(text: str, value: Any) -> None:
    assert documents.read(f"key: {text}".encode()) == {"key": value}


def test_quoted_and_literal_scalars_stay_text() -> None:
    assert documents.read(b"a: '1'\nb: \"true\"\nc: |\n  2\n") == {
        "a": "1",
        "b": "true",
        "c": "2\n",
    }


def test_keys_stay_text() -> None:
    assert documents.read(b"on: 1\n404: 2\ntrue: 3\n") == {"on": 1, "404": 2, "true": 3}


def test_brace_may_open_yaml_flow_style() -> None:
    assert documents.read(b"{a: 1, b: [x, y]}") == {"a": 1, "b": ["x", "y"]}


def test_everything_unclear_is_told_at_once() -> None:
    found = problems(
        b"a: &x 1\nb:\n  - *x\nb: 2\nc: !!python/object:os.system ls\nd: {e: .nan}\n"
        b"f: 99999999999999999999\ng: 1e999\n"
    )
    assert [path for path, _ in found] == ["a", "b[0]", "b", "c", "d.e", "f", "g"]
    assert found[0][1] == "anchors (&x) are not taken: write it out each time (line 1)"
    assert found[2][1] == "the key appears twice; the first is in line 2 (line 4)"


def test_key_that_is_a_list_leaves_the_rest_readable() -> None:
    assert [message for _, message in problems(b"? [1, 2]\n: 3\nb: &y 4\n")] == [
        "a key is text, not a list or an object (line 1)",
        "anchors (&y) are not taken: write it out each time (line 3)",
    ]


def test_key_that_is_an_alias_is_refused() -> None:
    assert (
        problems(b"a: &x 1\n*x : 2\n")[1][1] == "aliases (*x) are not taken: write it out (line 2)"
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"a: [1\nb: 2", "the document is not YAML at line 2, column 2: "),
        (
            b'{"a": 1, "a": 2}',
            "the document is not JSON that can be used: the key 'a' appears twice",
        ),
        (b'{"a": NaN}', "the document is not JSON that can be used: NaN"),
        (b"\xff\xfe", "byte 0 of the document is not UTF-8"),
        (b"a: \x00", "the document is not YAML: "),
        (b'a: "\\ud800"', "the document is not YAML at line 1"),
        (b"a: 1\n---\nb: 2", "a second document begins: write one definition a file (line 2)"),
        (b"", "a definition is an object, not nothing"),
        (b"- 1", "a definition is an object, not a list"),
        (b"just words", "a definition is an object, not text"),
        (
            b"a: " + b"x" * documents.MAX_DOCUMENT_BYTES,
            "the document has 262147 bytes, more than 262144",
        ),
    ],
)
def test_unreadable_documents_say_what_is_wrong(raw: bytes, expected: str) -> None:
    (problem,) = problems(raw)
    assert problem[0] == ""
    assert problem[1].startswith(expected)


@pytest.mark.parametrize("opening", [b"[", b"{a: ", b'{"a":', b"- "])
def test_deep_nesting_ends_at_a_limit_and_not_in_a_crash(opening: bytes) -> None:
    found = problems(opening * (200_000 // len(opening)))
    assert len(found) == 1
    assert "nested deeper than 64 levels" in found[0][1]


def test_many_aliases_do_not_expand() -> None:
    bomb = b"a: &a [x, x, x, x]\n" + b"".join(
        f"{name}: &{name} [*{before}, *{before}, *{before}]\n".encode()
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert len(problems(bomb)) == 9 + 8 * 3


def test_paths_quote_keys_that_are_no_names() -> None:
    assert problems(b"a:\n  'b c':\n  - &x 1\n")[0][0] == "a['b c'][0]"
