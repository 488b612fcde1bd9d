"""A process that dies while events are applied to an instance: each is applied once, in turn.

The checker knows the instances of `chaos.visits` alone: what came of these is judged here.
"""

import asyncio
import json
from pathlib import Path

import asyncpg
import crashpoints_stimuli
import observing
import pytest
import yaml
from arming import Arm
from confluent_kafka import Producer
from crashpoints import of
from crashpoints_stimuli import PATIENCE, People
from waiting import until

VISITS = Path(__file__).parents[1] / "e2e" / "definitions"

_APPLIED = "SELECT count(*) FROM ledger.instances WHERE definition_id = $1"
_WAITING = "SELECT count(*) FROM ledger.instance_events WHERE definition_id = $1"
_VISITS = "SELECT status FROM ledger.runs WHERE definition_id = $1"
_STATE = """
SELECT body FROM ledger.instances JOIN ledger.documents
    ON documents.namespace = instances.namespace AND sha256 = state_sha256
WHERE definition_id = $1
"""


async def visited(people: People) -> None:
    """Have somebody visit, each visit told twice: each is applied once, in turn."""
    definition_id, source = f"e2e.visits-{people.source}", f"visits-{people.source}"
    await people.apply(yaml.safe_load((VISITS / "visit.yaml").read_text()))
    document = yaml.safe_load((VISITS / "visits.yaml").read_text())
    document["metadata"]["id"] = definition_id
    await people.apply(document)
    # What waits here is never applied, since nobody serves the queue: the sweep wakes it each time.
    document["metadata"]["id"] = unattended = f"e2e.unattended-{people.source}"
    document["spec"]["taskQueue"] = "e2e-unattended-tq"
    await people.apply(document)
    producer = Producer({"bootstrap.servers": people.suite.endpoints.kafka_bootstrap_servers})
    expected = list(range(1, 7))

    def send(number: int) -> None:
        event = {
            "event_id": f"{source}-{number}",
            "type": "e2e.visit",
            "source": source,
            "occurred_at": "2026-11-01T12:00:00Z",
            "payload": {"visitor": source, "number": number, "word": "hello"},
        }
        for _ in "12":
            producer.produce(observing.INPUT, value=json.dumps(event), key=source)
        assert producer.flush(30) == 0

    connection = await asyncpg.connect(people.suite.endpoints.postgres.dsn())
    try:

        async def known() -> bool:
            # Until the router has heard of the definition, nobody wants the visit.
            send(expected[0])
            return bool(
                await connection.fetchval(_APPLIED, definition_id)
                and await connection.fetchval(_WAITING, unattended)
            )

        assert await until(known, seconds=PATIENCE), "no visit is applied, or none waits"
        for number in expected[1:]:
            send(number)

        async def all_applied() -> bool:
            runs = await connection.fetch(_VISITS, definition_id)
            return len(runs) == len(expected) and {run["status"] for run in runs} == {"completed"}

        assert await until(all_applied, seconds=PATIENCE), "a visit is not applied"
        state = await connection.fetchval(_STATE, definition_id)
        assert json.loads(state)["seen"] == expected
    finally:
        await connection.close()


@of("visited")
@pytest.mark.timeout(300)
async def test_an_event_is_applied_once_though_a_process_dies(crashing, tmp_path, source, point):
    with Arm(crashing, point, tmp_path / "died") as armed:
        async with crashpoints_stimuli.people(crashing, source) as people:
            await visited(people)
        assert await until(armed.died, seconds=5), f"{point.name} was never reached"
    (crash,) = crashing.crashes(point.process)[armed.crashes :]
    assert crash.signal == "SIGKILL"
    await asyncio.to_thread(crashing.wait_ready, point.process)
