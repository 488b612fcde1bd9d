"""Bytes that a person wrote to a JSON document, by rules that surprise nobody.

YAML is read by the types of its 1.2 core schema: `on`, `no` and `2026-01-01` are text, as they are
in JSON. What lets a small document mean a large or an ambiguous one (anchors, aliases, tags, keys
that appear twice) is refused, and everything refused is told at once, with path and line.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from contracts import strictjson
from contracts.rejections import EventRejectedError, Reason
from registry.errors import InvalidDefinitionError
from rules.checks import Problem

MAX_DOCUMENT_BYTES = 256 * 1024
MAX_DEPTH = 64

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT64 = 2**63
_WORDS = (
    dict.fromkeys(("", "~", "null", "Null", "NULL"))
    | dict.fromkeys(("true", "True", "TRUE"), True)
    | dict.fromkeys(("false", "False", "FALSE"), False)
)
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def read(raw: bytes) -> dict[str, Any]:
    """Return the one JSON object that `raw` holds, as JSON or as YAML.

    Raises:
        InvalidDefinitionError: it is too large, unreadable or ambiguous; all reasons at once, as
            far as the text can be read.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise _refusal(f"the document has {len(raw)} bytes, more than {MAX_DOCUMENT_BYTES}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise _refusal(f"byte {exc.start} of the document is not UTF-8") from exc
    document = _read_json(text) if text.lstrip().startswith("{") else _read_yaml(text)
    if not isinstance(document, dict):
        raise _refusal(f"a definition is an object, not {kind(document)}")
    return document


def kind(value: Any) -> str:
    """Return what people call the JSON type of `value`, with its article."""
    names = {bool: "true or false", str: "text", int: "a number", float: "a number"}
    names |= {dict: "an object", list: "a list", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)


def join(path: str, key: str | int) -> str:
    """Return the path of `key` inside `path`: spec.rules[0].when."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not _PLAIN_KEY.fullmatch(key):
        shown = key if len(key) <= 80 else key[:79] + "…"
        return f"{path}[{shown!r}]"
    return f"{path}.{key}" if path else key


def _refusal(message: str, path: str = "") -> InvalidDefinitionError:
    return InvalidDefinitionError([Problem(path, message)])


def _read_json(text: str) -> Any:
    try:
        return strictjson.parse(text.encode())
    except EventRejectedError as exc:
        refusal = _refusal(f"the document is not JSON that can be used: {exc.detail}")
        if exc.reason is not Reason.MALFORMED_JSON:
            raise refusal from exc
    # A brace opens YAML's flow style as well.
    try:
        return _read_yaml(text)
    except _UnreadableError:
        raise refusal from None


class _UnreadableError(InvalidDefinitionError):
    """The text is not YAML."""


def _read_yaml(text: str) -> Any:
    reader = _YamlReader()
    try:
        document = reader.read(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = ", ".join(part for part in (exc.context, exc.problem) if part)
        raise _UnreadableError(
            [*reader.problems, Problem("", f"the document is not YAML{where}: {what}")]
        ) from exc
    except yaml.YAMLError as exc:
        what = " ".join(str(exc).split())
        raise _UnreadableError([Problem("", f"the document is not YAML: {what}")]) from exc
    if reader.problems:
        raise InvalidDefinitionError(reader.problems)
    return document


@dataclass
class _Container:
    """A list or an object that is being read, with the key that waits for its value."""

    value: dict[str, Any] | list[Any]
    path: str
    key: str | None = None
    lines: dict[str, int] = field(default_factory=dict)


class _YamlReader:
    """Builds a document from parser events: nothing recurses, so that depth costs no stack."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._open: list[_Container] = []
        self._document: Any = None
        self._documents = 0

    def read(self, events: Iterator[Any]) -> Any:
        for event in events:
            match event:
                case yaml.DocumentStartEvent():
                    self._documents += 1
                    if self._documents == 2:
                        self._refuse(event, "a second document begins: write one definition a file")
                        break
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    if len(self._open) == MAX_DEPTH:
                        self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
                        break
                    self._enter(event)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._open.pop()
                case yaml.ScalarEvent():
                    self._scalar(event)
                case yaml.AliasEvent():
                    self._refuse(event, f"aliases (*{event.anchor}) are not taken: write it out")
                    self._place(None)
        return self._document

    def _enter(self, event: Any) -> None:
        value: dict[str, Any] | list[Any]
        value = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._check_node(event)
        path = self._path()
        if self._expects_key():
            self._refuse(event, "a key is text, not a list or an object")
        self._place(value)
        self._open.append(_Container(value, path))

    def _expects_key(self) -> bool:
        inside = self._open[-1] if self._open else None
        return inside is not None and isinstance(inside.value, dict) and inside.key is None

    def _scalar(self, event: Any) -> None:
        self._check_node(event)
        if self._expects_key():
            inside = self._open[-1]
            inside.key = self._text(event)
            line = event.start_mark.line + 1
            if (first := inside.lines.get(inside.key)) is not None:
                self._refuse(event, f"the key appears twice; the first is in line {first}")
            inside.lines.setdefault(inside.key, line)
            return
        self._place(self._value(event))

    def _place(self, value: Any) -> None:
        if not self._open:
            self._document = value
            return
        inside = self._open[-1]
        if isinstance(inside.value, list):
            inside.value.append(value)
        elif inside.key is None:
            # Not a key that can be used, which was told; the value after it still needs a place.
            inside.key = ""
        else:
            inside.value[inside.key] = value
            inside.key = None

    def _check_node(self, event: Any) -> None:
        if event.anchor is not None:
            self._refuse(event, f"anchors (&{event.anchor}) are not taken: write it out each time")
        if event.tag is not None and event.tag != "!":
            self._refuse(event, f"tags ({event.tag}) are not taken: the types are those of JSON")

    def _value(self, event: Any) -> Any:
        text = event.value
        # A plain scalar's style is None or empty, by parser.
        if event.style or not event.implicit[0]:
            return self._text(event)
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return self._integer(event)
        if _FLOAT.fullmatch(text):
            return self._float(event)
        if _NOT_FINITE.fullmatch(text):
            self._refuse(event, f"JSON has no number {text}: put it in quotes if it is text")
        return self._text(event)

    def _integer(self, event: Any) -> int:
        text = event.value
        # The length is checked first: int() of a long literal costs quadratic time.
        if len(text) <= 40:
            number = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if -_INT64 <= number < _INT64:
                return number
        self._refuse(event, f"{text[:40]} is too large for a 64-bit integer")
        return 0

    def _float(self, event: Any) -> float:
        value = float(event.value)
        if math.isfinite(value):
            return value
        self._refuse(event, f"{event.value[:40]} is too large for a double")
        return 0.0

    def _text(self, event: Any) -> str:
        text: str = event.value
        try:
            text.encode()
        except UnicodeEncodeError:
            self._refuse(event, "the text holds half of a surrogate pair")
            return ""
        return text

    def _path(self) -> str:
        if not self._open:
            return ""
        inside = self._open[-1]
        if isinstance(inside.value, list):
            return join(inside.path, len(inside.value))
        return inside.path if inside.key is None else join(inside.path, inside.key)

    def _refuse(self, event: Any, message: str) -> None:
        line = event.start_mark.line + 1
        self.problems.append(Problem(self._path(), f"{message} (line {line})"))
