"""Every event Backbone emits fits its published JSON Schema and is read back as it was written."""

import json
from datetime import UTC, datetime
from uuid import UUID

import jsonschema_rs
import pytest

from contracts import envelope as envelopes
from contracts import events, identifiers, jsonschemas, names
from contracts.decisions import RunStatus
from contracts.definitions import Assignees
from contracts.events import PAYLOAD_OF
from contracts.names import EventType
from contracts.runs import TaskFailure
from eventstore import events as stored
from eventstore.events import Cause, Fact

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SHA256 = "0" * 64
RUN_ID = identifiers.run_id("billing.example", identifiers.schedule_trigger_key(NOW))
TASK_ID = UUID("6b7f5f9c-1f0e-5d0a-9d52-0c5b8f1b6a02")
RUN = {"run_id": RUN_ID, "definition_id": "billing.example", "definition_version": 3}
TRIGGER = {
    "trigger_kind": "schedule",
    "trigger_key": identifiers.instant(NOW),
    "trigger_names": ["hourly"],
    "trigger_sha256": SHA256,
    "workflow_run_id": "0193a1c0-0000-7000-8000-000000000000",
}
TASK = {
    "task_id": TASK_ID,
    "run_id": RUN_ID,
    "definition_id": "billing.example",
    "rule": "remind",
    "key": "INV-0001",
    "type": "automated",
}
FAILURE = TaskFailure(type="Timeout", message="no attempt ended in time")

EXAMPLES = {
    EventType.DEFINITION_APPLIED: [
        events.DefinitionApplied(
            definition_id="billing.example",
            version=3,
            revision=17,
            content_sha256=SHA256,
            content={"apiVersion": "backbone/v1"},
            actor="local/ana",
            reason="grün: first try",
        )
    ],
    EventType.RUN_DECIDED: [
        events.RunDecided(
            **RUN,
            **TRIGGER,
            snapshot_sha256=SHA256,
            decision_sha256=SHA256,
            tasks=2,
            human_tasks=1,
            status=RunStatus.RUNNING,
            scheduled_for=NOW,
        )
    ],
    EventType.RUN_FAILED: [events.RunFailed(**RUN, **TRIGGER, failure=FAILURE)],
    EventType.RUN_COMPLETED: [events.RunCompleted(**RUN)],
    EventType.TASK_CREATED: [
        events.TaskCreated(
            **TASK,
            definition_version=3,
            input={"invoice": "INV-0001", "amount": 97.5, "nested": {"list": [1, None, True]}},
            handler="send_reminder",
            task_queue="notifications-tq",
        ),
        events.TaskCreated(
            **(TASK | {"type": "human"}),
            definition_version=3,
            input={},
            title="Call the customer",
            assignees=Assignees(groups=["collections"]),
            due_at=NOW,
            form={"type": "object", "additionalProperties": False},
        ),
    ],
    EventType.TASK_COMPLETED: [
        events.TaskCompleted(**TASK, output={"message_id": "m-1"}),
        events.TaskCompleted(
            **(TASK | {"type": "human"}), output=[1, "two"], actor="local/ana", reason="called"
        ),
    ],
    EventType.TASK_FAILED: [events.TaskFailed(**TASK, failure=FAILURE)],
}
CASES = [
    pytest.param(event_type, payload, id=f"{event_type.name}-{number}")
    for event_type, payloads in EXAMPLES.items()
    for number, payload in enumerate(payloads)
]


def _validator(name):
    schema = json.loads((jsonschemas.DIRECTORY / f"{name}.schema.json").read_text())
    return jsonschema_rs.validator_for(schema, validate_formats=True)


def _rendered(payload, cause=None):
    return stored.render(
        Fact(payload=payload, key=payload_key(payload)),
        source=names.source("ledger"),
        namespace="dev",
        stream=f"run:{RUN_ID}",
        version=1,
        previous_hash=stored.GENESIS,
        occurred_at=NOW,
        cause=cause or Cause(correlation_id="c-1"),
    )


def payload_key(payload):
    return getattr(payload, "run_id", payload.definition_id)


def test_every_event_type_has_an_example():
    assert set(EXAMPLES) == set(EventType)


@pytest.mark.parametrize(("event_type", "payload"), CASES)
def test_published_payload_fits_its_schema(event_type, payload):
    document = json.loads(_rendered(payload).body)
    _validator(f"events/{event_type}").validate(document["payload"])


@pytest.mark.parametrize(("event_type", "payload"), CASES)
def test_published_event_fits_the_envelope_schema(event_type, payload):
    document = json.loads(_rendered(payload).body)
    assert document["type"] == event_type
    _validator("envelope").validate(document)


@pytest.mark.parametrize(("event_type", "payload"), CASES)
def test_published_event_is_read_back_as_it_was_written(event_type, payload):
    envelope = envelopes.parse(_rendered(payload).body)
    assert PAYLOAD_OF[event_type].model_validate(envelope.payload) == payload


@pytest.mark.parametrize(("event_type", "payload"), CASES)
def test_rendering_an_event_again_gives_the_same_bytes(event_type, payload):
    body = _rendered(payload).body
    assert envelopes.render(envelopes.parse(body)) == body


@pytest.mark.parametrize(("event_type", "payload"), CASES)
def test_payload_with_a_field_of_a_later_release_is_still_read(event_type, payload):
    document = json.loads(_rendered(payload).body)["payload"] | {"added_later": {"any": 1}}
    assert PAYLOAD_OF[event_type].model_validate(document) == payload
    _validator(f"events/{event_type}").validate(document)


@pytest.mark.parametrize("event_type", EventType, ids=lambda event_type: event_type.name)
def test_schema_refuses_a_payload_without_a_required_field(event_type):
    document = json.loads(_rendered(EXAMPLES[event_type][0]).body)["payload"]
    del document["definition_id"]
    with pytest.raises(jsonschema_rs.ValidationError):
        _validator(f"events/{event_type}").validate(document)


def test_event_caused_by_another_goes_on_with_its_chain():
    parent = envelopes.parse(_rendered(EXAMPLES[EventType.RUN_COMPLETED][0]).body)
    child = _rendered(EXAMPLES[EventType.TASK_FAILED][0], cause=Cause.of(parent)).envelope
    assert (child.correlation_id, child.causation_id) == ("c-1", parent.event_id)
    assert child.hops == parent.hops + 1
