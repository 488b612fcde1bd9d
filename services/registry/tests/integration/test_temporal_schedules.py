"""Materialising on a real Temporal server, with a ledger that listens over real gRPC."""

import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from temporalio.api.workflowservice import v1 as workflowservice
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from contracts import identifiers, names
from contracts.definitions import Schedule as Definition
from contracts.resources import ChangeKind, ResourceKind, ResourceState
from contracts.runs import TickInput
from registry import app
from registry.adapters.grpc_ledger import GrpcScheduleLedger
from registry.adapters.postgres_drift_log import PostgresDriftLog
from registry.adapters.postgres_leadership import PostgresLeadership
from registry.adapters.postgres_materialisations import PostgresMaterialisations
from registry.adapters.postgres_resources import PostgresResourceStore
from registry.adapters.temporal_schedules import TemporalWakeupClock
from registry.domain import materialisation, mending
from registry.domain.materialisation import Desired, Tampered, Wakeup
from registry.domain.mending import DriftKind
from registry.domain.resources import Change, Key, Resource
from registry.domain.validation import Source
from registry.errors import MaterialisationError, NeighbourUnavailableError, WakeupMovedError
from registry.service.changes import Changes
from registry.service.drift import DriftService
from registry.service.mirror import Mirrors
from registry.service.reconciler import Reconciler
from registry.service.resources import ResourceService
from rules import schedules as evaluation
from rules import wakeups
from runtime import datakeys, migrations, reloading, rpcerrors, temporal
from runtime.datakeys import KeyDocument
from runtime.encryption import AtRest
from runtime.postgres import Postgres


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


async def put(clock: TemporalWakeupClock, wakeup: Wakeup, *, at_once: bool = False) -> None:
    """Make it so that a definition is woken as `wakeup` says."""
    standing = await clock.inspect(wakeup.definition_id)
    if standing is None:
        await clock.create(wakeup, at_once=at_once)
    elif standing.facts != (await clock.expected(wakeup)).facts:
        await clock.update(wakeup, standing, at_once=at_once)


async def marks(clock: TemporalWakeupClock) -> dict[str, str]:
    """Return all that is listed."""
    found: dict[str, str] = {}
    async for page in clock.pages():
        found |= page
    return found


async def described(client: Client, definition_id: str) -> Any:
    handle = client.get_schedule_handle(identifiers.schedule_id(definition_id))
    return (await handle.describe()).schedule


async def test_schedule_is_written_as_a_clock_and_nothing_else(
    client: Client, wakeup: Callable[..., Wakeup]
) -> None:
    wanted = wakeup(cron="30 6 * * 1-5", every="15m")
    await put(TemporalWakeupClock(client), wanted, at_once=False)
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
    await put(clock, first, at_once=False)
    handle = client.get_schedule_handle(identifiers.schedule_id(first.definition_id))
    created = (await handle.describe()).info
    await put(clock, first, at_once=True)
    again = (await handle.describe()).info
    assert (created.last_updated_at, again.last_updated_at) == (None, None)
    assert again.num_actions == 0
    second = wakeup(every="2h")
    await put(clock, second, at_once=False)
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
    await put(clock, wanted, at_once=False)
    await tamper(client.get_schedule_handle(identifiers.schedule_id(wanted.definition_id)))

    async def listed() -> Any:
        return (await marks(clock)).get(wanted.definition_id)

    async def differs() -> Any:
        return await listed() is told

    await until(differs, "the list shows that somebody has changed it")
    await put(clock, wanted, at_once=False)
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
    more = [wakeup(cron=f"*/7 2 * {month} *").spec.calendars for month in range(1, 7)]
    calendars = tuple(itertools.chain(wanted.spec.calendars, *more))
    assert len(calendars) > 10
    wanted = replace(wanted, spec=replace(wanted.spec, calendars=calendars))
    await put(clock, wanted, at_once=False)

    async def listed() -> Any:
        return (await marks(clock)).get(wanted.definition_id)

    await until(listed, "it is listed")
    assert await listed() == wanted.fingerprint


