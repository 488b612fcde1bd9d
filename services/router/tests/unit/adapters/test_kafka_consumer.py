"""What the consumer leans on in FastStream, which is not promised there."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from faststream.confluent.helpers.client import AsyncConfluentConsumer

from router.adapters import kafka_consumer, kafka_fetching


async def test_faststream_has_one_thread_for_its_consumer(monkeypatch):
    made = []
    monkeypatch.setattr(AsyncConfluentConsumer, "start", _remember(made))
    monkeypatch.setattr(kafka_fetching.PatientClient, "getmany", _nothing)

    async def route(records, *, attempts, may_begin):
        raise AssertionError

    consumer = kafka_consumer.KafkaConsumer(
        "127.0.0.1:1",
        topics=["dev.events"],
        group="g",
        route=route,
        batch_records=1,
        drain=timedelta(seconds=1),
    )
    await consumer.start()
    await consumer.stop()
    (client,) = made
    # It reads by our own client, which costs an idle router little.
    assert isinstance(client, kafka_fetching.PatientClient)
    assert isinstance(client._thread_pool, ThreadPoolExecutor)
    assert client._thread_pool._max_workers == 1
    config = client.config
    assert config["enable.auto.commit"] is False
    assert config["auto.offset.reset"] == "earliest"
    assert config["allow.auto.create.topics"] is False
    assert config["partition.assignment.strategy"] == "cooperative-sticky"


def _remember(made):
    async def start(self):
        made.append(self)

    return start


async def _nothing(self, **_):
    await asyncio.sleep(0.01)
    return ()
