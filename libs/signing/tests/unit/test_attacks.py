"""What somebody can do to a signed record, and the reason for which each of it is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.names import Header
from contracts.rejections import EventRejectedError, Reason
from signing import signature as signatures
from signing.signature import MAX_HEADER_BYTES

SIGNATURE = Header.SIGNATURE.value


def refusal(check, *args, **kwargs):
    try:
        check(*args, **kwargs)
    except EventRejectedError as exc:
        return exc.reason
    return None


def instant(ms):
    return datetime.fromtimestamp(ms / 1000, UTC)


def with_signature(record, content):
    headers = tuple(h for h in record.headers if h[0] != SIGNATURE)
    return replace(record, headers=(*headers, (SIGNATURE, content)))


@pytest.fixture
def sent(make, key):
    return make.Sent().signed(key)


def test_what_was_signed_holds(sent, ring):
    found = sent.verify(ring)
    assert (found.signer, found.key_id, found.audience) == ("shop", "2026-11", "dev.orders")


def test_a_signature_that_is_stripped_is_not_there(sent):
    assert signatures.find(tuple(h for h in sent.headers if h[0] != SIGNATURE)) is None
    assert signatures.find(None) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"topic": "dev.payments"}, Reason.WRONG_AUDIENCE),
        ({"topic": "prod.orders"}, Reason.WRONG_AUDIENCE),
        ({"key": b"order-2"}, Reason.BAD_SIGNATURE),
        ({"key": None}, Reason.BAD_SIGNATURE),
        ({"value": b'{"event_id": "e-2"}'}, Reason.BAD_SIGNATURE),
        ({"value": b'{"event_id":"e-1"}'}, Reason.BAD_SIGNATURE),
        ({"value": None}, Reason.BAD_SIGNATURE),
    ],
)
def test_what_is_replayed_elsewhere_or_changed_is_refused(sent, ring, change, reason):
    assert refusal(replace(sent, **change).verify, ring) is reason


@pytest.mark.parametrize(
    "smuggled",
    [
        ("content-type", b"application/cloudevents+json"),
        ("content-type", None),
        ("ce_id", b"other"),
        ("ce_hops", b"0"),
        (Header.STREAM.value, b"run:1"),
        (Header.STREAM_VERSION.value, b"1"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_header_that_a_reader_decides_by_cannot_be_smuggled_in(sent, ring, smuggled, first):
    headers = (smuggled, *sent.headers) if first else (*sent.headers, smuggled)
    assert refusal(replace(sent, headers=headers).verify, ring) is Reason.BAD_SIGNATURE


def test_a_header_that_was_signed_cannot_be_left_out(sent, ring):
    headers = tuple(h for h in sent.headers if h[0] == SIGNATURE)
    assert refusal(replace(sent, headers=headers).verify, ring) is Reason.BAD_SIGNATURE


def test_what_is_marked_on_the_way_breaks_nothing(sent, ring):
    marked = (("traceparent", b"x"), *sent.headers, (Header.REPUBLISHED.value, b"r"), ("y", b""))
    assert replace(sent, headers=marked).verify(ring)


def test_parts_of_two_fields_cannot_be_moved_from_one_to_the_other(make, key, ring):
    one = make.Sent(key=b"ab", value=b"c").signed(key)
    assert refusal(replace(one, key=b"a", value=b"bc").verify, ring) is Reason.BAD_SIGNATURE
    one = make.Sent(headers=(("ce_a", b"1:x"), ("ce_b", b""))).signed(key)
    moved = (("ce_a", b"1"), ("ce_b", b":x"), one.headers[-1])
    assert refusal(replace(one, headers=moved).verify, ring) is Reason.BAD_SIGNATURE


def test_two_signatures_are_none(sent, make, ring):
    twice = replace(sent, headers=(*sent.headers, sent.headers[-1]))
    assert refusal(twice.verify, ring) is Reason.DUPLICATE_HEADER
    other = make.Sent().signed(make.key(2)).headers[-1]
    assert refusal(replace(sent, headers=(other, *sent.headers)).verify, ring) is (
        Reason.DUPLICATE_HEADER
    )


def test_the_key_of_somebody_else_under_the_same_name_is_of_no_use(make, ring):
    assert refusal(make.Sent().signed(make.key(2)).verify, ring) is Reason.BAD_SIGNATURE


def test_whose_key_it_is_said_to_be_is_signed_too(sent, make, key):
    """Somebody registers the public key of another: what that one signed is not theirs."""
    found = signatures.find(sent.headers)
    for claim in ({"signer": "thief"}, {"key_id": "mine"}):
        thief = make.key(1, **claim)
        ring = make.trusting(key, thief)
        said = signatures.render(replace(found, **claim))
        assert refusal(with_signature(sent, said).verify, ring) is Reason.BAD_SIGNATURE
        assert thief.public_key == key.public_key


def test_a_key_that_nobody_registered_is_not_taken(make, ring):
    for stranger in (make.key(1, signer="nobody"), make.key(1, key_id="next")):
        assert refusal(make.Sent().signed(stranger).verify, ring) is Reason.UNKNOWN_KEY


def test_a_key_signs_while_it_is_in_force_and_what_it_signed_then_may_come_later(make, key):
    """Keys overlap: the old one's last events come when the new one is at work already."""
    end = 1_796_000_000_000
    old = make.trusting(key, not_before=instant(end - 1000), not_after=instant(end))
    late = end + 3_600_000
    assert make.Sent().signed(key, at_ms=end).verify(old, now_ms=late)
    assert make.Sent().signed(key, at_ms=end - 1000).verify(old, now_ms=late)
    for at_ms in (end + 1, end - 1001):
        sent = make.Sent().signed(key, at_ms=at_ms)
        assert refusal(sent.verify, old, now_ms=late) is Reason.KEY_NOT_IN_FORCE


