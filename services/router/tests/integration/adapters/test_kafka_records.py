"""Single records of real topics: by place and by search, whatever stands beside them."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from router.adapters.kafka_records import KafkaRecords
from router.domain import searching
from router.errors import RecordGoneError, RequestInvalidError, TransientError

HOUR_MS = 3_600_000


@pytest.fixture
def topic(kafka):
    kafka.create(kafka.topic, partitions=2)
    return kafka.topic


@pytest.fixture
async def opened():
    readers = []

    def open_(servers, **how):
        readers.append(KafkaRecords(servers, **how))
        return readers[-1]

    yield open_
    for reader in readers:
        await reader.close()


@pytest.fixture
def records(opened, kafka):
    return opened(kafka.bootstrap)


def ago(hours):
    return datetime.now(UTC) - timedelta(hours=hours)


async def test_a_record_is_read_by_its_place(records, kafka, topic, make):
    for number in range(3):
        kafka.produce(make.event(f"e-{number}"), key=b"k", partition=1, headers=[("a", None)])
    kafka.flush()
    record = await records.at(topic, 1, 1)
    assert (record.topic, record.partition, record.offset, record.key) == (topic, 1, 1, b"k")
    assert record.value == make.event("e-1")
    assert record.headers == (("a", None),)


async def test_what_is_not_there_is_gone_and_not_waited_for(records, kafka, topic, make):
    kafka.produce(make.event("e-0"), partition=0)
    kafka.flush()
    for place in ((topic, 0, 1), (topic, 1, 0), (topic, 9, 0), (f"{topic}.none", 0, 0)):
        with pytest.raises(RecordGoneError):
            await records.at(*place)


async def test_an_event_is_found_among_hostile_records(records, kafka, topic, make):
    kafka.produce(None, partition=0)
    kafka.produce(b"\xff e-1", partition=0)
    kafka.produce(b"[" * 5000 + b"e-1\\", partition=0)
    kafka.produce(b'{"event_id":"e-1"' + b"x" * 900_000, partition=0)
    kafka.produce(b"e-1", partition=0, headers=[("a", b"1"), ("a", None), ("ce_id", b"\xff")])
    kafka.flush()
    kafka.produce_with_header_name(b"\xff\xfe", make.event("e-1", source="odd"))
    kafka.produce(make.event("e-1"), partition=0)
    kafka.produce(make.event("e-1"), partition=1)
    kafka.produce(make.event("e-2"), partition=1)
    kafka.flush()
    search = await records.search(
        [topic], since=ago(1), until=None, look=searching.looking_for("e-1")
    )
    assert search.complete
    assert search.looked_at == 9
    found = sorted((one.record.partition, one.record.offset, one.source) for one in search.found)
    # One that would be refused for its headers is found by what it claims.
    assert found == [(0, 5, "odd"), (0, 6, "shop"), (1, 0, "shop")]


async def test_a_search_keeps_to_its_times(records, kafka, topic, make):
    now_ms = int(time.time() * 1000)
    for hours in (5, 3, 1):
        kafka.produce(make.event("e-1"), partition=0, timestamp=now_ms - hours * HOUR_MS)
    kafka.flush()

    async def offsets(since, until=None):
        search = await records.search(
            [topic], since=since, until=until, look=searching.looking_for("e-1")
        )
        assert search.complete
        return [one.record.offset for one in search.found]

    assert await offsets(ago(6)) == [0, 1, 2]
    assert await offsets(ago(4)) == [1, 2]
    assert await offsets(ago(4), ago(2)) == [1]
    assert await offsets(ago(0.5)) == []


async def test_a_search_ends_at_its_number_of_records_and_says_so(opened, kafka, topic, make):
    for number in range(2000):
        kafka.produce(make.event(f"e-{number}"), partition=number % 2)
    kafka.flush()
    search = await opened(kafka.bootstrap, max_searched=300).search(
        [topic], since=ago(1), until=None, look=searching.looking_for("e-1999")
    )
    assert not search.complete
    assert search.looked_at < 1500


async def test_brokers_that_do_not_answer_are_a_passing_failure(opened, topic):
    records = opened("127.0.0.1:1", timeout_s=0.5)
    with pytest.raises(TransientError):
        await records.at(topic, 0, 0)
    with pytest.raises(TransientError):
        await records.search([topic], since=ago(1), until=None, look=lambda _: None)


async def test_stretches_are_read_to_their_end_and_no_further(records, kafka, topic, make):
    kafka.produce(make.event("e-old"), partition=0, timestamp=1_000)
    kafka.flush()
    begin = ago(1)
    for number in range(700):
        kafka.produce(make.event(f"e-{number}"), partition=number % 2)
    kafka.flush()
    stretches = await records.stretches(topic, since=begin, until=datetime.now(UTC))
    kafka.produce(make.event("e-late"), partition=0)
    kafka.flush()
    assert stretches == {0: (1, 351), 1: (0, 350)}
    found, left = [], stretches
    while left:
        read, left = await records.read(topic, left, most=100)
        assert read
        found += read
    assert len(found) == 700
    for partition in (0, 1):
        offsets = [one.offset for one in found if one.partition == partition]
        assert offsets == list(range(*stretches[partition]))


async def test_what_retention_has_taken_is_passed_over(records, kafka, topic, make):
    for number in range(10):
        kafka.produce(make.event(f"e-{number}"), partition=0)
    kafka.flush()
    kafka.delete_before(topic, 0, 6)
    read, left = await records.read(topic, {0: (0, 8)}, most=100)
    assert ([one.offset for one in read], left) == ([6, 7], {})
    assert await records.read(topic, {0: (2, 5)}, most=100) == ([], {})


async def test_a_topic_that_is_not_there_has_no_stretches(records, topic):
    with pytest.raises(RequestInvalidError, match="there is no topic"):
        await records.stretches(f"{topic}.none", since=ago(1), until=datetime.now(UTC))
