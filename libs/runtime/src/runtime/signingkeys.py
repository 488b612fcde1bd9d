"""Keys out of the files that a process was told of: those that it signs with, and trusted ones.

A service with an event store signs with two, so that whoever has the one cannot vouch for the
other: of the events it emits, and of the checkpoints over them. Without them only a local one runs.
Files that are replaced are read again; one that cannot be used leaves the key that was there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from runtime.errors import ConfigurationError
from runtime.reloading import Reloaded
from runtime.settings import SigningSettings
from signing import keyfiles
from signing.checkpoints import CHECKPOINTS
from signing.errors import KeyUnusableError
from signing.keys import Keyring, SigningKey

T = TypeVar("T")


_Key = SigningKey | Reloaded[SigningKey] | None


class SigningKeys:
    """What signs events and checkpoints now; None leaves them unsigned.

    Each look may give another key: who needs its name beside its signature looks once.
    """

    def __init__(self, events: _Key = None, checkpoints: _Key = None) -> None:
        self._events = events
        self._checkpoints = checkpoints

    @property
    def events(self) -> SigningKey | None:
        """The key of events."""
        return _newest(self._events)

    @property
    def checkpoints(self) -> SigningKey | None:
        """The key of checkpoints."""
        return _newest(self._checkpoints)


def load(settings: SigningSettings, *, service: str, environment: str) -> SigningKeys:
    """Read the keys of `service`.

    Raises:
        ConfigurationError: one is missing where the environment is not local, cannot be used, or
            is another signer's.
    """
    return SigningKeys(
        events=_key("BACKBONE_SIGNING_KEY", settings.signing_key, service, environment),
        checkpoints=_key(
            "BACKBONE_CHECKPOINT_KEY", settings.checkpoint_key, CHECKPOINTS, environment
        ),
    )


def private(variable: str, path: Path) -> SigningKey:
    """Read the key in the file that a variable names.

    Raises:
        ConfigurationError: it cannot be used; the message says why and names the variable.
    """
    return _read(variable, path, keyfiles.read_private)


def trusted(variable: str, path: Path) -> Reloaded[Keyring]:
    """Read the trusted keys in the file that a variable names. Raises as `private`."""
    return Reloaded(variable, (path,), lambda: _read(variable, path, keyfiles.read_trusted))


def _read(variable: str, path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except KeyUnusableError as exc:
        raise ConfigurationError(f"{variable}: {exc}") from exc


def _newest(key: _Key) -> SigningKey | None:
    return key.newest() if isinstance(key, Reloaded) else key


def _key(
    variable: str, path: Path | None, signer: str, environment: str
) -> Reloaded[SigningKey] | None:
    if path is None:
        if environment == "local":
            return None
        raise ConfigurationError(
            f"{variable} is missing: the file of a key of {signer!r} "
            f"(`backbone keys new {signer} KEY` makes one)"
        )
    return Reloaded(variable, (path,), lambda: _own(variable, path, signer))


def _own(variable: str, path: Path, signer: str) -> SigningKey:
    key = private(variable, path)
    if key.signer != signer:
        raise ConfigurationError(
            f"{variable}: {path} holds a key of {key.signer!r}, and {signer!r} signs with it"
        )
    return key