def test_nothing_that_a_revoked_key_signed_is_taken_whenever_it_did(make, key):
    now = 1_796_000_000_000
    ring = make.trusting(key, revoked_at=instant(now))
    before = make.Sent().signed(key, at_ms=now - 3_600_000)
    assert refusal(before.verify, ring, now_ms=now) is Reason.REVOKED_KEY
    assert before.verify(ring, now_ms=now - 1)


def test_a_signature_is_taken_within_the_window_and_at_any_age_when_a_person_asks(sent, ring):
    now = 1_796_000_000_000
    day, minutes = 86_400_000, 120_000
    assert sent.verify(ring, now_ms=now + day)
    assert refusal(sent.verify, ring, now_ms=now + day + 1) is Reason.SIGNATURE_EXPIRED
    assert sent.verify(ring, now_ms=now + 10 * day, window=None)
    assert sent.verify(ring, now_ms=now - minutes)
    assert refusal(sent.verify, ring, now_ms=now - minutes - 1) is Reason.ISSUED_IN_FUTURE


def test_that_a_signature_is_old_is_only_said_of_one_that_holds(make, ring):
    forged = make.Sent().signed(make.key(2))
    old = 1_796_000_000_000 + timedelta(days=2) // timedelta(milliseconds=1)
    assert refusal(forged.verify, ring, now_ms=old) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    "edit",
    [
        lambda _: b"",
        lambda text: text.replace(b"v1;", b"v2;"),
        lambda text: text.replace(b"v1;", b"v1;alg=none;"),
        lambda text: text.replace(b"v1;", b"alg=HS256;"),
        lambda text: text + b";alg=HS256",
        lambda text: text + b"\n",
        lambda text: b" " + text,
        lambda text: text.replace(b"iat=", b"iat=0"),
        lambda text: text.replace(b"iat=", b"iat=-"),
        lambda text: text.replace(b"shop/", b"Shop/"),
        lambda text: text.replace(b"shop/", b"shop/x/"),
        lambda text: text.replace(b"shop/2026-11", b"2026-11"),
        lambda text: text.replace(b"dev.orders", b""),
        lambda text: text.replace(b"dev.orders", b"dev.orders,dev.payments"),
        lambda text: text.replace(b"==", b"="),
        lambda text: text[: text.index(b"sig=") + 4],
        lambda text: text.replace(b"sig=", b"sig=" + b"A" * MAX_HEADER_BYTES),
        lambda text: text.replace(b";aud", b";sig=" + b"A" * 86 + b"==;aud"),
        lambda _: b'{"alg":"none"}',
        lambda text: text.decode().replace("shop", "\u0455hop").encode(),
    ],
)
def test_another_form_of_signature_is_none(sent, edit):
    content = edit(signatures.render(signatures.find(sent.headers)))
    assert refusal(signatures.find, [(SIGNATURE, content)]) is Reason.MALFORMED_SIGNATURE


