"""A word in a sensitive field is found in no table, file, log, history or dead letter."""

import asyncio
import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import in_the_clear
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from waiting import until

from contracts import names
from contracts.names import Topic
from devstack.infrastructure import Endpoints, temporal_client
from devstack.suite import Suite
from runtime import kafka

DEFINITIONS = """
apiVersion: backbone/v1
kind: EventType
metadata: {id: e2e.secret.told, namespace: dev, owner: e2e}
spec:
  subject: payload.who
  schemas:
    - version: 1
      schema:
        type: object
        required: [text, fails]
        properties:
          who: {type: string}
          text: {type: string, sensitive: true}
          fails: {type: boolean}
          count: {type: number}
---
apiVersion: backbone/v1
kind: ActivityDefinition
metadata: {id: e2e.secrets, namespace: dev, owner: e2e}
spec:
  taskQueue: e2e-tq
  triggers:
    - name: told
      event: {type: e2e.secret.told}
  rules:
    - name: quote
      task:
        type: automated
        handler: quote
        taskQueue: quoting-tq
        input: {text: event.payload.text, fails: event.payload.fails}
        timeout: 20s
        retry: {maximumAttempts: 3}
"""
LETTERS = names.topic("dev", Topic.DEAD_LETTERS)


def event(payload: object, event_id: str) -> bytes:
    return json.dumps(
        {
            "event_id": event_id,
            "source": "e2e-canary",
            "type": "e2e.secret.told",
            "schema_version": 1,
            "occurred_at": "2026-11-29T12:00:00Z",
            "payload": payload,
        }
    ).encode()


def databases(endpoints: Endpoints) -> list[str]:
    with psycopg.connect(endpoints.postgres.dsn()) as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE NOT datistemplate")
        return [name for (name,) in found.fetchall()]


def schemas_with(endpoints: Endpoints, canary: str) -> Iterator[str]:
    """Yield each schema with the canary in a table: in any column, with compression undone."""
    for database in databases(endpoints):
        with psycopg.connect(endpoints.postgres.dsn(database=database)) as connection:
            for schema, _, _ in in_the_clear.columns_with(connection, canary):
                yield f"{database}.{schema}"


def letters(endpoints: Endpoints) -> list[bytes]:
    """Return all of every dead letter that Kafka keeps."""
    consumer = Consumer({**kafka.client_settings(endpoints.brokers), "group.id": "canary"})
    found = []
    try:
        partitions = consumer.list_topics(LETTERS, timeout=10).topics[LETTERS].partitions
        for partition in partitions:
            place = TopicPartition(LETTERS, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=10)
            consumer.assign([TopicPartition(LETTERS, partition, low)])
            while low < high:
                record = consumer.poll(10)
                assert record is not None
                assert record.error() is None
                found.append(repr((record.key(), record.value(), record.headers())).encode())
                low = (record.offset() or 0) + 1
    finally:
        consumer.close()
    return found


@pytest.mark.timeout(300)
async def test_what_an_event_says_is_kept_in_the_clear_only_where_that_is_known(
    suite: Suite, endpoints: Endpoints, backbone: Callable[..., str], tmp_path: Path
) -> None:
    canary = f"canary-{uuid.uuid4().hex}"
    words: list[str] = []
    for number, document in enumerate(DEFINITIONS.split("---")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(document)
        words += ["-f", str(file)]
    backbone("-n", "dev", "apply", *words, "--reason", "end-to-end test")
    producer = Producer(kafka.client_settings(endpoints.brokers))
    ids = [uuid.uuid4().hex for _ in range(3)]
    sent = [
        event({"who": "ada", "text": canary, "fails": False}, ids[0]),
        event({"who": "ada", "text": canary, "fails": True}, ids[1]),
        # Refused, in words that may quote it; and bytes that are no event at all.
        event({"text": canary, "fails": canary, "count": canary}, ids[2]),
        f"{canary} is no event".encode(),
    ]
    for value in sent:
        producer.produce("dev.orders", value, key=canary.encode(), headers=[("note", canary)])
    assert producer.flush(30) == 0

    async def done() -> bool:
        listed = ("runs", "list", "--definition", "e2e.secrets", "-o", "json")
        lines = await asyncio.to_thread(backbone, "-n", "dev", *listed)
        runs = [json.loads(line) for line in lines.splitlines()]
        ended = sorted(run["status"] for run in runs if run["status"] != "running")
        parked = await asyncio.to_thread(letters, endpoints)
        return len(ended) == 2 and len(parked) >= 2

    assert await until(done, seconds=120)
    # Temporal: what its service tells, and whatever is in its databases.
    temporal = await temporal_client(endpoints, namespace="dev")
    histories = 0
    async for execution in temporal.list_workflows():
        request = GetWorkflowExecutionHistoryRequest(
            namespace="dev",
            execution=WorkflowExecution(workflow_id=execution.id, run_id=execution.run_id),
        )
        told = await temporal.workflow_service.get_workflow_execution_history(request)
        assert canary.encode() not in told.SerializeToString()
        histories += 1
    assert histories >= 2
    assert set(schemas_with(endpoints, canary)) == set()
    # Every file of the stack: logs, Redis, Temporal's. PostgreSQL's is looked at above, save its
    # write-ahead log, which has what the ledger wrote; Kafka's topics of events hold events.
    state = suite.log("router").parents[1]
    known = re.compile(r"(^|/)(postgres|kafka)[^/]*/")
    assert in_the_clear.files_with(state, canary, but=known) == []
    assert any(path.stat().st_size for path in (state / "logs").iterdir())
    # Dead letters, and who is shown one is told afterwards.
    assert not [
        one for one in await asyncio.to_thread(letters, endpoints) if canary.encode() in one
    ]
    listed = backbone("-n", "dev", "dlq", "list", "-o", "json").splitlines()
    ours = [one for one in map(json.loads, listed) if one["event_id"] == ids[2]]
    assert len(ours) == 1
    place = ours[0]["place"]
    why = f"a test of {ids[2]}"
    shown = backbone("-n", "dev", "dlq", "show", place, "--reveal", "--reason", why, "-o", "json")
    assert json.loads(shown)["key"] == canary
    openings = backbone("-n", "dev", "dlq", "openings", "-o", "json").splitlines()
    (opening,) = [one for one in map(json.loads, openings) if one["reason"] == why]
    assert opening["place"] == place
    assert opening["actor"]
