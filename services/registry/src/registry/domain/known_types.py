"""The event types that definitions may name, as of when a set of documents is applied."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from contracts.eventtypes import EventType
from contracts.resources import ResourceState
from registry.domain.resources import Resource

Schemas = Mapping[int, Mapping[str, Any]]

_ANYTHING: Schemas = {1: {}}


class KnownTypes(Mapping[str, Schemas]):
    """The payload schemas of each event type, read from what is stored when they are asked for.

    `own` are the types of the documents: None for one whose schemas cannot be read.
    """

    def __init__(
        self,
        registered: Mapping[str, Resource],
        *,
        own: Mapping[str, EventType | None],
        gone: Collection[str],
    ) -> None:
        self._registered = {
            name: resource
            for name, resource in registered.items()
            if resource.state is not ResourceState.RETIRED and name not in gone
        }
        self._own = own
        self._loaded: dict[str, Schemas] = {}

    def __getitem__(self, name: str) -> Schemas:
        """Return the schemas of a type by schema version."""
        if name in self._own:
            own = self._own[name]
            return _ANYTHING if own is None else schemas(own)
        if name not in self._loaded:
            loaded = self._registered[name].load()
            self._loaded[name] = schemas(loaded) if isinstance(loaded, EventType) else _ANYTHING
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        """Say whether definitions may name the type."""
        return name in self._own or name in self._registered

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the types."""
        yield from dict.fromkeys((*self._registered, *self._own))

    def __len__(self) -> int:
        """Return how many types there are."""
        return len(self._registered.keys() | self._own.keys())


def schemas(event_type: EventType) -> Schemas:
    """Return the payload schemas of an event type by schema version."""
    return {schema.version: schema.schema_ for schema in event_type.spec.schemas}
