"""What was parked is read back from a real topic: every byte, in one order, a page at a time."""

import asyncio
import contextlib
from functools import partial

import pytest
from confluent_kafka import Producer

from contracts.names import Header
from contracts.rejections import Reason
from router.adapters import kafka_dead_letter_topic
from router.adapters.dead_letter_seal import DeadLetterSeal
from router.adapters.kafka_dead_letter_topic import KafkaDeadLetterTopic
from router.adapters.kafka_dead_letters import KafkaDeadLetters
from router.domain import dead_letter_pages
from router.domain.records import Record
from router.errors import TransientError
from runtime import datakeys
from runtime.datakeys import DataKeyFile, KeyDocument
from runtime.kafka import KafkaProducer

EVERYTHING = {"left": None, "since_ms": None, "until_ms": None, "keep": lambda _: True}


@pytest.fixture
def namespace(kafka_bootstrap_servers, kafka):
    """A namespace whose topic of dead letters has three partitions."""
    name = f"{kafka.namespace}-many"
    kafka.create(f"{name}.backbone.dead-letters", partitions=3)
    return name


@pytest.fixture(params=["clear", "sealed"])
def seal(request, tmp_path):
    if request.param == "clear":
        return DeadLetterSeal()
    ring = tmp_path / "data-keys.json"
    datakeys.write_document(ring, KeyDocument(active="1", keys={"1": datakeys.generate()}))
    return DeadLetterSeal(DataKeyFile(ring), encrypts=True)


@pytest.fixture
def topic(kafka_bootstrap_servers, seal):
    return KafkaDeadLetterTopic(kafka_bootstrap_servers, seal=seal)


@pytest.fixture
async def park(kafka_bootstrap_servers, namespace, seal):
    async with contextlib.AsyncExitStack() as stack:
        letters = KafkaDeadLetters(
            partial(KafkaProducer, kafka_bootstrap_servers, client_id="t", delivery_timeout_s=10.0),
            seal=seal,
        )
        stack.push_async_callback(letters.close)
        yield partial(
            letters.park, namespace=namespace, reason=Reason.NOT_UTF8, detail="ä", attempts=2
        )


async def everything(topic, namespace, *, limit=100, **changes):
    """Return all letters, page by page."""
    found, left = [], None
    for _ in range(1000):
        page = await topic.page(namespace, **{**EVERYTHING, **changes, "left": left}, limit=limit)
        assert len(page.letters) <= limit
        found += page.letters
        left = page.left
        if not dead_letter_pages.token(left):
            return found
    raise AssertionError("no end of pages")


def record(value, *, key=None, headers=(), offset=7, timestamp_ms=1_700_000_000_123):
    return Record("x.events", 5, offset, timestamp_ms, key, value, headers)


HEADERS = (
    ("a", b"1"),
    ("a", b"\xff\xfe"),
    ("empty", b""),
    ("null", None),
    ("backbone-reason", b"forged"),
    ("sender-backbone-reason", b"forged twice"),
    ("backbone-origin-topic", b"x.elsewhere"),
    ("reply_to", b"x"),
)


async def test_the_senders_record_comes_back_byte_for_byte(topic, namespace, park):
    sent = [
        record(b"\x00\xff", key=None, headers=HEADERS, offset=0),
        record(b"", key=b"", offset=1),
        record(None, key=b"\xff", offset=2, timestamp_ms=None),
        record(b"x" * 900_000, key=b"k", offset=3),
        record(b"{}", headers=None, offset=4, timestamp_ms=2**62),
    ]
    for one in sent:
        await park(one)
    found = {one.record.offset: one for one in await everything(topic, namespace)}
    assert [found[one.offset].record for one in sent] == sent
    assert {(one.reason, one.detail, one.attempts) for one in found.values()} == {
        ("not_utf8", "ä", 2)
    }
    assert all(one.cut_from is None for one in found.values())


