"""CloudEvents 1.0, to and from the document of an envelope: as JSON, and in Kafka's binary mode.

| CloudEvents | envelope |
|---|---|
| `id`, `type`, `source`, `subject`, `time` | `event_id`, `type`, `source`, `subject`, `occurred_at` |
| `data`, `data_base64` | `payload`; without data it is `{}` |
| `dataschema` | `schema_version`, when it ends in a number after `/`, `:`, `#` or `=`, with or without a `v`: `urn:backbone:schema:billing.paid:3`, `https://schemas.example/billing.paid/v3` |
| `traceparent` | kept, and its trace id is `trace_id`; `traceid` says one without a `traceparent` |
| `namespace`, `correlationid`, `causationid`, `hops` | the fields and the extension of that name |
| any other attribute | an extension |

What the envelope has no field for and a reader may need is kept as an extension: a `dataschema` of
another spelling than ours, and a `datacontenttype` that is not plainly `application/json`. Data that
is not JSON is refused: nothing could be matched in it. A missing time is Kafka's, and the extension
`timesource` says so. Nothing here checks the envelope: `contracts.envelope.check` does.
"""  # noqa: E501 - a table

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Never
from urllib.parse import quote

from contracts import canonical, strictjson
from contracts.envelope import Envelope
from contracts.names import (
    CLOUDEVENTS_HEADER_PREFIX,
    CONTENT_TYPE_HEADER,
    TIME_OF_KAFKA,
    ContentType,
    Extension,
)
from contracts.rejections import EventRejectedError, Reason

SPECVERSION = "1.0"
_INT32 = 2**31

Headers = Sequence[tuple[str, bytes | None]]
Document = dict[str, Any]

_ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}")
_FIELD_OF = {
    "id": "event_id",
    "type": "type",
    "source": "source",
    "subject": "subject",
    "time": "occurred_at",
    "namespace": "namespace",
    "traceid": "trace_id",
    "correlationid": "correlation_id",
    "causationid": "causation_id",
}
_ATTRIBUTE_OF = {field: attribute for attribute, field in _FIELD_OF.items()}
_NOT_AN_EXTENSION = frozenset({*_FIELD_OF, "specversion", "data", "payload"})
_SPECVERSION_HEADER = f"{CLOUDEVENTS_HEADER_PREFIX}specversion"
_STRUCTURED_PREFIX = "application/cloudevents"
_JSON = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:[a-z0-9!#$&^_.+-]+\+)?json")
_VERSION = re.compile(r"[/:#=]v?([1-9][0-9]{0,9})\Z")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_HOPS = re.compile(r"[0-9]{1,9}")


def from_record(
    headers: Headers, value: bytes | None, *, received_at: str | None
) -> Document | None:
    """Return the envelope's document in a Kafka record; None when it is no CloudEvent.

    `received_at` is the record's timestamp, RFC 3339, taken when the event has no time.

    Raises:
        EventRejectedError: with the reason code of what is wrong.
    """
    texts = _Texts(headers)
    content_type = texts.get(CONTENT_TYPE_HEADER)
    if content_type is not None and content_type.lower().startswith(_STRUCTURED_PREFIX):
        if _media_type(content_type) != ContentType.CLOUDEVENT:
            _refuse(
                Reason.UNSUPPORTED_CONTENT_TYPE,
                f"{content_type[:100]}: in Kafka it is {ContentType.CLOUDEVENT}, or binary",
            )
        if not value:
            _refuse(Reason.EMPTY, "the record has no value")
        event = strictjson.parse(value)
        document = from_json(event, received_at=received_at)
        _refuse_contradiction(texts.attributes(), event)
        return document
    if _SPECVERSION_HEADER not in texts:
        return None
    return _from_binary(texts.attributes(), content_type, value, received_at)


def from_json(event: Any, *, received_at: str | None) -> Document:
    """Return the envelope's document of one CloudEvent in JSON format, parsed strictly.

    Raises:
        EventRejectedError: with the reason code of what is wrong.
    """
    if not isinstance(event, dict):
        _invalid(f"expected a JSON object, found {type(event).__name__}")
    attributes = {}
    for name, value in event.items():
        if name in {"data", "data_base64"} or value is None:
            continue
        if not _is_attribute(value):
            _invalid(f"{name[:80]}: an attribute is a string, a 32-bit integer or a boolean")
        attributes[name] = value
    payload = _data(event, attributes.get("datacontenttype"))
    return _document(attributes, payload, received_at)


def batch(raw: bytes) -> list[Any]:
    """Return the events of a JSON batch, each for `from_json`.

    Raises:
        EventRejectedError: it is not a JSON array, read strictly.
    """
    events = strictjson.parse(raw)
    if not isinstance(events, list):
        _invalid(f"a batch is a JSON array, found {type(events).__name__}")
    return events


def to_json(envelope: Envelope) -> bytes:
    """Return an event as a CloudEvent in JSON format, which `from_json` reads back to an equal one.

    Raises:
        ValueError: an extension has a name or a value that no attribute can have.
    """
    event = _attributes(envelope)
    event.setdefault(Extension.DATA_CONTENT_TYPE.value, ContentType.JSON.value)
    return canonical.render(event | {"data": envelope.payload})


def to_binary(envelope: Envelope) -> tuple[list[tuple[str, bytes]], bytes]:
    """Return the headers and the value of an event in Kafka's binary mode.

    Headers are text, so an extension that is a number or a boolean comes back as text.

    Raises:
        ValueError: an extension has a name or a value that no attribute can have.
    """
    attributes = _attributes(envelope)
    content_type = attributes.pop(Extension.DATA_CONTENT_TYPE, ContentType.JSON)
    headers = [(CONTENT_TYPE_HEADER, str(content_type).encode())]
    headers += [
        (f"{CLOUDEVENTS_HEADER_PREFIX}{name}", _text(value).encode())
        for name, value in attributes.items()
    ]
    return headers, canonical.render(envelope.payload)


class _Texts:
    """The headers of a record, any of which may be hostile: read as text when asked for."""

    def __init__(self, headers: Headers) -> None:
        self._values: dict[str, list[bytes | None]] = {}
        for name, value in headers:
            self._values.setdefault(name.lower(), []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> str | None:
        """Return a header, None when it is not there."""
        values = self._values.get(name)
        if values is None:
            return None
        if len(values) > 1:
            _refuse(Reason.DUPLICATE_HEADER, f"the header {name[:80]} is there twice")
        (value,) = values
        if value is None:
            _refuse(Reason.INVALID_HEADER, f"the header {name[:80]} is null")
        try:
            return value.decode()
        except UnicodeDecodeError:
            _refuse(Reason.INVALID_HEADER, f"the header {name[:80]} is not UTF-8")

    def attributes(self) -> dict[str, str]:
        """Return the attributes of a CloudEvent that are headers, by their names."""
        return {
            name.removeprefix(CLOUDEVENTS_HEADER_PREFIX): self.get(name) or ""
            for name in self._values
            if name.startswith(CLOUDEVENTS_HEADER_PREFIX)
        }


def _from_binary(
    attributes: dict[str, str],
    content_type: str | None,
    value: bytes | None,
    received_at: str | None,
) -> Document:
    for name in ("datacontenttype", "data", "data_base64"):
        if name in attributes:
            _refuse(
                Reason.INVALID_HEADER,
                f"ce_{name}: in binary mode the value is the data, and content-type its type",
            )
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    payload: Any = {}
    if value:
        if not _is_json(content_type):
            _refuse_data(content_type)
        payload = strictjson.parse(value)
    return _document(attributes, {} if payload is None else payload, received_at)


def _refuse_contradiction(headers: Mapping[str, str], event: Mapping[str, Any]) -> None:
    for name, value in headers.items():
        inside = event.get(name)
        if inside is None or _text(inside) != value:
            _refuse(
                Reason.HEADER_CONTRADICTION,
                f"the header ce_{name[:80]} and the event in the value differ",
            )


def _data(event: Mapping[str, Any], content_type: Any) -> Any:
    if "data_base64" not in event:
        data = event.get("data")
        if data is not None and content_type is not None and not _is_json(content_type):
            _refuse_data(content_type)
        return {} if data is None else data
    if "data" in event:
        _invalid("data and data_base64 exclude one another")
    if content_type is None or not _is_json(content_type):
        # Without a type nothing may be assumed of it.
        _refuse_data(content_type)
    try:
        raw = base64.b64decode(event["data_base64"], validate=True)
    except (binascii.Error, ValueError, TypeError):
        _invalid("data_base64 is not base64")
    if not raw:
        return {}
    payload = strictjson.parse(raw)
    return {} if payload is None else payload


def _document(attributes: Mapping[str, Any], payload: Any, received_at: str | None) -> Document:
    if "specversion" not in attributes:
        _invalid("specversion is missing")
    if attributes["specversion"] != SPECVERSION:
        _refuse(
            Reason.UNSUPPORTED_SPECVERSION,
            f"specversion {str(attributes['specversion'])[:40]!r}; this is {SPECVERSION}",
        )
    document: Document = {"payload": payload}
    for name, value in attributes.items():
        if _ATTRIBUTE.fullmatch(name) is None or name == "payload":
            _invalid(f"{name[:80]!r} is not a name that an attribute can have here")
        if (field := _FIELD_OF.get(name)) is not None:
            document[field] = value
        elif name != "specversion":
            document[name] = value
    for required in ("id", "source", "type"):
        if required not in attributes:
            _invalid(f"{required} is missing")
    if "occurred_at" not in document:
        if received_at is None:
            _invalid("there is no time, and the record has no timestamp either")
        document["occurred_at"] = received_at
        document[Extension.TIME_SOURCE] = TIME_OF_KAFKA
    elif not isinstance(document["occurred_at"], str):
        _invalid("time is a timestamp, RFC 3339")
    _take_hops(document)
    _take_trace(document)
    _take_schema(document)
    content_type = document.get(Extension.DATA_CONTENT_TYPE)
    if content_type == ContentType.JSON:
        del document[Extension.DATA_CONTENT_TYPE]
    return document


def _take_hops(document: Document) -> None:
    hops = document.get(Extension.HOPS)
    if isinstance(hops, str):
        # Left as text it would not be counted.
        if _HOPS.fullmatch(hops) is None:
            _invalid("hops is a number")
        document[Extension.HOPS] = int(hops)


def _take_trace(document: Document) -> None:
    traceparent = document.get(Extension.TRACEPARENT)
    if "trace_id" not in document and isinstance(traceparent, str):
        trace = _TRACEPARENT.fullmatch(traceparent)
        if trace is not None:
            document["trace_id"] = trace[1]


def _take_schema(document: Document) -> None:
    schema = document.get(Extension.DATA_SCHEMA)
    if schema is None:
        return
    version = _version(schema)
    if version is None:
        return
    document["schema_version"] = version
    if schema == _schema_uri(document["type"], version):
        del document[Extension.DATA_SCHEMA]


def _version(schema: Any) -> int | None:
    found = _VERSION.search(schema) if isinstance(schema, str) else None
    return None if found is None else int(found[1])


def _schema_uri(event_type: Any, version: int) -> str:
    return f"urn:backbone:schema:{quote(str(event_type), safe='')}:{version}"


def _attributes(envelope: Envelope) -> Document:
    """Return the attributes of an event. Raises ValueError for what has no form as one."""
    document = envelope.document()
    del document["payload"]
    version = document.pop("schema_version")
    attributes: Document = {"specversion": SPECVERSION}
    for name, value in document.items():
        attribute = _ATTRIBUTE_OF.get(name)
        if attribute is None:
            if name in _NOT_AN_EXTENSION or _ATTRIBUTE.fullmatch(name) is None:
                raise ValueError(
                    f"{name!r} is not a name that an attribute of a CloudEvent can have"
                )
            if not _is_attribute(value):
                raise ValueError(f"{name} is neither text nor a 32-bit integer nor a boolean")
            attribute = name
        attributes[attribute] = value
    _put_trace(attributes)
    schema = attributes.get(Extension.DATA_SCHEMA)
    if schema is None and version != 1:
        attributes[Extension.DATA_SCHEMA.value] = _schema_uri(envelope.type, version)
    elif schema is not None and (_version(schema) or 1) != version:
        raise ValueError(f"dataschema {schema!r} is not of schema version {version}")
    return attributes


def _put_trace(attributes: Document) -> None:
    traceparent = attributes.get(Extension.TRACEPARENT)
    trace = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if trace is not None and attributes.get("traceid") == trace[1]:
        del attributes["traceid"]


def _is_attribute(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and -_INT32 <= value < _INT32)


def _is_json(content_type: str | None) -> bool:
    # Data without a type is taken for JSON, and shown not to be by its first character.
    return content_type is None or _JSON.fullmatch(_media_type(str(content_type))) is not None


def _media_type(content_type: str) -> str:
    media_type, _, parameters = content_type.partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", parameters.lower())
    if charset is not None and charset[1] not in {"utf-8", "us-ascii"}:
        _refuse(
            Reason.UNSUPPORTED_CONTENT_TYPE, f"the charset {charset[1][:40]}; only UTF-8 is read"
        )
    return media_type.strip().lower()


def _text(value: Any) -> str:
    """Return an attribute's canonical text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _refuse_data(content_type: Any) -> Never:
    _refuse(
        Reason.UNSUPPORTED_DATA,
        f"data of type {str(content_type or 'unknown')[:80]}; only JSON is read",
    )


def _invalid(detail: str) -> Never:
    _refuse(Reason.INVALID_CLOUDEVENT, detail)


def _refuse(reason: Reason, detail: str) -> Never:
    raise EventRejectedError(reason, detail)
