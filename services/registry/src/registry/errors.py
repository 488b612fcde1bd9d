"""What the registry can refuse. Messages are for the person who asked."""

from collections.abc import Sequence

from rules.checks import Problem


class RegistryError(Exception):
    """The registry refused a request."""


class InvalidDefinitionError(RegistryError):
    """The document is not a definition that can run: `problems` lists everything that is wrong."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(
            "; ".join(f"{p.path}: {p.message}" if p.path else p.message for p in problems)
        )
        self.problems = tuple(problems)


class InvalidRequestError(RegistryError):
    """A field of the request, other than the document, cannot be used."""


class DefinitionNotFoundError(RegistryError):
    """There is no such definition, or no such version of it."""

    def __init__(self, namespace: str, definition_id: str, version: int | None = None) -> None:
        which = "" if version is None else f"version {version} of "
        super().__init__(f"there is no {which}definition {definition_id!r} in {namespace!r}")
        self.namespace = namespace
        self.definition_id = definition_id
        self.version = version


class NamespaceNotServedError(RegistryError):
    """This registry does not serve the namespace."""

    def __init__(self, namespace: str, served: Sequence[str]) -> None:
        super().__init__(
            f"namespace {namespace!r} is not served here; served: {', '.join(sorted(served))}"
        )
        self.namespace = namespace


class EtagMismatchError(RegistryError):
    """The definition has changed since the caller looked at it."""

    def __init__(self, definition_id: str, current_version: int | None) -> None:
        now = (
            "it does not exist"
            if current_version is None
            else f"version {current_version} is active"
        )
        super().__init__(
            f"definition {definition_id!r} is not what the etag was taken from ({now}): "
            "get it again and apply on top of that"
        )
        self.definition_id = definition_id


class RequestIdReusedError(RegistryError):
    """A request id names one request; another one came with the same."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"request id {request_id!r} was used for another request: choose a new one"
        )
        self.request_id = request_id


class MaterialisationError(RegistryError):
    """A definition's schedules could not be handed on, for a reason of the definition's own."""


class NeighbourUnavailableError(RegistryError):
    """The ledger or Temporal does not answer; nothing can be materialised until it does."""

    def __init__(self, neighbour: str, detail: str) -> None:
        super().__init__(f"{neighbour} does not answer: {detail}")
        self.neighbour = neighbour


class LeadershipLostError(RegistryError):
    """Another replica may lead from now on."""
