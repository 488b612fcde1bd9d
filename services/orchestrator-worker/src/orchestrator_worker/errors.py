"""What keeps a run from deciding, and whether trying again can help."""


class WorkerError(Exception):
    """The orchestrator-worker could not do something; the message is one sentence."""


class TransientError(WorkerError):
    """Something is away or busy: the same again may work, so it is tried again without end."""


class NeighbourUnavailableError(TransientError):
    """The ledger or the registry does not answer, or asks to come back."""


class ContextUnavailableError(TransientError):
    """A connector's system does not answer, or did not in time."""


class PermanentError(WorkerError):
    """The same again would fail in the same way."""


class DefinitionNotFoundError(PermanentError):
    """The registry does not know the definition's version."""


class UndecidableError(PermanentError):
    """The rules cannot be evaluated over this trigger and this context."""


class ConnectorError(PermanentError):
    """The operator's configuration has no such connector or statement, or other parameters."""


class StatementError(PermanentError):
    """A statement failed, or its result cannot be used."""


class DecisionTooLargeError(PermanentError):
    """The decision's tasks or the snapshot are larger than a run may carry."""


class RefusedError(PermanentError):
    """A neighbour refused a request for what it says."""