def test_a_header_without_a_value_is_no_signature():
    assert refusal(signatures.find, [(SIGNATURE, None)]) is Reason.MALFORMED_SIGNATURE


def test_a_signature_has_one_spelling(sent):
    """Base64 leaves bits of its last character to spare."""
    content = signatures.render(signatures.find(sent.headers))
    last = content[-3:-2]
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(last) + 1 :][:1]
    respelled = content[:-3] + other + b"=="
    assert refusal(signatures.find, [(SIGNATURE, respelled)]) is Reason.MALFORMED_SIGNATURE


def test_a_signature_with_the_order_of_the_group_added_is_refused(sent, ring):
    order = 2**252 + 27742317777372353535851937790883648493
    found = signatures.find(sent.headers)
    scalar = int.from_bytes(found.value[32:], "little") + order
    forged = replace(found, value=found.value[:32] + scalar.to_bytes(32, "little"))
    assert refusal(with_signature(sent, signatures.render(forged)).verify, ring) is (
        Reason.BAD_SIGNATURE
    )


def test_one_bit_anywhere_makes_it_another_record(sent, ring, make):
    """In the value, the key, each header that counts, and each byte of the signature."""
    refused = 0
    for field in ("value", "key"):
        content = getattr(sent, field)
        for bit in range(8 * len(content)):
            flipped = replace(sent, **{field: flip(content, bit)})
            assert refusal(flipped.verify, ring) is Reason.BAD_SIGNATURE
            refused += 1
    for place, (name, content) in enumerate(sent.headers):
        for bit in range(8 * len(content)):
            headers = list(sent.headers)
            headers[place] = (name, flip(content, bit))
            assert refusal(replace(sent, headers=tuple(headers)).verify, ring) is not None, (
                name, bit,
            )  # fmt: skip
            refused += 1
    assert refused == 8 * (19 + 7 + 16 + len(sent.headers[-1][1]))


def flip(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "ce_id", "ce_x", Header.STREAM.value, "traceparent"]),
        st.none() | st.binary(max_size=20),
    ),
    max_size=5,
).map(tuple)
CONTENT = st.none() | st.binary(max_size=50)


@given(record=st.tuples(HEADERS, CONTENT, CONTENT), at_ms=st.integers(0, 10**15 - 1))
def test_what_is_signed_holds_in_any_order_of_headers(make, key, ring, record, at_ms):
    headers, kafka_key, value = record
    sent = make.Sent(headers=headers, key=kafka_key, value=value).signed(key, at_ms=at_ms)
    assert sent.verify(ring, now_ms=at_ms)
    assert replace(sent, headers=sent.headers[::-1]).verify(ring, now_ms=at_ms)


@given(one=st.tuples(HEADERS, CONTENT, CONTENT), other=st.tuples(HEADERS, CONTENT, CONTENT))
def test_two_records_are_signed_over_the_same_bytes_only_if_they_are_the_same(make, one, other):
    from signing import message

    def content(record):
        headers, key, value = record
        return message.of_record(
            signer="s", key_id="k", audience="t", issued_at_ms=0, key=key, headers=headers,
            value=value,
        )  # fmt: skip

    def told(record):
        headers, key, value = record
        return sorted((n, v is not None, v or b"") for n, v in headers if n != "traceparent"), (
            key, value,
        )  # fmt: skip

    assert (content(one) == content(other)) == (told(one) == told(other))


@given(st.binary(max_size=800))
def test_any_bytes_are_read_or_refused(content):
    assert refusal(signatures.find, [(SIGNATURE, content)]) in {None, Reason.MALFORMED_SIGNATURE}
