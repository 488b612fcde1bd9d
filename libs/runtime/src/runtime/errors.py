"""The root of what the plumbing raises."""


class RuntimeLibraryError(Exception):
    """Something of the shared plumbing failed."""


class ConfigurationError(RuntimeLibraryError):
    """The process cannot start with what it was given; the message says what to change."""


class SecretUnreadableError(ConfigurationError):
    """The file of a secret cannot be used; it may be there again later."""


class DatabaseUnavailableError(RuntimeLibraryError):
    """The database cannot be reached or did not answer in time; the same may work later."""


class AddressRefusedError(RuntimeLibraryError):
    """A host has an address that may not be reached."""
