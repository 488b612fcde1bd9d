"""A registry's use cases on a real PostgreSQL; several replicas of them where a test asks."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from typing import Any

import pytest
from temporalio.client import Client

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts.roles import Role
from devstack.infrastructure import create_database, drop_database
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint
from eventstore import store as eventstore
from registry.adapters.postgres_resources import PostgresResourceStore
from registry.adapters.temporal_schedules import TemporalWakeupClock
from registry.domain.validation import Source
from registry.service.changes import Changes
from registry.service.mirror import Mirrors, RevisionPoll
from registry.service.outcomes import ApplyOutcome
from registry.service.resources import ResourceService
from runtime import authorisation, grpcclient, migrations, temporal
from runtime.grpcserver import GrpcServer, Service
from runtime.identity import LocalAuthenticator
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
    " materialisations, reconciler_leases, schedule_drifts, stream_heads, events, outbox_pending"
)


@pytest.fixture(scope="session")
def migrated_database(endpoints: Endpoints) -> Iterator[PostgresEndpoint]:
    """One migrated database for all tests."""
    name = f"t{uuid.uuid4().hex[:10]}"
    database = create_database(endpoints, name)
    sources = (eventstore.migrations(), resources.files("registry").joinpath("sql", "migrations"))
    migrations.apply(database.dsn("registry_owner"), schema="registry", sources=sources)
    yield database
    drop_database(endpoints, name)


@pytest.fixture
def migrated_dsn(migrated_database: PostgresEndpoint) -> str:
    """The superuser's DSN of it."""
    return migrated_database.dsn()


@pytest.fixture
async def postgres(migrated_dsn: str) -> AsyncIterator[Any]:
    """A superuser's pool on the migrated database, with nothing in its tables."""
    pool = await Postgres.connect(migrated_dsn, application="test", schema="registry", size=8)
    async with pool.transaction("") as transaction:
        await transaction.execute(f"TRUNCATE {_TABLES} RESTART IDENTITY")
    yield pool
    await pool.close()


@pytest.fixture
async def serving(migrated_database: PostgresEndpoint) -> AsyncIterator[Any]:
    """The service's own pool."""
    dsn = migrated_database.dsn("registry")
    pool = await Postgres.connect(dsn, application="test", schema="registry", size=8)
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
async def replica(postgres: Postgres, serving: Postgres) -> AsyncIterator[Any]:
    """Makes replicas of one registry: `replica(max_resources=5)`; `poll.start()` is the test's."""
    del postgres  # which leaves nothing in the tables
    made: list[Replica] = []

    def make(*, poll_every: float = 0.05, **options: Any) -> Replica:
        store = options.pop("store", None) or PostgresResourceStore(serving)
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


LEDGER = "backbone.ledger.v1.LedgerService"


class FakeLedgerServicer(ledger_pb2_grpc.LedgerServiceServicer):
    """Notes what it is told, or refuses it."""

    def __init__(self) -> None:
        self.requests: list[ledger_pb2.PutScheduleRequest] = []
        self.address = ""
        self.refusal = None

    async def PutSchedule(self, request: Any, context: Any) -> Any:
        del context
        if self.refusal is not None:
            raise self.refusal
        self.requests.append(request)
        return ledger_pb2.PutScheduleResponse(changed=True)


@pytest.fixture
async def ledger() -> AsyncIterator[Any]:
    """A ledger that listens over real gRPC."""
    # What it does not answer, the base class does: UNIMPLEMENTED.
    servicer = FakeLedgerServicer()  # type: ignore[abstract]
    server = GrpcServer(
        listen="127.0.0.1:0",
        services=[
            Service(
                name=LEDGER,
                add=ledger_pb2_grpc.add_LedgerServiceServicer_to_server,
                servicer=servicer,
                policy=authorisation.policy(LEDGER, {"PutSchedule": {Role.SERVICE}}),
            )
        ],
        authenticator=LocalAuthenticator(),
        grace=timedelta(seconds=1),
    )
    await server.start()
    servicer.address = f"127.0.0.1:{server.port}"
    yield servicer
    await server.stop()


@pytest.fixture
async def channel(ledger: Any) -> AsyncIterator[Any]:
    """A channel to it."""
    channel = grpcclient.channel(ledger.address, actor="registry")
    yield channel
    await channel.close()


@pytest.fixture
async def client(temporal_address: str) -> Any:
    """A client of the namespace dev on a real Temporal server."""
    return await temporal.connect(temporal_address, namespace="dev", identity="test")


@pytest.fixture
async def forget(client: Client) -> AsyncIterator[Any]:
    """Removes the schedules of definitions after the test."""
    definition_ids: list[str] = []
    yield definition_ids.append
    clock = TemporalWakeupClock(client)
    for definition_id in definition_ids:
        await clock.remove(definition_id)
