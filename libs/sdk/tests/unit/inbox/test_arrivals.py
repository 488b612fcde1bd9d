import json

import pytest

from contracts.envelope import MAX_HOPS
from contracts.names import Header
from sdk.inbox import arrivals
from sdk.inbox.arrivals import RecordRefusedError
from sdk.inbox.records import Record

EVENT = {
    "event_id": "e1",
    "type": "backbone.TaskCreated",
    "source": "backbone/ledger",
    "occurred_at": "2026-01-01T00:00:00Z",
    "payload": {},
}


def record(headers=(), **fields):
    return Record("dev.events", 0, 7, json.dumps(EVENT | fields).encode(), headers)


def of_stream(stream, version):
    return [(Header.STREAM.value, stream), (Header.STREAM_VERSION.value, version)]


def test_event_of_a_stream_has_its_place():
    arrival = arrivals.read(record(of_stream("run:grün".encode(), b"12")), namespace="dev")
    assert (arrival.stream, arrival.version) == ("run:grün", 12)
    assert (arrival.topic, arrival.event.event_id) == ("dev.events", "e1")


def test_event_without_a_stream_has_none():
    arrival = arrivals.read(record([("other", b"\xff")]), namespace="dev")
    assert (arrival.stream, arrival.version) == (None, None)


def test_digest_is_of_the_bytes():
    first, second = (
        arrivals.read(record(payload={"n": n}), namespace="dev").digest for n in (1, 2)
    )
    assert first != second


@pytest.mark.parametrize(
    "headers",
    [
        None,
        of_stream(b"run:1", b"0"),
        of_stream(b"run:1", b"-1"),
        of_stream(b"run:1", b"1.0"),
        of_stream(b"run:1", b"01"),
        of_stream(b"run:1", "\N{ARABIC-INDIC DIGIT ONE}".encode()),
        of_stream(b"run:1", b"9223372036854775808"),
        of_stream(b"run:1", None),
        of_stream(None, b"1"),
        of_stream(b"", b"1"),
        of_stream(b"\xff", b"1"),
        of_stream(b"run:\x00", b"1"),
        of_stream(b"r" * 513, b"1"),
        of_stream(b"run:1", b"1")[:1],
        of_stream(b"run:1", b"1")[1:],
        of_stream(b"run:1", b"1") * 2,
    ],
)
def test_stream_that_is_not_sound_is_refused(headers):
    with pytest.raises(RecordRefusedError) as caught:
        arrivals.read(record(headers), namespace="dev")
    assert caught.value.reason == "invalid_headers"


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "empty"), (b"", "empty"), (b"{", "malformed_json"), (b"[]", "invalid_envelope")],
)
def test_record_that_is_no_event_is_refused(value, reason):
    with pytest.raises(RecordRefusedError) as caught:
        arrivals.read(Record("dev.events", 0, 7, value, ()), namespace="dev")
    assert caught.value.reason == reason


def test_event_of_another_namespace_is_refused():
    with pytest.raises(RecordRefusedError) as caught:
        arrivals.read(record(namespace="stage"), namespace="dev")
    assert caught.value.reason == "wrong_namespace"


def test_last_event_of_a_chain_that_the_router_ended_is_taken():
    arrival = arrivals.read(record(hops=MAX_HOPS + 1), namespace="dev")
    assert arrival.event.hops == MAX_HOPS + 1


def test_republished_copy_says_who_asked_for_it():
    headers = [(Header.REPUBLISHED.value, b"request-1")]
    assert arrivals.read(record(headers), namespace="dev").republish_id == "request-1"
    assert arrivals.read(record(), namespace="dev").republish_id is None


@pytest.mark.parametrize("values", [[None], [b""], [b"\xff"], [b"x" * 129], [b"a", b"b"]])
def test_republish_id_that_is_not_sound_is_refused(values):
    headers = [(Header.REPUBLISHED.value, value) for value in values]
    with pytest.raises(RecordRefusedError) as caught:
        arrivals.read(record(headers), namespace="dev")
    assert caught.value.reason == "invalid_headers"
