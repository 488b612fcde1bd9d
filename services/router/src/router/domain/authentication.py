"""Who signed a record: asked of its raw bytes, before anything reads them.

A key belongs to a producer of the registry, or to a service of ours on the topics that only we
write. Nothing in a record chooses the algorithm or vouches for a key.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from contracts.names import Header
from router.domain.policy import Policy
from router.domain.records import Record
from signing import signature as signatures
from signing import verification
from signing.keys import Keyring
from signing.verification import ReplayWindow


@dataclass(frozen=True, slots=True)
class Authentication:
    """How the signatures of records are held against keys.

    `own_keys` gives those of our services; None believes whoever can write to our topics. `window`
    is None where a person asked for the record: its age says nothing then. `by_arrival` takes the
    age as of when Kafka got the record, for whoever asks later what was to be said of it. `is_open`
    lets anybody emit in a namespace without a producer. `clock` tells milliseconds since 1970.
    """

    clock: Callable[[], int]
    own_keys: Callable[[], Keyring] | None = None
    window: ReplayWindow | None = None
    by_arrival: bool = False
    is_open: bool = False

    def on_request(self) -> Self:
        """Return the same for records that somebody asks to have routed again, at any age."""
        return replace(self, window=None)

    def in_retrospect(self) -> Self:
        """Return the same for records that came earlier, at the age that they had then."""
        return replace(self, by_arrival=True)

    def signer(self, record: Record, policy: Policy, *, is_own_topic: bool) -> str | None:
        """Return whose key signed a record; None for one without a signature.

        On our own topics it is a service; where `own_keys` is None nobody is asked there.

        Raises:
            EventRejectedError: there is a signature, and it does not hold.
        """
        keyring = policy.keyring
        if is_own_topic:
            if self.own_keys is None:
                return None
            keyring = self.own_keys()
        signature = signatures.find(record.headers)
        if signature is None or record.headers is None:
            return None
        verification.verify(
            signature,
            keyring,
            topic=record.topic,
            key=record.key,
            headers=record.headers,
            value=record.value,
            now_ms=self.clock(),
            window=None,
        )
        if self.window is not None and not (is_own_topic and _is_republished(record)):
            came = record.timestamp_ms if self.by_arrival else None
            self.window.check(signature, now_ms=self.clock() if came is None else came)
        return signature.signer


def _is_republished(record: Record) -> bool:
    # The relay has no key to sign the mark with. It lets an old event of ours pass for one that
    # came before, which its id tells for ever.
    return any(name == Header.REPUBLISHED for name, _ in record.headers or ())
