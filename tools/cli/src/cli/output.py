"""What the commands print: tables for people, JSON for machines.

JSON is one document, or one line for each item of a list; field names are stable. Notes and errors
go to standard error, so that standard output can be piped.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TextIO

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

# What a terminal obeys, and what has text drawn in another order or line than it is written in.
_REORDERING = "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_CONTROL = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{_REORDERING}]")
_NOT_IN_JSON = re.compile(rf"[\x7f-\x9f{_REORDERING}]")
_NEW_LINE = "\N{SYMBOL FOR NEWLINE}"
_UNBOUNDED = 10_000  # columns: what is piped is never cut or wrapped

_COLOURS = {
    "completed": "green",
    "applied": "green",
    "run": "green",
    "failed": "red",
    "invalid": "red",
    "error": "red",
    "dropped": "red",
    "running": "cyan",
    "open": "yellow",
    "waiting": "yellow",
    "would change": "yellow",
}

Document = Mapping[str, Any]
Columns = Sequence[tuple[str, str]]


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class Output:
    """Prints results in one format."""

    def __init__(
        self, form: Format, *, out: TextIO | None = None, error: TextIO | None = None
    ) -> None:
        self.format = form
        self._out = _console(out or sys.stdout)
        self._error = _console(error or sys.stderr)

    @property
    def json(self) -> bool:
        """Whether a machine reads this."""
        return self.format is Format.JSON

    def document(self, document: Any) -> None:
        """Print one JSON document."""
        self._raw(_escaped(json.dumps(document, indent=2, ensure_ascii=False)))

    def line(self, document: Any) -> None:
        """Print one JSON line, at once."""
        self._raw(_escaped(json.dumps(document, ensure_ascii=False, separators=(",", ":"))))

    def yaml(self, document: Any) -> None:
        """Print one YAML document."""
        self._raw(yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip())

    def rows(self, rows: Iterable[Document], columns: Columns, *, none: str) -> None:
        """Print a list: JSON lines, or a table of `columns` (heading, field); `none` if empty."""
        if self.json:
            for row in rows:
                self.line(row)
            return
        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for heading, _ in columns:
            table.add_column(heading, overflow="fold")
        count = 0
        for row in rows:
            table.add_row(*(_one_line(cell(row.get(field))) for _, field in columns))
            count += 1
        if count:
            self._print(table)
        else:
            self.note(none)

    def fields(self, document: Document, fields: Columns) -> None:
        """Print some fields of a document (heading, field), one a line, without absent ones."""
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for heading, field in fields:
            if document.get(field) not in (None, "", []):
                table.add_row(heading, cell(document[field]))
        self._print(table)

    def heading(self, text: str) -> None:
        """Print the heading of a section."""
        self._out.print()
        self._out.print(Text(text, style="bold underline"))

    def text(self, text: str, *, style: str = "") -> None:
        """Print a line for people."""
        self._out.print(Text(shown(text), style=style), soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line about the result to standard error."""
        self._error.print(Text(shown(text), style="dim"), soft_wrap=True)

    def error(self, text: str) -> None:
        """Print what is wrong to standard error."""
        # Only the first line says who speaks.
        told = shown(text).replace("\n", "\n  ")
        self._error.print(Text(f"backbone: {told}", style="red"), soft_wrap=True)

    def _print(self, table: Table) -> None:
        with self._out.capture() as captured:
            self._out.print(table)
        # Rich fills the last column up with spaces.
        self._raw("\n".join(line.rstrip() for line in captured.get().splitlines()))

    def _raw(self, text: str) -> None:
        self._out.file.write(text + "\n")
        self._out.file.flush()


def cell(value: Any) -> Text:
    """Return a table's cell for a JSON value."""
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, str):
        return Text(shown(value), style=_COLOURS.get(value, ""))
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return Text(shown(", ".join(value)) or "-")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, Mapping | list):
        return Text(shown(json.dumps(value, ensure_ascii=False)))
    return Text(str(value))


def shown(text: str) -> str:
    """Return `text` without what a terminal would obey: texts come from strangers too."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _one_line(text: Text) -> Text:
    """Return a cell that no other row can be drawn in."""
    return Text(text.plain.replace("\n", _NEW_LINE), style=text.style)


def _escaped(document: str) -> str:
    """Return the same JSON without what a terminal would obey: the rest of it JSON escapes."""
    return _NOT_IN_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", document)


def _console(file: TextIO) -> Console:
    width = None if file.isatty() else _UNBOUNDED
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)
