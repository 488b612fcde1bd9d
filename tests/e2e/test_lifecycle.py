"""What is done to a definition counts from then on: for events, for due times, for people."""

import asyncio
import json
import urllib.request
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import observing
import pytest
import yaml
from confluent_kafka import Producer
from temporalio.client import Client
from temporalio.service import RPCError
from waiting import until

from contracts import identifiers

DEFINITIONS = Path("tests/e2e/definitions")
PARCELS, CONTROL = "e2e.parcels", "e2e.control"


class World:
    """The stack, as the events and the people of this test meet it."""

    def __init__(self, suite, backbone, *, control, ledger, temporal):
        self.suite, self.backbone = suite, backbone
        self.control, self.ledger, self.temporal = control, ledger, temporal
        self.bootstrap = suite.endpoints.kafka_bootstrap_servers
        self.source = f"e2e-parcels-{uuid.uuid4().hex[:6]}"
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all"})

    async def send(self, count=1):
        """Publish events, wait until the router has decided them, and return their ids."""
        ids = [uuid.uuid4().hex for _ in range(count)]
        for event_id in ids:
            event = {
                "event_id": event_id,
                "type": "e2e.parcel.sent",
                "source": self.source,
                "occurred_at": datetime.now(UTC).isoformat(),
                "payload": {"weight": 1},
            }
            self._producer.produce(observing.INPUT, value=json.dumps(event).encode())
        assert await asyncio.to_thread(self._producer.flush, 30) == 0
        assert await until(self._decided, seconds=60)
        return ids

    async def _decided(self):
        return await asyncio.to_thread(observing.uncommitted, self.bootstrap) == 0

    async def started(self, event_ids):
        """Return those of the events that started a run: a decided one has by now, or never."""
        found = []
        for event_id in event_ids:
            key = identifiers.event_trigger_key(self.source, event_id)
            try:
                await self.temporal.get_workflow_handle(identifiers.run_id(PARCELS, key)).describe()
            except RPCError:
                continue
            found.append(event_id)
        return found

    async def versions(self, event_ids):
        """Return the versions by which the runs of these events were decided, once all are."""
        found = {}

        async def recorded():
            runs = await observing.runs_of(self.ledger, observing.Scope(self.source))
            found.update({run.event_id: run.version for run in runs})
            return found.keys() >= set(event_ids)

        assert await until(recorded, seconds=60)
        return {found[event_id] for event_id in event_ids}

    async def an_event_starts_a_run(self):
        return bool(await self.started(await self.send()))

    async def an_event_starts_nothing(self):
        return not await self.an_event_starts_a_run()

    async def due_times(self, definition_id):
        """Return what became of a definition's due times, newest first."""
        return self._lines("ticks", definition_id)

    async def scheduled_version(self):
        """Return the version of the newest run by schedule."""
        runs = self._lines("runs", "--definition", PARCELS)
        return next(run["definition_version"] for run in runs if run["trigger_kind"] == "schedule")

    async def clock(self):
        """Return the state of the definition's schedule in Temporal; None when there is none."""
        async for one in await self.temporal.list_schedules():
            if PARCELS in one.id:
                try:
                    found = await self.temporal.get_schedule_handle(one.id).describe()
                except RPCError:
                    return None
                return "paused" if found.schedule.state.paused else "running"
        return None

    def disabled_candidates(self):
        """Return how many events the router's metric says met the disabled definition."""
        url = f"http://{self.suite.addresses['router'].http}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        counts = [
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("backbone_router_candidates_total{")
            and f'"{PARCELS}"' in line
            and '"disabled"' in line
        ]
        return sum(counts)

    def _lines(self, *words):
        printed = self.backbone(*words, "--output", "json", "--limit", "1000")
        return [json.loads(line) for line in printed.splitlines()]


@pytest.fixture
async def world(suite, backbone, tmp_path):
    parcels = yaml.safe_load((DEFINITIONS / "parcels.yaml").read_text())
    parcels["metadata"]["id"] = CONTROL
    parcels["spec"]["triggers"] = [t for t in parcels["spec"]["triggers"] if t["name"] == "sweep"]
    control = tmp_path / "control.yaml"
    control.write_text(yaml.safe_dump(parcels))
    ledger = await asyncpg.connect(suite.endpoints.postgres.dsn())
    temporal = await Client.connect(suite.endpoints.temporal_address, namespace="dev")
    yield World(suite, backbone, control=control, ledger=ledger, temporal=temporal)
    await ledger.close()


