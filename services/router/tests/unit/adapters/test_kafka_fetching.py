"""How a batch is fetched: patiently while nothing comes, soon once something does."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import KafkaException

from router.adapters import kafka_fetching
from router.adapters.kafka_fetching import PatientClient


class Topic:
    """Stands for librdkafka's consumer: what each call finds, and how it was called."""

    def __init__(self, *found):
        self._found = list(found)
        self.calls = []

    def consume(self, *, num_messages, timeout):
        self.calls.append((num_messages, timeout))
        found = self._found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


class Message:
    def __init__(self, error=None):
        self._error = error

    def error(self):
        return self._error


@pytest.fixture
def client():
    """A client without its connection."""
    made = object.__new__(PatientClient)
    made._thread_pool = ThreadPoolExecutor(max_workers=1)
    yield made
    made._thread_pool.shutdown()


async def test_an_idle_poll_waits_once_and_asks_for_no_more(client):
    client.consumer = topic = Topic([])
    assert await client.getmany(0.005, 100) == ()
    assert topic.calls == [(1, kafka_fetching.IDLE_S)]


async def test_a_batch_is_what_is_there_soon_after_its_first_record(client):
    first, *more = messages = [Message() for _ in range(3)]
    client.consumer = topic = Topic([first], more)
    assert await client.getmany(0.005, 100) == tuple(messages)
    assert topic.calls == [(1, kafka_fetching.IDLE_S), (99, 0.005)]


async def test_a_batch_of_one_asks_once(client):
    client.consumer = topic = Topic([first := Message()])
    assert await client.getmany(0.005, 1) == (first,)
    assert len(topic.calls) == 1


async def test_what_was_taken_is_not_lost_when_the_rest_fails(client):
    client.consumer = Topic([first := Message()], KafkaException("away"))
    assert await client.getmany(0.005, 100) == (first,)


async def test_an_error_is_no_record(client):
    client.consumer = Topic([Message(error="end of partition")], [record := Message()])
    assert await client.getmany(0.005, 100) == (record,)
