"""The order of the checks, and what is admitted."""

import json

import pytest

from contracts.names import Topic, topic
from contracts.rejections import EventRejectedError, Reason
from router.domain.authentication import Authentication
from router.domain.ingress import Event, Ingress
from router.domain.policy import Policy

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BINARY = (
    ("ce_specversion", b"1.0"), ("ce_id", b"e-1"), ("ce_type", b"paid"), ("ce_source", b"shop"),
)  # fmt: skip


OPEN = Authentication(clock=lambda: 0, is_open=True)


@pytest.fixture
def admit(make):
    def admit(value, *, policy=None, authentication=OPEN, **record):
        ingress = Ingress("dev", authentication)
        return ingress.admit(make.record(value, **record), policy or Policy())

    return admit


@pytest.fixture
def reason(admit):
    def reason(*args, **kwargs):
        with pytest.raises(EventRejectedError) as refusal:
            admit(*args, **kwargs)
        return refusal.value.reason

    return reason


def test_an_event_is_admitted_as_the_document_of_its_envelope(admit, make):
    event = admit(make.event(subject=None, more=1))
    assert event.document == event.envelope().document()
    assert event.document["more"] == 1
    assert "subject" not in event.document


def test_authenticity_is_told_of_raw_bytes_after_their_size_and_before_anything_reads_them(
    reason, make
):
    forged = (("backbone-signature", b"forged"),)
    assert reason(b"{", headers=forged) is Reason.MALFORMED_SIGNATURE
    assert reason(b"x" * 300_000, headers=forged) is Reason.OVERSIZE
    signed = make.signed(b"{", by=make.key(signer="nobody"))
    assert reason(signed.value, headers=signed.headers) is Reason.UNKNOWN_KEY


def test_backbones_own_events_come_only_on_its_own_topics(admit, reason, make):
    own = make.event(type="backbone.TaskCompleted", source="backbone/ledger")
    tasks = topic("dev", Topic.TASK_EVENTS)
    assert admit(own, topic=tasks)
    assert reason(own) is Reason.RESERVED_TYPE
    assert reason(own, topic=topic("dev", Topic.DEAD_LETTERS)) is Reason.RESERVED_TYPE
    assert reason(own, topic=topic("prod", Topic.TASK_EVENTS)) is Reason.RESERVED_TYPE
    assert reason(make.event(source="backbone/ledger")) is Reason.RESERVED_TYPE
    assert reason(make.event(), topic=tasks) is Reason.PRODUCER_NOT_ALLOWED


def test_a_record_whose_headers_cannot_be_read_is_refused(reason, make):
    assert reason(make.event(), headers=None) is Reason.UNREADABLE_HEADERS


def test_headers_that_say_nothing_to_us_are_let_be(admit, make):
    headers = (("reply_to", b"dev.events"), ("x", None), ("x", b"\xff"), ("traceparent", b"\xff"))
    assert admit(make.event(), headers=headers)


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (
            json.dumps(
                {"specversion": "1.0", "id": "e-1", "type": "paid", "source": "shop",
                 "data": {"amount": 10}}
            ).encode(),
            (("content-type", b"application/cloudevents+json"),),
        ),
        (b'{"amount": 10}', BINARY),
    ],
)  # fmt: skip
def test_a_cloudevent_is_admitted_in_either_mode(admit, value, headers):
    event = admit(value, headers=headers)
    assert event.document["payload"] == {"amount": 10}
    assert event.document["timesource"] == "kafka"
    assert event.envelope().event_id == "e-1"


def test_the_digest_of_a_cloudevent_covers_its_headers_and_not_kafkas_time(make):
    def digest(record):
        return Ingress("dev", OPEN).admit(record, Policy()).digest

    def record(*headers, timestamp_ms=1):
        made = make.record(b"{}", headers=(*BINARY, *headers))
        return type(made)(made.topic, 0, 0, timestamp_ms, None, made.value, made.headers)

    assert digest(record()) == digest(record(timestamp_ms=2))
    assert digest(record()) != digest(record(("ce_subject", b"x")))
    early, late = b"2026-11-23T10:00:00Z", b"2026-11-23T11:00:00Z"
    assert digest(record(("ce_time", early))) != digest(record(("ce_time", late)))


@pytest.mark.parametrize("timestamp_ms", [None, 2**62, -(2**62)])
def test_a_timestamp_that_is_none_gives_no_time(make, timestamp_ms):
    made = make.record(b"{}", headers=BINARY)
    made = type(made)(made.topic, 0, 0, timestamp_ms, None, made.value, made.headers)
    with pytest.raises(EventRejectedError) as refusal:
        Ingress("dev", OPEN).admit(made, Policy())
    assert refusal.value.reason is Reason.INVALID_CLOUDEVENT


def test_the_trace_context_of_the_record_is_taken_when_the_event_has_none(make):
    headers = (("traceparent", TRACEPARENT.encode()),)
    event = Ingress("dev", OPEN).admit(make.record(make.event(), headers=headers), Policy())
    assert isinstance(event, Event)
    assert event.envelope().traceparent == TRACEPARENT
