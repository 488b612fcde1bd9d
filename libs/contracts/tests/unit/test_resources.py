"""Resources: one byte form for documents that mean the same, and what each kind refuses."""

import base64
import copy
import json

import pytest
from pydantic import ValidationError

from contracts import kinds, resources
from contracts.catalogue import Catalogue
from contracts.definitions import ActivityDefinition
from contracts.eventtypes import EventType
from contracts.kinds import ResourceDocument
from contracts.producers import Producer
from contracts.resources import ResourceKind

KEY = base64.b64encode(bytes(32)).decode()
DOCUMENTS = {
    ResourceKind.ACTIVITY_DEFINITION: {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": {"id": "billing.overdue", "namespace": "dev", "owner": "billing"},
        "spec": {
            "taskQueue": "billing-tq",
            "triggers": [
                {
                    "name": "hourly",
                    "schedule": {
                        "every": "1h",
                        "start": "2026-01-01T00:00:00+01:00",
                        "missedRuns": {"policy": "compress", "window": "1d"},
                    },
                },
                {
                    "name": "large",
                    "event": {
                        "type": "billing.payment.received",
                        "match": {"payload": {"amount": [{"numeric": [">", 1000]}]}},
                    },
                },
                {"name": "by-hand", "manual": {"input": {"type": "object"}}},
            ],
            "rules": [
                {
                    "name": "call",
                    "task": {"type": "human", "title": "'x'", "assignees": {"groups": ["sales"]}},
                }
            ],
        },
    },
    ResourceKind.EVENT_TYPE: {
        "apiVersion": "backbone/v1",
        "kind": "EventType",
        "metadata": {"id": "billing.payment.received", "namespace": "dev", "owner": "billing"},
        "spec": {"schemas": [{"version": 1, "schema": {"type": "object", "maxProperties": 10}}]},
    },
    ResourceKind.PRODUCER: {
        "apiVersion": "backbone/v1",
        "kind": "Producer",
        "metadata": {"id": "billing-service", "namespace": "dev", "owner": "billing"},
        "spec": {
            "sources": ["billing/invoices", "crm/*"],
            "types": ["billing.payment.*"],
            "keys": [{"id": "2026-01", "publicKey": KEY, "notBefore": "2026-01-01T00:00:00+01:00"}],
        },
    },
}
each_kind = pytest.mark.parametrize("kind", ResourceKind)


def read(document):
    return ResourceDocument.model_validate_json(json.dumps(document)).root


def changed(kind, *path, value):
    document = copy.deepcopy(DOCUMENTS[kind])
    inside = document
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    return document


@each_kind
def test_a_document_is_read_as_the_kind_it_says(kind):
    assert type(read(DOCUMENTS[kind])) is kinds.MODEL_OF[kind]


@each_kind
def test_stored_content_is_read_back_as_it_was(kind):
    resource = read(DOCUMENTS[kind])
    content = resources.content(resource)
    assert kinds.load(kind, content) == resource
    assert resources.content(kinds.load(kind, content)) == content


