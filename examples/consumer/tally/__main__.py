"""A consumer that counts exactly once, until SIGTERM; with the argument `show`, what it counted.

Its addresses come from the environment: BACKBONE_KAFKA_BOOTSTRAP_SERVERS and TALLY_DSN; the
namespace is BACKBONE_NAMESPACE, or dev. With BACKBONE_HTTP_LISTEN it serves its figures on
`/metrics`, with BACKBONE_OTLP_ENDPOINT it sends its spans there.
"""

import asyncio
import os
import sys

import psycopg
from faststream import FastStream
from faststream.confluent import KafkaBroker

import tally
from runtime import commands, logs, telemetry
from runtime.httpserver import Health, HttpServer
from sdk.inbox import PostgresInboxStore

REQUIRED = ("BACKBONE_KAFKA_BOOTSTRAP_SERVERS", "TALLY_DSN")


def show() -> None:
    """Print what was counted."""
    with psycopg.connect(os.environ["TALLY_DSN"]) as connection:
        for row in connection.execute(tally.SHOW):
            print(*row)  # noqa: T201 - a command's answer


async def consume() -> None:
    """Make the tables, then consume."""
    namespace = os.environ.get("BACKBONE_NAMESPACE", "dev")
    logs.setup(service="tally", level="INFO")
    provider = telemetry.Telemetry(
        service="tally", otlp_endpoint=os.environ.get("BACKBONE_OTLP_ENDPOINT")
    )
    if listen := os.environ.get("BACKBONE_HTTP_LISTEN"):
        await HttpServer(listen=listen, health=Health()).start()
    store = await PostgresInboxStore.open(
        os.environ["TALLY_DSN"], application="tally", schema="tally_inbox"
    )
    async with store.transaction(namespace, tally.GROUP) as transaction:
        await transaction.effects.execute(tally.CREATE_TABLE)
    broker = KafkaBroker(
        os.environ["BACKBONE_KAFKA_BOOTSTRAP_SERVERS"],
        allow_auto_create_topics=False,
        logger=None,
    )
    tally.subscribe(broker, store, namespace=namespace)
    app = FastStream(broker, logger=None)
    try:
        await app.run()
    finally:
        await store.close()
        provider.shutdown()


if __name__ == "__main__":
    if missing := [name for name in REQUIRED if name not in os.environ]:
        sys.exit(f"tally: set {' and '.join(missing)}")
    with commands.errors_told("tally"):
        show() if sys.argv[1:] == ["show"] else asyncio.run(consume())
