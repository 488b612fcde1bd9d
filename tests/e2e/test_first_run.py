"""The workload through every service, undisturbed and with each service killed on the way."""

import asyncio
import contextlib
import os
import signal
import time
import uuid
from datetime import UTC, datetime

import asyncpg
import checker
import observing
import pytest
import workload
from confluent_kafka import Producer
from history import HistoryFile, Sent
from temporalio.client import Client
from waiting import until

from devstack.suite import SERVICES

SECONDS = 60.0
KILL_AFTER = 70  # records of 210: before half of what any service carries is through


@pytest.fixture(scope="module", autouse=True)
def definition(backbone):
    files = [f"tests/e2e/definitions/{name}.yaml" for name in ("orders", "order-placed")]
    backbone("apply", "-f", files[0], "-f", files[1], "--reason", "end-to-end test")


@pytest.fixture
async def ledger(suite):
    connection = await asyncpg.connect(suite.endpoints.postgres.dsn())
    yield connection
    await connection.close()


@pytest.fixture
async def temporal(suite):
    return await Client.connect(suite.endpoints.temporal_address, namespace="dev")


class Sender:
    """Sends the records of a plan at their pace and writes down what Kafka acknowledged."""

    def __init__(self, bootstrap, history):
        self.producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
        self.history = history
        self.sent = []

    def send(self, source, planned):
        acknowledged = []
        self.history.write({"invoke": planned.event_id, "reason": planned.expect_reason})
        self.producer.produce(
            observing.INPUT,
            key=planned.key,
            value=planned.value,
            on_delivery=lambda error, message: acknowledged.append((error, message)),
        )
        self.producer.flush(30)
        ((error, message),) = acknowledged
        assert error is None, error
        operation = Sent(
            source=source,
            event_id=planned.event_id,
            partition=message.partition(),
            offset=message.offset(),
            expect_tasks=planned.expect_tasks,
            expect_reason=planned.expect_reason,
            duplicate=planned.duplicate,
        )
        self.history.write(operation)
        self.sent.append(operation)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("victim", [None, *SERVICES])
async def test_every_event_has_its_run_and_every_run_its_tasks(
    suite, ledger, temporal, tmp_path, victim
):
    source = f"e2e-{victim or 'calm'}-{uuid.uuid4().hex[:6]}"
    records = workload.plan(seed=20261123, source=source)
    bootstrap = suite.endpoints.kafka_bootstrap_servers
    start, since = observing.ends(bootstrap), datetime.now(UTC)
    crashes_before = len(suite.crashes(victim)) if victim else 0
    with contextlib.closing(HistoryFile(tmp_path / "history.jsonl")) as history:
        sender = Sender(bootstrap, history)
        began = time.monotonic()
        for number, planned in enumerate(records):
            await asyncio.sleep(
                max(0.0, began + number * SECONDS / len(records) - time.monotonic())
            )
            if number == KILL_AFTER and victim:
                (pid,) = [one.pid for one in suite.status() if one.name == victim]
                history.write({"nemesis": "kill -9", "victim": victim, "pid": pid})
                os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(sender.send, source, planned)

    async def settled():
        runs = await observing.runs_of(ledger, source)
        return (
            len(runs) >= workload.EVENTS
            and all(run.status in ("waiting", "completed", "failed") for run in runs)
            and await observing.pending_outbox(ledger) == 0
            and await asyncio.to_thread(observing.uncommitted, bootstrap) == 0
            and len(await observing.executions(temporal, "e2e.orders:event:", since)) >= len(runs)
        )

    in_time = await until(settled, seconds=120)
    seen = await observing.observe(
        connection=ledger,
        temporal=temporal,
        bootstrap=bootstrap,
        start=start,
        since=since,
        source=source,
    )
    assert checker.violations(sender.sent, seen) == []
    assert in_time
    assert len(sender.sent) == 210
    assert len(seen.runs) == workload.EVENTS
    assert len(seen.dead_letters) >= workload.MALFORMED
    assert {run.status for run in seen.runs} == {"waiting", "completed"}
    if victim:
        # The nemesis did something, and the service came back by itself.
        assert len(suite.crashes(victim)) > crashes_before
        await asyncio.to_thread(suite.wait_ready, victim)
