"""The subscription on a real Kafka: order, holds, hostile records, offsets."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from faststream import BaseMiddleware
from faststream.confluent import KafkaBroker

from contracts.envelope import Envelope
from sdk import HandlerDefinitionError, PermanentError
from sdk.inbox import Inbox, MemoryInboxStore, Order
from sdk.inbox.upkeep import Upkeep

Start = Callable[..., AbstractAsyncContextManager[KafkaBroker]]


@pytest.fixture
def store() -> MemoryInboxStore:
    return MemoryInboxStore()


def handled(store: MemoryInboxStore) -> list[str]:
    return list(store.effects.get("handled", []))


@pytest.fixture
def consume(events: Any, store: MemoryInboxStore) -> Start:
    @asynccontextmanager
    async def consume(
        handler: Any = None, *, broker: KafkaBroker | None = None, **options: Any
    ) -> AsyncIterator[KafkaBroker]:
        broker = broker or KafkaBroker(events.bootstrap, logger=None)
        inbox = Inbox(
            broker,
            store,
            namespace="dev",
            group=events.group,
            upkeep_every=timedelta(milliseconds=50),
        )

        @inbox.subscriber(events.topic, **options)
        async def note(event: Envelope, effects: dict[str, Any]) -> None:
            effects.setdefault("handled", []).append(event.event_id)
            if handler is not None:
                await handler(event)

        await broker.start()
        yield broker
        await broker.stop()

    return consume


async def test_copies_take_effect_once_and_all_are_committed(
    events, store, consume, eventually
) -> None:
    for n in (1, 2, 2, 4, 1, 5):
        events.publish(f"e{n}", stream="run:1", version=n)
    async with consume():
        await eventually(events.all_committed)
    assert handled(store) == ["e1", "e2", "e4", "e5"]

    events.publish("e2", stream="run:1", version=2)
    events.publish("e6", stream="run:1", version=6)
    async with consume():
        await eventually(events.all_committed)
    assert handled(store) == ["e1", "e2", "e4", "e5", "e6"]


async def test_record_that_fails_holds_its_partition_in_order_and_no_other(
    events, store, consume, eventually
) -> None:
    broken = asyncio.Event()
    tries = 0

    async def fail_until_mended(event: Envelope) -> None:
        nonlocal tries
        if event.event_id == "a2" and not broken.is_set():
            tries += 1
            raise ConnectionError("away")

    for n in range(1, 5):
        events.publish(f"a{n}", partition=0, stream="run:a", version=n)
    async with consume(fail_until_mended):
        await eventually(lambda: tries >= 3)
        events.publish("b1", partition=1)
        await eventually(lambda: "b1" in handled(store))
        assert handled(store) == ["a1", "b1"]
        assert (await events.committed())[0] == 1
        broken.set()
        await eventually(events.all_committed)
    assert handled(store) == ["a1", "b1", "a2", "a3", "a4"]


async def test_handler_that_takes_too_long_is_tried_again(
    events, store, consume, eventually
) -> None:
    tries = 0

    async def hang_once(event: Envelope) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            await asyncio.Event().wait()

    events.publish("e1")
    async with consume(hang_once, timeout=timedelta(milliseconds=200)):
        await eventually(events.all_committed)
    assert (tries, handled(store)) == (2, ["e1"])


async def test_records_that_cannot_take_effect_block_nothing(
    events, store, consume, eventually
) -> None:
    async def refuse(event: Envelope) -> None:
        if event.event_id == "refused":
            raise PermanentError("no such invoice")

    hostile: list[tuple[str, Callable[[], None]]] = [
        ("empty", lambda: events.produce(None)),
        ("not_utf8", lambda: events.produce(b"\xff\xfe")),
        ("malformed_json", lambda: events.produce(b"{", headers=[("n", None), ("n", b"\xff")])),
        (
            "malformed_json",
            lambda: events.produce(b"{}}", headers=[("content-type", b"application/json")]),
        ),
        ("invalid_headers", lambda: events.publish("e", stream="run:1", version=0)),
        (
            "invalid_headers",
            lambda: events.produce_with_header_name(b"\xff\xfe", events.event("bad-header")),
        ),
        ("permanent_error", lambda: events.publish("refused")),
        ("id_conflict", lambda: events.publish("e0", other="bytes")),
    ]
    events.publish("e0")
    for number, (_, produce) in enumerate(hostile, 1):
        produce()
        events.publish(f"e{number}")

    async with consume(refuse):
        await eventually(events.all_committed)

    assert handled(store) == [f"e{number}" for number in range(len(hostile) + 1)]
    refusals = await store.refusals("dev", events.group, limit=100)
    assert [refusal.reason for refusal in reversed(refusals)] == [r for r, _ in hostile]


async def test_middleware_that_raises_loses_nothing(events, store, consume, eventually) -> None:
    raised = 0

    class RaisesTwice(BaseMiddleware[Any, Any]):
        async def on_receive(self) -> None:
            nonlocal raised
            raised += 1
            if raised < 3:
                raise RuntimeError("in a middleware")

    for n in range(5):
        events.publish(f"e{n}")
    broker = KafkaBroker(events.bootstrap, logger=None, middlewares=[RaisesTwice])
    async with consume(broker=broker):
        await eventually(events.all_committed)
    assert raised >= 3
    assert handled(store) == [f"e{n}" for n in range(5)]


async def test_stop_lets_the_event_in_work_end_and_commits_it(
    events, store, consume, eventually
) -> None:
    working, go_on = asyncio.Event(), asyncio.Event()

    async def wait(event: Envelope) -> None:
        working.set()
        await go_on.wait()

    events.publish("e1")
    events.publish("e2")
    async with consume(wait) as broker:
        await working.wait()
        stopping = asyncio.create_task(broker.stop())
        await eventually(lambda: not any(s.running for s in broker.subscribers))
        go_on.set()
        await stopping
    assert handled(store) == ["e1"]
    assert (await events.committed())[0] == 1


async def test_two_instances_share_the_work_and_hand_it_over(
    events, store, consume, eventually
) -> None:
    for n in range(20):
        events.publish(f"a{n}", partition=n % 2, stream=f"run:{n % 2}", version=n + 1)
    async with consume():
        await eventually(lambda: len(handled(store)) > 5)
        async with consume():
            for n in range(20, 40):
                events.publish(f"a{n}", partition=n % 2, stream=f"run:{n % 2}", version=n + 1)
            await eventually(lambda: len(handled(store)) >= 30)
        await eventually(events.all_committed)
    for partition in (0, 1):
        of_partition = [e for e in handled(store) if int(e[1:]) % 2 == partition]
        assert of_partition == [f"a{n}" for n in range(partition, 40, 2)]
    assert await store.refusals("dev", events.group, limit=10) == []


async def test_partition_that_was_lost_while_it_was_held_goes_on_when_it_comes_back(
    events, store, consume, eventually
) -> None:
    mended = asyncio.Event()
    tries = 0

    async def fail_until_mended(event: Envelope) -> None:
        nonlocal tries
        if not mended.is_set():
            tries += 1
            raise ConnectionError("away")

    for n in range(4):
        events.publish(f"e{n}", partition=n % 2)
    async with consume(fail_until_mended) as first:
        await eventually(lambda: tries >= 4)
        async with consume(fail_until_mended) as second:
            await eventually(lambda: len(_assignment(second)) == 1)
            assert len(_assignment(first)) == 1
        await eventually(lambda: len(_assignment(first)) == 2)
        mended.set()
        await eventually(events.all_committed)
    assert sorted(handled(store)) == ["e0", "e1", "e2", "e3"]


def _assignment(broker: KafkaBroker) -> list[Any]:
    (subscriber,) = broker.subscribers
    return list(subscriber.consumer.consumer.assignment())


async def test_gapless_streams_keep_their_order_across_partitions(
    events, store, consume, eventually
) -> None:
    published = [(stream, version) for stream in "ab" for version in range(1, 16)] * 2
    random.Random(7).shuffle(published)
    for number, (stream, version) in enumerate(published):
        events.publish(
            f"{stream}{version}", partition=number % 2, stream=f"run:{stream}", version=version
        )
    async with consume(order=Order.GAPLESS):
        await eventually(events.all_committed)
    for stream in "ab":
        of_stream = [event_id for event_id in handled(store) if event_id[0] == stream]
        assert of_stream == [f"{stream}{version}" for version in range(1, 16)]
    assert await store.refusals("dev", events.group, limit=10) == []


async def test_gap_holds_its_stream_alone_until_people_skip_it(
    events, store, consume, eventually
) -> None:
    for version in (1, 2, 4, 5):  # Version 3 was discarded: it never comes.
        events.publish(f"a{version}", stream="run:a", version=version)
    events.publish("b1", stream="run:b", version=1)
    async with consume(order=Order.GAPLESS):
        await eventually(events.all_committed)
        assert handled(store) == ["a1", "a2", "b1"]
        (gap,) = await store.gaps("dev", events.group, limit=10)
        assert (gap.stream, gap.after, gap.before) == ("run:a", 2, 4)
        assert await store.skip("dev", events.group, gap)
        # Nothing comes any more: the upkeep finds what waits.
        await eventually(lambda: len(handled(store)) == 5)
    assert handled(store) == ["a1", "a2", "b1", "a4", "a5"]


async def test_upkeep_lasts_as_long_as_the_broker_runs(
    events, store, consume, eventually, monkeypatch
) -> None:
    rounds = 0

    async def count(upkeep: Upkeep) -> None:
        nonlocal rounds
        rounds += 1

    monkeypatch.setattr(Upkeep, "round", count)
    async with consume() as broker:
        await eventually(lambda: rounds >= 2)
    (subscriber,) = broker.subscribers
    assert subscriber.tasks == []


async def test_faststream_is_as_the_subscription_needs_it(events, consume) -> None:
    async with consume() as broker:
        (subscriber,) = broker.subscribers
        client = subscriber.consumer
        assert isinstance(client._thread_pool, ThreadPoolExecutor)
        assert client._thread_pool._max_workers == 1
        assert client.config["enable.auto.commit"] is False
        assert client.config["auto.offset.reset"] == "earliest"
        assert client.config["partition.assignment.strategy"] == "cooperative-sticky"
        assert client.topics_to_create == []


def test_topic_has_one_handler_in_a_group(store) -> None:
    inbox = Inbox(KafkaBroker("127.0.0.1:1"), store, namespace="dev", group="reports")
    inbox.subscriber("dev.events")
    with pytest.raises(HandlerDefinitionError, match="already"):
        inbox.subscriber("dev.other", "dev.events")
    with pytest.raises(HandlerDefinitionError, match="at least one"):
        inbox.subscriber()


@pytest.mark.parametrize(("namespace", "group"), [("Dev", "reports"), ("dev", ""), ("dev", "a b")])
def test_malformed_names_are_refused(store, namespace, group) -> None:
    with pytest.raises(HandlerDefinitionError):
        Inbox(KafkaBroker("127.0.0.1:1"), store, namespace=namespace, group=group)
