"""The reader of CEL's syntax tree."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import syntax


def test_what_is_not_an_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="not a checked CEL expression"):
        syntax.read(b"")


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with pytest.raises((ValueError, UnicodeDecodeError)):
        syntax.read(b"\x12" + bytes([len(raw) + 2]) + b"\x22" + bytes([len(raw)]) + raw + b"\x80")
