"""Encryption at rest, as a process is told to do it: the mode, and the ring of data keys."""

from dataclasses import dataclass

from runtime.datakeys import DataKeyFile
from runtime.errors import ConfigurationError
from runtime.settings import Encryption, EncryptionSettings


@dataclass(frozen=True)
class AtRest:
    """What is done with what is stored; with `off` the keys, if there are any, only open."""

    mode: Encryption = "off"
    keys: DataKeyFile | None = None

    @property
    def encrypts(self) -> bool:
        """Whether what is written is encrypted."""
        return self.mode != "off"


def mode(settings: EncryptionSettings, *, environment: str) -> Encryption:
    """Return what is done: what was told, and else `required`, save on a machine of one's own."""
    if settings.encryption is not None:
        return settings.encryption
    return "off" if environment == "local" and settings.data_keys is None else "required"


def load(settings: EncryptionSettings, *, environment: str) -> AtRest:
    """Return how a process encrypts.

    Raises:
        ConfigurationError: it has to, and there are no keys, or the file of them cannot be used.
    """
    keys = None if settings.data_keys is None else DataKeyFile(settings.data_keys)
    told = mode(settings, environment=environment)
    if told != "off" and keys is None:
        raise ConfigurationError(
            "BACKBONE_DATA_KEYS is missing: the file of the keys with which payloads in Temporal "
            "and dead letters are encrypted (`backbone keys data add FILE KEY` makes one), or set "
            "BACKBONE_ENVIRONMENT=local on a machine of your own"
        )
    return AtRest(told, keys)
