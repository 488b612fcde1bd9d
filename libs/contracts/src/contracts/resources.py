"""What the registry keeps versions of: definitions, event types and producers, and what they share.

A resource is one document, YAML or JSON, that says its `apiVersion`, `kind`, `metadata` and `spec`.
"""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from contracts import canonical, identifiers

API_VERSION = "backbone/v1"

Name = Annotated[str, Field(pattern=identifiers.NAME_PATTERN, max_length=63)]
Namespace = Annotated[str, Field(pattern=identifiers.NAMESPACE_PATTERN, max_length=63)]


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("in UTC this time lies outside the calendar") from exc


Instant = Annotated[AwareDatetime, AfterValidator(_utc)]
JsonSchema = Annotated[dict[str, Any], Field(description="A JSON Schema, draft 2020-12.")]


class ResourceKind(StrEnum):
    """The kinds of resource, as documents spell them."""

    ACTIVITY_DEFINITION = "ActivityDefinition"
    EVENT_TYPE = "EventType"
    PRODUCER = "Producer"


class ResourceState(StrEnum):
    """Where a resource stands in its life."""

    ACTIVE = "active"
    DISABLED = "disabled"
    RETIRED = "retired"


class ChangeKind(StrEnum):
    """What can happen to a resource."""

    APPLIED = "applied"
    ACTIVATED = "activated"
    ENABLED = "enabled"
    DISABLED = "disabled"
    RETIRED = "retired"


class HeldEvents(StrEnum):
    """What becomes of the events that a definition held while it was disabled."""

    START = "start"
    COMPRESS = "compress"
    DISCARD = "discard"


class Model(BaseModel):
    """A part of a resource: immutable, read strictly, written with camelCase names."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
    )


class Metadata(Model):
    """What a resource is called and whose it is."""

    namespace: Namespace = Field(description="Where it lives: dev, stage, prod or a tenant.")
    owner: Name = Field(description="The team that answers for it.")
    description: Annotated[str, Field(max_length=1000)] | None = Field(
        None, description="What it is for, in a sentence or two."
    )
    labels: dict[Name, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, description="Names and values of your own, to find it by."
    )


def content(resource: BaseModel) -> bytes:
    """Return the canonical bytes of a resource: what is stored, served and hashed.

    Two documents that mean the same have the same bytes: order of keys, comments, spelled-out
    defaults, and the spelling of durations, times and numbers (1000, 1000.0, 1e3) make no
    difference.
    """
    return canonical.render(
        _plain_numbers(resource.model_dump(by_alias=True, exclude_none=True, mode="json"))
    )


def matches(pattern: str, text: str) -> bool:
    """Say whether `text` is `pattern`, or begins with what stands before its closing `*`."""
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return text == pattern


def _plain_numbers(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain_numbers(item) for key, item in value.items()}
        case list():
            return [_plain_numbers(item) for item in value]
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case _:
            return value


EVENT_TYPE_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$"
"""The name of an event type that can be registered: billing.payment.received, com.example.Thing."""


def is_event_type(text: str) -> bool:
    """Say whether `text` can name an event type."""
    return len(text) <= 128 and re.fullmatch(EVENT_TYPE_PATTERN, text) is not None
