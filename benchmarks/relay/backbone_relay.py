"""Backbone's own relay on the event store's own schema."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator

import asyncpg
import psutil

from benchmarks.relay import backlog
from benchmarks.relay.contenders import Place
from devstack.infrastructure import databases
from devstack.suite import answers_ok
from eventstore import store
from runtime import migrations

SCHEMA = "ledger"


# As the event store's own append, without the heads of the streams, which no relay reads.
_INSERT = f"""
WITH new AS (
    SELECT nextval('{SCHEMA}.events_position_seq') AS position,
        clock_timestamp() AS recorded_at, copy.*
    FROM ({backlog.COPY}) AS copy
), written AS (
    INSERT INTO {SCHEMA}.events (
        position, recorded_at, namespace, stream, version, event_id, type, topic, key, headers,
        body, previous_hash, hash
    )
    SELECT position, recorded_at, namespace, stream, version, event_id, type, topic, key,
        headers::json, body, previous_hash, hash
    FROM new
)
INSERT INTO {SCHEMA}.outbox_pending (position, recorded_at, namespace, stream, version, size)
SELECT position, recorded_at, namespace, stream, version, octet_length(body) FROM new
"""  # noqa: S608 - of constants


class BackboneRelay:
    """`python -m outbox_relay serve` with its default settings."""

    name = "backbone"

    async def prepare(self, place: Place) -> None:
        """Bring the ledger's schema up to the event store's migrations."""
        owner = place.database.dsn(databases.owner(SCHEMA))
        migrations.apply(owner, schema=SCHEMA, sources=[store.migrations()])

    async def load(self, place: Place, rows: int) -> None:
        """Put rows into its outbox."""
        await backlog.load(place.dsn, place.namespace, _INSERT, rows)

    @contextlib.contextmanager
    def running(self, place: Place) -> Iterator[psutil.Process]:
        """Run the relay."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BACKBONE_")}
        environment = kept | {
            "BACKBONE_ENVIRONMENT": "local",
            "BACKBONE_HTTP_LISTEN": _listen(place),
            "BACKBONE_KAFKA_BOOTSTRAP_SERVERS": place.stack.bootstrap,
            "BACKBONE_OUTBOXES": json.dumps(
                [{"name": SCHEMA, "dsn": place.database.dsn("relay"), "schema": SCHEMA}]
            ),
        }
        argv = [sys.executable, "-m", "outbox_relay", "serve"]
        with place.stack.process("outbox-relay", argv, environment) as process:
            yield process

    async def ready(self, place: Place) -> bool:
        """Return whether the relay says so."""
        return await asyncio.to_thread(answers_ok, f"http://{_listen(place)}/readyz")

    async def empty(self, place: Place) -> bool:
        """Return whether no row is pending."""
        connection = await asyncpg.connect(place.dsn)
        try:
            return not await connection.fetchval(
                f"SELECT EXISTS (SELECT FROM {SCHEMA}.outbox_pending)"  # noqa: S608 - a constant
            )
        finally:
            await connection.close()


def _listen(place: Place) -> str:
    return f"127.0.0.1:{place.stack.port('relay-http')}"
