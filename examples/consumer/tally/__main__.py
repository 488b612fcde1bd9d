"""A consumer that counts exactly once, until SIGTERM.

Its addresses come from the environment: BACKBONE_KAFKA_BOOTSTRAP_SERVERS and TALLY_DSN; the
namespace is BACKBONE_NAMESPACE, or dev.
"""

import asyncio
import os
from datetime import timedelta

from faststream import FastStream
from faststream.confluent import KafkaBroker

import tally
from runtime import logs
from sdk import inbox

FORGET_AFTER = timedelta(days=30)
"""Longer than the topic keeps its records: what comes again later is no longer known by its id."""


async def main() -> None:
    """Make the tables, then consume."""
    dsn, namespace = os.environ["TALLY_DSN"], os.environ.get("BACKBONE_NAMESPACE", "dev")
    logs.setup(service="tally", level="INFO")
    await asyncio.to_thread(inbox.install, dsn, schema="tally_inbox")
    store = await inbox.PostgresInboxStore.connect(dsn, application="tally", schema="tally_inbox")
    async with store.transaction(namespace, tally.GROUP) as transaction:
        await transaction.effects.execute(tally.CREATE_TABLE)
    await store.forget(namespace, tally.GROUP, older_than=FORGET_AFTER)
    broker = KafkaBroker(os.environ["BACKBONE_KAFKA_BOOTSTRAP_SERVERS"], logger=None)
    tally.subscribe(broker, store, namespace=namespace)
    app = FastStream(broker, logger=None)
    try:
        await app.run()
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main())
