"""The model of each kind of resource, and reading what was stored."""

from typing import Annotated

from pydantic import ConfigDict, Field, RootModel

from contracts.definitions import ActivityDefinition
from contracts.eventtypes import EventType
from contracts.producers import Producer
from contracts.resources import ResourceKind

Resource = ActivityDefinition | EventType | Producer

MODEL_OF: dict[ResourceKind, type[Resource]] = {
    ResourceKind.ACTIVITY_DEFINITION: ActivityDefinition,
    ResourceKind.EVENT_TYPE: EventType,
    ResourceKind.PRODUCER: Producer,
}


class ResourceDocument(RootModel[Annotated[Resource, Field(discriminator="kind")]]):
    """One document of the registry: a definition, an event type or a producer."""

    model_config = ConfigDict(defer_build=True)


def load(kind: ResourceKind, content: bytes | str) -> Resource:
    """Read bytes that `resources.content` wrote.

    Raises:
        pydantic.ValidationError: they are not a resource of that kind.
    """
    return MODEL_OF[kind].model_validate_json(content)
