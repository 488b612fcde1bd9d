"""The relay that faststream-outbox's documentation builds, tuned for throughput.

    python faststream_relay.py prepare DATABASE-URL
    python faststream_relay.py serve DATABASE-URL BOOTSTRAP-SERVERS TOPIC

Run as a script, by a virtual environment of its own: nothing of Backbone is in it.
"""

import asyncio
import sys

from faststream import FastStream
from faststream.kafka import KafkaBroker, KafkaResponse
from faststream_outbox import OutboxBroker, make_outbox_table, outbox_autovacuum_ddl
from faststream_outbox.message import OutboxMessage
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

QUEUE = "task-events"
WORKERS = 32

metadata = MetaData()
outbox = make_outbox_table(metadata, table_name="outbox")


async def prepare(engine: AsyncEngine) -> None:
    """Make the table as the package advises."""
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(text(outbox_autovacuum_ddl("outbox")))


async def serve(engine: AsyncEngine, bootstrap: str, topic: str) -> None:
    """Relay until the end: the bytes as they are, with key and headers."""
    kafka = KafkaBroker(bootstrap, acks="all", enable_idempotence=True, linger_ms=2, logger=None)
    broker = OutboxBroker(
        engine, outbox_table=outbox, decoder=decode, apply_types=False, logger=None
    )

    @kafka.publisher(topic)
    @broker.subscriber(  # type: ignore[untyped-decorator]
        QUEUE,
        max_workers=WORKERS,
        fetch_batch_size=500,
        terminal_flush_batch_size=100,
        min_fetch_interval=0.01,
        max_fetch_interval=0.5,
    )
    async def relay(message: OutboxMessage) -> KafkaResponse:
        headers = dict(message.headers)
        return KafkaResponse(message.body, key=headers.pop("key").encode(), headers=headers)

    async with kafka:
        await kafka.start()
        await FastStream(broker, logger=None).run()


async def decode(message: OutboxMessage) -> OutboxMessage:
    """Leave a message as it is."""
    return message


async def main(what: str, url: str, *rest: str) -> None:
    """Do one of both."""
    engine = create_async_engine(url, pool_size=WORKERS + 4)
    await (prepare(engine) if what == "prepare" else serve(engine, *rest))
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
