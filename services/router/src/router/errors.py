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


class IngressHaltedError(TransientError):
    """A kill switch stops what comes into the namespace."""


class RunsHaltedError(RouterError):
    """A kill switch stops the runs of the definition."""


class DefinitionDisabledError(RouterError):
    """The definition is disabled: it starts nothing until it is enabled."""


class RequestIdReusedError(RouterError):
    """The request id has started a run with another input already."""


class TooManyHopsError(RouterError):
    """The chain that a start would go on with has come too far."""


class RequestInvalidError(RouterError):
    """The request is wrong, whatever the state is."""


class SimulationsBusyError(RouterError):
    """As many simulations as may be are under way."""


class SimulationUnansweredError(TransientError):
    """No worker has answered what was to be simulated."""


class DefinitionAbsentError(RouterError):
    """The definition was not in use at the time that is asked about: not there, or `retired`."""

    def __init__(self, message: str, *, retired: bool) -> None:
        super().__init__(message)
        self.retired = retired


class RecordGoneError(RouterError):
    """The topic does not hold the record (any more)."""


class DeadLetterUnknownError(RouterError):
    """The topic of dead letters does not have it (any more)."""


class ReplayExistsError(RouterError):
    """The replay's id stands for another question."""


class ReplayRefusedError(RouterError):
    """The plan of a replay cannot go on as it is."""


class NotPublishedError(RouterError):
    """The brokers did not take all of some events; `published` of `total` they have for certain.

    `too_large`: they will not take one of them, for its size, however often it is sent.
    """

    def __init__(
        self, message: str, *, published: int, total: int, too_large: bool = False
    ) -> None:
        super().__init__(message)
        self.published = published
        self.total = total
        self.too_large = too_large