@each_kind
def test_order_of_keys_makes_no_difference(kind):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    assert resources.content(read(turned(DOCUMENTS[kind]))) == resources.content(
        read(DOCUMENTS[kind])
    )


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        (ResourceKind.ACTIVITY_DEFINITION, ("spec", "triggers", 0, "schedule", "every"), "PT60M"),
        (
            ResourceKind.ACTIVITY_DEFINITION,
            ("spec", "triggers", 0, "schedule", "start"),
            "2025-12-31T23:00:00Z",
        ),
        (ResourceKind.ACTIVITY_DEFINITION, ("spec", "mode"), "per-trigger"),
        (ResourceKind.ACTIVITY_DEFINITION, ("spec", "limits"), {"maxTasksPerRun": 500}),
        (
            ResourceKind.ACTIVITY_DEFINITION,
            ("spec", "triggers", 1, "event", "match", "payload", "amount"),
            [{"numeric": [">", 1e3]}],
        ),
        (ResourceKind.EVENT_TYPE, ("spec", "compatibility"), "backward"),
        (ResourceKind.EVENT_TYPE, ("spec", "schemas", 0, "schema", "maxProperties"), 10.0),
        (ResourceKind.PRODUCER, ("spec", "keys", 0, "notBefore"), "2025-12-31T23:00:00Z"),
        (ResourceKind.PRODUCER, ("spec", "signatures"), "accepted"),
    ],
)
def test_another_spelling_of_the_same_has_the_same_content(kind, path, value):
    assert resources.content(read(changed(kind, *path, value=value))) == resources.content(
        read(DOCUMENTS[kind])
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "triggers", 0, "schedule", "every"), "2h"),
        (("spec", "triggers", 1, "event", "match", "payload", "amount"), [1000.5]),
        (("spec", "rules", 0, "task", "title"), "'y'"),
        (("metadata", "owner"), "sales"),
    ],
)
def test_another_meaning_has_other_content(path, value):
    other = read(changed(ResourceKind.ACTIVITY_DEFINITION, *path, value=value))
    same = read(DOCUMENTS[ResourceKind.ACTIVITY_DEFINITION])
    assert resources.content(other) != resources.content(same)


@pytest.mark.parametrize(
    ("model", "kind", "path", "value", "what"),
    [
        (ActivityDefinition, "ActivityDefinition", ("spec", "whileDisabled"), "keep", "'drop' or"),
        (
            ActivityDefinition,
            "ActivityDefinition",
            ("spec", "triggers", 2),
            {"name": "x", "manual": {}, "event": {"type": "a.b"}},
            "exactly one of schedule, event and manual",
        ),
        (
            ActivityDefinition,
            "ActivityDefinition",
            ("spec", "context"),
            [{"name": "x"}],
            "exactly one of query, http and lastRun",
        ),
        (
            ActivityDefinition,
            "ActivityDefinition",
            ("spec", "triggers", 0, "schedule", "end"),
            "2025-01-01T00:00:00Z",
            "start is earlier than end",
        ),
        (
            EventType,
            "EventType",
            ("spec", "schemas"),
            [{"version": 2, "schema": {}}, {"version": 2, "schema": {}}],
            "ascending order",
        ),
        (EventType, "EventType", ("metadata", "id"), "päyment", "pattern"),
        (Producer, "Producer", ("spec", "types"), ["a*b"], "pattern"),
        (Producer, "Producer", ("spec", "keys", 0, "publicKey"), "AAAA", "32 bytes in base64"),
        (
            Producer,
            "Producer",
            ("spec", "keys"),
            [{"id": "a", "publicKey": KEY}, {"id": "a", "publicKey": KEY}],
            "keys share an id: a",
        ),
        (
            Producer,
            "Producer",
            ("spec",),
            {"sources": ["a"], "types": ["b"], "signatures": "required"},
            "needs at least one key",
        ),
    ],
)
def test_what_is_wrong_is_named(model, kind, path, value, what):
    with pytest.raises(ValidationError, match=what):
        model.model_validate(changed(ResourceKind(kind), *path, value=value))


@pytest.mark.parametrize(
    ("source", "event_type", "may"),
    [
        ("billing/invoices", "billing.payment.received", True),
        ("billing/invoices/eu", "billing.payment.received", False),
        ("crm/eu", "billing.payment.refunded", True),
        ("crm/eu", "billing.invoice.sent", False),
    ],
)
def test_producer_may_emit_what_its_patterns_allow(source, event_type, may):
    producer = read(DOCUMENTS[ResourceKind.PRODUCER])
    assert producer.may_emit(source=source, event_type=event_type) is may


def test_catalogue_without_handlers_takes_any_and_with_none_takes_none():
    assert Catalogue().handlers is None
    assert Catalogue.model_validate({"handlers": {}}).handlers == {}