async def moved_policies(handle: Any) -> None:
    """Changes what no list shows."""

    def edit(present: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = present.description.schedule
        schedule.policy.overlap = ScheduleOverlapPolicy.SKIP
        return ScheduleUpdate(schedule)

    await handle.update(edit)


@pytest.mark.parametrize(
    ("tamper", "paths"),
    [
        (paused_by_hand, {"state.paused", "state.note"}),
        (edited_by_hand, {"spec.intervals"}),
        (moved_policies, {"policies.overlap"}),
    ],
)
async def test_inspection_tells_exactly_what_was_changed(
    client: Client,
    wakeup: Callable[..., Wakeup],
    tamper: Callable[[Any], Awaitable[None]],
    paths: set[str],
) -> None:
    clock = TemporalWakeupClock(client)
    wanted = wakeup(every="1h", cron="30 6 * * 1-5")
    await clock.create(wanted, at_once=False)
    expected, standing = await clock.expected(wanted), await clock.inspect(wanted.definition_id)
    assert standing is not None
    assert (standing.mark, standing.facts) == (expected.fingerprint, expected.facts)
    await tamper(client.get_schedule_handle(identifiers.schedule_id(wanted.definition_id)))
    found = mending.plan(expected, await clock.inspect(wanted.definition_id), handed_on=True)
    assert {one.path for one in found.differences} == paths
    assert found.drift is DriftKind.DIFFERENT


async def test_schedule_is_encrypted_anew_with_each_key_and_it_is_nobodys_fault(
    client: Client,
    temporal_address: str,
    wakeup: Callable[..., Wakeup],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reloading, "_LOOK_S", 0.0)
    keys = {"1": datakeys.generate(), "2": datakeys.generate()}
    ring = tmp_path / "data-keys.json"
    datakeys.write_document(ring, KeyDocument(active="1", keys=keys))
    at_rest = AtRest("required", datakeys.DataKeyFile(ring))
    encrypting = TemporalWakeupClock(
        await temporal.connect(temporal_address, namespace="dev", identity="t", at_rest=at_rest)
    )

    async def step(wanted: Wakeup) -> mending.Plan:
        standing = await encrypting.inspect(wanted.definition_id)
        return mending.plan(await encrypting.expected(wanted), standing, handed_on=True)

    wanted = wakeup(every="1h")
    # Of the time before anything was encrypted.
    await put(TemporalWakeupClock(client), wanted)
    for key_id in ("1", "2"):
        datakeys.write_document(ring, KeyDocument(active=key_id, keys=keys))
        plan = await step(wanted)
        assert plan.step is mending.Step.UPDATE
        assert plan.drift is None
        assert {one.path for one in plan.differences} == {"action.input.key"}
        await put(encrypting, wanted)
        # What is encrypted is never twice the same, and yet nothing is to be done.
        assert (await step(wanted)).step is mending.Step.LEAVE
        schedule = await described(client, wanted.definition_id)
        assert schedule.action.args[0].metadata["encryption-key-id"] == key_id.encode()
        assert wanted.definition_id.encode() not in schedule.action.args[0].data
    # Somebody who puts another input in its place is found out, whoever encrypted it.
    foreign = wakeup(every="1h")
    standing = await encrypting.inspect(wanted.definition_id)
    assert standing is not None
    other = replace(foreign, namespace="other")
    await TemporalWakeupClock(client).update(other, standing, at_once=False)
    plan = await step(wanted)
    assert plan.drift is mending.DriftKind.DIFFERENT
    assert "action.input" in {one.path for one in plan.differences}


async def test_what_was_written_since_it_was_looked_at_is_not_written_over(
    client: Client, wakeup: Callable[..., Wakeup], until: Callable[..., Awaitable[None]]
) -> None:
    clock = TemporalWakeupClock(client)
    first, late, newest = (wakeup(every=every) for every in ("1h", "2h", "3h"))
    await clock.create(first, at_once=False)
    with pytest.raises(WakeupMovedError):
        await clock.create(late, at_once=False)
    seen = await clock.inspect(first.definition_id)
    assert seen is not None
    await clock.update(newest, seen, at_once=False)
    expected = await clock.expected(newest)

    async def taken_up() -> bool:
        standing = await clock.inspect(first.definition_id)
        return standing is not None and standing.facts == expected.facts

    # Of two that the server takes up at the same moment, it does not tell which is late.
    await until(taken_up, "the server has taken it up")
    # Whether the server says so is its own affair.
    with contextlib.suppress(WakeupMovedError):
        await clock.update(late, seen, at_once=False)
    assert await taken_up()
    await clock.remove(first.definition_id)
    with pytest.raises(WakeupMovedError):
        await clock.update(late, seen, at_once=False)


async def test_disabled_definition_is_paused_and_enabled_one_resumes_at_once(
    client: Client, wakeup: Callable[..., Wakeup], until: Callable[..., Awaitable[None]]
) -> None:
    clock = TemporalWakeupClock(client)
    wanted = wakeup(every="1h")
    await put(clock, wanted, at_once=False)
    await put(clock, wakeup(every="1h", state=ResourceState.DISABLED), at_once=False)
    assert (await described(client, wanted.definition_id)).state.paused
    await put(clock, wanted, at_once=True)
    assert not (await described(client, wanted.definition_id)).state.paused
    handle = client.get_schedule_handle(identifiers.schedule_id(wanted.definition_id))

    async def ticked() -> Any:
        return (await handle.describe()).info.recent_actions

    await until(ticked, "a tick was started")


async def test_wakeup_at_once_starts_a_tick(
    client: Client, wakeup: Callable[..., Wakeup], until: Callable[..., Awaitable[None]]
) -> None:
    wanted = wakeup(every="1h")
    await put(TemporalWakeupClock(client), wanted, at_once=True)
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
    await put(clock, wanted, at_once=False)

    async def listed() -> Any:
        return [item.id async for item in await client.list_schedules()]

    async def both() -> Any:
        return {foreign, identifiers.schedule_id(wanted.definition_id)} <= set(await listed())

    await until(both, "both are listed")
    assert (await marks(clock))[wanted.definition_id] == wanted.fingerprint
    assert foreign not in await marks(clock)
    await client.get_schedule_handle(foreign).delete()


async def test_removing_what_is_not_there_is_fine(client: Client, unique_name: str) -> None:
    await TemporalWakeupClock(client).remove(unique_name)


async def test_server_that_is_away_is_said_to_be(
    unused_tcp_port: int, wakeup: Callable[..., Wakeup]
) -> None:
    client = await temporal.connect(
        f"127.0.0.1:{unused_tcp_port}", namespace="dev", identity="test", lazy=True
    )
    clock = TemporalWakeupClock(client)
    for call in (
        marks(clock),
        put(clock, wakeup(every="1h"), at_once=False),
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
        drifts=PostgresDriftLog(postgres),
        ledger=GrpcScheduleLedger(channel),
        clock=clock,
        leadership=PostgresLeadership(postgres, namespace="dev", duration=timedelta(seconds=15)),
        changes=changes,
        now=lambda: datetime.now(UTC),
        interval=timedelta(hours=1),
        inspection_interval=timedelta(hours=1),
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


BERLIN = {"timezone": "Europe/Berlin"}
SKIP = {"policy": "skip", "tolerance": "1m"}


@pytest.mark.parametrize(
    "case",
    [
        ([{"cron": "30 2 * * *", **BERLIN}], "2027-03-27T12:00Z"),
        ([{"cron": "*/10 1-3 * * *", **BERLIN}], "2026-10-24T12:00Z"),
        ([{"cron": "15,45 1,2 * * *", "timezone": "Australia/Lord_Howe"}], "2027-10-02T00:00Z"),
        ([{"cron": "30 2 * * *", "timezone": "Africa/Casablanca"}], "2027-02-06T00:00Z"),
        ([{"cron": "0 9 L,15W,LW 1-6 *", "timezone": "Pacific/Apia"}], "2027-01-27T00:00Z"),
        ([{"cron": "0 23 * * fri#2,monL", "timezone": "America/New_York"}], "2027-03-10T00:00Z"),
        ([{"cron": "*/20 0 6 31 12 *"}], "2027-12-30T00:00Z"),
        ([{"calendars": [{"hour": "0", "dayOfMonth": "1", "month": "1", "year": "2028"},
                         {"hour": "*/6", "dayOfWeek": "sat"}], **BERLIN}], "2027-12-29T00:00Z"),
        ([{"every": "7m", **BERLIN,
           "exclusions": [{"hour": "0-7"}, {"hour": "18-23"}, {"dayOfWeek": "sat,sun"}]}],
         "2027-03-26T00:00Z"),
        ([{"every": "90m", "start": "2027-05-01T00:00:00Z", "end": "2027-05-01T18:00:00Z"}],
         "2027-04-30T20:00Z"),
        ([{"every": "90m", "start": "2027-05-01T03:00:00Z"}, {"cron": "0 0 13 * fri", **BERLIN}],
         "2027-04-30T00:00Z"),
    ],
)  # fmt: skip
async def test_temporal_wakes_at_every_due_time_by_its_own_computation(
    client: Client,
    forget: Callable[[str], None],
    unique_name: str,
    until: Callable[..., Awaitable[None]],
    case: tuple[list[dict[str, Any]], str],
) -> None:
    """What the server says of the Schedule that was written, over five days around a change."""
    given, since = case
    forget(unique_name)
    schedules = [Definition.model_validate({**one, "missedRuns": SKIP}) for one in given]
    spec = wakeups.wake_spec(*schedules)
    wanted = Wakeup("dev", unique_name, spec, enabled=True, fingerprint="a" * 26)
    clock = TemporalWakeupClock(client)
    await put(clock, wanted, at_once=False)
    after = datetime.fromisoformat(since)
    before = after + timedelta(days=5)
    request = workflowservice.ListScheduleMatchingTimesRequest(
        namespace="dev", schedule_id=identifiers.schedule_id(unique_name)
    )
    request.start_time.FromDatetime(after)
    request.end_time.FromDatetime(before)
    answer = await client.workflow_service.list_schedule_matching_times(request)
    woken = {moment.ToDatetime(tzinfo=UTC) for moment in answer.start_time}
    # It cuts an answer without a word.
    assert 0 < len(woken) < 1000

    due = {
        moment
        for one in schedules
        for moment in evaluation.due_times(one, after=after, until=before)
    }
    assert due
    assert due <= woken
    seconds = (
        20 if any(len(part.second) > 1 or part.second[0].end for part in spec.calendars) else 60
    )
    ours = {
        moment
        for step in range(1, 5 * 86_400 // seconds + 1)
        if spec.matches(moment := after + timedelta(seconds=step * seconds))
    }
    # What the unit tests hold wake-ups to is what the server computes.
    assert woken == ours

    async def listed() -> Any:
        return (await marks(clock)).get(unique_name)

    await until(listed, "it is listed")
    # A list tells all that the seal is over: nobody takes it for edited, and writes it again.
    assert await listed() == wanted.fingerprint
