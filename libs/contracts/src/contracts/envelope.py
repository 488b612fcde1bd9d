"""The envelope that every event carries around its payload, and the strict way in.

An event is identified by (source, event_id), as in CloudEvents 1.0.
"""

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
)
from typing_extensions import TypedDict

from contracts import canonical, identifiers, strictjson
from contracts.names import Extension
from contracts.rejections import EventRejectedError, Reason

MAX_EVENT_BYTES = 256 * 1024
MAX_HOPS = 16

# No control characters: PostgreSQL's text holds no NUL, and logs and terminals show these fields.
_Text = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
_TraceId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
_SchemaVersion = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Namespace = Annotated[str, Field(pattern=identifiers.NAMESPACE_PATTERN)]


def _not_null(value: JsonValue) -> JsonValue:
    if value is None:
        raise ValueError("null is not a payload; an event without facts has {}")
    return value


class Envelope(BaseModel):
    """An event: what happened (`type`), where (`source`), when, to what (`subject`), and the facts.

    Unknown top-level fields are extensions and are kept; `traceparent`, `tracestate` and `hops`
    (how many of our own events lie between this one and the first cause) are those we use.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        title="Envelope",
        defer_build=True,
    )

    event_id: _Text = Field(description="Unique within `source`; the same again is the same event.")
    type: _Text = Field(description="What happened, in the past tense: billing.payment.received.")
    source: _Text = Field(description="Who says so: a URI reference, as in CloudEvents.")
    occurred_at: AwareDatetime = Field(description="When it happened: RFC 3339 with an offset.")
    subject: _Text | None = Field(None, description="What it happened to, within the source.")
    trace_id: _TraceId | None = Field(
        None, description="W3C trace id, 32 lowercase hexadecimal digits."
    )
    schema_version: _SchemaVersion = Field(1, description="Version of the payload schema.")
    payload: Annotated[JsonValue, AfterValidator(_not_null)] = Field(
        description="The facts: any JSON value but null; an event without facts has {}.",
        json_schema_extra={"not": {"type": "null"}},
    )
    namespace: _Namespace | None = Field(
        None, description="Where the event belongs; the topic decides when it is left out."
    )
    correlation_id: _Text | None = Field(None, description="Ties a whole chain of events together.")
    causation_id: _Text | None = Field(None, description="The id of the event that caused this.")

    @property
    def hops(self) -> int:
        """How many of Backbone's own events lie between this one and the first cause."""
        return _hops(self.model_extra or {})

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context, when it is there and text."""
        value = (self.model_extra or {}).get(Extension.TRACEPARENT)
        return value if isinstance(value, str) else None

    def document(self) -> dict[str, Any]:
        """Return the JSON document: extensions kept, fields that are None left out."""
        return self.model_dump(mode="json", exclude_none=True)


class _Checked(TypedDict):
    """The fields of `Envelope`, checked without making one; a test holds them together."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    event_id: _Text
    type: _Text
    source: _Text
    occurred_at: AwareDatetime
    subject: NotRequired[_Text | None]
    trace_id: NotRequired[_TraceId | None]
    schema_version: NotRequired[_SchemaVersion]
    # A parser made it: it is JSON, and walking through it again would be most of the work.
    payload: Annotated[Any, AfterValidator(_not_null)]
    namespace: NotRequired[_Namespace | None]
    correlation_id: NotRequired[_Text | None]
    causation_id: NotRequired[_Text | None]


_CHECKED = TypeAdapter(_Checked)


def read(raw: bytes | None) -> Any:
    """Return the JSON document in the bytes of a record, which need not be an event.

    Raises:
        EventRejectedError: with the reason code of what is wrong.
    """
    if not raw:
        raise EventRejectedError(Reason.EMPTY, "the record has no value")
    refuse_oversize(raw)
    return strictjson.parse(raw)


def refuse_oversize(raw: bytes) -> None:
    """Raise EventRejectedError for a value that is larger than an event may be."""
    if len(raw) > MAX_EVENT_BYTES:
        raise EventRejectedError(
            Reason.OVERSIZE, f"{len(raw)} bytes, more than the {MAX_EVENT_BYTES} that are taken"
        )


def check(document: Any) -> dict[str, Any]:
    """Return the document of an event as `Envelope.document` gives it, without making the model.

    `document` comes from a JSON reader. Nobody wants most events: this is all that they cost.

    Raises:
        EventRejectedError: it is not an envelope, or has come through too many definitions.
    """
    if not isinstance(document, dict):
        raise EventRejectedError(
            Reason.INVALID_ENVELOPE, f"expected a JSON object, found {type(document).__name__}"
        )
    try:
        checked: dict[str, Any] = _CHECKED.validate_python(document)  # type: ignore[assignment]
    except ValidationError as exc:
        raise _rejection(exc) from exc
    hops = _hops(checked)
    if hops > MAX_HOPS:
        raise EventRejectedError(
            Reason.TOO_MANY_HOPS, f"{hops} hops: definitions seem to start one another"
        )
    checked["occurred_at"] = checked["occurred_at"].isoformat().replace("+00:00", "Z")
    checked.setdefault("schema_version", 1)
    if None in checked.values():
        checked = {name: value for name, value in checked.items() if value is not None}
    return checked


def parse(raw: bytes | None) -> Envelope:
    """Read the bytes of a record as an envelope.

    Raises:
        EventRejectedError: with the reason code of what is wrong.
    """
    return Envelope.model_validate(check(read(raw)))


def render(envelope: Envelope) -> bytes:
    """Return the canonical bytes of an envelope; `parse` reads them back to an equal one."""
    return canonical.render(envelope.document())


def _hops(extensions: Mapping[str, Any]) -> int:
    value = extensions.get(Extension.HOPS, 0)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _rejection(exc: ValidationError) -> EventRejectedError:
    errors = exc.errors(include_url=False, include_input=False)
    reason = (
        Reason.NAIVE_TIME
        if any(error["type"] == "timezone_aware" for error in errors)
        else Reason.INVALID_ENVELOPE
    )
    shown = "; ".join(
        f"{'.'.join(map(str, error['loc'])) or 'envelope'}: {error['msg']}" for error in errors[:5]
    )
    return EventRejectedError(reason, shown)
