"""The ledger's gRPC services on a migrated database of their own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import timedelta
from typing import TypeAlias

import grpc
import pytest

from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from contracts.roles import Role
from devstack.infrastructure.endpoints import PostgresEndpoint
from ledger import app
from runtime import grpcclient
from runtime.grpcserver import GrpcServer
from runtime.identity import LocalAuthenticator
from runtime.postgres import Postgres

# The stubs know these types in their type hints only.
LedgerStub: TypeAlias = "pb_grpc.LedgerServiceAsyncStub"
TaskStub: TypeAlias = "pb_grpc.TaskServiceAsyncStub"


@pytest.fixture(scope="session")
def template(migrated: Callable[..., str]) -> str | None:
    return migrated(app.SCHEMA, *app.MIGRATIONS)


@pytest.fixture
async def postgres(database: PostgresEndpoint) -> AsyncIterator[Postgres]:
    """A superuser's pool: a test looks at what it likes, and changes it."""
    dsn = database.dsn()
    opened = await Postgres.connect(dsn, application="tests", schema=app.SCHEMA)
    yield opened
    await opened.close()


@pytest.fixture
async def serving(database: PostgresEndpoint) -> AsyncIterator[Postgres]:
    """The service's own pool."""
    dsn = database.dsn("ledger")
    opened = await Postgres.connect(dsn, application="tests", schema=app.SCHEMA)
    yield opened
    await opened.close()


@pytest.fixture
async def calls(serving: Postgres) -> AsyncIterator[Callable[..., Awaitable[grpc.aio.Channel]]]:
    """Opens the services for callers that have certain roles, all of them by default."""
    servers: list[GrpcServer] = []
    channels: list[grpc.aio.Channel] = []

    async def open_for(
        *roles: Role, actor: str = "tester", groups: Collection[str] = (), **limits: int
    ) -> grpc.aio.Channel:
        server = GrpcServer(
            listen="127.0.0.1:0",
            services=app.grpc_services(
                serving,
                app.event_store(),
                namespaces=["dev", "prod"],
                **limits,  # type: ignore[arg-type]
            ),
            authenticator=LocalAuthenticator(frozenset(roles or Role), frozenset(groups)),
            grace=timedelta(seconds=1),
        )
        await server.start()
        servers.append(server)
        channels.append(grpcclient.channel(f"127.0.0.1:{server.port}", actor=actor))
        return channels[-1]

    yield open_for
    for channel in channels:
        await channel.close()
    for server in servers:
        await server.stop()


@pytest.fixture
async def ledger(
    calls: Callable[..., Awaitable[grpc.aio.Channel]],
) -> LedgerStub:
    return pb_grpc.LedgerServiceStub(await calls())


@pytest.fixture
async def inbox(
    calls: Callable[..., Awaitable[grpc.aio.Channel]],
) -> TaskStub:
    return pb_grpc.TaskServiceStub(await calls(actor="anna"))
