"""Whatever comes is read or refused with a reason, in its time: the targets of `tests/fuzz`."""

import json

import fuzz_cloudevents
import fuzz_envelope
import pytest
from hypothesis import given
from hypothesis import strategies as st

EVENT = {
    "event_id": "e", "type": "t", "source": "s", "occurred_at": "2026-11-23T10:00:00Z",
    "payload": {}, "specversion": "1.0", "id": "e", "data": None, "time": None,
}  # fmt: skip
PIECES = st.sampled_from(
    [
        b'{"specversion":"1.0","id":"a","type":"t","source":"s","data":',
        b'{"event_id":"a","type":"t","source":"s","occurred_at":"2026-11-23T10:00:00Z","payload":',
        *(b'{"a":1,"a":', b"[" * 70, b"NaN", b"1e999", b'"\\ud800"', b"\xef\xbb\xbf{}", b"\xff"),
        *(b"9" * 40, b"}", b"]", b",", b"null", b"\n", b'"', b"\\", b"1.0", b"true"),
    ]
)
BYTES = (
    st.binary(max_size=80)
    | st.lists(PIECES | st.binary(max_size=3), max_size=10).map(b"".join)
    | st.dictionaries(
        st.sampled_from(sorted(EVENT)) | st.text(max_size=6),
        st.sampled_from([*EVENT.values(), 1, 2**70, -1.5, [], "\x00"]) | st.text(max_size=6),
    ).map(lambda changes: json.dumps(EVENT | changes).encode())
)
LARGE = [
    b"[" * 262_144,
    b'{"a":' * 50_000,
    b'"' + b"\\ud83d" * 43_000 + b'"',
    b"9" * 262_144,
    b'{"x":"' + b"y" * 262_000 + b'"}',
    b"[" + b"1," * 130_000 + b"1]",
    b"{" + b",".join(b'"%d":1' % number for number in range(20_000)) + b"}",
    b'{"a":"\\u0061",' + b",".join(b'"%d":[]' % number for number in range(20_000)) + b"}",
]


@pytest.mark.parametrize("target", [fuzz_envelope.one, fuzz_cloudevents.one])
@given(data=BYTES)
def test_whatever_comes_is_read_or_refused(target, data):
    target(data)


@pytest.mark.parametrize("target", [fuzz_envelope.one, fuzz_cloudevents.one])
@pytest.mark.parametrize("data", LARGE, ids=lambda data: data[:12].decode())
def test_the_largest_take_their_time_and_no_more(target, data, monkeypatch):
    # Many run beside one another here: what is looked for is a time that grows out of hand.
    monkeypatch.setattr(fuzz_envelope, "MOST_S", 1.0)
    monkeypatch.setattr(fuzz_cloudevents, "MOST_S", 1.0)
    target(data[:262_144])
