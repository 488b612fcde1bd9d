"""The headers of a dead letter."""

import pytest

from contracts.names import Header
from contracts.rejections import Reason
from router.adapters.kafka_dead_letters import dead_letter_headers


def headers_of(record, detail="why"):
    return dead_letter_headers(record, reason=Reason.EMPTY, detail=detail, attempts=3)


def test_origin_reason_and_attempts_are_told(make):
    assert dict(headers_of(make.record(None, offset=7))) == {
        Header.REASON: b"empty",
        Header.DETAIL: b"why",
        Header.ORIGIN_TOPIC: b"dev.events",
        Header.ORIGIN_PARTITION: b"0",
        Header.ORIGIN_OFFSET: b"7",
        Header.ORIGIN_TIMESTAMP: b"2026-11-23T00:00:00Z",
        Header.ATTEMPTS: b"3",
    }


def test_the_senders_headers_are_kept_in_order_with_duplicates_and_nulls(make):
    sent = (("a", b"1"), ("b", None), ("a", b"\xff"))
    assert headers_of(make.record(b"", headers=sent))[:3] == list(sent)


@pytest.mark.parametrize("name", ["backbone-reason", "Backbone-Origin-Topic"])
def test_the_senders_headers_cannot_pass_for_ours(make, name):
    headers = headers_of(make.record(b"", headers=((name, b"forged"),)))
    assert headers[0] == (f"sender-{name}", b"forged")
    assert [value for key, value in headers if key.lower() == name.lower()] != [b"forged"]


def test_unreadable_headers_are_marked(make):
    assert (Header.HEADERS_UNREADABLE, b"true") in headers_of(make.record(b"", headers=None))


@pytest.mark.parametrize("timestamp", [2**62, -(2**62)])
def test_a_timestamp_that_is_no_time_is_told_as_a_number(make, timestamp):
    record = make.record(b"")
    object.__setattr__(record, "timestamp_ms", timestamp)
    assert dict(headers_of(record))[Header.ORIGIN_TIMESTAMP] == str(timestamp).encode()


def test_a_long_detail_is_cut(make):
    assert len(dict(headers_of(make.record(b""), detail="x" * 9000))[Header.DETAIL]) == 2000
