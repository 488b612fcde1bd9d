"""What keeps a run from deciding, and whether trying again can help."""


class WorkerError(Exception):
    """The orchestrator-worker could not do something; the message is one sentence."""


class TransientError(WorkerError):
    """Something is away or busy: the same again may work, so it is tried again without end."""


class NeighbourUnavailableError(TransientError):
    """The ledger or the registry does not answer, or asks to come back."""


class EffectsHaltedError(TransientError):
    """A kill switch stops effects."""


class ContextUnavailableError(TransientError):
    """A connector's system does not answer, or did not in time."""


class ApplicationAwaitedError(TransientError):
    """An event can be neither applied nor recorded as failed: its instance waits for a repair."""


class PermanentError(WorkerError):
    """The same again would fail in the same way."""


class DefinitionNotFoundError(PermanentError):
    """The registry does not know the definition's version."""


class UndecidableError(PermanentError):
    """The rules cannot be evaluated over this trigger and this context."""


class ConnectorError(PermanentError):
    """The operator's catalogue has no such connector, statement or path, or other parameters."""


class ContextError(PermanentError):
    """What a run wanted to look at cannot be had; the definition may go on without it."""


class StatementError(ContextError):
    """A statement failed, or its result cannot be used."""


class ResponseError(ContextError):
    """An HTTP API cannot be asked this, or its answer cannot be used."""


class AddressRefusedError(ContextError):
    """An HTTP API's host has an address that may not be reached."""


class ContextShapeError(ContextError):
    """An answer does not follow the schema that the catalogue gives for it."""


class ContextGivenUpError(ContextError):
    """A system was away or slow as often as the definition allows."""


class DecisionTooLargeError(PermanentError):
    """The decision's tasks or the snapshot are larger than a run may carry."""


class RefusedError(PermanentError):
    """A neighbour refused a request for what it says."""
