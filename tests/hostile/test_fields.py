"""No value of any field of any request makes a service fail, or keeps it long: each is answered.

Real servers, real PostgreSQL, Temporal where the registry asks it. What is refused says so to the
caller; what is taken is stored as it is and obeyed by nobody.
"""

import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import hostile_fields
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from hostile_fields import Hostile

from backbone.audit.v1 import audit_pb2  # noqa: F401 - known to the pool
from backbone.outbox.v1 import outbox_pb2  # noqa: F401
from contracts import identifiers
from contracts.roles import Role
from devstack.infrastructure import create_database
from devstack.infrastructure.endpoints import Endpoints
from eventstore import grpc_audit, grpc_outbox, tokens
from ledger import app as ledger_app
from ledger.adapters import pages
from registry import app as registry_app
from registry.adapters import grpc_registry, grpc_schedules
from registry.adapters.postgres_drift_log import PostgresDriftLog
from registry.adapters.postgres_leadership import PostgresLeases
from registry.adapters.postgres_materialisations import PostgresMaterialisations
from registry.adapters.postgres_resources import PostgresResourceStore
from registry.adapters.temporal_schedules import TemporalWakeupClock
from registry.service.changes import Changes
from registry.service.drift import DriftService
from registry.service.mirror import Mirrors
from registry.service.resources import ResourceService
from registry.service.schedule_views import ScheduleViews
from runtime import grpcclient, temporal
from runtime.grpcserver import GrpcServer, Service
from runtime.identity import LocalAuthenticator
from runtime.postgres import Postgres

ANSWERS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
}
IDS = {"definition_id", "request_id", "replay_id", "backfill_id", "key_hash", "task_queue"}
MOST_PROCESSOR_S = 3.0
"""Of one request, server and client together in one process."""

Call = Callable[[str, MethodDescriptor, Any], Any]


def _ledger(postgres: Postgres) -> list[Service]:
    return list(
        ledger_app.grpc_services(postgres, ledger_app.event_store(), namespaces=["dev", "prod"])
    )


async def _registry(postgres: Postgres, endpoints: Endpoints) -> list[Service]:
    def now() -> datetime:
        return datetime.now(UTC)

    store, materialisations = PostgresResourceStore(postgres), PostgresMaterialisations(postgres)
    client = await temporal.connect(endpoints.temporal_address, namespace="dev", identity="tests")
    clocks = {"dev": TemporalWakeupClock(client)}
    resources = ResourceService(store, Mirrors(store, Changes(), namespaces=["dev"]))
    drift = DriftService(store, materialisations, clocks, now=now)
    views = ScheduleViews(
        store,
        materialisations,
        PostgresDriftLog(postgres),
        PostgresLeases(postgres),
        clocks,
        now=now,
    )
    return [
        grpc_registry.grpc_service(resources, drift),
        grpc_schedules.grpc_service(views),
        grpc_outbox.grpc_service(postgres, namespaces=["dev"]),
        grpc_audit.grpc_service(postgres, namespaces=["dev"]),
    ]


@pytest.fixture(params=["ledger", "registry"])
async def served(
    request: pytest.FixtureRequest,
    migrated: Callable[..., str],
    endpoints: Endpoints,
    unique_name: str,
) -> AsyncIterator[tuple[list[Service], grpc.aio.Channel]]:
    """A service's RPCs on a migrated database, and a channel to them with every role."""
    app = ledger_app if request.param == "ledger" else registry_app
    database = create_database(
        endpoints, unique_name, template=migrated(app.SCHEMA, *app.MIGRATIONS)
    )
    postgres = await Postgres.connect(
        database.dsn(app.SCHEMA), application="tests", schema=app.SCHEMA
    )
    services = (
        _ledger(postgres) if request.param == "ledger" else await _registry(postgres, endpoints)
    )
    server = GrpcServer(
        listen="127.0.0.1:0",
        services=services,
        authenticator=LocalAuthenticator(frozenset(Role), frozenset()),
    )
    await server.start()
    channel = grpcclient.channel(f"127.0.0.1:{server.port}", actor="tester")
    yield services, channel
    await channel.close()
    await server.stop()
    await postgres.close()


def _methods(services: list[Service]) -> list[tuple[str, MethodDescriptor]]:
    pool = descriptor_pool.Default()
    return [
        (f"/{service.name}/{method.name}", method)
        for service in services
        for method in pool.FindServiceByName(service.name).methods
        # A stream is taken up as its first message comes, which need not be.
        if not method.server_streaming
    ]


async def _ask(
    channel: grpc.aio.Channel, path: str, method: MethodDescriptor, request: Any
) -> tuple[grpc.StatusCode, str]:
    call = channel.unary_unary(
        path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    try:
        await call(request, timeout=60)
    except grpc.aio.AioRpcError as exc:
        return exc.code(), exc.details() or ""
    return grpc.StatusCode.OK, ""


@pytest.mark.timeout(600)
async def test_every_field_of_every_request_takes_whatever_a_stranger_writes(
    served: tuple[list[Service], grpc.aio.Channel],
) -> None:
    services, channel = served
    asked, wrong = 0, []
    for path, method in _methods(services):
        for hostile in hostile_fields.hostile(method):
            began = time.process_time()
            code, details = await _ask(channel, path, method, hostile.request)
            spent = time.process_time() - began
            asked += 1
            is_taken = code is grpc.StatusCode.OK
            if (
                code not in ANSWERS
                or spent > MOST_PROCESSOR_S
                or (is_taken and _is_id_with_more(hostile))
            ):
                wrong.append((path, hostile.where, hostile.what, code, details, spent))
    assert asked > 500
    assert not wrong, "\n".join(map(str, wrong))


def _is_id_with_more(hostile: Hostile) -> bool:
    return hostile.where in IDS and hostile.what == hostile_fields.LINE_BREAK_BEHIND


FORGED = [
    *([10**30], [-1], ["9" * 5_000], ["\x00"], ["\ud800"], ["2026-01-01T00:00:00"]),
    *(["2026-01-01T00:00:00Z -1"], ["x y"], [None], [[]], [{}], [1e999], [True], ["1", "2"]),
    *([-1, -1, "2026-01-01"], [1, 1, "2026-01-01"], [10**30, 1, "2026-01-01T00:00:00Z"]),
    *(["streams", 1, 1, 1, "\ud800", "x"], ["none", 1, 1, 1, "", ""], [[], 1, 1, 1, "", ""]),
    ["events", 10**30, 1, 1, "", ""],
]


async def test_a_forged_page_token_is_refused_or_is_a_place_in_the_list(
    served: tuple[list[Service], grpc.aio.Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What binds a token to its list is no secret: whoever forges one can write it too."""

    class Known:
        is_encodable = staticmethod(identifiers.is_encodable)

        @staticmethod
        def short_hash(*_: str) -> str:
            return "mark"

    monkeypatch.setattr(pages, "identifiers", Known)
    monkeypatch.setattr(tokens, "identifiers", Known)
    services, channel = served
    wrong = []
    for path, method in _methods(services):
        if "page_token" not in method.input_type.fields_by_name:
            continue
        for values in FORGED:
            request: Any = hostile_fields.plausible(method.input_type)
            request.page_token = hostile_fields.forged("mark", *values)
            code, details = await _ask(channel, path, method, request)
            if code not in ANSWERS:
                wrong.append((path, values, code, details))
    assert wrong == []
