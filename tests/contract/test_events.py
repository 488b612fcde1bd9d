"""Every event Backbone emits fits its published JSON Schema and is read back as it was written."""

import json

import jsonschema_rs
import pytest

from cli import contract_examples
from contracts import envelope as envelopes
from contracts import jsonschemas, names
from contracts.events import PAYLOAD_OF
from contracts.names import EventType, Topic
from contracts.rejections import EventRejectedError
from eventstore import events as stored
from eventstore import store
from eventstore.events import Cause, Fact

NOW = contract_examples.NOW
EXAMPLES = contract_examples.PAYLOADS
CASES = [
    pytest.param(event_type, payload, id=f"{event_type.name}-{number}")
    for event_type, payloads in EXAMPLES.items()
    for number, payload in enumerate(payloads)
]


def _validator(name):
    schema = json.loads((jsonschemas.DIRECTORY / f"{name}.schema.json").read_text())
    return jsonschema_rs.validator_for(schema, validate_formats=True)


def _rendered(payload, cause=None, version=1, namespace="dev"):
    fields = dict(payload)
    if "resource_id" in fields:
        service, key = "registry", fields["resource_id"]
        stream = store.resource_stream(fields["kind"], key)
    elif "switch_id" in fields:
        service, key = "ledger", fields["switch_id"]
        stream = store.kill_switch_stream(key)
    elif "subject_ref" in fields:
        service, key = "ledger", fields["subject_ref"]
        stream = store.subject_stream(key)
    else:
        service, key = "ledger", fields["run_id"]
        stream = store.run_stream(key)
    return stored.render(
        Fact(payload=payload, key=key, subject=str(fields.get("task_id", key))),
        source=names.source(service),
        namespace=namespace,
        stream=stream,
        version=version,
        previous_hash=stored.GENESIS,
        occurred_at=NOW,
        cause=cause or Cause(correlation_id="order-1"),
    )


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
    required = ("resource_id", "definition_id", "subject_ref", "switch_id")
    del document[next(name for name in required if name in document)]
    with pytest.raises(jsonschema_rs.ValidationError):
        _validator(f"events/{event_type}").validate(document)


def test_event_caused_by_another_goes_on_with_its_chain():
    parent = envelopes.parse(_rendered(EXAMPLES[EventType.RUN_COMPLETED][0]).body)
    child = _rendered(EXAMPLES[EventType.TASK_FAILED][0], cause=Cause.of(parent)).envelope
    assert (child.correlation_id, child.causation_id) == ("order-1", parent.event_id)
    assert child.hops == parent.hops + 1


CAUSE = Cause(
    correlation_id="order-1",
    causation_id="payment-1",
    traceparent=contract_examples.TRACEPARENT,
)
PUBLISHED = [
    example
    for topic in Topic
    if topic is not Topic.DEAD_LETTERS
    for example in contract_examples.of_topic(topic, namespace="dev")
]


@pytest.mark.parametrize("example", PUBLISHED, ids=lambda example: example.name)
def test_example_for_consumers_is_what_the_event_store_publishes(example):
    event = envelopes.parse(example.value)
    if "later" in example.name:
        assert (event.model_extra or {})["added_later"] == "kept"
        assert "added_later" in event.payload
        return
    payload = PAYLOAD_OF[EventType(event.type)].model_validate(event.payload)
    version = int(example.headers[names.Header.STREAM_VERSION])
    rendered = _rendered(payload, cause=CAUSE if event.causation_id else None, version=version)
    assert example.value == rendered.body
    assert (example.topic, example.key) == (rendered.topic, rendered.key)
    assert list(example.headers.items()) == rendered.headers


@pytest.mark.parametrize("example", PUBLISHED, ids=lambda example: example.name)
def test_example_for_consumers_fits_the_published_schemas(example):
    document = json.loads(example.value)
    _validator("envelope").validate(document)
    _validator(f"events/{document['type']}").validate(document["payload"])


def test_no_two_different_examples_are_the_same_event():
    values = {}
    for example in PUBLISHED:
        event = envelopes.parse(example.value)
        assert values.setdefault((event.source, event.event_id), example.value) == example.value
    # Each type has one event that comes twice.
    assert len(PUBLISHED) - len(values) == len(EventType)


@pytest.mark.parametrize("example", contract_examples.garbage(Topic.RUN_EVENTS, namespace="dev"))
def test_garbage_is_no_event(example):
    with pytest.raises(EventRejectedError):
        envelopes.parse(example.value)
