"""What a text of YAML or JSON is made of, token by token, each with its line and column.

YAML is read by the types of its 1.2 core schema: `on`, `no` and `2026-01-01` are text, as they are
in JSON. What lets a small text mean a large or an ambiguous document (anchors, aliases, tags) is a
fault of its token.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, NamedTuple

import yaml

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
_JSON_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r'|(?P<text>"[^"\\]*(?:\\.[^"\\]*)*")'
    r"|(?P<mark>[{}\[\],:])"
    r'|(?P<word>[^\s{}\[\],:"]+)'
)


class Form(Enum):
    """What a token does."""

    OBJECT = auto()
    LIST = auto()
    END = auto()
    SCALAR = auto()
    STOP = auto()


class Token(NamedTuple):
    """One token; lines and columns count from 1.

    `text` is what a scalar says as a key, None when it cannot be one; `known` is False when
    `value` only stands in for what the text has there. At STOP nothing more can be read.
    """

    form: Form
    line: int
    column: int
    value: Any = None
    text: str | None = None
    faults: tuple[str, ...] = ()
    known: bool = True


class _Scalar(NamedTuple):
    value: Any
    fault: str = ""


def of_yaml(text: str) -> Iterator[Token]:
    """Yield the tokens of the first YAML document in `text`; STOP where a second one begins.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    documents = itertools.count(1)
    events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
    for event in events:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        match event:
            case yaml.DocumentStartEvent():
                if next(documents) == 2:
                    fault = "a second document begins: write one resource a file"
                    yield Token(Form.STOP, line, column, faults=(fault,))
                    return
            case yaml.MappingStartEvent():
                yield Token(Form.OBJECT, line, column, faults=_node_faults(event))
            case yaml.SequenceStartEvent():
                yield Token(Form.LIST, line, column, faults=_node_faults(event))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                yield Token(Form.END, line, column)
            case yaml.ScalarEvent():
                scalar = _yaml_scalar(event)
                faults = _node_faults(event) + ((scalar.fault,) if scalar.fault else ())
                key = event.value if _has_bytes(event.value) else ""
                yield Token(
                    Form.SCALAR, line, column, scalar.value, key, faults, known=not scalar.fault
                )
            case yaml.AliasEvent():
                fault = f"aliases (*{event.anchor}) are not taken: write it out"
                yield Token(Form.SCALAR, line, column, faults=(fault,), known=False)


def of_json(text: str) -> Iterator[Token]:
    """Yield the tokens of `text`, whose grammar is not checked here; STOP at an end too many."""
    line, start_of_line, depth = 1, 0, 0
    for found in _JSON_TOKEN.finditer(text):
        part, column = found.group(), found.start() - start_of_line + 1
        match found.lastgroup:
            case "space":
                if "\n" in part:
                    line += part.count("\n")
                    start_of_line = found.start() + part.rindex("\n") + 1
            case "mark":
                if part in "{[":
                    depth += 1
                    yield Token(Form.OBJECT if part == "{" else Form.LIST, line, column)
                elif part in "}]":
                    if depth == 0:
                        fault = f"the document is not JSON: nothing to end with {part}"
                        yield Token(Form.STOP, line, column, faults=(fault,))
                        return
                    depth -= 1
                    yield Token(Form.END, line, column)
            case kind:
                scalar = _json_text(part) if kind == "text" else _json_word(part)
                faults = (scalar.fault,) if scalar.fault else ()
                key = str(scalar.value)
                yield Token(
                    Form.SCALAR, line, column, scalar.value, key, faults, known=not scalar.fault
                )


def _node_faults(event: Any) -> tuple[str, ...]:
    faults = []
    if event.anchor is not None:
        faults.append(f"anchors (&{event.anchor}) are not taken: write it out each time")
    if event.tag is not None and event.tag != "!":
        faults.append(f"tags ({event.tag}) are not taken: the types are those of JSON")
    return tuple(faults)


def _yaml_scalar(event: Any) -> _Scalar:
    text = event.value
    # A plain scalar's style is None or empty, by parser.
    if event.style or not event.implicit[0]:
        return _text(text)
    if text in _WORDS:
        return _Scalar(_WORDS[text])
    if _INT.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return _float(text)
    if _NOT_FINITE.fullmatch(text):
        return _not_finite(text)
    return _text(text)


def _json_text(part: str) -> _Scalar:
    try:
        return _text(json.loads(part))
    except json.JSONDecodeError as exc:
        return _Scalar("", not_json(exc))


def not_json(error: json.JSONDecodeError) -> str:
    """Return what JSON's reader has to say, as the end of a sentence of ours."""
    what = error.msg.removesuffix(" at").rstrip(": ")
    return f"the document is not JSON: {what[:1].lower()}{what[1:]}"


def _json_word(part: str) -> _Scalar:
    if part in ("true", "false", "null"):
        return _Scalar(_WORDS[part])
    if _INT.fullmatch(part):
        return _integer(part)
    if _FLOAT.fullmatch(part):
        return _float(part)
    return _not_finite(part)


def _integer(text: str) -> _Scalar:
    # The length is checked first: int() of a long literal costs quadratic time.
    if len(text) <= 40:
        number = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if -_INT64 <= number < _INT64:
            return _Scalar(number)
    return _Scalar(0, f"{text[:40]} is too large for a 64-bit integer")


def _float(text: str) -> _Scalar:
    value = float(text)
    if math.isfinite(value):
        return _Scalar(value)
    return _Scalar(0.0, f"{text[:40]} is too large for a double")


def _not_finite(text: str) -> _Scalar:
    return _Scalar(0, f"JSON has no number {text[:40]}: put it in quotes if it is text")


def _text(text: str) -> _Scalar:
    if _has_bytes(text):
        return _Scalar(text)
    return _Scalar("", "the text holds half of a surrogate pair")


def _has_bytes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
