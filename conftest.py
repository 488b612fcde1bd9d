"""Fixtures of every test: real servers, started once when the first test asks for them.

Several workers have servers of their own each; how they share the tests is in
`tests/support/sharing.py`.
"""

import functools
import uuid
from collections.abc import Callable, Iterator
from importlib.resources.abc import Traversable
from typing import Any

import hypothesis
import pytest
import sampling
import sharing

from devstack import ports
from devstack.infrastructure import (
    SHORT_LIVED,
    Infrastructure,
    create_database,
    databases,
    drop_database,
    provide,
)
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint
from runtime import migrations

# How fast examples are made says how busy the machine is.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")


def pytest_configure() -> None:
    """Fix the day of samples before there are workers, who inherit it."""
    sampling.fix_day()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have workers begin with what takes longest."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: sharing.rank(item.nodeid))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End a suite with the last test that stands on it."""
    sharing.end_suites(item, nextitem)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> sharing.Files:
    """Give workers whole files."""
    return sharing.Files(config, log)


@pytest.fixture(scope="session")
def infrastructure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Infrastructure]:
    """The servers behind `endpoints`. Who ends one of them waits until it is back."""
    infrastructure = provide(
        tmp_path_factory.mktemp("infrastructure"), durable=False, server_env=SHORT_LIVED
    )
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


@pytest.fixture(scope="session")
def migrated(endpoints: Endpoints) -> Callable[..., str]:
    """Migrates a schema once and names the `template` to copy: `migrated("ledger", *sources)`."""

    @functools.cache
    def migrate(schema: str, *sources: Traversable) -> str:
        name = f"template_{uuid.uuid4().hex[:10]}"
        dsn = create_database(endpoints, name).dsn(databases.owner(schema))
        migrations.apply(dsn, schema=schema, sources=sources)
        return name

    return migrate


@pytest.fixture(scope="session")
def template() -> str | None:
    """The database that `database` is a copy of; overridden where tests begin with tables."""
    return None


@pytest.fixture
def unused_port() -> Callable[[], int]:
    """Finds a port that nobody listens on, and that no other worker is given."""
    return ports.unused


@pytest.fixture(scope="session")
def unused_tcp_port_factory() -> Callable[[], int]:
    """What pytest-asyncio's own would give to another worker, too."""
    return ports.unused


@pytest.fixture
def database(
    endpoints: Endpoints, unique_name: str, template: str | None
) -> Iterator[PostgresEndpoint]:
    """A fresh database: `database.dsn("ledger")`.

    It has the roles and schemas of Backbone, and in them what `template` has: else nothing.
    """
    yield create_database(endpoints, unique_name, template=template)
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
