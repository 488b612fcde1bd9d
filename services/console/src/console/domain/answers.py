"""What was typed into a form as an answer, and the way back.

Here is told what cannot be read and what is missing; whether an answer fits, the ledger says.
"""

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Final

from pydantic import JsonValue

from console.domain import moments
from console.domain.forms import Field, Kind, json_text
from contracts import strictjson
from contracts.rejections import EventRejectedError

_INT64 = 2**63
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MAX_NUMBER = 400  # characters

Typed = Mapping[str, Sequence[str]]
"""What a posted form has, by the names of fields."""


@dataclass(frozen=True)
class Reading:
    """What was typed as an answer; with `problems` (by the names of fields) it is none."""

    answer: JsonValue
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The answer as a JSON document."""
        return json.dumps(self.answer, ensure_ascii=False).encode()


def read(field_: Field, typed: Typed) -> Reading:
    """Return the answer that was typed. What was left empty is not in it."""
    problems: dict[str, str] = {}
    missing: dict[str, str] = {}
    answer = _read(field_, typed, problems, missing)
    return Reading({} if answer is _ABSENT else answer, missing | problems)


def written(field_: Field, answer: JsonValue) -> dict[str, list[str]]:
    """Return what would be typed for an answer; nothing for what a field cannot have."""
    typed: dict[str, list[str]] = {}
    _write(field_, answer, typed)
    return typed


def defaults(field_: Field) -> dict[str, list[str]]:
    """Return what a form begins with: the defaults that its schema names."""
    typed: dict[str, list[str]] = {}
    for one in field_.all():
        if one.default is not None:
            # An author may have written anything there.
            with contextlib.suppress(ValueError):
                _write(one, one.default, typed)
    return typed


class _Absent(Enum):
    """What was not typed; null is a value."""

    ABSENT = "absent"


_ABSENT: Final = _Absent.ABSENT
_Value = JsonValue | _Absent


def _read(field_: Field, typed: Typed, problems: dict[str, str], missing: dict[str, str]) -> _Value:
    if field_.kind is Kind.GROUP:
        return _read_group(field_, typed, problems, missing)
    texts = [text.replace("\r\n", "\n") for text in typed.get(field_.name, ())]
    try:
        value = _parsed(field_, texts)
    except ValueError as exc:
        problems[field_.name] = str(exc)
        return _ABSENT
    if value is _ABSENT and field_.is_required:
        if field_.kind in (Kind.LIST, Kind.CHOICES):
            return []
        missing[field_.name] = "This is needed."
    return value


def _read_group(
    field_: Field, typed: Typed, problems: dict[str, str], missing: dict[str, str]
) -> _Value:
    # Who types nothing of it leaves it out, and so nothing of it is missing.
    if not field_.is_required and not any(
        text for one in field_.all() for text in typed.get(one.name, ())
    ):
        return _ABSENT
    value: dict[str, JsonValue] = {}
    for one in field_.fields:
        part = _read(one, typed, problems, missing)
        if part is not _ABSENT:
            value[one.path[-1]] = part
    return value


def _parsed(field_: Field, texts: Sequence[str]) -> _Value:
    """Return what was typed into a field. Raises ValueError with a sentence."""
    if field_.kind is Kind.CHOICES:
        return [_chosen(field_, text) for text in texts] or _ABSENT
    text = texts[0] if texts else ""
    if field_.kind is Kind.LIST:
        return _lines(field_.item, text) or _ABSENT
    # Only a text may be of nothing but spaces.
    if not (text if field_.kind in (Kind.TEXT, Kind.LONG_TEXT) else text.strip()):
        return _ABSENT
    if field_.kind in (Kind.CHOICE, Kind.BOOLEAN):
        return _chosen(field_, text)
    return _one(field_.kind, text)


def _chosen(field_: Field, token: str) -> JsonValue:
    if all(choice.token != token for choice in field_.choices):
        raise ValueError("This is none of the choices.")
    value: JsonValue = json.loads(token)
    return value


def _lines(item: Kind, text: str) -> list[JsonValue]:
    items = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                items.append(_one(item, line.strip()))
            except ValueError as exc:
                raise ValueError(f"Line {number}: {exc}") from exc
    return items


def _one(kind: Kind, text: str) -> JsonValue:
    match kind:
        case Kind.INTEGER:
            return _integer(text.strip())
        case Kind.NUMBER:
            return _number(text.strip())
        case Kind.DATE:
            return _date(text.strip())
        case Kind.MOMENT:
            return _moment(text.strip())
        case Kind.JSON:
            return _document(text)
        case _:
            return text


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text) or not -_INT64 <= int(text) < _INT64:
        raise ValueError("This is no whole number, such as 12 or -3.")
    return int(text)


def _number(text: str) -> float:
    if len(text) > _MAX_NUMBER or not _NUMBER.fullmatch(text):
        raise ValueError("This is no number, such as 12 or 3.50.")
    if _INTEGER.fullmatch(text) and -_INT64 <= int(text) < _INT64:
        return int(text)
    if not math.isfinite(number := float(text)):
        raise ValueError("This number is too large.")
    return number


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as exc:
        raise ValueError("This is no date, such as 2026-03-01.") from exc


def _moment(text: str) -> str:
    return moments.instant(moments.parse(text))


def _document(text: str) -> JsonValue:
    try:
        document: JsonValue = strictjson.parse(text.encode(errors="replace"))
    except EventRejectedError as exc:
        raise ValueError(f"This cannot be read as JSON: {exc.detail}.") from exc
    return document


def _write(field_: Field, value: JsonValue, typed: dict[str, list[str]]) -> None:
    match field_.kind:
        case Kind.GROUP:
            if isinstance(value, Mapping):
                for one in field_.fields:
                    if one.path[-1] in value:
                        _write(one, value[one.path[-1]], typed)
        case Kind.CHOICES | Kind.LIST:
            if isinstance(value, list):
                as_text = json_text if field_.kind is Kind.CHOICES else _shown
                items = [as_text(item) for item in value]
                typed[field_.name] = items if field_.kind is Kind.CHOICES else ["\n".join(items)]
        case Kind.CHOICE | Kind.BOOLEAN:
            typed[field_.name] = [json_text(value)]
        case Kind.JSON:
            typed[field_.name] = [json.dumps(value, indent=2, ensure_ascii=False)]
        case Kind.MOMENT if isinstance(value, str):
            typed[field_.name] = [moments.in_field(moments.parse(value))]
        case _ if value is not None:
            typed[field_.name] = [_shown(value)]
        case _:
            pass


def _shown(value: JsonValue) -> str:
    return value if isinstance(value, str) else json_text(value)
