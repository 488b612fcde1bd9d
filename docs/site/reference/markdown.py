"""Markdown as the pages of the reference need it: cells, tables, anchors."""

from collections.abc import Iterable, Sequence

NOTHING = "\N{EN DASH}"
"""A cell without anything."""


def cell(text: str) -> str:
    """Return text as a cell of a table: in one line, with what would end the cell escaped."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;") or NOTHING


def code(text: str) -> str:
    """Return text as code in a cell; nothing is a dash."""
    flat = " ".join(text.split()).replace("|", "\\|")
    return f"`{flat}`" if flat else NOTHING


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already; nothing without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    rule = "|---" * len(head) + "|"
    return "\n".join([f"| {' | '.join(head)} |", rule, *lines, ""])
