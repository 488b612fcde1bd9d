"""The strict reader: its fast way takes nothing that the slow one would read otherwise."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts import strictjson
from contracts.rejections import EventRejectedError, Reason


def outcome(read):
    try:
        return "read", repr(read())
    except EventRejectedError as exc:
        return "refused", exc.reason


def agree(raw, depth=strictjson.MAX_DEPTH):
    """Assert that `parse` says what the slow way says, whether it takes it or not."""
    assert outcome(lambda: strictjson.parse(raw, max_depth=depth)) == outcome(
        lambda: strictjson._strict(raw, depth)
    )


NUMBER = st.sampled_from(
    ["0", "-0", "-0.0", "1.0", "1e3", "1E400", "-1e999", "1e-400", "NaN", "Infinity", "-Infinity",
     "01", "+1", ".5", "5.", "1e", "9" * 15, "9" * 16, "9" * 19, "-9223372036854775808",
     "9223372036854775808", "18446744073709551615", "9" * 40, "0.1234567890123456789",
     "123456789012345e5", "0x1f"]
) | st.integers().map(str) | st.floats().map(repr)  # fmt: skip
STRING = st.sampled_from(
    ['"a"', '"b"', '""', '"\\""', '"\\ud800"', '"\\ud83d\\ude00"', '"Infinity"', '"\\u0061"', '"é"',
     '"\x7f"', '"\x01"', '"1234567890123456"', "'a'", '"[[[["', '"a\\\\"']
) | st.text(max_size=4).map(lambda text: json.dumps(text, ensure_ascii=False))  # fmt: skip
SPACE = st.sampled_from(["", " ", "\t\r\n", "\x0b", "\u00a0"])
DOCUMENT = st.recursive(
    NUMBER | STRING | st.sampled_from(["true", "null", "nil", ""]),
    lambda inner: (
        st.builds(
            lambda items, space: "[" + f"{space},".join(items) + space + "]",
            st.lists(inner, max_size=3),
            SPACE,
        )
        | st.builds(
            lambda pairs, space: "{" + ",".join(f"{k}{space}:{v}" for k, v in pairs) + "}",
            st.lists(st.tuples(STRING, inner), max_size=3),
            SPACE,
        )
    ),
    max_leaves=12,
)


@given(st.tuples(SPACE, DOCUMENT, SPACE).map("".join))
@example('{"a":1,"a":1}')
@example('[{"x":{"a":"b","a":"c"}}]')
@example('{"a":{"b":1},"a":2}')
@example("\ufeff{}")
def test_the_fast_way_agrees_with_the_slow_one(text):
    agree(text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=40))
def test_both_ways_agree_on_any_bytes(raw):
    agree(raw)


@given(st.integers(0, 6), st.integers(1, 6), st.sampled_from(["[", '{"a":']))
def test_both_ways_agree_on_how_deep_is_too_deep(levels, depth, opening):
    closing = "]" if opening == "[" else "}"
    agree((opening * levels + "1" + closing * levels).encode(), depth)


def test_a_plain_document_goes_the_fast_way(monkeypatch):
    monkeypatch.delattr(strictjson, "_strict")
    document = {"a": [1, 2.5, {"b": "é"}], "c": None, "d": "", "e": True}
    assert strictjson.parse(json.dumps(document, ensure_ascii=False).encode()) == document


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a":1,"a":2}', Reason.DUPLICATE_KEY),
        (b'{"x":[{"a":1,"b":2,"a":1}]}', Reason.DUPLICATE_KEY),
        (b'{"a":1,"\\u0061":2}', Reason.DUPLICATE_KEY),
        (b"9" * 20, Reason.INVALID_NUMBER),
        (b"1e999", Reason.INVALID_NUMBER),
        (b"[NaN]", Reason.INVALID_NUMBER),
        (b'"\\ud800"', Reason.MALFORMED_JSON),
        (b"\xef\xbb\xbf{}", Reason.MALFORMED_JSON),
        (b"[" * 65 + b"]" * 65, Reason.TOO_DEEP),
        (b"[" * 200_000, Reason.TOO_DEEP),
        (b"\xed\xa0\x80", Reason.NOT_UTF8),
        (b"", Reason.MALFORMED_JSON),
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(raw, reason):
    with pytest.raises(EventRejectedError) as refusal:
        strictjson.parse(raw)
    assert refusal.value.reason is reason


def test_depth_is_counted_exactly():
    assert strictjson.parse(b"[" * 64 + b"]" * 64)
    assert strictjson.parse(json.dumps({"text": "[" * 100}).encode())
