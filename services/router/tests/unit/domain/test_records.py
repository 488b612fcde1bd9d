"""A record as it came."""

import pytest

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_namespace_is_what_stands_before_the_first_dot(make):
    assert make.record(b"", topic="dev.billing.events").namespace == "dev"


def test_traceparent_is_taken_from_its_header(make):
    record = make.record(b"", headers=(("other", b"x"), ("traceparent", VALID.encode())))
    assert record.traceparent == VALID


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b"nonsense",
        VALID.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32).encode(),
    ],
)
def test_a_traceparent_that_is_none_is_ignored(make, value):
    assert make.record(b"", headers=(("traceparent", value),)).traceparent is None


def test_unreadable_headers_have_no_traceparent(make):
    assert make.record(b"", headers=None).traceparent is None
