"""Producers: who may emit which types of events from which sources, and which keys sign them."""

import base64
import binascii
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from contracts import resources
from contracts.resources import Instant, Model, Name

_ED25519_BYTES = 32


def _public_key(text: str) -> str:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _ED25519_BYTES:
        raise ValueError("an Ed25519 public key is 32 bytes in base64: 43 characters and '='")
    return base64.b64encode(raw).decode()


Pattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        pattern=r"^[^\x00-\x20\x7f*]*\*?$",
        description="A text, exactly, or its beginning followed by *.",
    ),
]


class Signatures(StrEnum):
    """What is done with a producer's events that are not signed, and with those that are."""

    REQUIRED = "required"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class ProducerMetadata(resources.Metadata):
    """What a producer is called and whose it is."""

    id: Name = Field(description="Unique in the namespace: billing-service.")


class ProducerKey(Model):
    """A public key that a producer signs with, in force for a stretch of time."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)] = Field(
        description="The key id that signatures name."
    )
    public_key: Annotated[str, AfterValidator(_public_key)] = Field(
        description="An Ed25519 public key: 32 bytes in base64."
    )
    not_before: Instant | None = Field(None, description="In force from this time on.")
    not_after: Instant | None = Field(
        None, description="Signs nothing after it; what it signed before is taken when it comes."
    )
    revoked_at: Instant | None = Field(
        None, description="From this time on nothing is taken that it ever signed."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.not_before and self.not_after and self.not_before >= self.not_after:
            raise ValueError("notBefore is earlier than notAfter")
        return self


class ProducerSpec(Model):
    """What a producer may emit."""

    sources: list[Pattern] = Field(
        min_length=1, max_length=50, description="The envelope's source: billing/invoices, crm/*."
    )
    types: list[Pattern] = Field(
        min_length=1, max_length=200, description="The envelope's type: billing.payment.*."
    )
    signatures: Signatures = Field(
        Signatures.ACCEPTED,
        description="required refuses unsigned events; rejected refuses signed ones.",
    )
    keys: list[ProducerKey] = Field(
        default_factory=list, max_length=20, description="The keys that its signatures may name."
    )

    @model_validator(mode="after")
    def _keys_can_be_told_apart(self) -> Self:
        ids = [key.id for key in self.keys]
        twice = sorted({key_id for key_id in ids if ids.count(key_id) > 1})
        if twice:
            raise ValueError(f"keys share an id: {', '.join(twice)}")
        if self.signatures is Signatures.REQUIRED and not self.keys:
            raise ValueError("signatures: required needs at least one key")
        return self


class Producer(Model):
    """Who may emit which types of events from which sources."""

    api_version: Literal["backbone/v1"] = Field(description="The version of this language.")
    kind: Literal["Producer"]
    metadata: ProducerMetadata
    spec: ProducerSpec

    def may_emit(self, *, source: str, event_type: str) -> bool:
        """Say whether the producer may emit events of a type from a source."""
        return any(resources.matches(p, source) for p in self.spec.sources) and any(
            resources.matches(p, event_type) for p in self.spec.types
        )
