"""CloudEvents in the forms they come in, and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import cloudevents, envelope
from contracts.envelope import Envelope
from contracts.names import CONTENT_TYPE_HEADER
from contracts.rejections import EventRejectedError, Reason

RECEIVED_AT = "2026-11-23T10:00:00Z"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "type": "billing.paid",
    "source": "shop",
    "time": "2026-11-23T09:00:00+01:00",
    "data": {"amount": 10},
}
STRUCTURED = ((CONTENT_TYPE_HEADER, b"application/cloudevents+json; charset=UTF-8"),)
BINARY = tuple((f"ce_{name}", value.encode()) for name, value in EVENT.items() if name != "data")


def structured(headers=STRUCTURED, **changes):
    event = {k: v for k, v in (EVENT | changes).items() if v != "absent"}
    return cloudevents.from_record(headers, json.dumps(event).encode(), received_at=RECEIVED_AT)


def binary(*headers, value=b'{"amount": 10}', without=()):
    kept = tuple(pair for pair in BINARY if pair[0] not in without)
    return cloudevents.from_record((*kept, *headers), value, received_at=RECEIVED_AT)


def test_both_kafka_modes_give_the_envelope_that_the_event_means():
    for document in (structured(), binary()):
        event = Envelope.model_validate(envelope.check(document))
        assert (event.event_id, event.type, event.source) == ("e-1", "billing.paid", "shop")
        assert event.occurred_at.isoformat() == "2026-11-23T09:00:00+01:00"
        assert event.payload == {"amount": 10}
        assert event.schema_version == 1
        assert not event.model_extra


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("content-type", b"application/json"),),
        (("ce_id", b"\xff"), ("other", None), ("other", None), ("reply_to", b"elsewhere")),
    ],
)
def test_a_record_without_specversion_is_no_cloudevent(headers):
    assert cloudevents.from_record(headers, b"{}", received_at=None) is None


def test_attributes_become_the_fields_of_their_meaning():
    document = structured(
        subject="i-7",
        traceparent=TRACEPARENT,
        namespace="dev",
        correlationid="c",
        causationid="p",
        hops=3,
        tier="gold",
        flag=True,
        nothing=None,
    )
    event = Envelope.model_validate(envelope.check(document))
    assert (event.subject, event.namespace) == ("i-7", "dev")
    assert (event.correlation_id, event.causation_id, event.hops) == ("c", "p", 3)
    assert (event.trace_id, event.traceparent) == (TRACEPARENT.split("-")[1], TRACEPARENT)
    assert event.model_extra == {
        "traceparent": TRACEPARENT,
        "hops": 3,
        "tier": "gold",
        "flag": True,
    }


def test_hops_in_a_header_are_counted():
    assert binary(("ce_hops", b"3"))["hops"] == 3


@pytest.mark.parametrize(
    ("schema", "version", "kept"),
    [
        ("urn:backbone:schema:billing.paid:3", 3, False),
        ("https://schemas.example/billing.paid/v12", 12, True),
        ("https://schemas.example/billing.paid#2", 2, True),
        ("https://schemas.example/billing.paid?version=4", 4, True),
        ("https://schemas.example/billing.paid", None, True),
        ("https://schemas.example/billing-2", None, True),
    ],
)
def test_a_dataschema_that_ends_in_a_number_names_the_schema_version(schema, version, kept):
    document = structured(dataschema=schema)
    assert document.get("schema_version") == version
    assert document.get("dataschema") == (schema if kept else None)


def test_a_missing_time_is_that_of_the_record_and_marked():
    for document in (structured(time=None), binary(without={"ce_time"})):
        assert document["occurred_at"] == RECEIVED_AT
        assert document["timesource"] == "kafka"


@pytest.mark.parametrize(
    ("changes", "payload"),
    [
        ({"data": "absent"}, {}),
        ({"data": None}, {}),
        ({"data": [1, "two"]}, [1, "two"]),
        ({"data": "absent", "datacontenttype": "application/json", "data_base64": "eyJhIjoxfQ=="},
         {"a": 1}),
        ({"data": "absent", "datacontenttype": "application/json", "data_base64": ""}, {}),
        ({"datacontenttype": "application/vnd.billing+json"}, {"amount": 10}),
    ],
)  # fmt: skip
def test_data_becomes_the_payload(changes, payload):
    assert structured(**changes)["payload"] == payload


@pytest.mark.parametrize("value", [None, b"", b"null"])
def test_a_binary_event_without_data_has_an_empty_payload(value):
    assert binary(value=value)["payload"] == {}


REFUSED = [
    (lambda: structured(specversion="0.3"), Reason.UNSUPPORTED_SPECVERSION),
    (lambda: structured(specversion="absent"), Reason.INVALID_CLOUDEVENT),
    (lambda: structured(id="absent"), Reason.INVALID_CLOUDEVENT),
    (lambda: structured(time=5), Reason.INVALID_CLOUDEVENT),
    (lambda: structured(event_id="x"), Reason.INVALID_CLOUDEVENT),
    (lambda: structured(payload="x"), Reason.INVALID_CLOUDEVENT),
    (lambda: structured(deep={"a": 1}), Reason.INVALID_CLOUDEVENT),
    (lambda: structured(big=2**31), Reason.INVALID_CLOUDEVENT),
    (lambda: structured(hops="many"), Reason.INVALID_CLOUDEVENT),
    (lambda: structured(data_base64="eA=="), Reason.INVALID_CLOUDEVENT),
    (
        lambda: structured(data="absent", datacontenttype="application/json", data_base64="?"),
        Reason.INVALID_CLOUDEVENT,
    ),
    (lambda: structured(data="absent", data_base64="eA=="), Reason.UNSUPPORTED_DATA),
    (lambda: structured(datacontenttype="text/plain", data="x"), Reason.UNSUPPORTED_DATA),
    (lambda: binary(("content-type", b"application/avro")), Reason.UNSUPPORTED_DATA),
    (lambda: binary(value=b"{"), Reason.MALFORMED_JSON),
    (lambda: binary(value=b'{"a":1,"a":2}'), Reason.DUPLICATE_KEY),
    (lambda: binary(("ce_type", b"other")), Reason.DUPLICATE_HEADER),
    (lambda: binary(("CE_ID", b"other")), Reason.DUPLICATE_HEADER),
    (lambda: binary(("ce_tier", None)), Reason.INVALID_HEADER),
    (lambda: binary(("ce_tier", b"\xff")), Reason.INVALID_HEADER),
    (lambda: binary(("ce_datacontenttype", b"application/json")), Reason.INVALID_HEADER),
    (lambda: binary(("ce_un_known", b"x")), Reason.INVALID_CLOUDEVENT),
    (lambda: binary(without={"ce_id"}), Reason.INVALID_CLOUDEVENT),
    (lambda: binary(("content-type", b"application/json"), ("content-type", b"application/json")),
     Reason.DUPLICATE_HEADER),
    (lambda: binary(("content-type", b"application/json; charset=latin1")),
     Reason.UNSUPPORTED_CONTENT_TYPE),
    (lambda: structured((("content-type", b"application/cloudevents+avro"),)),
     Reason.UNSUPPORTED_CONTENT_TYPE),
    (lambda: structured((("content-type", b"application/cloudevents-batch+json"),)),
     Reason.UNSUPPORTED_CONTENT_TYPE),
    (lambda: structured((*STRUCTURED, ("ce_id", b"e-2"))), Reason.HEADER_CONTRADICTION),
    (lambda: structured((*STRUCTURED, ("ce_more", b"x"))), Reason.HEADER_CONTRADICTION),
    (lambda: cloudevents.from_record(STRUCTURED, None, received_at=None), Reason.EMPTY),
    (lambda: cloudevents.from_record(STRUCTURED, b"[]", received_at=None),
     Reason.INVALID_CLOUDEVENT),
    (lambda: cloudevents.from_json({**EVENT, "time": None}, received_at=None),
     Reason.INVALID_CLOUDEVENT),
    (lambda: cloudevents.batch(b"{}"), Reason.INVALID_CLOUDEVENT),
]  # fmt: skip


@pytest.mark.parametrize(("read", "reason"), REFUSED)
def test_what_is_no_sound_cloudevent_is_refused_with_its_reason(read, reason):
    with pytest.raises(EventRejectedError) as refusal:
        read()
    assert refusal.value.reason is reason


def test_a_structured_event_may_repeat_its_attributes_in_headers():
    assert structured((*STRUCTURED, ("ce_id", b"e-1"), ("ce_specversion", b"1.0")))


def test_a_batch_is_read_one_event_at_a_time():
    events = cloudevents.batch(json.dumps([EVENT, EVENT | {"id": "e-2"}]).encode())
    ids = [cloudevents.from_json(event, received_at=None)["event_id"] for event in events]
    assert ids == ["e-1", "e-2"]


# --- properties ---------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", min_codepoint=32),
               min_size=1, max_size=20)  # fmt: skip
JSON = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner,
                                                               max_size=3),
    max_leaves=6,
)  # fmt: skip
NAME = st.from_regex(r"x[a-z0-9]{0,8}", fullmatch=True)


def envelopes(values):
    extensions = st.fixed_dictionaries(
        {},
        optional={
            "traceparent": st.just(TRACEPARENT),
            "hops": st.integers(1, 16),
            "dataschema": st.just("https://schemas.example/paid"),
            "datacontenttype": st.just("application/vnd.x+json"),
        },
    )
    fields = st.fixed_dictionaries(
        {
            "event_id": TEXT,
            "type": TEXT,
            "source": TEXT,
            "occurred_at": st.datetimes(timezones=st.timezones()).filter(
                lambda moment: not moment.utcoffset().total_seconds() % 60
            ).map(lambda moment: moment.isoformat()),
            "payload": JSON.filter(lambda payload: payload is not None),
        },
        optional={
            "subject": TEXT,
            "trace_id": st.from_regex("[0-9a-f]{32}", fullmatch=True),
            "schema_version": st.integers(1, 2**31 - 1),
            "namespace": st.just("dev"),
            "correlation_id": TEXT,
            "causation_id": TEXT,
        },
    )  # fmt: skip
    return (
        st.tuples(fields, extensions, st.dictionaries(NAME, values, max_size=2))
        .map(lambda parts: parts[2] | parts[1] | parts[0])
        .map(_consistent)
        .map(Envelope.model_validate)
    )


def _consistent(document):
    # A dataschema without a number is of version 1; an event with a trace has its trace id.
    if "dataschema" in document:
        document.pop("schema_version", None)
    if "traceparent" in document:
        document.setdefault("trace_id", TRACEPARENT.split("-")[1])
    return document


@given(envelopes(TEXT | st.booleans() | st.integers(-(2**31), 2**31 - 1)))
def test_an_envelope_survives_the_json_format(event):
    raw = cloudevents.to_json(event)
    document = cloudevents.from_record(STRUCTURED, raw, received_at=None)
    assert Envelope.model_validate(envelope.check(document)) == event


@given(envelopes(TEXT))
def test_an_envelope_survives_the_binary_mode(event):
    headers, value = cloudevents.to_binary(event)
    document = cloudevents.from_record(headers, value, received_at=None)
    assert Envelope.model_validate(envelope.check(document)) == event


@pytest.mark.parametrize(
    "extensions",
    [{"Tier": "x"}, {"a_b": "x"}, {"deep": {}}, {"id": "x"}, {"big": 2**40}, {"data": "x"},
     {"dataschema": "urn:x:2"}],
)  # fmt: skip
def test_what_no_attribute_can_say_is_not_written(extensions):
    event = Envelope.model_validate(
        {"event_id": "e", "type": "t", "source": "s", "occurred_at": RECEIVED_AT, "payload": 1}
        | extensions
    )
    with pytest.raises(ValueError, match=next(iter(extensions))):
        cloudevents.to_json(event)
