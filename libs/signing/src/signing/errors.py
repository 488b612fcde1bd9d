"""What can be wrong with keys. Why a signature does not hold is an `EventRejectedError`."""


class SigningError(Exception):
    """The root of what this package raises."""


class KeyUnusableError(SigningError):
    """A key, or the file that should hold one, cannot be used; the message says what to do."""
