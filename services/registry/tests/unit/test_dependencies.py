"""Which definitions listen to which event types."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.domain import dependencies, validation
from registry.domain.resources import Change, Key, Resource
from registry.domain.validation import Source

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def resource(content: bytes) -> Resource:
    (parsed,) = validation.read([Source("", content)], namespaces=["dev"]).parsed
    change = Change(1, parsed.key, ChangeKind.APPLIED, 1, ResourceState.ACTIVE, NOON, "a", "r")
    return Resource("dev", parsed.key, 1, parsed.content, "", change, change, 1)


def test_listeners_are_found_by_what_their_triggers_say(
    document: Callable[..., bytes], event_type: Any
) -> None:
    stored = [
        resource(document("one", listens="billing.paid")),
        resource(document("other", listens="billing.paid.late")),
        resource(document("silent", every="1h")),
        # Names the type where it does not mean one.
        resource(document("talks", description='{"type":"billing.paid"}')),
        resource(event_type("billing.paid")),
    ]
    found = dependencies.listeners(stored, ["billing.paid"])
    assert [item.key for item in found] == [Key(ResourceKind.ACTIVITY_DEFINITION, "one")]
    both = dependencies.listeners(stored, ["billing.paid", "billing.paid.late"])
    assert [item.key.resource_id for item in both] == ["one", "other"]
    assert dependencies.listeners(stored, []) == []


def test_only_definitions_listen(document: Callable[..., bytes], event_type: Any) -> None:
    assert dependencies.event_types_of(resource(document(listens="a.b"))) == {"a.b"}
    assert dependencies.event_types_of(resource(document())) == frozenset()
    assert dependencies.event_types_of(resource(event_type())) == frozenset()
