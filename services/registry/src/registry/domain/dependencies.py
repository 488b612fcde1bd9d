"""Which definitions need which event types."""

import json
from collections.abc import Collection, Iterable

from contracts import canonical
from contracts.resources import ResourceKind
from registry.domain.resources import Resource


def event_types_of(resource: Resource) -> frozenset[str]:
    """Return the event types that a resource listens to: none, unless it is a definition."""
    if resource.key.kind is not ResourceKind.ACTIVITY_DEFINITION:
        return frozenset()
    # There may be thousands: reading what was validated already as a model would take seconds.
    triggers = json.loads(resource.content)["spec"].get("triggers", ())
    return frozenset(trigger["event"]["type"] for trigger in triggers if trigger.get("event"))


def listeners(resources: Iterable[Resource], event_types: Collection[str]) -> list[Resource]:
    """Return those of the resources that listen to any of the event types."""
    # Content is canonical: what is not spelled so in it is not in it, and need not be read.
    spelled = [b'"type":' + canonical.render(event_type) for event_type in event_types]
    return [
        resource
        for resource in resources
        if any(part in resource.content for part in spelled)
        and not event_types_of(resource).isdisjoint(event_types)
    ]
