"""A registry's use cases on a real PostgreSQL; several replicas of them where a test asks."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from typing import Any

import pytest

from devstack.infrastructure import create_database, drop_database
from devstack.infrastructure.endpoints import Endpoints
from eventstore import store as eventstore
from registry.adapters.postgres_resources import PostgresResourceStore
from registry.domain.validation import Source
from registry.service.changes import Changes
from registry.service.mirror import Mirrors, RevisionPoll
from registry.service.outcomes import ApplyOutcome
from registry.service.resources import ResourceService
from runtime import migrations
from runtime.postgres import Postgres

NAMESPACES = ("dev", "stage")


@dataclass
class Replica:
    """One replica's use cases, with what they stand on."""

    store: PostgresResourceStore
    mirrors: Mirrors
    poll: RevisionPoll
    service: ResourceService

    async def apply(self, *documents: bytes | Source, **options: Any) -> ApplyOutcome:
        """Apply documents, by name where that matters."""
        sources = [
            document if isinstance(document, Source) else Source(f"{number}.json", document)
            for number, document in enumerate(documents, start=1)
        ]
        return await self.service.apply(sources, **{"actor": "ada", "reason": "why", **options})


_TABLES = (
    "revisions, resource_versions, resources, resource_changes, event_schemas, requests,"
    " materialisations, stream_heads, events, outbox_pending"
)


@pytest.fixture(scope="session")
def migrated_dsn(endpoints: Endpoints) -> Iterator[str]:
    """The DSN of one migrated database for all tests."""
    name = f"t{uuid.uuid4().hex[:10]}"
    dsn = create_database(endpoints, name).dsn()
    sources = (eventstore.migrations(), resources.files("registry").joinpath("sql", "migrations"))
    migrations.apply(dsn, schema="registry", sources=sources)
    yield dsn
    drop_database(endpoints, name)


@pytest.fixture
async def postgres(migrated_dsn: str) -> AsyncIterator[Any]:
    """A pool on the migrated database, with nothing in its tables."""
    pool = await Postgres.connect(migrated_dsn, application="test", schema="registry", size=8)
    async with pool.transaction("") as transaction:
        await transaction.execute(f"TRUNCATE {_TABLES} RESTART IDENTITY")
    yield pool
    await pool.close()


@pytest.fixture
def rows(postgres: Postgres) -> Callable[..., Awaitable[dict[str, list[Any]]]]:
    """Reads whole tables, in one order: `await rows("resources", "revisions")`."""

    async def read(*tables: str) -> dict[str, list[Any]]:
        async with postgres.transaction("") as transaction:
            return {
                # The names are the tests' own.
                table: sorted(map(tuple, await transaction.fetch(f"SELECT * FROM {table}")))  # noqa: S608
                for table in tables
            }

    return read


@pytest.fixture
async def replica(postgres: Postgres) -> AsyncIterator[Any]:
    """Makes replicas of one registry: `replica(max_resources=5)`; `poll.start()` is the test's."""
    made: list[Replica] = []

    def make(*, poll_every: float = 0.05, **options: Any) -> Replica:
        store = options.pop("store", None) or PostgresResourceStore(postgres)
        mirrors = Mirrors(store, Changes(), namespaces=NAMESPACES)
        options = {"bookmark_interval": timedelta(seconds=0.2), **options}
        poll = RevisionPoll(mirrors, interval=timedelta(seconds=poll_every))
        made.append(Replica(store, mirrors, poll, ResourceService(store, mirrors, **options)))
        return made[-1]

    yield make
    for item in made:
        await item.poll.stop()


@pytest.fixture
def registry(replica: Callable[..., Replica]) -> Replica:
    """The only replica."""
    return replica()
