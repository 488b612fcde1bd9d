"""Debezium's PostgreSQL connector with its outbox event router, on a standalone Kafka Connect.

`default` is what both do when nothing is said; `tuned` is what their documentation advises for
throughput and for latency, see the README.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg
import psutil

from benchmarks.relay import backlog
from benchmarks.relay.contenders import Place
from contracts.names import Header
from devstack import loops
from devstack.tools.debezium import Debezium, find_debezium

_TABLE = """
CREATE SCHEMA bench_debezium;
CREATE TABLE bench_debezium.outbox (
    id uuid PRIMARY KEY,
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    stream text NOT NULL,
    stream_version text NOT NULL,
    traceparent text,
    payload bytea NOT NULL
);
CREATE PUBLICATION bench_debezium FOR TABLE bench_debezium.outbox WITH (publish = 'insert');
"""
_COLUMNS = "id, aggregatetype, aggregateid, type, stream, stream_version, traceparent, payload"
INSERT = f"""
INSERT INTO bench_debezium.outbox ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""  # noqa: S608 - of constants

_ACTIVE = "SELECT active FROM pg_replication_slots WHERE slot_name = $1"

# What Kafka's own start script gives the Java virtual machine.
_JAVA = (
    *("-Xms256M", "-Xmx2G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
    *("-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"),
    *("-XX:MaxInlineLevel=15", "-Djava.awt.headless=true"),
)
_LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.stdout.ref = STDOUT
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
"""
_TUNED = {
    "max.batch.size": "8192",
    "max.queue.size": "32768",
    "poll.interval.ms": "5",
    # Headers of its own, which nobody asked for.
    "extended.headers.enabled": "false",
    "producer.override.linger.ms": "2",
    "producer.override.batch.size": str(256 * 1024),
    "producer.override.buffer.memory": str(64 * 1024 * 1024),
    "producer.override.max.in.flight.requests.per.connection": "5",
    "producer.override.enable.idempotence": "true",
}


_LOAD = f"""
INSERT INTO bench_debezium.outbox ({_COLUMNS})
SELECT event_id, topic, key, type, stream, version::text, '{backlog.TRACEPARENT}', body
FROM ({backlog.COPY}) AS copy
"""  # noqa: S608 - of constants


class DebeziumConnector:
    """One connector on one worker, which is all that a standalone Kafka Connect runs here."""

    def __init__(self, installation: Debezium, *, tuned: bool) -> None:
        self.name = "debezium-tuned" if tuned else "debezium-default"
        self._installation = installation
        self._settings = _TUNED if tuned else {}

    async def prepare(self, place: Place) -> None:
        """Make the table, and the slot from which everything that follows is decoded."""
        connection = await asyncpg.connect(place.dsn)
        try:
            await connection.execute(_TABLE)
            await connection.execute(
                "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", place.name
            )
        finally:
            await connection.close()

    async def load(self, place: Place, rows: int) -> None:
        """Put rows into its outbox."""
        await backlog.load(place.dsn, place.namespace, _LOAD, rows)

    @contextlib.contextmanager
    def running(self, place: Place) -> Iterator[psutil.Process]:
        """Run the worker, which runs the connector."""
        folder = place.stack.folder / place.namespace
        folder.mkdir()
        files = {
            "log4j2.properties": _LOGGING,
            "worker.properties": _properties(self._worker(place, folder)),
            "connector.properties": _properties(self._connector(place)),
        }
        for name, text in files.items():
            (folder / name).write_text(text)
        argv = (
            *(str(self._installation.java), *_JAVA),
            f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
            *("-cp", self._installation.classpath),
            "org.apache.kafka.connect.cli.ConnectStandalone",
            *(str(folder / name) for name in ("worker.properties", "connector.properties")),
        )
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        try:
            with place.stack.process(self.name, argv, environment) as process:
                yield process
        finally:
            loops.run(_drop_slot(place))

    async def ready(self, place: Place) -> bool:
        """Return whether the connector reads from its slot."""
        connection = await asyncpg.connect(place.dsn)
        try:
            return bool(await connection.fetchval(_ACTIVE, place.name))
        finally:
            await connection.close()

    async def empty(self, _: Place) -> bool:
        """Return True: the log is its outbox, and when that is cleared it leaves to PostgreSQL."""
        return True

    def _worker(self, place: Place, folder: Path) -> dict[str, str]:
        return {
            "bootstrap.servers": place.stack.bootstrap,
            "listeners": f"http://127.0.0.1:{place.stack.port('connect')}",
            "plugin.path": str(self._installation.plugins),
            "plugin.discovery": "service_load",
            "offset.storage.file.filename": str(folder / "offsets"),
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "io.debezium.converters.BinaryDataConverter",
        }

    def _connector(self, place: Place) -> dict[str, str]:
        database = place.database
        placement = {
            "type": Header.EVENT_TYPE,
            "stream": Header.STREAM,
            "stream_version": Header.STREAM_VERSION,
            "traceparent": Header.TRACEPARENT,
        }
        return {
            "name": self.name,
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": database.host,
            "database.port": str(database.port),
            "database.user": database.user,
            "database.password": database.password,
            "database.dbname": database.database,
            "topic.prefix": place.namespace,
            "plugin.name": "pgoutput",
            "slot.name": place.name,
            "publication.name": "bench_debezium",
            "publication.autocreate.mode": "disabled",
            "table.include.list": "bench_debezium.outbox",
            # What is there is in the log behind the slot: there is nothing to copy first.
            "snapshot.mode": "no_data",
            "transforms": "outbox",
            "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
            "transforms.outbox.route.topic.replacement": "${routedByValue}",
            "transforms.outbox.table.fields.additional.placement": ",".join(
                f"{column}:header:{header}" for column, header in placement.items()
            ),
            **self._settings,
        }


def find_connectors() -> list[DebeziumConnector]:
    """Return the connector with its defaults, and tuned.

    Raises:
        ToolMissingError: there is no Java, or Maven's repository is out of reach.
    """
    installation = find_debezium()
    return [DebeziumConnector(installation, tuned=tuned) for tuned in (False, True)]


def _properties(settings: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in settings.items())


async def _drop_slot(place: Place) -> None:
    """Drop the slot once its reader is gone, else the server keeps its log for ever."""
    connection = await asyncpg.connect(place.dsn)
    try:
        while await connection.fetchval(_ACTIVE, place.name):  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.1)
        await connection.execute("SELECT pg_drop_replication_slot($1)", place.name)
    finally:
        await connection.close()
