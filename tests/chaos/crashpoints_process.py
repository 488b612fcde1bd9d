"""Processes that users of the SDK would write: one publishes events, one gives up a gap.

    python crashpoints_process.py publish FILE   each line of the file, an event, to dev.orders
    python crashpoints_process.py skip           versions 1 and 3 of a stream, in the order of both

Started again after a crash, each does all of its work once more.
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import sdk
from contracts import envelope
from contracts.envelope import Envelope
from sdk.inbox import Order, PostgresInboxStore, Transaction
from sdk.inbox.processing import Processor
from sdk.inbox.records import Record

GROUP = "e2e.skipping"


async def publish(events: list[bytes]) -> None:
    """Publish events, one after the other."""
    async with sdk.EventPublisher(os.environ["BACKBONE_KAFKA_BOOTSTRAP_SERVERS"]) as publisher:
        for event in events:
            await publisher.publish("dev.orders", envelope.parse(event))


async def skip(dsn: str) -> None:
    """Handle version 1 of a stream, give up version 2, and so handle version 3."""
    store = await PostgresInboxStore.open(dsn, application="skipping", schema="skipping_inbox")
    async with store.transaction("dev", GROUP) as transaction:
        await transaction.effects.execute("CREATE TABLE IF NOT EXISTS handled (event_id text)")

    async def handle(event: Envelope, transaction: Transaction) -> None:
        await transaction.execute("INSERT INTO handled VALUES ($1)", event.event_id)

    processor = Processor(
        store, handle, namespace="dev", group=GROUP, topics=["dev.things"], order=Order.GAPLESS
    )
    for version in (1, 3):
        await processor.process(_record(version))
    for gap in await store.gaps("dev", GROUP, limit=10):
        await store.skip("dev", GROUP, gap)
    await processor.process(_record(3))
    await store.close()


def _record(version: int) -> Record:
    event = {
        "event_id": f"thing-{version}",
        "type": "e2e.thing",
        "source": "e2e",
        "occurred_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        "payload": {},
    }
    headers = [
        ("backbone-stream", b"thing:1"),
        ("backbone-stream-version", str(version).encode()),
    ]
    return Record("dev.things", 0, version, json.dumps(event).encode(), headers)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["publish", file]:
            asyncio.run(publish(Path(file).read_bytes().splitlines()))
        case ["skip"]:
            asyncio.run(skip(os.environ["SKIPPING_DSN"]))
