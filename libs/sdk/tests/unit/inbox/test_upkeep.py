import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from contracts.names import Header
from runtime import telemetry
from runtime.errors import DatabaseUnavailableError
from sdk.inbox import MemoryInboxStore, Order
from sdk.inbox.processing import Outcome, Processor
from sdk.inbox.records import Record
from sdk.inbox.upkeep import Upkeep

OWNER = {"namespace": "dev", "group": "reports"}


class Clock:
    def __init__(self):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MemoryInboxStore(clock=clock)


async def handle(event, effects):
    effects.setdefault("seen", []).append(event.event_id)


@pytest.fixture
def processor(store):
    return Processor(store, handle, **OWNER, topics=["dev.events"], order=Order.GAPLESS)


def record(event_id, *, version=None):
    event = {
        "event_id": event_id,
        "type": "backbone.TaskCreated",
        "source": "backbone/ledger",
        "occurred_at": "2026-01-01T00:00:00Z",
        "payload": {},
    }
    headers = []
    if version is not None:
        headers = [
            (Header.STREAM.value, b"run:1"),
            (Header.STREAM_VERSION.value, str(version).encode()),
        ]
    return Record("dev.events", 0, 0, json.dumps(event).encode(), headers)


def upkeep(store, *, every=timedelta(milliseconds=10), remember=timedelta(days=30)):
    return Upkeep(store, **OWNER, every=every, remember=remember)


def releasing(store, processor):
    made = upkeep(store)

    async def release():
        await processor.release(within=timedelta(seconds=20))

    made.add(release)
    return made


async def test_ids_are_forgotten_when_they_are_old_enough(store, processor, clock):
    await processor.process(record("old"))
    clock.now += timedelta(days=29)
    await processor.process(record("young"))
    await upkeep(store).round()
    assert await processor.process(record("old")) is Outcome.DUPLICATE

    clock.now += timedelta(days=2)
    await upkeep(store).round()
    assert await processor.process(record("young")) is Outcome.DUPLICATE
    assert await processor.process(record("old")) is Outcome.HANDLED


async def test_ids_are_not_looked_through_in_each_round(store, processor, clock):
    made = upkeep(store)
    await made.round()
    await processor.process(record("e1"))
    clock.now += timedelta(days=31)
    await made.round()
    assert await processor.process(record("e1")) is Outcome.DUPLICATE


async def test_inbox_that_remembers_for_ever_forgets_nothing(store, processor, clock):
    await processor.process(record("e1"))
    clock.now += timedelta(days=10_000)
    await upkeep(store, remember=None).round()
    assert await processor.process(record("e1")) is Outcome.DUPLICATE


async def test_what_a_skipped_gap_held_back_is_handled_in_the_next_round(store, processor):
    made = releasing(store, processor)
    await processor.process(record("e2", version=2))
    await made.round()
    assert store.effects == {}
    (gap,) = await store.gaps("dev", "reports", limit=10)
    await store.skip("dev", "reports", gap)
    await made.round()
    assert store.effects == {"seen": ["e2"]}


async def test_gap_that_stays_is_told_once(store, processor):
    made = releasing(store, processor)
    await processor.process(record("e3", version=3))
    with structlog.testing.capture_logs() as logs:
        await made.round()
        assert logs == []  # It may close by itself.
        for _ in range(3):
            await made.round()
    (told,) = logs
    assert (told["event"], told["log_level"]) == ("stream_gap", "error")
    assert (told["stream"], told["first_missing"], told["last_missing"]) == ("run:1", 1, 2)


async def test_gap_further_on_in_the_stream_is_told_again(store, processor):
    made = releasing(store, processor)
    with structlog.testing.capture_logs() as logs:
        for version in (2, 4):
            await processor.process(record(f"e{version}", version=version))
            await made.round()
            await made.round()
            (gap,) = await store.gaps("dev", "reports", limit=10)
            await store.skip("dev", "reports", gap)
            await made.round()
    assert [log["first_missing"] for log in logs if log["event"] == "stream_gap"] == [1, 3]


async def test_gaps_are_counted_as_long_as_they_are_there(store, processor, monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    monkeypatch.setattr(telemetry, "meter", provider.get_meter)
    made = releasing(store, processor)

    def gaps():
        metrics = json.loads(reader.get_metrics_data().to_json())["resource_metrics"][0]
        (point,) = (
            point
            for metric in metrics["scope_metrics"][0]["metrics"]
            if metric["name"] == "backbone.inbox.gaps"
            for point in metric["data"]["data_points"]
        )
        return point["value"]

    await processor.process(record("e2", version=2))
    await made.round()
    assert gaps() == 1
    await processor.process(record("e1", version=1))
    await made.round()
    assert gaps() == 0


async def test_database_that_is_away_is_told_in_a_line_and_asked_again():
    works = asyncio.Event()

    class AwayTwice(MemoryInboxStore):
        times = 0

        async def forget(self, *args, **kwargs):
            self.times += 1
            if self.times < 3:
                raise DatabaseUnavailableError("PostgreSQL does not answer")
            works.set()
            return await super().forget(*args, **kwargs)

    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(upkeep(AwayTwice()).run())
        await asyncio.wait_for(works.wait(), 30)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [log["event"] for log in logs] == ["upkeep_waits"] * 2
