"""A key of these tests, and a record that it signs."""

from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.producers import ProducerKey
from signing import signature as signatures
from signing import verification
from signing.keys import Keyring, SigningKey
from signing.verification import ReplayWindow

NOW_MS = 1_796_000_000_000


@dataclass(frozen=True)
class Sent:
    """A record, with the header of its signature among its headers."""

    topic: str = "dev.orders"
    key: bytes | None = b"order-1"
    headers: tuple[tuple[str, bytes | None], ...] = (("content-type", b"application/json"),)
    value: bytes | None = b'{"event_id": "e-1"}'

    def signed(self, key, *, at_ms=NOW_MS, topic=None):
        made = key.sign_record(
            topic=topic or self.topic,
            issued_at_ms=at_ms,
            key=self.key,
            headers=self.headers,
            value=self.value,
        )
        return replace(self, headers=(*self.headers, made.header()))

    def verify(self, ring, *, now_ms=NOW_MS, window=ReplayWindow()):  # noqa: B008 - a value
        found = signatures.find(self.headers)
        verification.verify(
            found,
            ring,
            topic=self.topic,
            key=self.key,
            headers=self.headers,
            value=self.value,
            now_ms=now_ms,
            window=window,
        )
        return found


def signing_key(seed=1, *, signer="shop", key_id="2026-11"):
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return SigningKey(private, signer=signer, key_id=key_id)


def trusting(*keys, **bounds):
    """Return the ring of the public halves of keys, all with the same bounds."""
    by_signer = {}
    for key in keys:
        listed = by_signer.setdefault(key.signer, [])
        listed.append(ProducerKey(id=key.key_id, public_key=key.public_key, **bounds))
    return Keyring.of(by_signer)


@pytest.fixture(scope="session")
def key():
    return signing_key()


@pytest.fixture(scope="session")
def ring(key):
    return trusting(key)


@pytest.fixture(scope="session")
def make():
    """The builders of this file."""
    return type("Make", (), {"Sent": Sent, "key": signing_key, "trusting": trusting})
