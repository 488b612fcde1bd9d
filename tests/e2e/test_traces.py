"""One trace leads from who publishes an event to who consumes what became of it; logs name it."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import backbone_command
import pytest
from collector import Collector
from confluent_kafka import Consumer, TopicPartition
from waiting import until

from contracts import identifiers
from devstack.infrastructure import create_database, drop_database

TRACED = ("ledger", "router", "orchestrator-worker", "outbox-relay", "handlers")
CONSUMER = Path("examples/consumer")
GROUP, TASK_EVENTS = "examples.tally", "dev.backbone.task-events"
SECRET = "canary-4711"
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "200"}  # milliseconds until spans are exported


@pytest.fixture(scope="module")
def collector():
    with Collector() as found:
        yield found


@pytest.fixture(scope="module")
def traced(suite, backbone, collector):
    """The suite, which sends its spans to the collector."""
    files = [f"tests/chaos/definitions/{name}.yaml" for name in ("orders", "order-placed")]
    backbone("apply", "-f", files[0], "-f", files[1], "--reason", "traces")
    for name in TRACED:
        suite.restart(name, env={"BACKBONE_OTLP_ENDPOINT": collector.endpoint, **SOON})
    suite.wait_ready()
    yield suite
    for name in TRACED:
        suite.restart(name, env={"BACKBONE_OTLP_ENDPOINT": ""})
    suite.wait_ready()


def begin_at_the_end(bootstrap_servers):
    """Have the consumer begin with what is published from now on."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": GROUP})
    try:
        partitions = consumer.list_topics(TASK_EVENTS, timeout=10).topics[TASK_EVENTS].partitions
        places = [TopicPartition(TASK_EVENTS, number) for number in partitions]
        for place in places:
            place.offset = consumer.get_watermark_offsets(place, timeout=10)[1]
        consumer.commit(offsets=places, asynchronous=False)
    finally:
        consumer.close()


@pytest.fixture
def consumed(traced, collector, tmp_path):
    """The consumer of the examples, on the suite."""
    name = f"traced_{uuid.uuid4().hex[:6]}"
    create_database(traced.endpoints, name)
    begin_at_the_end(traced.endpoints.kafka_bootstrap_servers)
    parts = urlsplit(traced.endpoints.postgres.dsn())
    variables = {
        **traced.client_environment(),
        "TALLY_DSN": parts._replace(path=f"/{name}").geturl(),
        "BACKBONE_OTLP_ENDPOINT": collector.endpoint,
        **SOON,
    }
    with (tmp_path / "tally.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tally"],
            cwd=CONSUMER,
            env=os.environ | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        yield
        process.terminate()
        process.wait(30)
    drop_database(traced.endpoints, name)


@pytest.fixture
def publish(traced, collector, tmp_path):
    """Publish an order by the command, which takes part in the trace; return its event id."""

    def one(*lines, ratio="1"):
        event_id = uuid.uuid4().hex
        event = {
            "event_id": event_id,
            "type": "e2e.order.placed",
            "source": "e2e-traces",
            "occurred_at": datetime.now(UTC).isoformat(),
            "payload": {"amount": 10, "currency": "EUR", "lines": lines, "note": SECRET},
        }
        file = tmp_path / f"{event_id}.json"
        file.write_text(json.dumps(event))
        backbone_command.on(
            traced,
            BACKBONE_OTLP_ENDPOINT=collector.endpoint,
            BACKBONE_TRACE_SAMPLE_RATIO=ratio,
        )("publish", "dev.orders", "-f", str(file))
        return event_id

    return one


def run_of(event_id):
    return identifiers.run_id("e2e.orders", identifiers.event_trigger_key("e2e-traces", event_id))


class Trace:
    """The spans of one trace."""

    def __init__(self, spans):
        self.spans = {span.span_id: span for span in spans}

    @property
    def roots(self):
        return [span for span in self.spans.values() if not span.parent]

    @property
    def orphans(self):
        return [span for span in self.spans.values() if span.parent not in {"", *self.spans}]

    def ways(self, name, service):
        """Return how one comes to each span of a name: its ancestors, the first one first."""
        found = []
        for span in self.spans.values():
            if (span.name, span.service) == (name, service):
                way, at = [], span
                while at is not None:
                    way.insert(0, (at.service, at.name))
                    at = self.spans.get(at.parent)
                found.append(way)
        return found


