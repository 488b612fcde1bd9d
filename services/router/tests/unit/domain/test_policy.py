"""Who may emit what, and with which payloads."""

import pytest

from contracts.eventtypes import EventType
from contracts.producers import Producer
from contracts.rejections import EventRejectedError, Reason
from router.domain.policy import Policy
from rules.errors import SchemaError

KEY = {"id": "k1", "publicKey": "A" * 43 + "="}


def producer(name="billing", *, sources=("billing/*",), types=("billing.*",), **spec):
    return Producer.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "Producer",
            "metadata": {"id": name, "namespace": "dev", "owner": "tests"},
            "spec": {"sources": list(sources), "types": list(types), **spec},
        }
    )


def event_type(name="paid", **schemas):
    return EventType.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "EventType",
            "metadata": {"id": name, "namespace": "dev", "owner": "tests"},
            "spec": {
                "schemas": [
                    {"version": int(version[1:]), "schema": schema}
                    for version, schema in schemas.items()
                ]
            },
        }
    )


AMOUNT = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}}


def refusal(check, *args, **kwargs):
    try:
        check(*args, **kwargs)
    except EventRejectedError as exc:
        return exc.reason
    return None


def emits(policy, source, type_, *, signer=None):
    return refusal(policy.check_producer, source=source, event_type=type_, signer=signer)


def test_it_knows_whether_there_is_a_producer():
    policy = Policy()
    assert not policy.has_producers
    policy.keep_producer("billing", Policy())
    assert policy.has_producers


def test_with_one_producer_only_what_it_may_emit_comes_in():
    policy = Policy()
    policy.put_producer("billing", producer())
    assert emits(policy, "billing/invoices", "billing.paid") is None
    assert emits(policy, "billing/invoices", "crm.called") is Reason.PRODUCER_NOT_ALLOWED
    assert emits(policy, "crm/calls", "billing.paid") is Reason.PRODUCER_NOT_ALLOWED


def test_the_source_of_one_producer_and_the_type_of_another_make_none():
    policy = Policy()
    policy.put_producer("billing", producer())
    policy.put_producer("crm", producer("crm", sources=["crm/*"], types=["crm.*"]))
    assert emits(policy, "crm/calls", "crm.called") is None
    assert emits(policy, "billing/invoices", "crm.called") is Reason.PRODUCER_NOT_ALLOWED


def test_a_change_of_a_producer_counts_at_once():
    policy = Policy()
    policy.put_producer("billing", producer())
    assert emits(policy, "shop", "billing.paid") is Reason.PRODUCER_NOT_ALLOWED
    policy.put_producer("billing", producer(sources=["shop"]))
    assert emits(policy, "shop", "billing.paid") is None
    policy.remove_producer("billing")
    assert not policy.has_producers


def test_a_producer_that_has_to_sign_is_refused_unsigned():
    policy = Policy()
    policy.put_producer("billing", producer(signatures="required", keys=[KEY]))
    assert emits(policy, "billing/x", "billing.paid") is Reason.UNSIGNED
    assert emits(policy, "billing/x", "billing.paid", signer="billing") is None


def test_one_that_need_not_sign_does_not_speak_for_one_that_has_to():
    policy = Policy()
    policy.put_producer("billing", producer(signatures="required", keys=[KEY]))
    policy.put_producer("lax", producer("lax", types=["*"]))
    assert emits(policy, "billing/x", "billing.paid") is Reason.UNSIGNED
    assert emits(policy, "billing/x", "other") is None


def test_what_is_signed_has_to_be_the_signers_to_emit():
    policy = Policy()
    policy.put_producer("billing", producer(keys=[KEY]))
    policy.put_producer("crm", producer("crm", sources=["crm/*"], types=["crm.*"], keys=[KEY]))
    policy.put_producer("no", producer("no", signatures="rejected", keys=[KEY]))
    assert emits(policy, "billing/x", "billing.paid", signer="billing") is None
    assert emits(policy, "billing/x", "billing.paid", signer="crm") is Reason.PRODUCER_NOT_ALLOWED
    assert emits(policy, "billing/x", "billing.paid", signer="no") is Reason.SIGNATURE_NOT_TAKEN


def test_the_keys_are_those_of_the_producers_as_they_are_now():
    policy = Policy()
    policy.put_producer("billing", producer(keys=[KEY]))
    ring = policy.keyring
    assert ring.get("billing", "k1")
    assert ring.get("crm", "k1") is None
    policy.put_producer("billing", producer(keys=[KEY | {"id": "k2"}]))
    assert policy.keyring.get("billing", "k1") is None
    assert policy.keyring.get("billing", "k2")
    policy.keep_producer("billing", Policy())
    assert policy.keyring.get("billing", "k2") is None
    policy.put_producer("billing", producer(keys=[KEY]))
    policy.remove_producer("billing")
    assert policy.keyring.get("billing", "k1") is None


def test_a_producer_that_cannot_be_read_opens_no_door():
    policy = Policy()
    policy.keep_producer("billing", Policy())
    assert emits(policy, "billing/x", "billing.paid") is Reason.PRODUCER_NOT_ALLOWED
    earlier = Policy()
    earlier.put_producer("billing", producer())
    policy.keep_producer("billing", earlier)
    assert emits(policy, "billing/x", "billing.paid") is None


def test_what_senders_choose_is_remembered_within_bounds():
    policy = Policy()
    policy.put_producer("billing", producer())
    for number in range(20_001):
        emits(policy, f"billing/{number}", "billing.paid")
    assert len(policy._verdicts) <= 10_000


def test_the_payload_of_a_registered_type_follows_its_schema():
    policy = Policy()
    policy.put_event_type(event_type(v1={}, v3=AMOUNT))
    assert refusal(policy.check_payload, "paid", 1, "anything") is None
    assert refusal(policy.check_payload, "paid", 3, {"amount": 1}) is None
    assert refusal(policy.check_payload, "paid", 2, {}) is Reason.UNKNOWN_SCHEMA_VERSION
    with pytest.raises(EventRejectedError, match=r"amount: \"x\" is not of type") as caught:
        policy.check_payload("paid", 3, {"amount": "x"})
    assert caught.value.reason is Reason.SCHEMA_VIOLATION


def test_the_payload_of_an_unregistered_type_is_not_looked_at():
    policy = Policy()
    policy.put_event_type(event_type(v1=AMOUNT))
    policy.remove_event_type("paid")
    assert refusal(policy.check_payload, "paid", 1, []) is None


def test_an_event_type_that_cannot_be_used_stays_as_it_was():
    earlier, policy = Policy(), Policy()
    earlier.put_event_type(event_type(v1=AMOUNT))
    with pytest.raises(SchemaError):
        earlier.put_event_type(event_type(v1={"type": "nothing"}))
    assert refusal(earlier.check_payload, "paid", 1, []) is Reason.SCHEMA_VIOLATION
    policy.keep_event_type("paid", earlier)
    policy.keep_event_type("other", earlier)
    assert refusal(policy.check_payload, "paid", 1, []) is Reason.SCHEMA_VIOLATION
    assert refusal(policy.check_payload, "other", 1, []) is None
