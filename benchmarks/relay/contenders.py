"""What a contender is: something that carries the rows of an outbox to Kafka."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import psutil

from benchmarks.relay import backlog
from benchmarks.relay.stack import Stack
from devstack.infrastructure import PostgresEndpoint


@dataclass(frozen=True)
class Place:
    """Where one measurement takes place: servers, a database and a topic of its own."""

    stack: Stack
    database: PostgresEndpoint
    namespace: str

    @property
    def topic(self) -> str:
        """The topic that the rows go to."""
        return backlog.topic(self.namespace)

    @property
    def dsn(self) -> str:
        """The database, as its superuser."""
        return self.database.dsn()

    @property
    def name(self) -> str:
        """The namespace as an identifier of SQL."""
        return self.namespace.replace("-", "_")


class Contender(Protocol):
    """Carries the rows of an outbox to Kafka."""

    name: str

    async def prepare(self, place: Place, /) -> None:
        """Make its tables."""
        ...

    async def load(self, place: Place, rows: int, /) -> None:
        """Put a backlog into its outbox."""
        ...

    def running(self, place: Place) -> contextlib.AbstractContextManager[psutil.Process]:
        """Run it until the block ends; it may be long in starting."""
        ...

    async def ready(self, place: Place, /) -> bool:
        """Return whether it would carry a row now."""
        ...

    async def empty(self, place: Place, /) -> bool:
        """Return whether it is done with every row that Kafka has."""
        ...


Opened = contextlib.AbstractContextManager[Place]
"""A place that lasts as long as the block."""


@contextlib.contextmanager
def place(stack: Stack, contender: str, number: int) -> Iterator[Place]:
    """Make the database and the topic of measurement `number`, and drop them at the end."""
    namespace = f"{contender}-{number}"
    with (
        stack.database(namespace.replace("-", "_")) as database,
        stack.topic(backlog.topic(namespace)),
    ):
        yield Place(stack, database, namespace)
