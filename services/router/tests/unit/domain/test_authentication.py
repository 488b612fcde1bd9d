"""Whose signature counts for what: producers' on their topics, our services' on ours."""

import pytest

from contracts.names import Header, Topic, topic
from contracts.producers import ProducerKey
from contracts.rejections import EventRejectedError, Reason
from router.domain.authentication import Authentication
from router.domain.ingress import Ingress
from router.domain.policy import Policy
from signing.keys import Keyring
from signing.verification import ReplayWindow

NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000
TASKS = topic("dev", Topic.TASK_EVENTS)
DAY = ReplayWindow()


def own(make, source="backbone/ledger", **fields):
    return make.event(type="backbone.TaskCompleted", source=source, **fields)


@pytest.fixture
def own_keys(make):
    def of(signer):
        return [ProducerKey(id="k", public_key=make.key(signer=signer, seed=signer).public_key)]

    ring = Keyring.of({"ledger": of("ledger"), "registry": of("registry")})
    return lambda: ring


@pytest.fixture
def reason(policy):
    def reason(record, *, policy=policy, now_ms=NOW_MS, window=DAY, **how):
        authentication = Authentication(clock=lambda: now_ms, window=window, **how)
        try:
            Ingress("dev", authentication).admit(record, policy)
        except EventRejectedError as exc:
            return exc.reason
        return None

    return reason


def test_what_a_producer_signed_comes_in(reason, make):
    record = make.signed(make.event(source="strict"))
    assert reason(record) is None
    assert reason(make.record(record.value)) is Reason.UNSIGNED


def test_the_key_of_one_producer_does_not_sign_for_another(reason, make):
    record = make.signed(make.event(source="shop"))
    assert reason(record) is Reason.PRODUCER_NOT_ALLOWED


def test_a_signature_that_does_not_hold_is_not_taken_for_none(reason, make):
    """`shop` need not sign: with a broken signature it is refused all the same."""
    assert reason(make.record(make.event(source="shop"))) is None
    forged = make.signed(make.event(source="shop"), by=make.key(seed="another"))
    assert reason(forged) is Reason.BAD_SIGNATURE


def test_a_cloudevent_in_binary_mode_is_signed_with_its_attributes(reason, make):
    attributes = (
        ("ce_specversion", b"1.0"), ("ce_id", b"e-1"), ("ce_type", b"paid"),
        ("ce_source", b"strict"),
    )  # fmt: skip
    record = make.signed(b'{"amount": 1}', headers=attributes)
    assert reason(record) is None
    changed = tuple((n, b"e-2" if n == "ce_id" else v) for n, v in record.headers)
    assert reason(record._replace(headers=changed)) is Reason.BAD_SIGNATURE
    more = (*record.headers, ("ce_subject", b"x"))
    assert reason(record._replace(headers=more)) is Reason.BAD_SIGNATURE


def test_a_namespace_without_a_producer_is_open_only_where_that_is_said(reason, make):
    record = make.record(make.event())
    assert reason(record, policy=Policy()) is Reason.PRODUCER_NOT_ALLOWED
    assert reason(record, policy=Policy(), is_open=True) is None


def test_what_we_write_is_believed_only_when_a_service_of_ours_signed_it(reason, make, own_keys):
    ledger = make.key(signer="ledger", seed="ledger")
    registry = make.key(signer="registry", seed="registry")
    signed = make.signed(own(make), by=ledger, topic=TASKS)
    assert reason(signed, own_keys=own_keys) is None
    unsigned = make.record(own(make), topic=TASKS)
    assert reason(unsigned, own_keys=own_keys) is Reason.UNSIGNED
    assert reason(unsigned) is None
    other = make.signed(own(make), by=registry, topic=TASKS)
    assert reason(other, own_keys=own_keys) is Reason.PRODUCER_NOT_ALLOWED
    of_producer = make.signed(own(make), topic=TASKS)
    assert reason(of_producer, own_keys=own_keys) is Reason.UNKNOWN_KEY


def test_a_key_of_ours_signs_nothing_on_a_producers_topic(reason, make, own_keys):
    record = make.signed(own(make), by=make.key(signer="ledger", seed="ledger"))
    assert reason(record, own_keys=own_keys) is Reason.UNKNOWN_KEY


def test_a_marked_republish_of_ours_is_of_any_age_and_nobody_elses(reason, make, own_keys):
    mark = ((Header.REPUBLISHED.value, b"r-1"),)
    old = NOW_MS - 30 * DAY_MS
    ledger = make.key(signer="ledger", seed="ledger")
    late = make.signed(own(make), by=ledger, topic=TASKS, at_ms=old)
    assert reason(late, own_keys=own_keys) is Reason.SIGNATURE_EXPIRED
    marked = make.signed(own(make), by=ledger, topic=TASKS, at_ms=old, after=mark)
    assert reason(marked, own_keys=own_keys) is None
    theirs = make.signed(make.event(source="strict"), at_ms=old, after=mark)
    assert reason(theirs) is Reason.SIGNATURE_EXPIRED


def test_on_request_the_age_says_nothing_and_the_rest_does(make, policy):
    now = Authentication(clock=lambda: NOW_MS + 9 * DAY_MS, window=DAY)
    record = make.signed(make.event(source="strict"))
    with pytest.raises(EventRejectedError, match="signature_expired"):
        Ingress("dev", now).admit(record, policy)
    assert Ingress("dev", now.on_request()).admit(record, policy)
    forged = make.signed(make.event(source="strict"), by=make.key(seed="another"))
    with pytest.raises(EventRejectedError, match="bad_signature"):
        Ingress("dev", now.on_request()).admit(forged, policy)


def test_in_retrospect_the_age_is_that_of_when_it_came(make, policy):
    then = Authentication(clock=lambda: NOW_MS + 9 * DAY_MS, window=DAY).in_retrospect()
    record = make.signed(make.event(source="strict"))
    in_time = record._replace(timestamp_ms=NOW_MS + DAY_MS)
    assert Ingress("dev", then).admit(in_time, policy)
    with pytest.raises(EventRejectedError, match="signature_expired"):
        Ingress("dev", then).admit(record._replace(timestamp_ms=NOW_MS + DAY_MS + 1), policy)


def test_no_bit_of_a_signed_record_can_be_changed(reason, make):
    """The whole way in, for every bit of value, key and signature."""
    record = make.signed(make.event(source="strict"), key=b"k-1")
    name, signature = record.headers[-1]
    for field, content in (("value", record.value), ("key", record.key), ("", signature)):
        for bit in range(8 * len(content)):
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << (bit % 8)
            other = (
                record._replace(**{field: bytes(changed)})
                if field
                else record._replace(headers=((name, bytes(changed)),))
            )
            assert reason(other) is not None, (field, bit)
    assert reason(record) is None
