"""A process that dies while a person's values are kept, resolved, shown or erased: nothing is lost.

The checker knows no event with sensitive fields: what came of these is judged here.
"""

import asyncio
import json

import asyncpg
import crashpoints_stimuli
import observing
import pytest
from arming import Arm
from confluent_kafka import Producer
from crashpoints import of
from crashpoints_stimuli import PATIENCE, People, answered
from waiting import until

from backbone.ledger.v1 import subjects_pb2, subjects_pb2_grpc
from backbone.registry.v1 import registry_pb2
from runtime import grpcclient

EVENTS = 5

_STATUS = "SELECT status FROM ledger.runs WHERE definition_id = $1"
_HELD = "SELECT count(*) FROM ledger.pending_starts WHERE definition_id = $1"
_KEPT = """
SELECT blob_id, hash FROM ledger.sensitive_values
WHERE key_id = (SELECT max(key_id) FROM ledger.subject_keys)
"""
_EMITTED = "SELECT count(*) FROM ledger.events WHERE type = $1 AND stream = $2"


def event_type(name: str) -> dict:
    properties = {"who": {"type": "string"}, "email": {"type": "string", "sensitive": True}}
    schema = {"type": "object", "properties": properties}
    return {
        "apiVersion": "backbone/v1",
        "kind": "EventType",
        "metadata": {"id": name, "namespace": "dev", "owner": "chaos"},
        "spec": {"subject": "payload.who", "schemas": [{"version": 1, "schema": schema}]},
    }


def definition(name: str, of_type: str) -> dict:
    pack = {
        "type": "automated",
        "handler": "pack",
        "taskQueue": "e2e-handlers-tq",
        "input": {"line": "event.payload.email", "order": "event.event_id"},
        "timeout": "5s",
        "retry": {"maximumAttempts": 10},
    }
    return {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": {"id": name, "namespace": "dev", "owner": "chaos"},
        "spec": {
            "taskQueue": "e2e-tq",
            "whileDisabled": "hold",
            "triggers": [
                {"name": "told", "event": {"type": of_type, "when": "event.payload.email != ''"}}
            ],
            "rules": [{"name": "pack", "task": pack}],
        },
    }


async def told_of(people: People) -> None:
    """Have events of somebody held, started and carried out, then show and erase their values."""
    source = people.source
    name, kind = f"e2e.told-{source}", f"e2e.told.{source}"
    await people.apply(event_type(kind))
    await people.apply(definition(name, kind))
    producer = Producer({"bootstrap.servers": people.suite.endpoints.kafka_bootstrap_servers})

    def send(number: int) -> None:
        event = {
            "event_id": f"{source}-{number}",
            "type": kind,
            "source": source,
            "occurred_at": "2026-11-01T12:00:00Z",
            "payload": {"who": source, "email": f"{source}-{number}@example.org"},
        }
        for _ in "12":
            producer.produce(observing.INPUT, value=json.dumps(event), key=source)
        assert producer.flush(30) == 0

    names = {"namespace": "dev", "definition_id": name, "reason": "a crash point"}
    off = registry_pb2.DisableDefinitionRequest(**names, request_id=f"{source}-off")
    on = registry_pb2.EnableDefinitionRequest(
        **names, request_id=f"{source}-on", held=registry_pb2.HELD_EVENTS_START
    )
    connection = await asyncpg.connect(people.suite.endpoints.postgres.dsn())
    channel = grpcclient.channel(people.suite.addresses["ledger"].grpc, actor="people")
    try:
        await answered(lambda: people.registry.DisableDefinition(off))

        async def held() -> bool:
            # Until the router has heard of the definition, nobody wants the event.
            send(0)
            return bool(await connection.fetchval(_HELD, name))

        assert await until(held, seconds=PATIENCE), "nothing is held"
        await answered(lambda: people.registry.EnableDefinition(on))
        for number in range(1, EVENTS):
            send(number)

        async def all_done() -> bool:
            found = [row["status"] for row in await connection.fetch(_STATUS, name)]
            return found == ["completed"] * EVENTS

        assert await until(all_done, seconds=PATIENCE), "an event is not carried out"
        await _erased(subjects_pb2_grpc.SubjectServiceStub(channel), connection, source)
    finally:
        await channel.close(None)
        await connection.close()


async def _erased(
    subjects: "subjects_pb2_grpc.SubjectServiceAsyncStub",
    connection: asyncpg.Connection,
    source: str,
) -> None:
    rows = await connection.fetch(_KEPT)
    # Each event was kept once, though it came more than once.
    assert len(rows) == EVENTS
    references = [
        subjects_pb2.ValueReference(blob_id=str(row["blob_id"]), hash=row["hash"]) for row in rows
    ]
    reveal = subjects_pb2.RevealValuesRequest(
        namespace="dev", references=references, reason="a crash point", request_id=source
    )
    erase = subjects_pb2.EraseSubjectRequest(
        namespace="dev", subject=source, reason="a crash point", request_id=source
    )
    rewrap = subjects_pb2.RewrapSubjectKeysRequest(namespace="dev")
    for _ in "12":
        shown = await answered(lambda: subjects.RevealValues(reveal))
        told = {json.loads(one.value) for one in shown.values}
        assert told == {f"{source}-{number}@example.org" for number in range(EVENTS)}
    await answered(lambda: subjects.RewrapSubjectKeys(rewrap))
    for _ in "12":
        await answered(lambda: subjects.EraseSubject(erase))
    resolve = subjects_pb2.ResolveValuesRequest(namespace="dev", references=references)
    assert not (await answered(lambda: subjects.ResolveValues(resolve))).values
    found = await answered(
        lambda: subjects.GetSubject(subjects_pb2.GetSubjectRequest(namespace="dev", subject=source))
    )
    assert [key.values for key in found.subject.keys] == [EVENTS]
    stream = f"subject:{found.subject.subject_ref}"
    assert await connection.fetchval(_EMITTED, "backbone.SubjectErased", stream) == 1


@of("sensitive")
@pytest.mark.timeout(300)
async def test_values_are_kept_and_erased_once_though_a_process_dies(
    crashing, tmp_path, source, point
):
    with Arm(crashing, point, tmp_path / "died") as armed:
        async with crashpoints_stimuli.people(crashing, source) as people:
            await told_of(people)
        assert await until(armed.died, seconds=5), f"{point.name} was never reached"
    (crash,) = crashing.crashes(point.process)[armed.crashes :]
    assert crash.signal == "SIGKILL"
    await asyncio.to_thread(crashing.wait_ready, point.process)
