"""The fields of the registry's requests, read for the use cases."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from backbone.registry.v1 import registry_pb2 as pb
from contracts.resources import HeldEvents, ResourceKind
from registry.adapters import messages
from registry.domain.planning import Prune
from registry.domain.validation import Source
from registry.errors import InvalidRequestError

MAX_MASK_PATHS = 100
"""Fields that a mask names: it is applied to every resource of a page."""

_KIND_OF = {number: kind for kind, number in messages.KINDS.items()}
_RESOURCE_FIELDS = tuple(pb.Resource.DESCRIPTOR.fields_by_name)


def sources(request: pb.ApplyResourcesRequest) -> list[Source]:
    """Return the documents of a set; who has no name is called by its place."""
    return [
        Source(document.name or str(place), document.content, document.etag)
        for place, document in enumerate(request.documents, start=1)
    ]


def prune(request: pb.ApplyResourcesRequest) -> Prune | None:
    """Return what a set prunes.

    Raises:
        InvalidRequestError: it says whose resources, and does not say that it prunes.
    """
    if request.prune_owner and not request.prune:
        raise InvalidRequestError("prune_owner", "says whose resources are pruned: needs prune")
    return Prune(owner=request.prune_owner) if request.prune else None


def kind(number: int, *, field: str = "kind") -> ResourceKind:
    """Return the kind that a request names.

    Raises:
        InvalidRequestError: it names none.
    """
    found = _KIND_OF.get(pb.ResourceKind.ValueType(number))
    if found is None:
        raise InvalidRequestError(field, f"is one of {', '.join(_KIND_OF.values())}")
    return found


def held(number: int) -> HeldEvents | None:
    """Return what becomes of held events, None when a request does not say.

    Raises:
        InvalidRequestError: it says something that is not known.
    """
    if number == pb.HELD_EVENTS_UNSPECIFIED:
        return None
    found = messages.HELD_OF.get(pb.HeldEvents.ValueType(number))
    if found is None:
        raise InvalidRequestError("held", f"is one of {', '.join(HeldEvents)}")
    return found


def kind_or_all(number: int) -> ResourceKind | None:
    """Return the kind that a request names, None when it names none on purpose.

    Raises:
        InvalidRequestError: it names one that is not known.
    """
    return None if number == pb.RESOURCE_KIND_UNSPECIFIED else kind(number)


def moment(request: Any, field: str) -> datetime | None:
    """Return the time in a request's field, None when it is not set.

    Raises:
        InvalidRequestError: it is not a time.
    """
    if not request.HasField(field):
        return None
    timestamp: Timestamp = getattr(request, field)
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidRequestError(field, "is not a time between the years 1 and 9999") from exc


def mask(requested: FieldMask) -> Callable[[pb.Resource], pb.Resource]:
    """Return what leaves of a resource only the fields asked for.

    Raises:
        InvalidRequestError: there is no such field.
    """
    if not requested.paths or list(requested.paths) == ["*"]:
        return lambda resource: resource
    if len(requested.paths) > MAX_MASK_PATHS:
        raise InvalidRequestError(
            "read_mask",
            f"it has {len(requested.paths)} paths, more than the {MAX_MASK_PATHS} that are taken; "
            f"there are {', '.join(_RESOURCE_FIELDS)}",
        )
    unknown = [
        path
        for path in requested.paths
        if not FieldMask(paths=[path]).IsValidForDescriptor(pb.Resource.DESCRIPTOR)
    ]
    if unknown:
        told = messages.cut(unknown[0], 100)
        raise InvalidRequestError(
            "read_mask", f"there is no field {told!r}; there are {', '.join(_RESOURCE_FIELDS)}"
        )

    def masked(resource: pb.Resource) -> pb.Resource:
        left = pb.Resource()
        requested.MergeMessage(resource, left)
        return left

    return masked
