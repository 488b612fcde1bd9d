import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contracts import envelope
from contracts.envelope import MAX_EVENT_BYTES, Envelope
from contracts.names import Header
from contracts.producers import ProducerKey
from contracts.rejections import EventRejectedError, Reason
from devstack.infrastructure import ensure_topics
from runtime import telemetry
from runtime.kafka import KafkaDeliveryError
from sdk import EventPublisher
from signing import keyfiles, verification
from signing import signature as signatures
from signing.errors import KeyUnusableError
from signing.keys import Keyring, SigningKey
from signing.verification import ReplayWindow


def _event(event_id: str, **fields: object) -> Envelope:
    return Envelope.model_validate(
        {
            "event_id": event_id,
            "type": "billing.payment.received",
            "source": "tests/sdk",
            "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
            "payload": {"amount": 3},
            **fields,
        }
    )


async def test_published_events_are_acknowledged_readable_and_in_order_of_their_key(
    kafka_bootstrap_servers: str, unique_name: str, consume: Any
) -> None:
    ensure_topics(kafka_bootstrap_servers, {unique_name: 4})
    events = [_event(f"e{n}", subject="invoice-7") for n in range(5)]

    async with EventPublisher(kafka_bootstrap_servers) as publisher:
        for event in events:
            await publisher.publish(unique_name, event)

    records = await consume(unique_name, 5)
    assert [envelope.parse(record.value()) for record in records] == events
    assert {record.key() for record in records} == {b"invoice-7"}
    headers = dict(records[0].headers() or [])
    assert headers[Header.EVENT_ID] == b"e0"
    assert headers[Header.EVENT_TYPE] == b"billing.payment.received"


async def test_what_is_published_with_a_key_is_signed_as_of_now_and_with_the_same_bytes(
    kafka_bootstrap_servers: str, unique_name: str, consume: Any, tmp_path: Path
) -> None:
    ensure_topics(kafka_bootstrap_servers, {unique_name: 1})
    key = SigningKey.generate(signer="shop", key_id="1")
    keyfiles.write_private(tmp_path / "shop.key", key)
    ring = Keyring.of({"shop": [ProducerKey(id="1", public_key=key.public_key)]})
    before = time.time_ns() // 1_000_000
    async with EventPublisher(
        kafka_bootstrap_servers, signing_key=tmp_path / "shop.key"
    ) as publisher:
        for _ in range(2):
            await publisher.publish(unique_name, _event("e1"), key="k")
    records = await consume(unique_name, 2)
    assert records[0].value() == records[1].value()
    for record in records:
        found = signatures.find(record.headers())
        assert found is not None
        assert before <= found.issued_at_ms <= time.time_ns() // 1_000_000
        verification.verify(
            found,
            ring,
            topic=unique_name,
            key=record.key(),
            headers=record.headers(),
            value=record.value(),
            now_ms=found.issued_at_ms,
            window=ReplayWindow(),
        )


async def test_a_publisher_without_its_key_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusableError, match=r"none\.key cannot be read"):
        await EventPublisher("127.0.0.1:1", signing_key=tmp_path / "none.key").__aenter__()


async def test_event_published_again_in_another_trace_has_the_same_bytes(
    kafka_bootstrap_servers: str, unique_name: str, consume: Any
) -> None:
    ensure_topics(kafka_bootstrap_servers, {unique_name: 1})
    traces = [f"00-{digit * 32}-{digit * 16}-01" for digit in "12"]

    async with EventPublisher(kafka_bootstrap_servers) as publisher:
        for trace in traces:
            with telemetry.attached(trace):
                await publisher.publish(unique_name, _event("e1"))

    records = await consume(unique_name, 2)
    assert records[0].value() == records[1].value()
    carried = [dict(record.headers() or [])[Header.TRACEPARENT].decode() for record in records]
    assert [parent[:35] for parent in carried] == [trace[:35] for trace in traces]


async def test_event_too_large_for_the_router_is_refused_here(kafka_bootstrap_servers: str) -> None:
    async with EventPublisher(kafka_bootstrap_servers) as publisher:
        with pytest.raises(EventRejectedError) as caught:
            await publisher.publish("any", _event("e1", payload={"x": "x" * MAX_EVENT_BYTES}))
    assert caught.value.reason is Reason.OVERSIZE


async def test_topic_that_does_not_exist_is_an_error(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    async with EventPublisher(kafka_bootstrap_servers) as publisher:
        with pytest.raises(KafkaDeliveryError):
            await publisher.publish(unique_name, _event("e1"))


async def test_publisher_that_is_not_open_says_so(kafka_bootstrap_servers: str) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await EventPublisher(kafka_bootstrap_servers).publish("any", _event("e1"))
