"""Bytes that a person wrote to a JSON document, by rules that surprise nobody.

Everything that is unclear in a text is told at once, and what is around it can still be read.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import yaml

from contracts import strictjson
from contracts.rejections import EventRejectedError, Reason
from registry.domain import tokens
from registry.domain.positions import MAX_DEPTH, Positions, join
from registry.domain.tokens import Form, Token

MAX_DOCUMENT_BYTES = 256 * 1024
MAX_FAULTS = 1001
"""One more than is told, so that it is seen that there is more."""

_BEGINS_AS_JSON = re.compile(r'\s*\{\s*["}]')
_NOT_IN_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Fault(NamedTuple):
    """Something unclear in a text; `known` is False when the value there stands in for another."""

    steps: tuple[str | int, ...]
    message: str
    line: int
    column: int
    known: bool = True

    @property
    def path(self) -> str:
        """Where it is: spec.rules[0].when."""
        return functools.reduce(join, self.steps, "")


class UnreadableError(Exception):
    """The text gives no document: `faults` says why."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = tuple(faults)


class NotYamlError(UnreadableError):
    """The text does not follow YAML's grammar."""


@dataclass(frozen=True)
class Document:
    """One JSON object as it was written; with `faults` it is not what its author meant."""

    value: dict[str, Any]
    text: str
    faults: tuple[Fault, ...]
    _tokens: Callable[[str], Iterator[Token]]

    @cached_property
    def positions(self) -> Positions:
        """Lines and columns, read from the text when they are first asked for."""
        return Positions(self._tokens(self.text))


def read(raw: bytes) -> Document:
    """Return the one JSON object that `raw` holds, as JSON or as YAML.

    Raises:
        UnreadableError: it is too large, or there is no object to be read from it.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise _unreadable(f"the document has {len(raw)} bytes, more than {MAX_DOCUMENT_BYTES}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = raw[: exc.start].decode("utf-8-sig")
        raise _unreadable(f"byte {exc.start} of the document is not UTF-8", before) from exc
    # A brace opens YAML's flow style as well.
    return _read_json(text) if text.lstrip().startswith("{") else _read_yaml(text)


def kind(value: Any) -> str:
    """Return what people call the JSON type of `value`, with its article."""
    names = {bool: "true or false", str: "text", int: "a number", float: "a number"}
    names |= {dict: "an object", list: "a list", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)


def _unreadable(message: str, before: str = "") -> UnreadableError:
    """Return the error for what is wrong after `before`."""
    line = before.count("\n") + 1
    return UnreadableError([Fault((), message, line, len(before) - before.rfind("\n"))])


def _read_json(text: str) -> Document:
    try:
        value = strictjson.parse(text.encode(), max_depth=MAX_DEPTH)
        return Document(value, text, (), tokens.of_json)
    except EventRejectedError as exc:
        if exc.reason is Reason.TOO_DEEP:
            if _BEGINS_AS_JSON.match(text) is None:
                return _read_yaml(text)
            # Whether the rest follows the grammar is not looked at any more.
            _read(text, tokens.of_json)
            raise _unreadable(f"nested deeper than {MAX_DEPTH} levels") from exc
    if (malformed := _malformed_json(text)) is not None:
        try:
            return _read_yaml(text)
        except NotYamlError:
            if _BEGINS_AS_JSON.match(text) is None:
                raise
            raise malformed from None
    return _read(text, tokens.of_json)


def _malformed_json(text: str) -> UnreadableError | None:
    try:
        # Numbers are left alone: only the grammar is asked for.
        json.loads(text, parse_int=len, parse_float=len, parse_constant=len)
    except json.JSONDecodeError as exc:
        return _unreadable(tokens.not_json(exc), text[: exc.pos])
    return None


def _read_yaml(text: str) -> Document:
    if unusable := _NOT_IN_YAML.search(text):
        message = f"the character U+{ord(unusable.group()):04X} cannot stand in YAML"
        raise NotYamlError(_unreadable(message, text[: unusable.start()]).faults)
    try:
        return _read(text, tokens.of_yaml)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        what = ", ".join(part for part in (exc.context, exc.problem) if part)
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        fault = Fault((), f"the document is not YAML: {what}", line, column)
        raise NotYamlError([fault]) from exc
    except yaml.YAMLError as exc:
        what = " ".join(str(exc).split())
        raise NotYamlError([Fault((), f"the document is not YAML: {what}", 1, 1)]) from exc


def _read(text: str, tokenize: Callable[[str], Iterator[Token]]) -> Document:
    builder = _Builder()
    stopped = builder.build(tokenize(text))
    if stopped:
        raise UnreadableError(builder.faults)
    if not isinstance(builder.document, dict):
        fault = Fault((), f"a resource is an object, not {kind(builder.document)}", 1, 1)
        raise UnreadableError([*builder.faults, fault])
    return Document(builder.document, text, tuple(builder.faults), tokenize)


@dataclass
class _Container:
    """A list or an object that is being read, with the key that waits for its value."""

    value: dict[str, Any] | list[Any]
    steps: tuple[str | int, ...]
    key: str | None = None
    lines: dict[str, int] = field(default_factory=dict)


class _Builder:
    """Builds a document from tokens: nothing recurses, so that depth costs no stack."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.document: Any = None
        self._open: list[_Container] = []

    def build(self, stream: Iterator[Token]) -> bool:
        """Read until the end, or return True where nothing more can be read."""
        for token in stream:
            for message in token.faults:
                self._fault(token, message)
            if token.form is Form.STOP or len(self.faults) >= MAX_FAULTS:
                return True
            if token.form is Form.END:
                self._open.pop()
            elif token.form is Form.SCALAR:
                self._scalar(token)
            elif len(self._open) == MAX_DEPTH:
                self._fault(token, f"nested deeper than {MAX_DEPTH} levels")
                return True
            else:
                self._enter(token)
        return False

    def _enter(self, token: Token) -> None:
        value: dict[str, Any] | list[Any] = {} if token.form is Form.OBJECT else []
        steps = self._steps()
        if self._expects_key():
            self._fault(token, "a key is text, not a list or an object")
        self._place(value)
        self._open.append(_Container(value, steps))

    def _expects_key(self) -> bool:
        inside = self._open[-1] if self._open else None
        return inside is not None and isinstance(inside.value, dict) and inside.key is None

    def _scalar(self, token: Token) -> None:
        if not self._expects_key():
            self._place(token.value if token.known else None)
            return
        inside = self._open[-1]
        inside.key = token.text or ""
        if token.text is None:
            return
        if (first := inside.lines.get(token.text)) is not None:
            self._fault(token, f"the key appears twice; the first is in line {first}")
        inside.lines.setdefault(token.text, token.line)

    def _place(self, value: Any) -> None:
        if not self._open:
            self.document = value
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

    def _steps(self) -> tuple[str | int, ...]:
        if not self._open:
            return ()
        inside = self._open[-1]
        if isinstance(inside.value, list):
            return (*inside.steps, len(inside.value))
        return inside.steps if inside.key is None else (*inside.steps, inside.key)

    def _fault(self, token: Token, message: str) -> None:
        fault = Fault(self._steps(), message, token.line, token.column, token.known)
        self.faults.append(fault)
