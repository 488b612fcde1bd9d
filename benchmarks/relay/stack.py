"""The servers of the relay's benchmarks: one PostgreSQL that decodes its log, and one Kafka.

Whatever is measured runs beside them as a supervised process, which ends with this one.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import psutil
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from devstack.infrastructure import create_database, databases, drop_database, ensure_topics
from devstack.infrastructure import servers as launches
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint
from devstack.ports import Ports
from devstack.state import StateFolder
from devstack.supervision import Program, Supervisor

PARTITIONS = 4
_READY_S = 120.0
_GRACE_S = 30.0
_CALL_S = 30.0
_PORTS = ("postgres", "kafka", "kafka-controller")


class Stack:
    """PostgreSQL and Kafka in one folder, both as durable as they are outside a benchmark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state = StateFolder(folder)
        self._supervisor = Supervisor(self._state)
        self._ports = Ports(self._state, self._supervisor.tell)
        self._endpoints: Endpoints | None = None

    @property
    def bootstrap(self) -> str:
        """Where Kafka answers."""
        return self._up.kafka_bootstrap_servers

    def __enter__(self) -> Self:
        self._supervisor.open()
        try:
            ports = {name: self._ports.port(name) for name in _PORTS}
            postgres = PostgresEndpoint(
                host="127.0.0.1",
                port=ports["postgres"],
                user="postgres",
                password=self._state.secret("postgres"),
                database=databases.DATABASE,
                passwords={role: self._state.secret(role) for role in databases.ROLES},
            )
            log = launches.postgres(self._state, postgres, durable=True)
            program = replace(log.program, argv=(*log.program.argv, "-c", "wal_level=logical"))
            for launch in (
                replace(log, program=program),
                launches.kafka(self._state, ports, advertised={}),
            ):
                self._supervisor.add(launch.program)
                self._supervisor.start(launch.program.name)
                self._supervisor.wait_until(launch.program.name, launch.answers, timeout=_READY_S)
            databases.bootstrap(postgres)
            self._endpoints = Endpoints(
                postgres=postgres,
                redis_url="",
                redis_admin_url="",
                kafka_bootstrap_servers=f"127.0.0.1:{ports['kafka']}",
                temporal_address="",
                temporal_ui_url="",
            )
        except BaseException:
            self._supervisor.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.close()
        self._ports.release()

    @contextlib.contextmanager
    def database(self, name: str) -> Iterator[PostgresEndpoint]:
        """Make a database with the product's roles and schemas, and drop it at the end."""
        try:
            yield create_database(self._up, name)
        finally:
            drop_database(self._up, name)

    @contextlib.contextmanager
    def topic(self, name: str) -> Iterator[str]:
        """Make a topic, and delete it at the end: what was written takes room."""
        ensure_topics(self.bootstrap, {name: PARTITIONS})
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        try:
            yield name
        finally:
            admin.delete_topics([name])[name].result(_CALL_S)

    @contextlib.contextmanager
    def process(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
    ) -> Iterator[psutil.Process]:
        """Run a program until the block ends.

        Raises:
            RuntimeError: it crashed meanwhile.
        """
        program = Program(name=name, argv=tuple(argv), env=env, grace=_GRACE_S)
        before = len(self._supervisor.crashes(name))
        self._supervisor.add(program)
        self._supervisor.start(name)
        try:
            self._supervisor.wait_until(name, lambda: self._pid(name) is not None, timeout=_READY_S)
            yield psutil.Process(self._pid(name))
        finally:
            crashes = self._supervisor.crashes(name)[before:]
            self._supervisor.stop(name)
        if crashes:
            raise RuntimeError(str(crashes[0]))

    def port(self, name: str) -> int:
        """Return a port that is free, the same for the same name."""
        return self._ports.port(name)

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self._state.log(name)

    @property
    def _up(self) -> Endpoints:
        if self._endpoints is None:
            raise RuntimeError("the servers are not started")
        return self._endpoints

    def _pid(self, name: str) -> int | None:
        return next(status.pid for status in self._supervisor.status() if status.name == name)


class TopicEnds:
    """How many records a topic has got, asked of the broker."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-ends"})
        self._partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]

    def count(self) -> int:
        """Return the number of records."""
        ends = [
            self._consumer.get_watermark_offsets(partition, timeout=_CALL_S)
            for partition in self._partitions
        ]
        return sum(int(end) for _, end in ends)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()