def trace_of(collector, event_id):
    """Return the trace in which an event was published by the command."""
    spans = collector.spans
    (first,) = [
        span
        for span in spans
        if span.service == "cli" and span.attributes["backbone.event.id"] == event_id
    ]
    return Trace([span for span in spans if span.trace_id == first.trace_id])


TO_RUN = [
    ("cli", "backbone.publish"),
    ("router", "backbone.route"),
    ("router", "StartWorkflow:RunActivity"),
]
LEDGER = "backbone.ledger.v1.LedgerService"
DECIDED = [
    *TO_RUN,
    ("orchestrator-worker", "StartActivity:backbone.decide"),
    ("orchestrator-worker", "RunActivity:backbone.decide"),
    ("orchestrator-worker", "backbone.decide"),
    ("orchestrator-worker", f"{LEDGER}/RecordRun"),
    ("ledger", f"{LEDGER}/RecordRun"),
]
HANDLED = [
    *TO_RUN,
    ("orchestrator-worker", "StartActivity:pack"),
    ("task-worker", "RunActivity:pack"),
    ("task-worker", "backbone.handle"),
    ("task-worker", f"{LEDGER}/RecordTaskOutcome"),
    ("ledger", f"{LEDGER}/RecordTaskOutcome"),
]
CONSUMED = [("outbox-relay", "backbone.publish"), ("tally", "backbone.process")]


@pytest.mark.timeout(240)
async def test_one_trace_leads_from_the_producer_to_the_consumer(
    traced, consumed, collector, publish
):
    unrecorded = await asyncio.to_thread(publish, "a", ratio="0")

    ledger = await asyncpg.connect(traced.endpoints.postgres.dsn())

    async def done():
        query = "SELECT status FROM ledger.runs WHERE run_id = $1"
        return await ledger.fetchval(query, run_of(unrecorded)) == "completed"

    assert await until(done, seconds=60)
    await ledger.close()
    event_id = await asyncio.to_thread(publish, "a")

    async def arrived():
        return (
            len(trace_of(collector, event_id).ways("backbone.process", "tally")) == 2
            and not trace_of(collector, event_id).orphans
        )

    assert await until(arrived, seconds=60), collector.spans
    found = trace_of(collector, event_id)
    assert [(span.service, span.name) for span in found.roots] == [("cli", "backbone.publish")]
    workflow = ("orchestrator-worker", "RunWorkflow:RunActivity")
    assert found.ways(*reversed(workflow)) == [[*TO_RUN, workflow]]
    # The consumer is told that a task was made, and that it is done.
    ways = found.ways("backbone.process", "tally")
    assert sorted(ways) == sorted([[*DECIDED, *CONSUMED], [*HANDLED, *CONSUMED]])
    assert {span.service for span in found.spans.values()} == {
        *("cli", "router", "orchestrator-worker", "task-worker", "ledger", "outbox-relay", "tally")
    }
    assert not [span.text for span in collector.spans if SECRET in span.text]
    assert not [span for span in collector.spans if unrecorded in span.text]


LOGGED = {"ledger": "run_recorded", "orchestrator-worker": "run_decided", "handlers": "task_failed"}


@pytest.mark.timeout(240)
async def test_logs_tell_trace_event_run_and_task(traced, collector, publish):
    event_id = await asyncio.to_thread(publish, "torn")
    ids = {"event_id": event_id, "run_id": run_of(event_id)}

    def lines():
        found = {}
        for name, event in LOGGED.items():
            for line in traced.log(name).read_text().splitlines():
                if event_id in line and (told := json.loads(line))["event"] == event:
                    found[name] = told
        return found

    async def logged():
        return len(lines()) == len(LOGGED)

    assert await until(logged, seconds=60), lines()
    (trace_id,) = {line["trace_id"] for line in lines().values()}
    for line in lines().values():
        assert line.items() >= ids.items()
    assert uuid.UUID(lines()["handlers"]["task_id"])

    async def exported():
        return trace_id in {span.trace_id for span in collector.spans if event_id in span.text}

    assert await until(exported, seconds=30)