@pytest.mark.timeout(400)
async def test_a_definition_is_disabled_enabled_rolled_back_and_retired(world, backbone, tmp_path):
    begin = await asyncio.to_thread(observing.ends, world.bootstrap, (observing.DEFINITIONS,))
    files = [DEFINITIONS / "parcels.yaml", DEFINITIONS / "parcel-sent.yaml", world.control]
    named = [word for file in files for word in ("-f", str(file))]
    backbone("apply", *named, "--reason", "begin")
    assert await until(world.an_event_starts_a_run, seconds=30)

    async def a_due_time_ran():
        return any(one["outcome"] == "run" for one in await world.due_times(PARCELS))

    assert await until(a_due_time_ran, seconds=60)

    await _disabled_and_enabled(world, backbone)

    # Another version, and back.
    second = yaml.safe_load((DEFINITIONS / "parcels.yaml").read_text())
    second["spec"]["rules"][0]["when"] = "false"
    (tmp_path / "second.yaml").write_text(yaml.safe_dump(second))
    backbone("apply", "-f", str(tmp_path / "second.yaml"), "--reason", "a second version")
    assert await until(lambda: _next_run_uses(world, 2), seconds=30)
    assert await until(lambda: _sweeps_use(world, 2), seconds=60)
    backbone("activate", PARCELS, "--version", "1", "--reason", "the second one was wrong")
    # A start by hand asks the registry, so that there is nothing to wait for.
    by_hand = _by_hand(backbone)
    assert (by_hand["definition_version"], by_hand["started"]) == (1, True)
    assert await until(lambda: _next_run_uses(world, 1), seconds=30)
    assert await world.versions(await world.send(5)) == {1}
    assert await until(lambda: _sweeps_use(world, 1), seconds=60)
    shown = json.loads(backbone("run", "show", by_hand["run_id"], "--output", "json"))
    assert shown["trigger_names"] == ["by-hand"]

    for definition_id in (PARCELS, CONTROL):
        backbone("retire", definition_id, "--reason", "end of the test")
    assert await until(world.an_event_starts_nothing, seconds=30)
    assert await world.started(await world.send(5)) == []
    with pytest.raises(AssertionError, match="is retired"):
        _by_hand(backbone)

    async def no_clock():
        return await world.clock() is None

    assert await until(no_clock, seconds=30)
    await _the_changes_are_events(world, begin)


async def _disabled_and_enabled(world, backbone):
    backbone("disable", PARCELS, "--reason", "a test of it")
    assert await until(world.an_event_starts_nothing, seconds=30)
    before = world.disabled_candidates()
    assert await world.started(await world.send(5)) == []
    assert world.disabled_candidates() == before + 5
    with pytest.raises(AssertionError, match="is disabled"):
        _by_hand(backbone)

    async def paused():
        return await world.clock() == "paused"

    assert await until(paused, seconds=30)
    disabled_at = datetime.now(UTC)
    accounted = len(await world.due_times(PARCELS))

    async def others_run_on():
        ran = [one for one in await world.due_times(CONTROL) if _due(one) > disabled_at]
        return len(ran) >= 5

    assert await until(others_run_on, seconds=60)
    assert len(await world.due_times(PARCELS)) == accounted
    enabling_at = datetime.now(UTC)
    backbone("enable", PARCELS, "--reason", "enough")
    assert await until(world.an_event_starts_a_run, seconds=30)
    enabled_at = datetime.now(UTC)

    async def a_later_due_time_ran():
        return any(
            one["outcome"] == "run" and _due(one) > enabled_at
            for one in await world.due_times(PARCELS)
        )

    assert await until(a_later_due_time_ran, seconds=60)
    tolerance = timedelta(seconds=1)
    meanwhile = [
        one["outcome"]
        for one in await world.due_times(PARCELS)
        if disabled_at < _due(one) < enabling_at - tolerance
    ]
    assert set(meanwhile) == {"disabled"}


async def _next_run_uses(world, version):
    """Publish one event and say whether its run, if there is one, was decided by a version."""
    started = await world.started(await world.send())
    return bool(started) and await world.versions(started) == {version}


async def _sweeps_use(world, version):
    return await world.scheduled_version() == version


def _by_hand(backbone):
    said = backbone("trigger", PARCELS, "--input", '{"why": "a test"}', "--output", "json")
    return json.loads(said)


def _due(due_time):
    return datetime.fromisoformat(due_time["due_at"])


async def _the_changes_are_events(world, begin):
    async def published():
        return await observing.pending_outbox(world.ledger) == 0

    assert await until(published, seconds=60)
    records = await asyncio.to_thread(observing.read_from, world.bootstrap, begin)
    events = [record.document() for record in records]
    told = [
        (event["type"].removeprefix("backbone.Resource"), event["payload"]["reason"])
        for event in events
        if event["payload"]["resource_id"] == PARCELS
    ]
    assert told == [
        ("Applied", "begin"),
        ("Disabled", "a test of it"),
        ("Enabled", "enough"),
        ("Applied", "a second version"),
        ("Activated", "the second one was wrong"),
        ("Retired", "end of the test"),
    ]
