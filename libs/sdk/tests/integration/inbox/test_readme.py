"""The consumer of the README, run as it is written there."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psycopg
from confluent_kafka import Producer

from devstack.infrastructure import ensure_topics

README = Path(__file__).parents[3] / "README.md"
TOPIC = "dev.backbone.task-events"


def test_examples_are_python() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 3
    for block in blocks:
        # Some begin inside a coroutine.
        indented = "".join(f"    {line}" for line in block.splitlines(keepends=True))
        compile(f"async def example():\n{indented}", str(README), "exec")


def test_consumer_counts_an_event_once(
    kafka_bootstrap_servers: str, postgres_dsn: str, unique_name: str, tmp_path: Path
) -> None:
    (consumer,) = re.findall(
        r"^```python\n(import asyncio\n.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE
    )
    # The broker is shared: a topic and a group of the test's own.
    for written, here in (
        ("localhost:9092", kafka_bootstrap_servers),
        (TOPIC, f"dev.{unique_name}"),
        ('group="reports"', f'group="{unique_name}"'),
    ):
        assert written in consumer
        consumer = consumer.replace(written, here)
    ensure_topics(kafka_bootstrap_servers, {f"dev.{unique_name}": 1})
    event = {
        "event_id": "e1",
        "type": "billing.payment.received",
        "source": "tests",
        "occurred_at": "2026-01-01T00:00:00Z",
        "payload": {},
    }
    producer = Producer({"bootstrap.servers": kafka_bootstrap_servers})
    for event_id in ("e1", "e1", "e2"):
        producer.produce(f"dev.{unique_name}", json.dumps(event | {"event_id": event_id}).encode())
    assert producer.flush(30) == 0

    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE totals (tasks bigint)")
        connection.execute("INSERT INTO totals VALUES (0)")

        def counted() -> int:
            row = connection.execute("SELECT tasks FROM totals").fetchone()
            assert row is not None
            return int(row[0])

        script = tmp_path / "consumer.py"
        script.write_text(consumer)
        with subprocess.Popen(
            [sys.executable, str(script)], env=os.environ | {"REPORTS_DSN": postgres_dsn}
        ) as process:
            try:
                deadline = time.monotonic() + 60
                while process.poll() is None and counted() < 2:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                process.terminate()
                assert process.wait(timeout=30) == 0
            finally:
                process.kill()
        assert counted() == 2
