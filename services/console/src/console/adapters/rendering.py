"""Templates: escaped always, strict about names, with the filters that pages share."""

import json
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from jinja2 import Environment, PackageLoader, StrictUndefined

from console.domain import inbox, moments, words
from contracts import identifiers


def environment() -> Environment:
    """Return the templates of the package."""
    made = Environment(
        loader=PackageLoader("console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "moment": lambda stamp: words.moment(_time(stamp)),
        "in_field": lambda stamp: moments.in_field(_time(stamp)),
        "instant": lambda stamp: identifiers.instant(_time(stamp)),
        "ago": lambda stamp: words.ago(_time(stamp), now=datetime.now(UTC)),
        "is_past": lambda stamp: _time(stamp) < datetime.now(UTC),
        "span": words.span,
        "count": words.count,
        "word": word,
        "task_change": inbox.change,
        "pretty": pretty,
        "text": lambda content: content.decode("utf-8", "replace"),
        "json": lambda value: json.dumps(value, ensure_ascii=False),
    }
    made.tests["given"] = given
    return made


def given(message: Message, field: str) -> bool:
    """Say whether a field of a message is set; in templates a test."""
    return bool(message.HasField(field))


def word(message: Message, field: str) -> str:
    """Return the word for an enum field: `completed`; a number that we lack as it is."""
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    if enum is None:
        raise TypeError(f"{field} of {message.DESCRIPTOR.name} is no enum")
    number = getattr(message, field)
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    # FOO_UNSPECIFIED is the first of each enum.
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return value.name.removeprefix(prefix).lower().replace("_", " ")


def pretty(content: bytes | str) -> str:
    """Return a JSON document with a line for each member; what is none, as it is."""
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True)


def _time(stamp: Timestamp | datetime) -> datetime:
    return stamp if isinstance(stamp, datetime) else stamp.ToDatetime(UTC)
