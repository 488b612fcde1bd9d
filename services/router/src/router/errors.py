"""What can go wrong in the router. An event that is refused is `contracts.EventRejectedError`."""


class RouterError(Exception):
    """The router cannot do what it was asked."""


class TransientError(RouterError):
    """Something the router needs is away now; the same may work in a moment."""


class StartRefusedError(RouterError):
    """Temporal refuses this start, however often it is tried."""


class DefinitionUnusableError(RouterError):
    """A definition's content cannot be read or compiled by this release."""


class DefinitionUnknownError(RouterError):
    """There is no definition of that id, or it was retired."""


class DefinitionDisabledError(RouterError):
    """The definition is disabled: it starts nothing until it is enabled."""


class RequestIdReusedError(RouterError):
    """The request id has started a run with another input already."""


class RequestInvalidError(RouterError):
    """The request is wrong, whatever the state is."""
