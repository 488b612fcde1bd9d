"""The floor's consumer: a plain loop that starts a workflow for each record of its topic."""

import asyncio
import json
import os

from confluent_kafka import Consumer
from temporalio.client import Client

AT_ONCE = 50


async def main() -> None:
    """Start a workflow for each record, `AT_ONCE` at a time, until killed."""
    client = await Client.connect(os.environ["BACKBONE_TEMPORAL_ADDRESS"], namespace="dev")
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["BACKBONE_KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": "floor",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe(["dev.floor"])

    async def start(value: bytes) -> None:
        event = json.loads(value)
        await client.start_workflow(
            "FloorRun", value.decode(), id=f"floor-{event['event_id']}", task_queue="floor-tq"
        )

    while True:
        records = await asyncio.to_thread(consumer.consume, AT_ONCE, 0.05)
        if records:
            await asyncio.gather(*(start(record.value() or b"") for record in records))
            await asyncio.to_thread(consumer.commit, asynchronous=False)


if __name__ == "__main__":
    asyncio.run(main())
