"""The floors: a plain loop over one topic that parses its records, or starts a workflow for each.

`floor.py parse | parse-orjson | start TOPIC GROUP BATCH CONCURRENCY`. It checks nothing, matches
nothing, records nothing, and commits once for each batch.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import orjson
from confluent_kafka import Consumer, Message, TopicPartition
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

TASK_QUEUE = "bench-tq"


def _consumer(topic: str, group: str) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["BACKBONE_KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": group,
            "enable.auto.commit": False,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    return consumer


def parse(consumer: Consumer, batch: int, loads: Any) -> None:
    """Parse every record, until killed."""
    while True:
        records = consumer.consume(batch, 0.05)
        if records:
            for record in records:
                loads(record.value() or b"")
            consumer.commit(asynchronous=False)


async def start(consumer: Consumer, batch: int, concurrency: int) -> None:
    """Start the workflow that the router starts for each record, until killed."""
    client = await Client.connect(os.environ["BACKBONE_TEMPORAL_ADDRESS"], namespace="dev")
    slots = asyncio.Semaphore(concurrency)

    async def one(record: Message) -> None:
        event = json.loads(record.value() or b"")
        run_id = f"floor:{event['source']}:{event['event_id']}"
        trigger = {
            "kind": "event", "names": ["payment"], "definition_version": 1, "events": [event],
        }  # fmt: skip
        async with slots:
            await client.start_workflow(
                "RunActivity",
                {
                    "namespace": "dev",
                    "run_id": run_id,
                    "definition_id": "bench.payment-000000",
                    "trigger": trigger,
                },
                id=run_id,
                task_queue=TASK_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            )

    while True:
        records = await asyncio.to_thread(consumer.consume, batch, 0.05)
        if records:
            await asyncio.gather(*map(one, records))
            await asyncio.to_thread(consumer.commit, asynchronous=False)


def main(arguments: Sequence[str]) -> None:
    """Run one of them."""
    kind, topic, group, batch, concurrency = arguments
    consumer = _consumer(topic, group)
    if kind == "start":
        asyncio.run(start(consumer, int(batch), int(concurrency)))
    else:
        parse(consumer, int(batch), orjson.loads if kind == "parse-orjson" else json.loads)


if __name__ == "__main__":
    main(sys.argv[1:])
