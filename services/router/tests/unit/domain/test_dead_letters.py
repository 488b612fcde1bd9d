"""A dead letter keeps the sender's record exactly, whatever the sender sent."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.names import Header
from contracts.rejections import Reason
from router.domain import dead_letters
from router.domain.dead_letter_filter import Filter
from router.domain.records import Record

NAMES = st.sampled_from(
    [
        *("a", "sender-a", "Backbone-Reason", *(header.value for header in Header)),
        *("sender-backbone-reason", "sender-sender-backbone-detail", "Sender-backbone-reason"),
    ]
) | st.text(max_size=5)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=5)), max_size=5).map(tuple)
RECORDS = st.builds(
    Record,
    topic=st.sampled_from(["dev.events", "dev.backbone.task-events"]),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**60 - 1),
    timestamp_ms=st.none() | st.integers(-(2**63), 2**63 - 1),
    key=st.none() | st.binary(max_size=5),
    value=st.none() | st.binary(max_size=20),
    headers=st.none() | HEADERS,
)


def parked(record, *, at=3, detail="why", headers=()):
    """Return the record of the topic of dead letters, with headers added behind ours."""
    ours = dead_letters.parked(record, reason=Reason.EMPTY, detail=detail, attempts=3)
    return Record(
        "dev.backbone.dead-letters", 1, at, 1_700_000_000_000, record.key, record.value,
        (*ours, *headers),
    )  # fmt: skip


def headers_of(record, detail="why"):
    return dead_letters.parked(record, reason=Reason.EMPTY, detail=detail, attempts=3)


@given(RECORDS)
def test_the_senders_record_comes_back_exactly(record):
    letter = dead_letters.read(parked(record))
    assert letter.has_origin
    assert letter.record == record
    assert (letter.reason, letter.detail, letter.attempts) == ("empty", "why", 3)
    assert (letter.place, letter.parked_at_ms) == ((1, 3), 1_700_000_000_000)
    assert letter.cut_from is None


@given(RECORDS.map(lambda record: record._replace(topic="x")))
def test_anything_in_the_topic_can_be_read(record):
    letter = dead_letters.read(record)
    assert letter.weight > 0
    if not letter.has_origin:
        assert letter.record == record


def test_a_record_of_somebody_else_has_no_origin(make):
    letter = dead_letters.read(make.record(b"{}", headers=((Header.REASON, b"empty"),)))
    assert not letter.has_origin
    assert letter.reason == "empty"


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
    record = make.record(b"")._replace(timestamp_ms=timestamp)
    assert dict(headers_of(record))[Header.ORIGIN_TIMESTAMP] == str(timestamp).encode()


def test_a_long_detail_is_cut(make):
    assert len(dict(headers_of(make.record(b""), detail="x" * 9000))[Header.DETAIL]) == 2000


def test_a_value_that_was_cut_says_so(make):
    cut = parked(make.record(b"{"), headers=((Header.VALUE_CUT_FROM, b"700000"),))
    assert dead_letters.read(cut).cut_from == 700_000


@pytest.mark.parametrize(
    ("value", "headers", "said"),
    [
        (b'{"source":"shop","event_id":"e","type":"paid"}', (), ("shop", "e", "paid")),
        (b'{"source":"shop","id":"e","type":"paid"}', (), ("shop", "e", "paid")),
        (b"{", (("ce_id", b"e"), ("CE_Source", b"s")), ("s", "e", "")),
        (b'{"source":1,"event_id":{},"type":null}', (), ("", "", "")),
        (b'{"type":"\\ud800x"}', (), ("", "", "?x")),
        (b"[" * 100_000, (), ("", "", "")),
        (b"\xff", (), ("", "", "")),
        (None, (), ("", "", "")),
    ],
)
def test_what_the_event_says_is_told_as_far_as_it_can_be_read(make, value, headers, said):
    letter = dead_letters.read(parked(make.record(value, headers=headers)))
    assert (letter.source, letter.event_id, letter.type) == said


def test_a_filter_wants_what_has_all_of_it(make):
    letter = dead_letters.read(parked(make.record(make.event("e-1"))))
    at = datetime.fromtimestamp(1_700_000_000, UTC)
    holds = {
        "reason": "empty",
        "origin_topic": "dev.events",
        "source": "shop",
        "event_id": "e-1",
        "type": "paid",
        "parked_from": at,
    }
    assert Filter(**holds).wants(letter)
    assert not Filter(parked_to=at).wants(letter)
    for name in holds.keys() - {"parked_from"}:
        assert not Filter(**{**holds, name: "other"}).wants(letter)
