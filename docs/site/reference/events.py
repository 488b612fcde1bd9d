"""The events that Backbone emits, from their published schemas and the topics they go to."""

import json

from contracts import jsonschemas, names
from contracts.events import PAYLOAD_OF
from reference import markdown, schemas

_INTRODUCTION = """\
# Events

What Backbone publishes, each in an envelope whose payload is described here. Delivery is at least
once: an event is identified by its source and id, and its copies are the same byte for byte.
Fields are added, never changed: ignore what you do not know. In AsyncAPI:
[asyncapi.yaml](../asyncapi.yaml).

This page is written from the published JSON Schemas.

## The envelope
"""


def page() -> str:
    """Return the page: the envelope, and a heading for each type of event."""
    published = jsonschemas.published()
    parts = [_INTRODUCTION]
    parts.append(schemas.fields(json.loads(published["envelope.schema.json"]), linked=False))
    for event_type in PAYLOAD_OF:
        schema = json.loads(published[f"events/{event_type}.schema.json"])
        topic = names.TOPIC_OF[names.EventType(event_type)]
        parts += [f"## {event_type}\n", markdown.cell(schema.get("description", ""))]
        parts.append(f"Topic: `<namespace>.{topic}`.\n")
        parts.append(schemas.fields(schema, linked=False))
    return "\n".join(parts)
