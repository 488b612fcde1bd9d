"""Event types: the schemas that the payloads of one type of event follow, by schema version."""

import itertools
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts import resources, sensitive
from contracts.resources import JsonSchema, Model
from contracts.sensitive import Marks

MAX_SCHEMAS = 50
SUBJECT_PATTERN = r"^(subject|payload(\.[^.\x00-\x1f]{1,128})+)$"
"""Of whose the sensitive fields are: a place in the envelope."""


class Compatibility(StrEnum):
    """What must hold between the schemas of two successive schema versions.

    The words are those of schema registries. `backward`: who reads with the newer schema can read
    payloads of the older one. `forward`: who reads with the older schema can read payloads of the
    newer one. `full`: both.
    """

    NONE = "none"
    BACKWARD = "backward"
    FORWARD = "forward"
    FULL = "full"


class EventTypeMetadata(resources.Metadata):
    """What an event type is called and whose it is."""

    id: Annotated[str, Field(pattern=resources.EVENT_TYPE_PATTERN, max_length=128)] = Field(
        description="The envelope's type: billing.payment.received."
    )


class PayloadSchema(Model):
    """The schema of the payloads of one schema version. It never changes once it was applied."""

    version: int = Field(ge=1, le=2**31 - 1, description="The envelope's schema_version.")
    schema_: JsonSchema = Field(alias="schema", description="JSON Schema of the payload.")


class EventTypeSpec(Model):
    """Which payloads an event type has."""

    compatibility: Compatibility = Field(
        Compatibility.BACKWARD,
        description="What a further schema must keep to: none, backward, forward or full.",
    )
    schemas: list[PayloadSchema] = Field(
        min_length=1,
        max_length=MAX_SCHEMAS,
        description="Every schema version that producers may use, in ascending order.",
    )
    subject: Annotated[str, Field(pattern=SUBJECT_PATTERN, max_length=400)] | None = Field(
        None,
        description="Where an event says whose its sensitive fields are: subject, or a field of "
        "the payload as payload.customer_id.",
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        versions = [schema.version for schema in self.schemas]
        if any(later <= earlier for earlier, later in itertools.pairwise(versions)):
            raise ValueError("schema versions come once each, in ascending order")
        return self


class EventType(Model):
    """A type of event, with the schema of its payload for each schema version."""

    api_version: Literal["backbone/v1"] = Field(description="The version of this language.")
    kind: Literal["EventType"]
    metadata: EventTypeMetadata
    spec: EventTypeSpec

    def marks(self) -> dict[int, Marks]:
        """Return which fields are sensitive, by schema version; none where a schema has no such."""
        path = tuple((self.spec.subject or "subject").split("."))
        found = {one.version: sensitive.fields(one.schema_) for one in self.spec.schemas}
        return {version: Marks(fields, path) for version, fields in found.items() if fields}
