"""The root of what the plumbing raises."""


class RuntimeLibraryError(Exception):
    """Something of the shared plumbing failed."""


class ConfigurationError(RuntimeLibraryError):
    """The process cannot start with what it was given; the message says what to change."""


class DatabaseUnavailableError(RuntimeLibraryError):
    """The database cannot be reached or did not answer in time; the same may work later."""
