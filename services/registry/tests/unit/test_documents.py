"""Reading: what is unclear is told with its path and place, and nothing surprises."""

from typing import Any

import pytest

from registry.domain import documents

Told = tuple[str, int, int, str]


def unreadable(raw: bytes) -> list[Told]:
    with pytest.raises(documents.UnreadableError) as refusal:
        documents.read(raw)
    return [(f.path, f.line, f.column, f.message) for f in refusal.value.faults]


def faults(raw: bytes) -> list[Told]:
    return [(f.path, f.line, f.column, f.message) for f in documents.read(raw).faults]


def value(raw: bytes) -> dict[str, Any]:
    document = documents.read(raw)
    assert document.faults == ()
    return document.value


def test_json_and_yaml_of_one_document_are_equal() -> None:
    as_json = b'{"a": [1, -2.5, true, null, "x"], "b": {"c": "12:30"}}'
    as_yaml = b"a:\n- 1\n- -2.5\n- true\n- null\n- x\nb:\n  c: 12:30\n"
    assert value(as_json) == value(as_yaml)


@pytest.mark.parametrize(
    "text",
    ["on", "no", "Yes", "2026-01-01", "2026-01-01T00:00:00Z", "1:30", "1_000", "0b1", "=", "<<"],
)
def test_words_that_older_yaml_changes_stay_text(text: str) -> None:
    assert value(f"key: {text}".encode()) == {"key": text}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0x10", 16), ("0o17", 15), ("017", 17), ("+3", 3), ("1e3", 1000.0), (".5", 0.5), ("", None)],
)
def test_plain_numbers_and_nothing_are_read_as_core_schema_does(text: str, expected: Any) -> None:
    assert value(f"key: {text}".encode()) == {"key": expected}


def test_quoted_and_literal_scalars_stay_text() -> None:
    assert value(b"a: '1'\nb: \"true\"\nc: |\n  2\n") == {"a": "1", "b": "true", "c": "2\n"}


def test_keys_stay_text() -> None:
    assert value(b"on: 1\n404: 2\ntrue: 3\n") == {"on": 1, "404": 2, "true": 3}


def test_brace_may_open_yaml_flow_style() -> None:
    assert value(b"{a: 1, b: [x, y]}") == {"a": 1, "b": ["x", "y"]}


def test_byte_order_mark_and_windows_line_ends_are_taken() -> None:
    assert value(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}


