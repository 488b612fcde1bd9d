"""Keys: one that signs, and rings of those that verify, by signer and key id.

A key never tells for whom it speaks: the ring does, and whoever made the ring.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from contracts.producers import ProducerKey
from signing import message
from signing.message import Headers
from signing.signature import Signature


class SigningKey:
    """A private key of a signer. It shows itself nowhere: not when printed, and not in a log."""

    def __init__(self, private: Ed25519PrivateKey, *, signer: str, key_id: str) -> None:
        """`signer` is a producer's id, or a service's name; `key_id` is unique for it."""
        self._private = private
        self.signer = signer
        self.key_id = key_id

    def __repr__(self) -> str:
        return f"SigningKey({self.signer}/{self.key_id})"

    @classmethod
    def generate(cls, *, signer: str, key_id: str) -> Self:
        """Return a new key, of the system's randomness."""
        return cls(Ed25519PrivateKey.generate(), signer=signer, key_id=key_id)

    @property
    def private(self) -> Ed25519PrivateKey:
        """The key itself, for whoever writes it to a file."""
        return self._private

    @property
    def public_key(self) -> str:
        """The public key as documents hold it: 32 bytes in base64."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    def sign(self, content: bytes) -> bytes:
        """Return the signature of bytes: 64 bytes, the same each time."""
        return self._private.sign(content)

    def sign_record(
        self,
        *,
        topic: str,
        issued_at_ms: int,
        key: bytes | None,
        headers: Headers,
        value: bytes | None,
    ) -> Signature:
        """Return the signature of a record for `topic`, as of `issued_at_ms` (since 1970)."""
        content = message.of_record(
            signer=self.signer,
            key_id=self.key_id,
            audience=topic,
            issued_at_ms=issued_at_ms,
            key=key,
            headers=headers,
            value=value,
        )
        return Signature(self.signer, self.key_id, topic, issued_at_ms, self.sign(content))


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and when it is in force: milliseconds since 1970, None for no bound."""

    public: Ed25519PublicKey
    not_before_ms: int | None = None
    not_after_ms: int | None = None
    revoked_at_ms: int | None = None

    @classmethod
    def of(cls, key: ProducerKey) -> Self:
        """Return the key of a document."""
        return cls(
            Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public_key)),
            not_before_ms=_milliseconds(key.not_before),
            not_after_ms=_milliseconds(key.not_after),
            revoked_at_ms=_milliseconds(key.revoked_at),
        )

    def in_force(self, at_ms: int) -> bool:
        """Say whether it was in force at a time."""
        return (self.not_before_ms is None or self.not_before_ms <= at_ms) and (
            self.not_after_ms is None or at_ms <= self.not_after_ms
        )

    def revoked(self, now_ms: int) -> bool:
        """Say whether nothing it ever signed is taken any more."""
        return self.revoked_at_ms is not None and self.revoked_at_ms <= now_ms

    def holds(self, signature: bytes, content: bytes) -> bool:
        """Say whether a signature is this key's, of these bytes."""
        try:
            self.public.verify(signature, content)
        except InvalidSignature:
            return False
        return True


class Keyring:
    """The public keys of signers, as they stand in the mapping that it is made of."""

    def __init__(self, keys: Mapping[str, Mapping[str, TrustedKey]] | None = None) -> None:
        """`keys` are by signer and key id."""
        self._keys = keys or {}

    @classmethod
    def of(cls, keys: Mapping[str, Sequence[ProducerKey]]) -> Self:
        """Return the ring of documents' keys, by signer."""
        return cls(
            {
                signer: {key.id: TrustedKey.of(key) for key in of_signer}
                for signer, of_signer in keys.items()
            }
        )

    def __bool__(self) -> bool:
        return bool(self._keys)

    def get(self, signer: str, key_id: str) -> TrustedKey | None:
        """Return a key, None when the ring has none of this name."""
        return self._keys.get(signer, {}).get(key_id)


def _milliseconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    return (moment - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
