"""Fixtures of every test: real servers, started once when the first test asks for them."""

import uuid
from collections.abc import Iterator

import pytest

from devstack.infrastructure import Infrastructure, create_database, drop_database, provide
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint


@pytest.fixture(scope="session")
def infrastructure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Infrastructure]:
    """The servers behind `endpoints`. Who ends one of them waits until it is back."""
    infrastructure = provide(tmp_path_factory.mktemp("infrastructure"), durable=False)
    try:
        yield infrastructure
    finally:
        infrastructure.stop()


@pytest.fixture(scope="session")
def endpoints(infrastructure: Infrastructure) -> Endpoints:
    """PostgreSQL, Redis, Kafka and Temporal (namespace `dev`), shared by the whole session."""
    return infrastructure.start()


@pytest.fixture
def unique_name() -> str:
    """A short name that nothing else has: for databases, topics, task queues, ids."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def database(endpoints: Endpoints, unique_name: str) -> Iterator[PostgresEndpoint]:
    """A fresh database with the roles and empty schemas of Backbone: `database.dsn("ledger")`."""
    yield create_database(endpoints, unique_name)
    drop_database(endpoints, unique_name)


@pytest.fixture
def postgres_dsn(database: PostgresEndpoint) -> str:
    """The superuser's DSN of a fresh database."""
    return database.dsn()


@pytest.fixture(scope="session")
def kafka_bootstrap_servers(endpoints: Endpoints) -> str:
    """A broker that creates no topic by itself: use `devstack.infrastructure.ensure_topics`."""
    return endpoints.kafka_bootstrap_servers


@pytest.fixture(scope="session")
def redis_url(endpoints: Endpoints) -> str:
    """A Redis server."""
    return endpoints.redis_url


@pytest.fixture(scope="session")
def temporal_address(endpoints: Endpoints) -> str:
    """A Temporal server with the namespace `dev`."""
    return endpoints.temporal_address
