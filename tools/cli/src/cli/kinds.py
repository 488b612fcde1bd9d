"""The kinds of resource that the registry keeps, as options and output spell them."""

from enum import StrEnum
from typing import Annotated, Self

import typer

from backbone.registry.v1 import registry_pb2


class Kind(StrEnum):
    """What the registry keeps versions of."""

    DEFINITION = "definition"
    EVENT_TYPE = "event-type"
    PRODUCER = "producer"

    @property
    def number(self) -> "registry_pb2.ResourceKind.ValueType":
        """The kind as messages have it."""
        return _NUMBERS[self]

    @classmethod
    def of(cls, number: "registry_pb2.ResourceKind.ValueType") -> Self | None:
        """Return the kind that a message names; None for none and for one that is newer than us."""
        return next((kind for kind in cls if kind.number == number), None)


_NUMBERS = {
    Kind.DEFINITION: registry_pb2.RESOURCE_KIND_ACTIVITY_DEFINITION,
    Kind.EVENT_TYPE: registry_pb2.RESOURCE_KIND_EVENT_TYPE,
    Kind.PRODUCER: registry_pb2.RESOURCE_KIND_PRODUCER,
}

KindOption = Annotated[Kind, typer.Option("--kind", "-k", help="What the ID is of.")]
