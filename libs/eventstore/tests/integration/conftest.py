"""A migrated schema of its own for every test."""

from collections.abc import AsyncIterator

import pytest

from devstack.infrastructure.endpoints import PostgresEndpoint
from eventstore import store
from runtime import migrations
from runtime.postgres import Postgres


@pytest.fixture
async def postgres(database: PostgresEndpoint) -> AsyncIterator[Postgres]:
    dsn = database.dsn("ledger")
    migrations.apply(dsn, schema="ledger", sources=[store.migrations()])
    opened = await Postgres.connect(dsn, application="tests", schema="ledger")
    yield opened
    await opened.close()
