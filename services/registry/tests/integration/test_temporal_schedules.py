"""Materialising on a real Temporal server, with a ledger that listens over real gRPC."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts import identifiers, names
from contracts.resources import ChangeKind, ResourceKind, ResourceState
from contracts.roles import Role
from contracts.runs import TickInput
from registry import app
from registry.adapters.grpc_ledger import GrpcScheduleLedger
from registry.adapters.postgres_leadership import PostgresLeadership
from registry.adapters.postgres_materialisations import PostgresMaterialisations
from registry.adapters.postgres_resources import PostgresResourceStore
from registry.adapters.temporal_schedules import TemporalWakeupClock
from registry.domain import materialisation
from registry.domain.materialisation import Desired, Tampered, Wakeup
from registry.domain.resources import Change, Key, Resource
from registry.domain.validation import Source
from registry.errors import LeadershipLostError, MaterialisationError, NeighbourUnavailableError
from registry.service.changes import Changes
from registry.service.drift import DriftKind, DriftService
from registry.service.mirror import Mirrors
from registry.service.reconciler import Reconciler
from registry.service.resources import ResourceService
from runtime import authorisation, grpcclient, migrations, rpcerrors, temporal
from runtime.errors import DatabaseUnavailableError
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
    forget(unique_name)

    def make(
        *, version: int = 1, state: ResourceState = ResourceState.ACTIVE, **schedule: Any
    ) -> Any:
        key = Key(ResourceKind.ACTIVITY_DEFINITION, unique_name)
        applied = Change(1, key, ChangeKind.APPLIED, version, state, datetime.now(UTC), "a", "r")
        content = document(unique_name, **schedule)
        resource = Resource("dev", key, version, content, "0" * 64, applied, applied, version)
        made = materialisation.wakeup(materialisation.desired(resource))
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


async def paused_by_hand(handle: Any) -> None:
    await handle.pause(note="by hand")


async def edited_by_hand(handle: Any) -> None:
    """Changes the times, and leaves the note as it was written."""

    def edit(present: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = present.description.schedule
        schedule.spec.intervals = [ScheduleIntervalSpec(every=timedelta(hours=7))]
        return ScheduleUpdate(schedule)

    await handle.update(edit)


@pytest.mark.parametrize(
    ("tamper", "told"),
    [(paused_by_hand, Tampered.PAUSED), (edited_by_hand, Tampered.EDITED)],
)
async def test_schedule_that_was_changed_by_hand_is_made_right_again(
    client: Client,
    wakeup: Callable[..., Wakeup],
    until: Callable[..., Awaitable[None]],
    tamper: Callable[[Any], Awaitable[None]],
    told: Tampered,
) -> None:
    clock = TemporalWakeupClock(client)
    wanted = wakeup(every="1h")
    await clock.put(wanted, at_once=False)
    await tamper(client.get_schedule_handle(identifiers.schedule_id(wanted.definition_id)))

    async def listed() -> Any:
        return (await clock.fingerprints("dev")).get(wanted.definition_id)

    async def differs() -> Any:
        return await listed() is told

    await until(differs, "the list shows that somebody has changed it")
    await clock.put(wanted, at_once=False)
    schedule = await described(client, wanted.definition_id)
    assert not schedule.state.paused
    assert [part.every for part in schedule.spec.intervals] == [timedelta(hours=1)]

    async def stands() -> Any:
        return await listed() == wanted.fingerprint

    await until(stands, "the list shows that it is as it was written")


async def test_what_temporal_lists_of_a_long_schedule_is_still_known_to_be_ours(
    client: Client, wakeup: Callable[..., Wakeup], until: Callable[..., Awaitable[None]]
) -> None:
    """A list holds only the first calendars of a Schedule."""
    clock = TemporalWakeupClock(client)
    wanted = wakeup(every="1h", cron="7 1,2,3 1,15 * *")
    for month in range(1, 7):
        more = wakeup(cron=f"*/7 2 * {month} *")
        wanted = Wakeup(
            namespace="dev",
            definition_id=wanted.definition_id,
            specs=[*wanted.specs, *more.specs],
            enabled=True,
            fingerprint=wanted.fingerprint,
        )
    assert sum(len(spec.calendars) for spec in wanted.specs) > 10
    await clock.put(wanted, at_once=False)

    async def listed() -> Any:
        return (await clock.fingerprints("dev")).get(wanted.definition_id)

    await until(listed, "it is listed")
    assert await listed() == wanted.fingerprint


async def test_disabled_definition_is_paused_and_enabled_one_resumes_at_once(
    client: Client, wakeup: Callable[..., Wakeup], until: Callable[..., Awaitable[None]]
) -> None:
    clock = TemporalWakeupClock(client)
    wanted = wakeup(every="1h")
    await clock.put(wanted, at_once=False)
    await clock.put(wakeup(every="1h", state=ResourceState.DISABLED), at_once=False)
    assert (await described(client, wanted.definition_id)).state.paused
    await clock.put(wanted, at_once=True)
    assert not (await described(client, wanted.definition_id)).state.paused
    handle = client.get_schedule_handle(identifiers.schedule_id(wanted.definition_id))

    async def ticked() -> Any:
        return (await handle.describe()).info.recent_actions

    await until(ticked, "a tick was started")


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
    wanted = Desired(
        namespace="dev",
        definition_id="a",
        version=1,
        revision=1,
        schedules={},
        task_queue="billing-tq",
        effective_from=datetime.now(UTC),
        enabled=True,
        resumed=False,
        reason="r",
    )
    adapter = GrpcScheduleLedger(channel)
    ledger.refusal = rpcerrors.InvalidArgumentError("no such zone")
    with pytest.raises(MaterialisationError, match="no such zone"):
        await adapter.put(wanted)
    ledger.refusal = rpcerrors.UnavailableError("no database")
    with pytest.raises(NeighbourUnavailableError, match="the ledger does not answer"):
        await adapter.put(wanted)


class Registry:
    """Use cases, reconciler and drift report on real servers; the ledger only listens."""

    def __init__(self, service: ResourceService, drift: DriftService, postgres: Postgres) -> None:
        self.service = service
        self.drift = drift
        self.postgres = postgres

    async def apply(self, content: bytes) -> Resource:
        """Apply one document; return the resource."""
        outcome = await self.service.apply([Source("a.yaml", content)], actor="ada", reason="why")
        return outcome.results[0].resource

    async def materialised(self, definition_id: str) -> tuple[int, str | None] | None:
        """Return the revision that was handed on last, and the error if there was one."""
        for row in await PostgresMaterialisations(self.postgres).all("dev"):
            if row.definition_id == definition_id:
                return row.revision, row.error
        return None


@pytest.fixture
async def registry(
    postgres_dsn: str, client: Client, channel: grpc.aio.Channel, unique_name: str, forget: Any
) -> AsyncIterator[Any]:
    forget(unique_name)
    migrations.apply(postgres_dsn, schema=app.SCHEMA, sources=app.MIGRATIONS)
    postgres = await Postgres.connect(postgres_dsn, application="test", schema=app.SCHEMA)
    store, changes = PostgresResourceStore(postgres), Changes()
    materialisations = PostgresMaterialisations(postgres)
    clock = TemporalWakeupClock(client)
    mirrors = Mirrors(store, changes, namespaces=["dev"])
    reconciler = Reconciler(
        namespace="dev",
        store=store,
        materialisations=materialisations,
        ledger=GrpcScheduleLedger(channel),
        clock=clock,
        leadership=PostgresLeadership(postgres_dsn, subject="reconciler.dev"),
        changes=changes,
        now=lambda: datetime.now(UTC),
        interval=timedelta(hours=1),
    )
    drift = DriftService(
        store,
        materialisations,
        {"dev": clock},
        now=lambda: datetime.now(UTC),
        settling=timedelta(0),
    )
    await reconciler.start()
    yield Registry(ResourceService(store, mirrors), drift, postgres)
    await reconciler.stop()
    await postgres.close()


async def test_life_of_a_definition_is_materialised_end_to_end(  # noqa: PLR0917 - fixtures
    registry: Registry,
    client: Client,
    ledger: Any,
    document: Callable[..., bytes],
    unique_name: str,
    until: Callable[..., Awaitable[None]],
) -> None:
    async def handed_on(revision: int) -> None:
        async def there() -> Any:
            return await registry.materialised(unique_name) == (revision, None)

        await until(there, f"revision {revision} is handed on")

    async def paused() -> bool:
        return bool((await described(client, unique_name)).state.paused)

    applied = await registry.apply(document(unique_name, every="15m"))
    await handed_on(applied.revision)
    (request,) = ledger.requests
    assert (request.namespace, request.definition_id) == ("dev", unique_name)
    assert (request.definition_version, request.enabled) == (1, True)
    assert (request.task_queue, request.reason) == ("billing-tq", "why")
    assert request.effective_from.ToDatetime(UTC) == applied.latest.at
    assert json.loads(request.schedules)["often"]["every"] == "900s"
    assert (await described(client, unique_name)).spec.intervals

    who = {"actor": "ada", "reason": "see what happens"}
    disabled = (await registry.service.disable("dev", unique_name, **who)).resource
    await handed_on(disabled.revision)
    assert (ledger.requests[-1].enabled, await paused()) == (False, True)
    assert ledger.requests[-1].effective_from.ToDatetime(UTC) == disabled.latest.at
    enabled = (await registry.service.enable("dev", unique_name, **who)).resource
    await handed_on(enabled.revision)
    assert (ledger.requests[-1].enabled, await paused()) == (True, False)

    without = await registry.apply(document(unique_name))
    await handed_on(without.revision)
    assert json.loads(ledger.requests[-1].schedules) == {}
    await until(lambda: gone(client, unique_name), "the schedule is removed")

    activated = await registry.service.activate("dev", *without.key, version=1, **who)
    await handed_on(activated.resource.revision)
    assert ledger.requests[-1].definition_version == 1
    assert (await described(client, unique_name)).spec.intervals

    retired = await registry.service.retire("dev", *without.key, **who)
    await handed_on(retired.resource.revision)
    assert json.loads(ledger.requests[-1].schedules) == {}
    assert await gone(client, unique_name)


async def gone(client: Client, definition_id: str) -> bool:
    """Say whether a definition has no Schedule."""
    try:
        await described(client, definition_id)
    except RPCError as exc:
        return exc.status is RPCStatusCode.NOT_FOUND
    return False


async def test_drift_report_tells_what_was_done_by_hand(  # noqa: PLR0917 - fixtures
    registry: Registry,
    client: Client,
    document: Callable[..., bytes],
    unique_name: str,
    forget: Callable[[str], None],
    until: Callable[..., Awaitable[None]],
) -> None:
    def kept(name: str) -> str:
        forget(f"{unique_name}.{name}")
        return f"{unique_name}.{name}"

    deleted, edited, paused, sound = (
        kept("deleted"), kept("edited"), kept("paused"), kept("sound"),
    )  # fmt: skip
    foreign = kept("foreign")
    for definition_id in (deleted, edited, paused, sound):
        await registry.apply(document(definition_id, every="1h"))

    async def found() -> dict[str, DriftKind]:
        report = await registry.drift.report("dev")
        assert report.scheduled_definitions == 4
        # The server is shared with other tests.
        return {
            drift.definition_id: drift.kind
            for drift in report.drifts
            if drift.definition_id.startswith(unique_name)
        }

    async def nothing() -> bool:
        return not await found()

    await until(nothing, "everything is handed on, and listed")
    handles = {
        definition_id: client.get_schedule_handle(identifiers.schedule_id(definition_id))
        for definition_id in (deleted, edited, paused)
    }
    await handles[deleted].delete()
    await edited_by_hand(handles[edited])
    await paused_by_hand(handles[paused])
    await client.create_schedule(
        identifiers.schedule_id(foreign),
        Schedule(
            action=ScheduleActionStartWorkflow("Other", id="other", task_queue="other"),
            spec=ScheduleSpec(),
        ),
    )
    expected = {
        deleted: DriftKind.MISSING,
        edited: DriftKind.DIFFERENT,
        paused: DriftKind.DIFFERENT,
        foreign: DriftKind.UNEXPECTED,
    }

    async def all_told() -> bool:
        return await found() == expected

    await until(all_told, "the report tells it all")
    details = {
        drift.definition_id: drift.detail for drift in (await registry.drift.report("dev")).drifts
    }
    assert details[edited] == "the Temporal Schedule was changed by hand"
    assert "paused by hand" in details[paused]


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
