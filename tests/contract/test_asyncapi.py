"""The AsyncAPI document: what the models give, whole, and sound by the rules of AsyncAPI 3.0.

`SHAPE` is the part of AsyncAPI 3.0 that the document uses, written from the specification and
closed: whatever else turns up has to be looked up there first.
"""

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from cli import contract_asyncapi, contract_examples
from contracts import names
from contracts.names import EventType, Header, Topic

ROOT = Path(__file__).parents[2]
CHECKED_IN = ROOT / "docs" / "asyncapi.yaml"
KEY = "^[A-Za-z0-9._-]+$"


def _object(required, optional=(), **properties):
    return {
        "type": "object",
        "properties": {name: properties.get(name, {"type": "string"}) for name in required}
        | {name: properties.get(name, {"type": "string"}) for name in optional},
        "required": list(required),
        "additionalProperties": False,
    }


def _map(of):
    return {"type": "object", "additionalProperties": of, "propertyNames": {"pattern": KEY}}


REFERENCE = _object(("$ref",))
KAFKA = _object(("kafka",), kafka=_object(("bindingVersion",), ("key",), key={"type": "object"}))
SHAPE = _object(
    ("asyncapi", "info", "defaultContentType", "channels", "operations", "components"),
    asyncapi={"const": "3.0.0"},
    info=_object(("title", "version"), ("description",)),
    channels=_map(
        _object(
            ("address", "description", "parameters", "messages", "bindings"),
            parameters=_map(_object((), ("description",))),
            messages=_map(REFERENCE),
            bindings=KAFKA,
        )
    ),
    operations=_map(
        _object(
            ("action", "channel", "messages"),
            action={"enum": ["send", "receive"]},
            channel=REFERENCE,
            messages={"type": "array", "items": REFERENCE, "minItems": 1, "uniqueItems": True},
        )
    ),
    components=_object(
        ("messages", "schemas"),
        messages=_map(
            _object(
                ("name", "title", "summary", "headers", "payload", "bindings"),
                ("contentType", "correlationId"),
                headers={
                    "type": "object",
                    "properties": {"type": {"const": "object"}},
                    "required": ["type", "properties"],
                },
                payload=REFERENCE,
                bindings=KAFKA,
                correlationId=_object(
                    ("location",),
                    location={"pattern": "^\\$message\\.(header|payload)#(/[^/]+)+$"},
                ),
            )
        ),
        schemas=_map({"type": "object"}),
    ),
)


@pytest.fixture(scope="module")
def document():
    return yaml.safe_load(CHECKED_IN.read_text())


def _resolved(document, reference):
    """Return what a reference leads to. Raises KeyError where it leads nowhere."""
    assert reference.startswith("#/"), reference
    found = document
    for token in reference[2:].split("/"):
        found = found[token]
    return found


def _references(part):
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from _references(item)


def test_generating_the_document_changes_nothing():
    generated = contract_asyncapi.render(contract_asyncapi.document())
    assert generated == CHECKED_IN.read_text(), "run `make asyncapi`"


def test_document_has_the_shape_of_asyncapi(document):
    jsonschema_rs.Draft202012Validator(SHAPE).validate(document)


def test_every_reference_leads_somewhere(document):
    references = list(_references(document))
    assert references
    for reference in references:
        _resolved(document, reference)


def test_operations_send_and_receive_messages_of_their_own_channel(document):
    used = set()
    for operation in document["operations"].values():
        channel = operation["channel"]["$ref"]
        used.add(channel)
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/")
    assert used == {f"#/channels/{name}" for name in document["channels"]}


def test_addresses_name_exactly_their_parameters(document):
    for channel in document["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"])


def test_every_topic_is_a_channel_that_is_sent_to(document):
    channels = {name: one for name, one in document["channels"].items() if name != "producers"}
    assert set(channels) == set(Topic)
    for name, channel in channels.items():
        assert channel["address"] == names.topic("{namespace}", Topic(name))
        assert document["operations"][f"send.{name}"]["action"] == "send"


def test_every_event_type_is_a_message_of_its_topic(document):
    for event_type in EventType:
        assert event_type in document["channels"][names.TOPIC_OF[event_type]]["messages"]
    described = {
        message for channel in document["channels"].values() for message in channel["messages"]
    }
    assert described == set(EventType) | {"backbone.dead-letter", "event"}


def test_producers_topics_are_received(document):
    assert document["operations"]["receive.producers"]["action"] == "receive"
    event = document["components"]["messages"]["event"]
    assert event["payload"]["$ref"] == "#/components/schemas/Envelope"


def _validator(document, schema):
    # The components come along, so that references between them resolve.
    return jsonschema_rs.Draft202012Validator(
        {"$ref": schema, "components": document["components"]}, validate_formats=True
    )


@pytest.mark.parametrize("topic", Topic)
def test_examples_fit_what_is_described(document, topic):
    for example in contract_examples.of_topic(topic, namespace="dev"):
        name = example.headers.get(Header.EVENT_TYPE) if topic != Topic.DEAD_LETTERS else None
        name = name or "backbone.dead-letter"
        message = document["components"]["messages"][name]
        headers = jsonschema_rs.Draft202012Validator(message["headers"])
        headers.validate(example.headers)
        assert not headers.is_valid({})
        if topic != Topic.DEAD_LETTERS:
            payload = _validator(document, message["payload"]["$ref"])
            value = json.loads(example.value)
            payload.validate(value)
            assert not payload.is_valid(value | {"payload": {}})
            assert not payload.is_valid(value | {"type": "another.type"})


def test_every_header_of_records_is_described(document):
    described = {
        header
        for message in document["components"]["messages"].values()
        for header in message["headers"]["properties"]
    }
    assert described == set(Header)