async def test_a_value_that_was_cut_tells_its_length(topic, namespace, park):
    await park(record(b"x" * 1_048_400, headers=HEADERS))
    (letter,) = await everything(topic, namespace)
    assert (letter.cut_from, letter.size) == (1_048_400, 256 * 1024)
    assert letter.record.headers == HEADERS


async def test_pages_of_every_size_show_all_in_one_order(topic, namespace, park, monkeypatch):
    for offset in range(30):
        await park(record(b"{}", key=str(offset).encode(), offset=offset))
    once = await everything(topic, namespace)
    # Parked one after the other.
    assert [one.record.offset for one in once] == list(range(30))
    assert len({one.partition for one in once}) == 3
    for limit in (1, 7):
        assert await everything(topic, namespace, limit=limit) == once
    monkeypatch.setattr(kafka_dead_letter_topic, "LOOKED_AT", 6)
    assert await everything(topic, namespace) == once
    few = await everything(topic, namespace, keep=lambda one: one.record.offset == 17)
    assert [one.record.offset for one in few] == [17]
    monkeypatch.setattr(kafka_dead_letter_topic, "LOOKED_AT_BYTES", 1)
    assert await everything(topic, namespace) == once


async def test_what_comes_while_pages_are_turned_is_not_of_this_listing(topic, namespace, park):
    for offset in range(4):
        await park(record(b"{}", key=b"k", offset=offset))
    first = await topic.page(namespace, **EVERYTHING, limit=2)
    await park(record(b"{}", key=b"k", offset=4))
    rest = await topic.page(namespace, **{**EVERYTHING, "left": first.left}, limit=100)
    assert [one.record.offset for one in (*first.letters, *rest.letters)] == [0, 1, 2, 3]
    assert dead_letter_pages.token(rest.left) == ""


async def test_times_bound_what_is_looked_at(topic, namespace, park):
    for offset in range(6):
        await park(record(b"{}", offset=offset))
        await asyncio.sleep(0.005)  # A millisecond of its own for each.
    times = [one.parked_at_ms for one in await everything(topic, namespace)]
    looked = []
    late = await everything(
        topic, namespace, since_ms=times[3], keep=lambda one: looked.append(one) or True
    )
    assert [one.record.offset for one in late] == [3, 4, 5]
    assert len(looked) == 3
    assert await everything(topic, namespace, since_ms=times[5] + 1) == []
    hour = kafka_dead_letter_topic.BACK_IN_TIME_MS
    assert len(await everything(topic, namespace, until_ms=times[2] - hour)) == 2


async def test_an_empty_topic_has_no_page(topic, namespace):
    assert await everything(topic, namespace) == []


async def test_single_ones_are_found_and_those_that_are_gone_are_missing(topic, namespace, park):
    for offset in range(5):
        await park(record(b"{}", key=b"k", offset=offset))
    letters = await everything(topic, namespace)
    place = letters[3].place
    gone = (place[0], 99)
    found = await topic.at(namespace, [gone, place, letters[1].place])
    assert found == {place: letters[3], letters[1].place: letters[1]}


async def test_a_topic_that_is_missing_is_told(topic):
    with pytest.raises(TransientError, match=r"nowhere\.backbone\.dead-letters"):
        await topic.page("nowhere", **EVERYTHING, limit=1)
    with pytest.raises(TransientError, match=r"nowhere\.backbone\.dead-letters"):
        await topic.at("nowhere", [(0, 0)])


async def test_brokers_that_are_away_are_told_in_time():
    away = KafkaDeadLetterTopic("127.0.0.1:1", timeout_s=0.5)
    with pytest.raises(TransientError, match="cannot be read"):
        await away.page("dev", **EVERYTHING, limit=1)


async def test_what_somebody_else_wrote_into_the_topic_is_shown(topic, namespace, kafka):
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(
        f"{namespace}.backbone.dead-letters", b"?", headers=[(Header.ORIGIN_OFFSET, b"x")]
    )
    assert producer.flush(10) == 0
    (letter,) = await everything(topic, namespace)
    assert not letter.has_origin
    assert letter.record.value == b"?"
