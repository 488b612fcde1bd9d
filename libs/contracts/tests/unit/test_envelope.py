"""The strict way in: what is taken, what is refused and why."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import envelope
from contracts.envelope import Envelope
from contracts.rejections import EventRejectedError, Reason

GOOD = {
    "event_id": "1",
    "type": "billing.payment.received",
    "source": "shop",
    "occurred_at": "2026-01-02T03:04:05Z",
    "payload": {"amount": 10, "note": None},
}


def raw(**changes):
    document = {**GOOD, **changes}
    return json.dumps({k: v for k, v in document.items() if v is not ...}).encode()


def test_an_envelope_is_read_and_its_extensions_are_kept():
    read = envelope.parse(raw(traceparent="00-x", hops=3, color="red"))
    assert read.payload == {"amount": 10, "note": None}
    assert read.traceparent == "00-x"
    assert read.hops == 3
    assert read.document()["color"] == "red"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.EMPTY),
        (b"x" * (envelope.MAX_EVENT_BYTES + 1), Reason.OVERSIZE),
        (b"\xff\xfe", Reason.NOT_UTF8),
        (b"{", Reason.MALFORMED_JSON),
        (b'{"a": "\\ud800"}', Reason.MALFORMED_JSON),
        (b'{"a": 1, "a": 2}', Reason.DUPLICATE_KEY),
        (b'{"a": NaN}', Reason.INVALID_NUMBER),
        (b'{"a": 1e999}', Reason.INVALID_NUMBER),
        (b'{"a": 9223372036854775808}', Reason.INVALID_NUMBER),
        (b"[" * 100_000, Reason.TOO_DEEP),
        (b"[]", Reason.INVALID_ENVELOPE),
        (raw(event_id=...), Reason.INVALID_ENVELOPE),
        (raw(event_id=""), Reason.INVALID_ENVELOPE),
        (raw(event_id="a\x00b"), Reason.INVALID_ENVELOPE),
        (raw(source="a\nb"), Reason.INVALID_ENVELOPE),
        (raw(payload=None), Reason.INVALID_ENVELOPE),
        (raw(payload=...), Reason.INVALID_ENVELOPE),
        (raw(schema_version=0), Reason.INVALID_ENVELOPE),
        (raw(occurred_at="2026-01-02T03:04:05"), Reason.NAIVE_TIME),
        (raw(hops=17), Reason.TOO_MANY_HOPS),
    ],
)
def test_a_bad_record_is_refused_with_its_reason(record, reason):
    with pytest.raises(EventRejectedError) as caught:
        envelope.parse(record)
    assert caught.value.reason is reason
    assert len(caught.value.detail) < 2000


def test_brackets_inside_a_string_are_not_depth():
    assert envelope.parse(raw(payload="[" * 1000)).payload == "[" * 1000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=15,
)


@given(json_values.filter(lambda value: value is not None))
def test_what_is_rendered_is_read_back_the_same(payload):
    first = envelope.Envelope.model_validate({**GOOD, "payload": payload})
    assert envelope.parse(envelope.render(first)) == first


@given(st.binary(max_size=300))
def test_any_bytes_are_an_envelope_or_a_refusal(record):
    try:
        envelope.parse(record)
    except EventRejectedError as exc:
        assert exc.reason in Reason  # noqa: PT017 - both ends are right


_FIELD = st.none() | st.sampled_from(
    ["", "x", "dev", "0" * 32, "a\nb", "y" * 257, 1, 0, "7", True, 2**31, 1.0, [], {"a": None}]
)
_TIME = st.sampled_from(
    ["2026-11-23T10:00:00Z", "2026-11-23T10:00:00.5+02:00", "2026-11-23T10:00:00", 1_700_000_000,
     "2026-11-23", "", None, "1e9", 2e20, "2026-11-23T10:00:00.123456789-00:00"]
)  # fmt: skip


_OPTIONAL = (
    *("event_id", "type", "source", "subject", "trace_id", "schema_version", "payload"),
    *("namespace", "correlation_id", "causation_id", "traceparent", "more"),
)


@given(
    st.fixed_dictionaries({"occurred_at": _TIME}, optional=dict.fromkeys(_OPTIONAL, _FIELD)),
)
def test_a_document_is_checked_as_the_model_does_it(document):
    document = {"event_id": "e", "type": "t", "source": "s", "payload": {}} | document
    try:
        event = Envelope.model_validate(document)
    except ValidationError:
        with pytest.raises(EventRejectedError):
            envelope.check(document)
    else:
        assert json.dumps(envelope.check(document), sort_keys=True) == json.dumps(
            event.document(), sort_keys=True
        )