def test_escaped_surrogate_pairs_of_json_are_one_character() -> None:
    assert value(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


def test_everything_unclear_is_told_at_once_and_the_rest_is_read() -> None:
    document = documents.read(
        b"a: &x 1\nb:\n  - *x\nb: 2\nc: !!python/object:os.system ls\nd: {e: .nan}\n"
        b"f: 99999999999999999999\ng: 1e999\nh: sound\n"
    )
    assert [(f.path, f.line, f.column, f.message, f.known) for f in document.faults] == [
        ("a", 1, 4, "anchors (&x) are not taken: write it out each time", True),
        ("b[0]", 3, 5, "aliases (*x) are not taken: write it out", False),
        ("b", 4, 1, "the key appears twice; the first is in line 2", True),
        (
            "c",
            5,
            4,
            "tags (tag:yaml.org,2002:python/object:os.system) are not taken: the types are those "
            "of JSON",
            True,
        ),
        ("d.e", 6, 8, "JSON has no number .nan: put it in quotes if it is text", False),
        ("f", 7, 4, "99999999999999999999 is too large for a 64-bit integer", False),
        ("g", 8, 4, "1e999 is too large for a double", False),
    ]
    assert document.value["h"] == "sound"


def test_everything_unclear_in_json_is_told_at_once() -> None:
    raw = b'{\n  "a": 1,\n  "a": NaN,\n  "b": [1e999, 99999999999999999999, "\\ud800"]\n}'
    assert faults(raw) == [
        ("a", 3, 3, "the key appears twice; the first is in line 2"),
        ("a", 3, 8, "JSON has no number NaN: put it in quotes if it is text"),
        ("b[0]", 4, 9, "1e999 is too large for a double"),
        ("b[1]", 4, 16, "99999999999999999999 is too large for a 64-bit integer"),
        ("b[2]", 4, 38, "the text holds half of a surrogate pair"),
    ]


def test_key_that_is_a_list_leaves_the_rest_readable() -> None:
    assert faults(b"? [1, 2]\n: 3\nb: &y 4\n") == [
        ("", 1, 3, "a key is text, not a list or an object"),
        ("b", 3, 4, "anchors (&y) are not taken: write it out each time"),
    ]


def test_key_that_is_an_alias_is_refused() -> None:
    told = ("", 2, 1, "aliases (*x) are not taken: write it out")
    assert faults(b"a: &x 1\n*x : 2\n")[1] == told


@pytest.mark.parametrize(
    ("raw", "line", "column", "message"),
    [
        (
            b"a: [1\nb: 2",
            2,
            2,
            "the document is not YAML: while parsing a flow sequence, did not find expected ',' "
            "or ']'",
        ),
        (b'{"a": 1\n "b": 2}', 2, 2, "the document is not JSON: expecting ',' delimiter"),
        (
            b"{a: 1,\n b: [}",
            2,
            6,
            "the document is not YAML: while parsing a flow node, did not find expected node "
            "content",
        ),
        (b"\xff\xfe", 1, 1, "byte 0 of the document is not UTF-8"),
        (b"a: 1\nb: \xff", 2, 4, "byte 8 of the document is not UTF-8"),
        (b"a: \x00", 1, 4, "the character U+0000 cannot stand in YAML"),
        (
            b'a: "\\ud800"',
            1,
            7,
            "the document is not YAML: while parsing a quoted scalar, found invalid Unicode "
            "character escape code",
        ),
        (b"a: 1\n---\nb: 2", 2, 1, "a second document begins: write one resource a file"),
        (b"", 1, 1, "a resource is an object, not nothing"),
        (b"- 1", 1, 1, "a resource is an object, not a list"),
        (b"just words", 1, 1, "a resource is an object, not text"),
        (
            b"a: " + b"x" * documents.MAX_DOCUMENT_BYTES,
            1,
            1,
            "the document has 262147 bytes, more than 262144",
        ),
    ],
)
def test_unreadable_documents_say_what_is_wrong_and_where(
    raw: bytes, line: int, column: int, message: str
) -> None:
    assert unreadable(raw) == [("", line, column, message)]


@pytest.mark.parametrize(
    ("opening", "column"), [(b"[", 63), (b"{a: ", 249), (b'{"a":', 311), (b"- ", 125)]
)
def test_deep_nesting_ends_at_a_limit_and_not_in_a_crash(opening: bytes, column: int) -> None:
    found = unreadable(opening * (200_000 // len(opening)))
    assert [told[1:] for told in found] == [(1, column, "nested deeper than 62 levels")]


def test_brackets_without_an_opening_are_no_crash() -> None:
    message = "the document is not JSON: nothing to end with ]"
    assert unreadable(b"{}]" + b"[" * 100) == [("", 1, 3, message)]


def test_texts_that_are_none_in_json_too_deep_are_no_crash() -> None:
    assert unreadable(b'{"a\t": "\\x", "b": ' + b"[" * 100) == [
        ("", 1, 2, "the document is not JSON: invalid control character"),
        ("['']", 1, 8, "the document is not JSON: invalid \\escape"),
        ("b" + "[0]" * 61, 1, 80, "nested deeper than 62 levels"),
    ]


def test_many_aliases_do_not_expand() -> None:
    bomb = b"a: &a [x, x, x, x]\n" + b"".join(
        f"{name}: &{name} [*{before}, *{before}, *{before}]\n".encode()
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert len(faults(bomb)) == 9 + 8 * 3


def test_reading_ends_after_a_thousand_faults() -> None:
    assert len(unreadable(b"a: [" + b"*a," * 50_000 + b"]")) == documents.MAX_FAULTS


def test_paths_quote_keys_that_are_no_names_and_cut_long_ones() -> None:
    assert faults(b"a:\n  'b c':\n  - &x 1\n")[0][0] == "a['b c'][0]"
    assert faults(b"k" * 500 + b": &x 1\n")[0][0] == f"['{'k' * 79}…']"
