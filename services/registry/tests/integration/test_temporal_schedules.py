"""Materialising on a real Temporal server, with a ledger that listens over real gRPC."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleSpec

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts import identifiers, names
from contracts.roles import Role
from contracts.runs import TickInput
from registry import app
from registry.adapters.grpc_ledger import GrpcScheduleLedger
from registry.adapters.postgres_definitions import (
    PostgresDefinitionStore,
    PostgresMaterialisations,
)
from registry.adapters.postgres_leadership import PostgresLeadership
from registry.adapters.temporal_schedules import TemporalWakeupClock
from registry.domain.materialisation import Wakeup
from registry.errors import MaterialisationError, NeighbourUnavailableError
from registry.service.changes import Changes
from registry.service.definitions import DefinitionService
from registry.service.reconciler import Reconciler
from runtime import authorisation, grpcclient, migrations, rpcerrors, temporal
from runtime.grpcserver import GrpcServer, Service
from runtime.identity import LocalAuthenticator
from runtime.postgres import Postgres

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
    channel = grpcclient.channel(ledger.address, actor="registry")
    yield channel
    await channel.close()


@pytest.fixture
async def client(temporal_address: str) -> Any:
    return await temporal.connect(temporal_address, namespace="dev", identity="test")


@pytest.fixture
async def forget(client: Client) -> AsyncIterator[Any]:
    """Removes the schedules of definitions after the test."""
    definition_ids: list[str] = []
    yield definition_ids.append
    clock = TemporalWakeupClock(client)
    for definition_id in definition_ids:
        await clock.remove("dev", definition_id)


@pytest.fixture
def wakeup(document: Callable[..., bytes], forget: Callable[[str], None], unique_name: str) -> Any:
    """Makes wake-ups of one definition."""
    from registry.domain import materialisation, validation, versioning

    forget(unique_name)

    def make(*, version: int = 1, **schedule: Any) -> Any:
        definition = validation.define(
            json.loads(document(unique_name, **schedule)), namespaces=["dev"]
        )
        candidate = versioning.candidate(definition, active=None, actor="a", reason="r")
        applied = versioning.commit(candidate, active=None, revision=version, now=datetime.now(UTC))
        wanted = materialisation.desired(applied)
        made = materialisation.wakeup(wanted)
        assert made is not None
        return made

    return make


async def described(client: Client, definition_id: str) -> Any:
    handle = client.get_schedule_handle(identifiers.schedule_id(definition_id))
    return (await handle.describe()).schedule


async def test_schedule_is_written_as_a_clock_and_nothing_else(
    client: Client, wakeup: Callable[..., Wakeup]
) -> None:
    wanted = wakeup(cron="30 6 * * 1-5", every="15m")
    await TemporalWakeupClock(client).put(wanted, at_once=False)
    schedule = await described(client, wanted.definition_id)
    action = schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert action.workflow == names.Workflow.SCHEDULED_TICK
    assert action.task_queue == names.TICK_TASK_QUEUE
    assert action.id == identifiers.tick_workflow_id(wanted.definition_id)
    (argument,) = await client.data_converter.decode(list(action.args), [TickInput])
    assert argument == TickInput(namespace="dev", definition_id=wanted.definition_id)
    assert schedule.policy.overlap.name == "ALLOW_ALL"
    assert schedule.policy.catchup_window == timedelta(days=365)
    assert not schedule.spec.jitter
    assert not schedule.state.paused
    assert [interval.every for interval in schedule.spec.intervals] == [timedelta(minutes=15)]
    hours = {range_.start for part in schedule.spec.calendars for range_ in part.hour}
    assert {4, 5} <= hours


async def test_same_wakeup_again_rewrites_nothing_and_another_does(
    client: Client, wakeup: Callable[..., Wakeup]
) -> None:
    clock = TemporalWakeupClock(client)
    first = wakeup(every="1h")
    await clock.put(first, at_once=False)
    handle = client.get_schedule_handle(identifiers.schedule_id(first.definition_id))
    created = (await handle.describe()).info
    await clock.put(first, at_once=True)
    again = (await handle.describe()).info
    assert (created.last_updated_at, again.last_updated_at) == (None, None)
    assert again.num_actions == 0
    second = wakeup(every="2h")
    await clock.put(second, at_once=False)
    described_now = await handle.describe()
    assert described_now.info.last_updated_at is not None
    assert described_now.schedule.spec.intervals[0].every == timedelta(hours=2)


async def test_schedule_paused_by_hand_is_made_right_again(
    client: Client, wakeup: Callable[..., Wakeup], until: Callable[..., Awaitable[None]]
) -> None:
    clock = TemporalWakeupClock(client)
    wanted = wakeup(every="1h")
    await clock.put(wanted, at_once=False)
    handle = client.get_schedule_handle(identifiers.schedule_id(wanted.definition_id))
    await handle.pause(note="by hand")

    async def listed() -> Any:
        return (await clock.fingerprints("dev")).get(wanted.definition_id)

    async def differs() -> Any:
        return await listed() == ""

    await until(differs, "the list shows that somebody has changed it")
    await clock.put(wanted, at_once=False)
    assert not (await described(client, wanted.definition_id)).state.paused


async def test_wakeup_at_once_starts_a_tick(
    client: Client, wakeup: Callable[..., Wakeup], until: Callable[..., Awaitable[None]]
) -> None:
    wanted = wakeup(every="1h")
    await TemporalWakeupClock(client).put(wanted, at_once=True)
    handle = client.get_schedule_handle(identifiers.schedule_id(wanted.definition_id))

    async def ticked() -> Any:
        return (await handle.describe()).info.recent_actions

    await until(ticked, "a tick was started")


async def test_schedules_of_others_are_neither_listed_nor_touched(
    client: Client, wakeup: Callable[..., Wakeup], until: Callable[..., Awaitable[None]]
) -> None:
    clock = TemporalWakeupClock(client)
    wanted = wakeup(every="1h")
    foreign = f"other-{wanted.definition_id}"
    await client.create_schedule(
        foreign,
        Schedule(
            action=ScheduleActionStartWorkflow("Other", id="other", task_queue="other"),
            spec=ScheduleSpec(),
        ),
    )
    await clock.put(wanted, at_once=False)

    async def listed() -> Any:
        return [item.id async for item in await client.list_schedules()]

    async def both() -> Any:
        return {foreign, identifiers.schedule_id(wanted.definition_id)} <= set(await listed())

    await until(both, "both are listed")
    assert (await clock.fingerprints("dev"))[wanted.definition_id] == wanted.fingerprint
    assert foreign not in await clock.fingerprints("dev")
    await client.get_schedule_handle(foreign).delete()


async def test_removing_what_is_not_there_is_fine(client: Client, unique_name: str) -> None:
    await TemporalWakeupClock(client).remove("dev", unique_name)


async def test_server_that_is_away_is_said_to_be(
    unused_tcp_port: int, wakeup: Callable[..., Wakeup]
) -> None:
    client = await temporal.connect(
        f"127.0.0.1:{unused_tcp_port}", namespace="dev", identity="test", lazy=True
    )
    clock = TemporalWakeupClock(client)
    for call in (
        clock.fingerprints("dev"),
        clock.put(wakeup(every="1h"), at_once=False),
    ):
        with pytest.raises(NeighbourUnavailableError, match="Temporal does not answer"):
            await call


async def test_refusal_and_absence_of_the_ledger_are_told_apart(
    ledger: Any,
    channel: grpc.aio.Channel,
    wakeup: Callable[..., Wakeup],
    document: Callable[..., bytes],
) -> None:
    from registry.domain.materialisation import Desired

    wanted = Desired(
        namespace="dev",
        definition_id="a",
        version=1,
        schedules={},
        task_queue="billing-tq",
        effective_from=datetime.now(UTC),
        enabled=True,
        reason="r",
    )
    adapter = GrpcScheduleLedger(channel)
    ledger.refusal = rpcerrors.InvalidArgumentError("no such zone")
    with pytest.raises(MaterialisationError, match="no such zone"):
        await adapter.put(wanted)
    ledger.refusal = rpcerrors.UnavailableError("no database")
    with pytest.raises(NeighbourUnavailableError, match="the ledger does not answer"):
        await adapter.put(wanted)


async def test_applied_definition_is_materialised_end_to_end(  # noqa: PLR0917 - fixtures
    postgres_dsn: str,
    client: Client,
    ledger: Any,
    channel: grpc.aio.Channel,
    document: Callable[..., bytes],
    forget: Callable[[str], None],
    unique_name: str,
    until: Callable[..., Awaitable[None]],
) -> None:
    migrations.apply(postgres_dsn, schema=app.SCHEMA, sources=app.MIGRATIONS)
    postgres = await Postgres.connect(postgres_dsn, application="test", schema=app.SCHEMA)
    store, changes = PostgresDefinitionStore(postgres), Changes()
    service = DefinitionService(store, changes, namespaces=["dev"])
    reconciler = Reconciler(
        namespace="dev",
        store=store,
        materialisations=PostgresMaterialisations(postgres),
        ledger=GrpcScheduleLedger(channel),
        clock=TemporalWakeupClock(client),
        leadership=PostgresLeadership(postgres_dsn, subject="reconciler.dev"),
        changes=changes,
        now=lambda: datetime.now(UTC),
        interval=timedelta(seconds=30),
    )
    forget(unique_name)
    await reconciler.start()
    try:
        raw = document(unique_name, every="15m")
        applied = (await service.apply(raw, actor="ada", reason="why")).version

        async def materialised() -> Any:
            async with postgres.transaction("dev") as transaction:
                return await transaction.fetchrow(
                    "SELECT version, error FROM materialisations WHERE definition_id = $1",
                    unique_name,
                )

        await until(materialised, "the version is materialised")
        assert tuple(await materialised()) == (1, None)
        (request,) = ledger.requests
        assert (request.namespace, request.definition_id) == ("dev", unique_name)
        assert (request.definition_version, request.enabled) == (1, True)
        assert (request.task_queue, request.reason) == ("billing-tq", "why")
        assert request.effective_from.ToDatetime(UTC) == applied.applied_at
        assert json.loads(request.schedules)["often"]["every"] == "900s"
        assert (await described(client, unique_name)).spec.intervals

        await service.apply(document(unique_name), actor="ada", reason="no clock any more")

        async def gone() -> Any:
            try:
                await described(client, unique_name)
            except Exception as exc:  # noqa: BLE001
                return "not found" in str(exc).lower()
            return False

        await until(gone, "the schedule is removed")
        assert json.loads(ledger.requests[-1].schedules) == {}
    finally:
        await reconciler.stop()
        await postgres.close()


async def test_lead_is_held_by_one_and_passes_on(
    postgres_dsn: str, until: Callable[..., Awaitable[None]]
) -> None:
    first = PostgresLeadership(postgres_dsn, subject="reconciler.dev")
    second = PostgresLeadership(postgres_dsn, subject="reconciler.dev")
    other = PostgresLeadership(postgres_dsn, subject="reconciler.stage")
    leads = asyncio.Event()

    async def follow() -> None:
        async with second.held() as term:
            await term.confirm()
            leads.set()

    async with first.held() as term, other.held() as elsewhere:
        await term.confirm()
        await elsewhere.confirm()
        follower = asyncio.create_task(follow())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await leads.wait()
    async with asyncio.timeout(10):
        await leads.wait()
    await follower


async def test_lead_ends_with_its_connection(postgres_dsn: str) -> None:
    import asyncpg

    from registry.errors import LeadershipLostError
    from runtime.errors import DatabaseUnavailableError

    observer = await asyncpg.connect(postgres_dsn)
    try:
        with pytest.raises((LeadershipLostError, DatabaseUnavailableError)):
            async with PostgresLeadership(postgres_dsn, subject="x").held() as term:
                await observer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'registry-leader' AND datname = current_database()"
                )
                with pytest.raises(LeadershipLostError):
                    await term.confirm()
                await term.confirm()
    finally:
        await observer.close()
