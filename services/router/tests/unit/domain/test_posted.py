"""Bodies of HTTP requests as records: the same bytes, the attributes as Kafka's headers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.rejections import EventRejectedError, Reason
from router.domain import posted
from router.domain.posted import MediaTypeError

TYPE = b"content-type"
EVENT = b'{"specversion":"1.0"}'
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def read(body, *headers):
    return posted.read(posted.recognise(headers), headers, body)


@pytest.mark.parametrize(
    "media_type", [b"application/json", b"application/vnd.backbone.event+json; charset=utf-8"]
)
def test_an_envelope_is_its_bytes(media_type):
    (event,) = read(b'{"a": 1}', (TYPE, media_type), (b"traceparent", TRACE))
    assert event.value == b'{"a": 1}'
    assert event.headers == (("traceparent", TRACE),)


def test_a_structured_cloudevent_keeps_its_bytes_and_type():
    (event,) = read(EVENT, (TYPE, b"application/cloudevents+json; charset=utf-8"))
    assert event.value == EVENT
    assert event.headers == (("content-type", b"application/cloudevents+json; charset=utf-8"),)


def test_a_binary_cloudevent_has_its_attributes_as_headers_decoded():
    (event,) = read(
        b"{}",
        (TYPE, b"application/json"),
        (b"ce-specversion", b"1.0"),
        (b"ce-subject", b"caf%C3%A9%25"),
        (b"ce-id", b"1"),
        (b"ce-id", b"2"),
        (b"accept", b"*/*"),
    )
    assert event.headers == (
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_subject", "café%".encode()),
        ("ce_id", b"1"),
        ("ce_id", b"2"),
    )


def test_a_batch_is_cut_into_the_bytes_of_its_events():
    body = b' [ {"id": "1", "n": 1.10} ,\n{"id":"]"}, 7 ] '
    events = read(body, (TYPE, b"application/cloudevents-batch+json"))
    assert [event.value for event in events] == [b'{"id": "1", "n": 1.10}', b'{"id":"]"}', b"7"]
    assert {event.headers for event in events} == {
        (("content-type", b"application/cloudevents+json"),)
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3)
    ),
    max_leaves=10,
)


@given(st.lists(JSON, min_size=1, max_size=5), st.sampled_from([None, 2]), st.booleans())
def test_any_batch_is_cut_where_its_elements_end(elements, indent, ascii_only):
    body = json.dumps(elements, indent=indent, ensure_ascii=ascii_only).encode()
    found = posted.slices(body)
    assert [json.loads(each) for each in found] == elements
    assert all(each in body for each in found)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", Reason.EMPTY),
        (b"", Reason.MALFORMED_JSON),
        (b"{}", Reason.MALFORMED_JSON),
        (b"[{}", Reason.MALFORMED_JSON),
        (b"[{},]", Reason.MALFORMED_JSON),
        (b"[{} {}]", Reason.MALFORMED_JSON),
        (b"[{}] []", Reason.MALFORMED_JSON),
        (b"[\xff]", Reason.NOT_UTF8),
        (b"[" * 100_000, Reason.TOO_DEEP),
        (b"[" + b"1," * 1000 + b"1]", Reason.OVERSIZE),
    ],
)
def test_what_is_no_batch_is_refused(body, reason):
    with pytest.raises(EventRejectedError) as raised:
        posted.slices(body)
    assert raised.value.reason is reason


def test_a_number_of_any_length_is_left_to_the_reader_of_events():
    body = b"[" + b"1" * 10_000 + b"]"
    assert posted.slices(body) == [body[1:-1]]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((TYPE, b"text/plain"),),
        ((TYPE, b"application/cloudevents+avro"),),
        ((TYPE, b"application/cloudevents+avro"), (b"ce-specversion", b"1.0")),
    ],
)
def test_other_types_are_refused(headers):
    with pytest.raises(MediaTypeError):
        posted.recognise(headers)


def test_only_a_batch_may_be_larger_than_an_event():
    single = posted.recognise([(TYPE, b"application/json")])
    batch = posted.recognise([(TYPE, b"application/cloudevents-batch+json")])
    assert (single.max_bytes, batch.max_bytes) == (256 * 1024, 1024 * 1024)
