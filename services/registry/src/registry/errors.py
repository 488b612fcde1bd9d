"""What the registry can refuse. Messages are for the person who asked.

`reason` is a stable code for programs (google.rpc.ErrorInfo).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Located:
    """One thing wrong with a document: `line` and `column` count from 1.

    They are 0 for what has no place in the text.
    """

    document: str
    path: str
    message: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.document, self.line, self.column) if part)
        return ": ".join(part for part in (where, self.path, self.message) if part)


class RegistryError(Exception):
    """The registry refused a request."""

    reason: ClassVar[str] = "REGISTRY_ERROR"


class InvalidDocumentsError(RegistryError):
    """The documents cannot be used together: `problems` lists everything that is wrong."""

    reason = "INVALID_DOCUMENTS"

    def __init__(self, problems: Sequence[Located]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class InvalidRequestError(RegistryError):
    """A field of the request, other than a document, cannot be used."""

    reason = "INVALID_REQUEST"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class ResourceNotFoundError(RegistryError):
    """There is no such resource, or no such version of it."""

    reason = "RESOURCE_NOT_FOUND"

    def __init__(self, namespace: str, resource_id: str, detail: str = "") -> None:
        super().__init__(f"there is no {resource_id!r} in {namespace!r}{detail}")
        self.namespace = namespace
        self.resource_id = resource_id


class NamespaceNotServedError(RegistryError):
    """This registry does not serve the namespace."""

    reason = "NAMESPACE_NOT_SERVED"

    def __init__(self, namespace: str, served: Sequence[str]) -> None:
        super().__init__(
            f"namespace {namespace!r} is not served here; served: {', '.join(sorted(served))}"
        )
        self.namespace = namespace


class EtagMismatchError(RegistryError):
    """The resource has changed since the caller looked at it."""

    reason = "ETAG_MISMATCH"

    def __init__(self, resource_id: str, current: str) -> None:
        super().__init__(
            f"{resource_id!r} is not what the etag was taken from ({current}): "
            "get it again and change that"
        )
        self.resource_id = resource_id


class PlanMismatchError(RegistryError):
    """What would be done is no longer what was planned."""

    reason = "PLAN_MISMATCH"

    def __init__(self) -> None:
        super().__init__(
            "something has changed since the plan was made: plan again and look at what it says now"
        )


class ResourceInUseError(RegistryError):
    """Others that are in use need the resource."""

    reason = "RESOURCE_IN_USE"

    def __init__(self, resource_id: str, users: Sequence[str]) -> None:
        shown = ", ".join(users[:10]) + (f" and {len(users) - 10} more" if len(users) > 10 else "")
        super().__init__(f"{resource_id!r} is still needed by {shown}: change or retire them first")
        self.resource_id = resource_id
        self.users = tuple(users)


class StateError(RegistryError):
    """The state that the resource is in does not allow it."""

    reason = "WRONG_STATE"


class LimitReachedError(RegistryError):
    """The namespace holds as much as it may."""

    reason = "LIMIT_REACHED"


class RequestIdReusedError(RegistryError):
    """A request id names one request; another one came with the same."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"request id {request_id!r} was used for another request: choose a new one"
        )
        self.request_id = request_id


class MaterialisationError(RegistryError):
    """A definition's schedules could not be handed on, for a reason of the definition's own."""


class NeighbourUnavailableError(RegistryError):
    """The ledger or Temporal does not answer; nothing can be materialised until it does."""

    reason = "NEIGHBOUR_UNAVAILABLE"

    def __init__(self, neighbour: str, detail: str) -> None:
        super().__init__(f"{neighbour} does not answer: {detail}")
        self.neighbour = neighbour


class LeadershipLostError(RegistryError):
    """Another replica may lead from now on."""


class WakeupMovedError(RegistryError):
    """Somebody wrote what wakes a definition since it was looked at: look again."""
