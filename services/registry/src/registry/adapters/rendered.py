"""Messages that were made before, given out again for as long as what they tell is the same."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from registry.domain.resources import Resource

T = TypeVar("T")

# Of a message beside the content it holds, roughly.
_FRAME_BYTES = 1024


class Rendered(Generic[T]):
    """One message for each resource that is asked for, the least used given up beyond `max_bytes`.

    A resource never changes: what has changed is another object, for which there is no message.
    """

    def __init__(self, make: Callable[[Resource], T], *, max_bytes: int) -> None:
        self._make = make
        self._room = max_bytes
        # By identity; that nothing else takes it over is what holding the resource is for.
        self._made: OrderedDict[int, tuple[Resource, T]] = OrderedDict()

    def of(self, resource: Resource) -> T:
        """Return the message of a resource. It is shared: nobody may change it."""
        identity = id(resource)
        found = self._made.get(identity)
        if found is not None:
            self._made.move_to_end(identity)
            return found[1]
        message = self._make(resource)
        self._made[identity] = resource, message
        self._room -= len(resource.content) + _FRAME_BYTES
        while self._room < 0:
            _, (given_up, _) = self._made.popitem(last=False)
            self._room += len(given_up.content) + _FRAME_BYTES
        return message
