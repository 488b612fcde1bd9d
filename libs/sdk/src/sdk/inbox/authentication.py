"""Whether a service of Backbone signed what arrives on its topics, asked before it is read."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Self

from contracts import names
from contracts.names import Header
from contracts.rejections import EventRejectedError, Reason
from sdk.inbox.records import Record
from signing import keyfiles, verification
from signing import signature as signatures
from signing.keys import Keyring
from signing.verification import ReplayWindow


class Authentication:
    """Holds records to the keys that are trusted, by service."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        accept_unsigned: bool = False,
        oldest: timedelta | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Refuse signatures older than `oldest`; `clock` tells milliseconds since 1970."""
        self._keyring = keyring
        self._accept_unsigned = accept_unsigned
        self._window = None if oldest is None else ReplayWindow(past=oldest)
        self._clock = clock

    @classmethod
    def of(cls, path: Path, *, accept_unsigned: bool, oldest: timedelta | None) -> Self:
        """Return it with the keys in a file.

        Raises:
            KeyUnusableError: it cannot be read, or is no document of trusted keys.
        """
        keyring = keyfiles.read_trusted(path)
        return cls(keyring, accept_unsigned=accept_unsigned, oldest=oldest)

    def signer(self, record: Record) -> str | None:
        """Return the service whose key signed a record; None for one that may be unsigned.

        A copy that the relay marks as republished may be of any age: its place in its stream tells
        whether it came before.

        Raises:
            EventRejectedError: it has to be signed and is not, or its signature does not hold.
        """
        signature = signatures.find(record.headers)
        if signature is None or record.headers is None:
            if self._accept_unsigned:
                return None
            raise EventRejectedError(
                Reason.UNSIGNED, "this inbox takes only what a service of Backbone signed"
            )
        republished = any(name == Header.REPUBLISHED for name, _ in record.headers)
        verification.verify(
            signature,
            self._keyring,
            topic=record.topic,
            key=record.key,
            headers=record.headers,
            value=record.value,
            now_ms=self._clock(),
            window=None if republished else self._window,
        )
        return signature.signer


def check_source(signer: str | None, source: str) -> None:
    """Return when an event is from the service that signed it, if one did.

    Raises:
        EventRejectedError: it says to be from somebody else.
    """
    if signer is not None and source != names.source(signer):
        raise EventRejectedError(
            Reason.PRODUCER_NOT_ALLOWED,
            f"it says to be from {source!r}, and a key of {signer!r} signed it",
        )
